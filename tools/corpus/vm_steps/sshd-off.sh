# sshd is installed, but does not run
systemctl -q disable --now ssh.service
systemctl -q disable --now ssh.socket 2>/dev/null || true
