# A disk that is reached by two paths (multipath) holds LVM without encryption, in it /home
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
pvcreate -q /dev/mapper/mpatha
vgcreate -q data /dev/mapper/mpatha
lvcreate -q -y -n home -L 300M data
ext4 /dev/data/home /home
