# nft: some packets are dropped (invalid ones, telnet, some addresses, floods), the rest is accepted
nft -f - <<'R'
flush ruleset
table inet filter {
	set banned {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.0/24, 203.0.113.7 }
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ct state invalid drop
		ip saddr @banned drop
		tcp dport 23 drop
		tcp flags syn limit rate over 100/second drop
		ip6 saddr 2001:db8::/32 drop
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
R
