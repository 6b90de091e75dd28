# A disk with LUKS2 that is not opened, and an opened container that is not mounted
luks spare /dev/vdb
luks other /dev/vdc
cryptsetup close spare
