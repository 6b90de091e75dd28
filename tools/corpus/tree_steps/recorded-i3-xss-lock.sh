# i3 with xss-lock and a notifier; SDDM; ufw without IPv6, which it then drops.
person dave 1000
mkdir -p /home/dave/.config/i3
printf 'font pango:monospace 8\n' >/home/dave/.config/i3/config
chown -R dave: /home/dave/.config
starts sddm
sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw
ufw --force enable
system_bus
display dave i3
begin dave i3
wait_for pgrep -x i3
as dave xset s 240 30
begin dave xss-lock --notifier=/usr/bin/true -- i3lock -n
wait_for pgrep -x xss-lock
