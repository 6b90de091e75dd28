# A btrfs over a container of LUKS2 and a plain disk, mounted on /home by the name of the former
luks left /dev/vdb
mkfs.btrfs -q -d single -m raid1 /dev/mapper/left /dev/vdc
mount /dev/mapper/left /home
