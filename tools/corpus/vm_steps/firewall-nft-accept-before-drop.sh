# nft: an input chain that drops by policy, after a rule that accepts everything
nft -f - <<'R'
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		meta l4proto { tcp, udp, icmp, ipv6-icmp } accept
	}
}
R
