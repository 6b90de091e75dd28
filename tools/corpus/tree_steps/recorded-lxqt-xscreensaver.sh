# LXQt with xscreensaver; rules of iptables-nft; an sshd that wants a key and a password.
person frank 1000
printf 'AuthenticationMethods publickey,password\nPort 2222\n' >/etc/ssh/sshd_config.d/both.conf
ssh_server
for family in iptables ip6tables; do
    $family -P INPUT DROP
    $family -A INPUT -i lo -j ACCEPT
    $family -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
done
display frank LXQt
printf 'timeout:\t0:03:00\nlock:\tTrue\nlockTimeout:\t0:01:00\nmode:\tblank\n' >/home/frank/.xscreensaver
chown frank: /home/frank/.xscreensaver
begin frank lxqt-session -w openbox
wait_for pgrep -x lxqt-session
begin frank xscreensaver --no-splash
wait_for pgrep -x xscreensaver
