# MATE with its screen saver; iptables-legacy; LXDM with an autologin; a Match block.
person bob 1000
starts lxdm
sed -i 's/^# autologin=.*/autologin=bob/' /etc/lxdm/lxdm.conf
printf '\nMatch User backup Address 192.0.2.0/24\n    PasswordAuthentication yes\n' >>/etc/ssh/sshd_config
printf 'PasswordAuthentication no\n' >/etc/ssh/sshd_config.d/keys.conf
ssh_server
for family in iptables-legacy ip6tables-legacy; do
    $family -A INPUT -i lo -j ACCEPT
    $family -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    $family -A INPUT -p tcp --dport 22 -j ACCEPT
    $family -A INPUT -j REJECT
done
display bob MATE
as bob gsettings set org.mate.session idle-delay 12
as bob gsettings set org.mate.screensaver lock-delay 3
begin bob mate-session
wait_for pgrep -x mate-session
wait_for pgrep -x mate-screensave
