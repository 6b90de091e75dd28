# LUKS2 with the cipher that does nothing (cipher_null), in it /home
luks home /dev/vdb --cipher cipher_null-ecb --key-size 256
ext4 /dev/mapper/home /home
