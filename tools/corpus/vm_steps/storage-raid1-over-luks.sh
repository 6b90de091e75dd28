# A mirror (md) of two containers of LUKS2, in it /home
luks left /dev/vdb
luks right /dev/vdc
mdadm --create /dev/md0 --run --quiet --metadata=1.2 --level=1 --raid-devices=2 \
    /dev/mapper/left /dev/mapper/right
ext4 /dev/md0 /home
