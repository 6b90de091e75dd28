# ufw is enabled, and denies what comes in by IPv4 (IPV6=no)
sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw
ufw --force enable
