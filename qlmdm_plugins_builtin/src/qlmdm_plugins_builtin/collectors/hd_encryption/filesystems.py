"""Tells what sort of file system a mount is: one on a device, in memory, from elsewhere, …"""

from __future__ import annotations

from .mounts import Mount

MEMORY = frozenset(("tmpfs", "ramfs", "rootfs"))
IMAGES = frozenset(
    (
        "squashfs",
        "erofs",
        "iso9660",
        "cramfs",
        "romfs",
        "fuse.squashfuse",
        "fuse.squashfuse_ll",
        "fuse.snapfuse",
        "fuse.erofs",
        "fuse.erofsfuse",
        "fuse.archivemount",
        "fuse.fuseiso",
    )
)
NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "drvfs",
        "ceph",
        "lustre",
        "afs",
        "coda",
        "ncpfs",
        "beegfs",
        "gpfs",
        "pvfs2",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "fuse.rclone",
        "fuse.s3fs",
        "davfs",
    )
)
UNIONS = frozenset(("overlay", "overlayfs", "aufs", "unionfs", "fuse.unionfs-fuse"))
FLASH = frozenset(("ubifs", "jffs2", "yaffs", "yaffs2"))
CONTAINER_PREFIXES = (
    "/var/lib/docker/",
    "/var/lib/containers/",
    "/var/lib/kubelet/",
    "/var/lib/containerd/",
    "/var/lib/lxc/",
    "/var/lib/lxd/",
    "/var/lib/incus/",
    "/var/lib/machines/",
    "/var/lib/schroot/",
    "/var/snap/lxd/",
    "/run/",
    "/snap/",
    "/var/lib/snapd/",
    "/proc/",
    "/sys/",
    "/dev/",
)
"""Below these, bind mounts and images are somebody's machinery, seen elsewhere too."""


def sort_of(mount: Mount, device: str) -> str:
    """What sort of file system is mounted, given the kernel name of its device (or "").

    One of memory, image, network, zfs, btrfs, bcachefs, union, flash, device, or "" for what
    stores nothing (proc, cgroup, …) or only shows what is stored elsewhere (FUSE, eCryptfs).
    """
    fstype = mount.fstype
    for sorts, sort in (
        (MEMORY, "memory"),
        (IMAGES, "image"),
        (NETWORK, "network"),
        (UNIONS, "union"),
        (FLASH, "flash"),
        (("zfs", "btrfs", "bcachefs"), fstype),
    ):
        if fstype in sorts:
            return sort
    if device:
        return "device"
    fuse = fstype.startswith("fuse") and fstype != "fuseblk"
    on_device = mount.source.startswith("/dev/") and not mount.number.startswith("0:")
    if on_device and not fuse and fstype not in ("devtmpfs", "ecryptfs"):
        return "device"
    return ""
