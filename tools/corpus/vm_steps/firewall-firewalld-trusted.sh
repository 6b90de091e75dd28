# firewalld runs, with the zone trusted
systemctl -q enable firewalld.service
systemctl start firewalld.service
firewall-cmd -q --set-default-zone=trusted
