# Swap on a plain partition
partition vdb ""
mkswap -q /dev/vdb1
swapon /dev/vdb1
