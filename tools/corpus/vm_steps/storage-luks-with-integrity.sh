# LUKS2 with authenticated encryption (over dm-integrity), in it /home
partition vdb 100M
luks home /dev/vdb1 --cipher aes-xts-plain64 --integrity hmac-sha256 --sector-size 4096
ext4 /dev/mapper/home /home
