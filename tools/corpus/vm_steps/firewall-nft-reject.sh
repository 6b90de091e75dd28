# nft: the input chain accepts by policy, and its last rule rejects
nft -f - <<'R'
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iifname "lo" accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		tcp dport 22 ct state new accept
		reject with icmpx type admin-prohibited
	}
}
R
