# Read before each step: what several of them do.

# partition DISK SIZE…: partitions of these sizes; the last may be "" for the rest.
partition() {
    local disk=$1 size
    shift
    { echo "label: gpt"; for size in "$@"; do echo ",${size:-+}"; done; } | sfdisk -q "/dev/$disk"
    udevadm settle
}

# luks NAME DEVICE [OPTION…]: a container of LUKS, opened.
luks() {
    local name=$1 device=$2
    shift 2
    printf 'correct horse' | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 \
        --pbkdf-force-iterations 1000 --key-file - "$@" "$device"
    printf 'correct horse' | cryptsetup open --key-file - "$device" "$name"
    udevadm settle
}

# ext4 DEVICE PLACE: a file system, mounted there.
ext4() {
    mke2fs -q -t ext4 "$1"
    mkdir -p "$2"
    mount "$1" "$2"
}
