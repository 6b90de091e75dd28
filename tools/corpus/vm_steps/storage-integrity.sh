# Checksums without encryption (dm-integrity) under /srv, and plain dm-crypt under /home
integritysetup format -q --no-wipe /dev/vdb
integritysetup open --integrity-recalculate /dev/vdb checked
ext4 /dev/mapper/checked /srv
printf 'correct horse battery staple' | cryptsetup open --type plain --cipher aes-xts-plain64 \
    --key-size 512 --hash sha512 /dev/vdc home
ext4 /dev/mapper/home /home
