# An encrypted directory (eCryptfs) over /home/ada
modprobe ecryptfs
mkdir -p /home/.ecryptfs/ada/.Private
mount -t ecryptfs -o key=passphrase:passphrase_passwd=correcthorse,ecryptfs_cipher=aes,ecryptfs_key_bytes=16,ecryptfs_passthrough=no,ecryptfs_enable_filename_crypto=no,no_sig_cache \
    /home/.ecryptfs/ada/.Private /home/ada
