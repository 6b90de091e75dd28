# Swap under a random key (plain dm-crypt, as crypttab's option swap makes it)
partition vdb ""
cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/urandom \
    /dev/vdb1 cryptswap1
mkswap -q /dev/mapper/cryptswap1
swapon /dev/mapper/cryptswap1
