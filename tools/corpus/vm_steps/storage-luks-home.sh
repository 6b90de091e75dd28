# A partition holds LUKS2, in it /home
partition vdb ""
luks home /dev/vdb1
ext4 /dev/mapper/home /home
