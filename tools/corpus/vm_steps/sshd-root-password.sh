# sshd lets root in by password, on port 2222
printf 'PermitRootLogin yes\nPort 2222\n' > /etc/ssh/sshd_config.d/10-root.conf
systemctl restart ssh.service
