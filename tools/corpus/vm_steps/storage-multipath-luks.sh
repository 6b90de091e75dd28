# A disk that is reached by two paths (multipath), in a partition of it LUKS2, in that /home
modprobe dm_multipath
printf 'defaults {\n user_friendly_names yes\n find_multipaths no\n}\nblacklist {\n devnode "^vd"\n}\n' \
    > /etc/multipath.conf
systemctl -q unmask multipathd.service multipathd.socket
systemctl start multipathd.service
for i in $(seq 100); do
    [ -e /dev/mapper/mpatha ] && break
    multipathd reconfigure
    udevadm settle
    sleep 0.3
done
printf 'label: gpt\n,+\n' | sfdisk -q /dev/mapper/mpatha || true
kpartx -a -s /dev/mapper/mpatha
udevadm settle
part=$(ls /dev/mapper/mpatha?*)
luks home "$part"
ext4 /dev/mapper/home /home
