# XFCE with xfce4-screensaver, one property set by its user; firewalld with its default zone.
person ada 1000
system_bus
firewalld --nofork >/tmp/firewalld 2>&1 &
wait_for firewall-cmd --state
display ada XFCE
begin ada xfce4-session
wait_for pgrep -x xfce4-session
begin ada xfwm4
wait_for pgrep -x xfwm4
as ada xfconf-query -c xfce4-screensaver -p /saver/idle-activation/delay -n -t int -s 7
begin ada xfce4-screensaver --no-daemon
wait_for pgrep -x xfce4-screensav
