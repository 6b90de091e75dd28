# iptables: only what Docker makes (nat, forward), by iptables-nft
for table in iptables ip6tables; do
    $table -t nat -N DOCKER
    $table -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
done
iptables -t nat -A POSTROUTING -s 198.51.100.0/24 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER -i docker0 -j RETURN
iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 198.51.100.2:80
iptables -N DOCKER
iptables -N DOCKER-USER
iptables -P FORWARD DROP
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A DOCKER -d 198.51.100.2/32 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
