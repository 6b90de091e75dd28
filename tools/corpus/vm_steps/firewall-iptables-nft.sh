# iptables-nft drops what comes in by IPv4 and IPv6
for table in iptables ip6tables; do
    $table -A INPUT -i lo -j ACCEPT
    $table -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $table -A INPUT -p tcp --dport 22 -m comment --comment 'ssh from anywhere' -j ACCEPT
    $table -P INPUT DROP
done
ip6tables -I INPUT 1 -p ipv6-icmp -j ACCEPT
