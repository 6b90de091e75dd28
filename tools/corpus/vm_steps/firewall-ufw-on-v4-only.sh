# ufw is enabled with IPV6=no: it denies what comes in by IPv4, and drops all of IPv6
sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw
ufw --force enable
