# sway without a screen; swayidle by its configuration; ufw installed, and not turned on.
person erin 1000
mkdir -p /home/erin/.config/swayidle
printf "timeout 180 'swaylock -f'\nbefore-sleep 'swaylock -f'\n" >/home/erin/.config/swayidle/config
chown -R erin: /home/erin/.config
user_bus erin
session_environment="WLR_BACKENDS=headless WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 XDG_CURRENT_DESKTOP=sway"
begin erin sway
wait_for test -S /run/user/1000/wayland-1
session_environment="WAYLAND_DISPLAY=wayland-1 XDG_CURRENT_DESKTOP=sway XDG_SESSION_TYPE=wayland"
begin erin swayidle -w
wait_for pgrep -x swayidle
