# A volume in LUKS2 with a cache (dm-cache) on a plain disk, in it /home
luks slow /dev/vdb
pvcreate -q /dev/mapper/slow /dev/vdc
vgcreate -q data /dev/mapper/slow /dev/vdc
lvcreate -q -y -n home -L 600M data /dev/mapper/slow
lvcreate -q -y -n quick -L 200M data /dev/vdc
lvconvert -q -y --type cache --cachevol quick data/home
ext4 /dev/data/home /home
