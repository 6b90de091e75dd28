# Names with spaces and signs: a mapping, and a mount point for it
luks 'ada s #1' /dev/vdb
mke2fs -q -t ext4 '/dev/mapper/ada s #1'
mkdir '/srv/my files\here'
mount '/dev/mapper/ada s #1' '/srv/my files\here'
