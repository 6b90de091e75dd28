# GNOME Shell without a screen; the administrator's dconf database with a lock; GDM's timed login.
person bob 1000
starts gdm3
printf '[daemon]\nTimedLoginEnable=True\nTimedLogin=bob\nTimedLoginDelay=20\n' >>/etc/gdm3/daemon.conf
mkdir -p /etc/dconf/profile /etc/dconf/db/local.d/locks
printf 'user-db:user\nsystem-db:local\n' >/etc/dconf/profile/user
printf '[org/gnome/desktop/session]\nidle-delay=uint32 240\n' >/etc/dconf/db/local.d/00-lock
printf '[org/gnome/desktop/screensaver]\nlock-delay=uint32 15\n' >>/etc/dconf/db/local.d/00-lock
echo /org/gnome/desktop/session/idle-delay >/etc/dconf/db/local.d/locks/idle
dconf update
user_bus bob
session_environment="XDG_CURRENT_DESKTOP=GNOME XDG_SESSION_TYPE=wayland"
as bob gsettings set org.gnome.desktop.screensaver lock-delay 45
as bob gsettings set org.gnome.desktop.session idle-delay 9999 || true
system_bus
begin bob gnome-shell --headless --wayland --no-x11
wait_for pgrep -x gnome-shell
nft -f - <<RULES
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        ct state established,related accept
        iif lo accept
        tcp dport { 22, 5353 } accept
        counter reject with icmpx type admin-prohibited
    }
}
RULES
