# A container of LUKS2 with a plain disk as its cache (bcache), in it /home
modprobe bcache
luks slow /dev/vdb
make-bcache -B /dev/mapper/slow -C /dev/vdc
udevadm settle
for part in /dev/mapper/slow /dev/vdc; do readlink -f $part > /sys/fs/bcache/register || true; done
udevadm settle
ext4 /dev/bcache0 /home
