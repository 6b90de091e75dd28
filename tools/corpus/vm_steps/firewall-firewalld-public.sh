# firewalld runs, with its default zone public
systemctl -q enable firewalld.service
systemctl start firewalld.service
until firewall-cmd -q --state; do sleep 1; done  # it has its name before it can answer
firewall-cmd -q --zone=public --change-interface=eth0
