# A volume group over a container of LUKS2 and a plain disk; the volume on /home spans both
luks vdb_crypt /dev/vdb
pvcreate -q /dev/mapper/vdb_crypt /dev/vdc
vgcreate -q data /dev/mapper/vdb_crypt /dev/vdc
lvcreate -q -y -n home -l 100%FREE data
ext4 /dev/data/home /home
