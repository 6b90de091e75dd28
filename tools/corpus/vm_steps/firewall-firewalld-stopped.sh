# firewalld is installed and enabled, but does not run
systemctl -q enable firewalld.service
systemctl stop firewalld.service
