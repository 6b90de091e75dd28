# A mirror (md) of a container of LUKS2 and a plain disk, in it /home
luks left /dev/vdb
mdadm --create /dev/md0 --run --quiet --metadata=1.2 --level=1 --raid-devices=2 \
    /dev/mapper/left /dev/vdc
ext4 /dev/md0 /home
