# A file on the root file system holds a plain one, mounted on /srv
truncate -s 64M /var/srv.img
mke2fs -q -t ext4 /var/srv.img
mount -o loop /var/srv.img /srv
