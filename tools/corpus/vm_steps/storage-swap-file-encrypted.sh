# A swap file on the root file system
dd if=/dev/zero of=/swapfile bs=1M count=64 status=none
chmod 600 /swapfile
mkswap -q /swapfile
swapon /swapfile
