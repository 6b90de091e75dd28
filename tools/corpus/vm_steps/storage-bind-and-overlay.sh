# A plain disk on /srv, of which a folder is mounted on /home, and another under an overlay on /opt
ext4 /dev/vdb /srv
mkdir -p /srv/home /srv/upper /srv/work
mount --bind /srv/home /home
mount -t overlay overlay -o lowerdir=/opt,upperdir=/srv/upper,workdir=/srv/work /opt
