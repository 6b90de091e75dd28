# A disk with a cache (bcache), in it LUKS2, in that /home
modprobe bcache
make-bcache -B /dev/vdb -C /dev/vdc
udevadm settle
for part in /dev/vdb /dev/vdc; do echo $part > /sys/fs/bcache/register || true; done
udevadm settle
luks home /dev/bcache0
ext4 /dev/mapper/home /home
