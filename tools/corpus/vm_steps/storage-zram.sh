# Swap in compressed memory (zram)
modprobe zram num_devices=1
echo 64M > /sys/block/zram0/disksize
mkswap -q /dev/zram0
swapon /dev/zram0
