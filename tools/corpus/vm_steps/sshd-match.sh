# sshd takes passwords only of some: ada, and nobody from 192.0.2.0/24
printf '%s\n' 'PasswordAuthentication no' 'KbdInteractiveAuthentication no' \
    'Match Address 192.0.2.0/24' ' PasswordAuthentication no' \
    'Match User ada' ' PasswordAuthentication yes' > /etc/ssh/sshd_config.d/10-some.conf
systemctl restart ssh.service
