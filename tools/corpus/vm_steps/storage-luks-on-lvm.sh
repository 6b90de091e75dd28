# A volume group over two plain disks: a volume with LUKS2 on /home, and a plain one on /srv
pvcreate -q /dev/vdb /dev/vdc
vgcreate -q data /dev/vdb /dev/vdc
lvcreate -q -y -n secret -L 1200M data
lvcreate -q -y -n scratch -L 200M data
luks home /dev/data/secret
ext4 /dev/mapper/home /home
ext4 /dev/data/scratch /srv
