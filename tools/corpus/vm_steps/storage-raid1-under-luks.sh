# A mirror (md) of two partitions, in it LUKS2, in that /home
partition vdb ""
partition vdc ""
mdadm --create /dev/md0 --run --quiet --metadata=1.2 --level=1 --raid-devices=2 /dev/vdb1 /dev/vdc1
luks home /dev/md0
ext4 /dev/mapper/home /home
