# Enters a tree: TREE WORK STEPS NAME REPOSITORY VENV. Runs in namespaces of its own.
tree=$1 work=$2 steps=$3 name=$4 repository=$5 venv=$6
root=$work/root
mount --make-rprivate /
mount -t overlay tree -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$root"
mkdir -p "$root/dev" "$root/run"
mount -t tmpfs tmpfs "$root/opt"
# Copies, since a folder of the builder's that is mounted would be seen as a disk.
cp -r "$repository"/qlmdm_*/src/* "$root/opt"
cp -r "$(echo "$venv"/lib/python3*/site-packages)" "$root/opt/python"
cp -r "$steps" "$root/opt/steps"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
hostname corpus
# An interface as of a cable, with nobody at its other end.
ip link add eth0 address 52:54:00:12:34:56 type veth peer name far0 address 52:54:00:12:34:57
ip link set lo up
ip link set eth0 up
ip link set far0 up
ip address add 192.0.2.15/24 dev eth0
exec chroot "$root" sh -eu /opt/steps/_run.sh "$name"
