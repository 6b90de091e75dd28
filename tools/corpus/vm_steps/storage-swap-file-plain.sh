# A plain partition with a file system that is mounted only because a swap file lies there
partition vdb ""
ext4 /dev/vdb1 /var/swap
dd if=/dev/zero of=/var/swap/file bs=1M count=64 status=none
chmod 600 /var/swap/file
mkswap -q /var/swap/file
swapon /var/swap/file
