# Swap in compressed memory (zram), which is written back to a container of LUKS2
luks back /dev/vdb
modprobe zram num_devices=1
readlink -f /dev/mapper/back > /sys/block/zram0/backing_dev
echo 64M > /sys/block/zram0/disksize
mkswap -q /dev/zram0
swapon /dev/zram0
