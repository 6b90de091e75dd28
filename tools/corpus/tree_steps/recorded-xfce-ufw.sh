# XFCE without a locker; ufw; LightDM with an autologin; sshd with drop-ins.
person ada 1000
starts lightdm
mkdir -p /etc/lightdm/lightdm.conf.d
printf '[Seat:*]\nautologin-user=ada\nautologin-user-timeout=0\n' >/etc/lightdm/lightdm.conf.d/60-ada.conf
printf 'PermitRootLogin yes\n' >/etc/ssh/sshd_config.d/10-root.conf
printf 'PermitRootLogin no\nPasswordAuthentication no\n' >/etc/ssh/sshd_config.d/20-strict.conf
ssh_server
ufw allow 22/tcp
ufw --force enable
display ada XFCE
begin ada xfce4-session
wait_for pgrep -x xfce4-session
begin ada xfwm4
wait_for pgrep -x xfwm4
