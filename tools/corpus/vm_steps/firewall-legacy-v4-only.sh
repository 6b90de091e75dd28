# iptables-legacy drops what comes in by IPv4, nothing by IPv6; iptables means iptables-nft
iptables-legacy -A INPUT -i lo -j ACCEPT
iptables-legacy -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
iptables-legacy -P INPUT DROP
