# A plain disk on /srv, and in a file there LUKS2, mounted on /home/ada/vault
ext4 /dev/vdb /srv
truncate -s 64M /srv/vault.img
luks vault /srv/vault.img
ext4 /dev/mapper/vault /home/ada/vault
