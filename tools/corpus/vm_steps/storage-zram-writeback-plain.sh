# Swap in compressed memory (zram), which is written back to a plain disk
modprobe zram num_devices=1
echo /dev/vdb > /sys/block/zram0/backing_dev
echo 64M > /sys/block/zram0/disksize
mkswap -q /dev/zram0
swapon /dev/zram0
