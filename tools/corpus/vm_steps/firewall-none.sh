# No program that could make rules is installed
dpkg --purge --force-depends nftables iptables ufw >/dev/null 2>&1 || true
