# nftables.service drops what comes in by IPv4 (table ip); IPv6 is switched off
cat > /etc/nftables.conf <<'R'
flush ruleset
table ip filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif "lo" accept
	}
}
R
systemctl restart nftables.service
sysctl -q net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
