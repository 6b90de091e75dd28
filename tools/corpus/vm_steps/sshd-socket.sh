# sshd is started by its socket
systemctl -q disable --now ssh.service
systemctl -q enable ssh.socket
systemctl start ssh.socket
