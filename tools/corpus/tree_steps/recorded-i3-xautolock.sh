# i3 with xautolock; greetd with an initial session; Debian's own nftables.conf, which is open.
person carol 1000
starts greetd
mkdir -p /etc/greetd
printf '[terminal]\nvt = 7\n\n[default_session]\ncommand = "agreety"\nuser = "_greetd"\n' >/etc/greetd/config.toml
printf '\n[initial_session]\ncommand = "i3"\nuser = "carol"\n' >>/etc/greetd/config.toml
nft -f /etc/nftables.conf
display carol i3
begin carol i3
wait_for pgrep -x i3
begin carol xautolock -time 5 -locker i3lock -nowlocker i3lock
wait_for pgrep -x xautolock
