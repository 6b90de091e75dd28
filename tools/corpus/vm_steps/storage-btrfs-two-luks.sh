# A btrfs over two containers of LUKS2, its subvolumes @home and @srv mounted
luks left /dev/vdb
luks right /dev/vdc
mkfs.btrfs -q -d raid1 -m raid1 /dev/mapper/left /dev/mapper/right
mkdir /run/whole
mount /dev/mapper/left /run/whole
btrfs subvolume create /run/whole/@home
btrfs subvolume create /run/whole/@srv
umount /run/whole
rmdir /run/whole
mount -o subvol=@home /dev/mapper/left /home
mount -o subvol=@srv /dev/mapper/right /srv
