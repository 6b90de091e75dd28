# There is no sshd
systemctl -q disable --now ssh.service
systemctl -q disable --now ssh.socket 2>/dev/null || true
dpkg --purge openssh-server openssh-sftp-server >/dev/null
