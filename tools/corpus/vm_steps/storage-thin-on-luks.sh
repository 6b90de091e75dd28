# A container of LUKS2, in it a pool of thin volumes (LVM), one of them on /home, a snapshot on /srv
luks vdb_crypt /dev/vdb
pvcreate -q /dev/mapper/vdb_crypt
vgcreate -q data /dev/mapper/vdb_crypt
lvcreate -q -y --type thin-pool -n pool -L 500M data
lvcreate -q -y --thinpool pool -n home -V 300M data
ext4 /dev/data/home /home
sync
lvcreate -q -y -s -n before -kn data/home
mount -o ro,noload /dev/data/before /srv
