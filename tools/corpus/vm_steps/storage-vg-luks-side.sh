# A volume group over a container of LUKS2 and a plain disk; the volume on /home lies only in LUKS2
luks vdb_crypt /dev/vdb
pvcreate -q /dev/mapper/vdb_crypt /dev/vdc
vgcreate -q data /dev/mapper/vdb_crypt /dev/vdc
lvcreate -q -y -n home -L 500M data /dev/mapper/vdb_crypt
ext4 /dev/data/home /home
