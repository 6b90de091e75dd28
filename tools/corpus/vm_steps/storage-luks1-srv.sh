# A whole disk holds LUKS1, in it XFS on /srv
printf 'correct horse' | cryptsetup luksFormat -q --type luks1 --iter-time 20 --key-file - /dev/vdb
printf 'correct horse' | cryptsetup open --key-file - /dev/vdb srv
mkfs.xfs -q /dev/mapper/srv
mount /dev/mapper/srv /srv
