# A partition holds LUKS2, in it LVM, in that /home and swap
partition vdb ""
luks vdb1_crypt /dev/vdb1
pvcreate -q /dev/mapper/vdb1_crypt
vgcreate -q ada-vg /dev/mapper/vdb1_crypt
lvcreate -q -y -n home -L 300M ada-vg
lvcreate -q -y -n swap_1 -L 100M ada-vg
ext4 /dev/ada-vg/home /home
mkswap -q /dev/ada-vg/swap_1
swapon /dev/ada-vg/swap_1
