# An image with signed checksums (dm-verity) on a plain disk, mounted on /srv, which can't be written
mke2fs -q -t ext4 /dev/vdb
root=$(veritysetup format /dev/vdb /dev/vdc | sed -n 's/^Root hash:[[:space:]]*//p')
veritysetup open /dev/vdb signed /dev/vdc "$root"
mount -o ro /dev/mapper/signed /srv
