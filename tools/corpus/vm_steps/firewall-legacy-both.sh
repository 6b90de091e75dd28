# iptables-legacy drops what comes in by IPv4 and IPv6
for table in iptables ip6tables; do
    update-alternatives --quiet --set $table /usr/sbin/$table-legacy
    $table -P INPUT DROP
    $table -A INPUT -i lo -j ACCEPT
    $table -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
    $table -A INPUT -p tcp --dport 22 -j ACCEPT
done
