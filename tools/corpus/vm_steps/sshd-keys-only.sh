# sshd takes no passwords
printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\n' \
    > /etc/ssh/sshd_config.d/10-keys.conf
systemctl restart ssh.service
