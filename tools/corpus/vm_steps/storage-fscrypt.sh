# A plain disk on /home, whose directory ada is encrypted (fscrypt)
mke2fs -q -t ext4 -O encrypt /dev/vdb
mount /dev/vdb /home
printf 'n\n' | fscrypt setup --quiet || true
printf 'y\n' | fscrypt setup /home --quiet || true
mkdir /home/ada
head -c 32 /dev/urandom > /run/raw-key
fscrypt encrypt /home/ada --quiet --source=raw_key --key=/run/raw-key --name=ada
chown ada: /home/ada
