# nft: the input chain accepts by policy, and jumps to one that ends with a drop
nft -f - <<'R'
flush ruleset
table inet guard {
	chain allowed {
		ct state established,related accept
		iif "lo" accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
		tcp dport { 22, 8080 } accept
	}
	chain rest {
		limit rate 5/minute log prefix "dropped: "
		counter drop
	}
	chain incoming {
		type filter hook input priority filter; policy accept;
		jump allowed
		jump rest
	}
}
R
