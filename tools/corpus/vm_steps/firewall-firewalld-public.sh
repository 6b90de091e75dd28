# firewalld runs, with its default zone public
systemctl -q enable firewalld.service
systemctl start firewalld.service
firewall-cmd -q --zone=public --change-interface=eth0
