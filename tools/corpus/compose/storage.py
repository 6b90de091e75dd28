"""Machines for the sake of what their data lies on, and of their firewalls."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import releases
from debian import BOOKWORM, TRIXIE
from disks import Disks
from machine import Machine, Recipe
from pools import ENCRYPTION, POOLS
from system import (
    GUEST,
    LATITUDE,
    SERVER,
    THINKPAD,
    VIRTIO,
    WIFI,
    WIRED,
    Model,
    Nic,
    hardware,
    network,
    people,
    system,
)
from ubuntu import NOBLE


def _debian(m: Machine, model: Model, nic: Nic, *, trixie: bool = False) -> None:
    """A Debian without a desktop, up to date."""
    release = releases.DEBIAN_13 if trixie else releases.DEBIAN_12
    system(m, release, virt="kvm" if model is GUEST else "none")
    hardware(m, model)
    network(m, nic)
    people(m, "ada")
    d.no_display_manager(m)
    d.sessions(m)
    n.sshd(m)
    p.apt(m, archives=TRIXIE if trixie else BOOKWORM)
    p.debian_kernel(m, release.kernel)


def _multipath(m: Machine) -> None:
    _debian(m, SERVER, WIRED)
    disks = Disks(m)
    legs = [disks.disk("sda"), disks.disk("sdb")]
    for leg in legs:
        leg.fstype = "mpath_member"
    words = "multipath 2 queue_if_no_path 0 0 1 1 service-time 0 2 1 {0} 1 {1} 1"
    whole = disks.mapping("mpatha", legs, "mpath-3600c0ffee", words)
    boot = disks.mapping(
        "mpatha-part1", [whole], "part1-mpath-3600c0ffee", "linear {0} 2048", type="part"
    )
    data = disks.mapping(
        "mpatha-part2", [whole], "part2-mpath-3600c0ffee", "linear {0} 4096", type="part"
    )
    disks.mount(disks.lvm(disks.crypt(data, "san_crypt"), "san/root"), "/")
    disks.mount(boot, "/boot")
    disks.write()
    early = n.chain(
        "early",
        [n.ESTABLISHED, n.ACCEPT],
        [n.LOOPBACK, n.ACCEPT],
        hook="prerouting",
        policy="drop",
        prio=-300,
    )
    n.nft(m, n.table("inet", "raw", early))


def _iscsi_root(m: Machine) -> None:
    _debian(m, SERVER, WIRED)
    disks = Disks(m)
    disk = disks.disk("sda", bus="iscsi")
    disks.mount(disks.part(disk, 1), "/")
    disks.write(cmdline="root=/dev/sda1 iscsi_initiator=iqn.2026-11.com.example:m1 ro")
    refuse = [
        [n.match("ip saddr", {"prefix": {"addr": "198.51.100.0", "len": 24}}), n.ACCEPT],
        [n.ESTABLISHED, n.ACCEPT],
        [n.LOOPBACK, n.ACCEPT],
        [{"limit": {"rate": 5, "per": "second"}}, n.DROP],
    ]
    n.nft(m, n.table("inet", "filter", n.chain("input", *refuse, hook="input")))


def _overlay_root(m: Machine) -> None:
    _debian(m, GUEST, VIRTIO)
    disks = Disks(m)
    disk = disks.disk("vda")
    disks.mount(disks.crypt(disks.part(disk, 2), "lower"), "/media/root-ro", options="ro")
    disks.mount(disks.disk("vdb"), "/media/root-rw")
    layers = (
        "rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=/media/root-rw/work"
    )
    disks.pseudo("/", "overlayroot", "overlay", options=layers)
    disks.write()
    n.nft(m, n.guarded("ip6"), n.guarded("ip"))


def _integrity(m: Machine) -> None:
    _debian(m, SERVER, WIRED, trixie=True)
    disks = Disks(m)
    disk = disks.disk("sda")
    disks.part(disk, 3, "DM_integrity")
    part = disks.blocks[-1]
    checked = disks.mapping(
        "checked", [part], "CRYPT-INTEGRITY-checked", "integrity {0} 0 32 J 0", type="crypt"
    )
    pool = disks.lvm(checked, "vg0/thin_tdata")
    thin = disks.lvm(pool, "vg0/thin-tpool", target="thin-pool {0} {0} 128 0 0")
    disks.mount(disks.lvm(thin, "vg0/root", target="thin {0} 1"), "/", "xfs")
    disks.mount(disks.part(disk, 1), "/boot")
    disks.write()
    n.nft(m, n.guarded("inet", [n.match("meta iifname", WIRED.name), n.ACCEPT]))


def _opal(m: Machine) -> None:
    _debian(m, LATITUDE, WIFI)
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.mount(disks.part(disk, 2), "/")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot/efi")
    disks.write()
    m.command(
        ("sedutil-cli", "--query", "/dev/nvme0n1"),
        "/dev/nvme0n1 NVMe Example SSD\nTPer function (0x0001)\n    ACKNAK = N, ASYNC = N.\n"
        "Locking function (0x0002)\n    Locked = N, LockingEnabled = Y, LockingSupported = Y,"
        " MBRDone = Y, MBREnabled = Y, MediaEncrypt = Y\n",
    )
    n.ufw(m)


def _fscrypt(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "bob")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.mount(disks.part(disk, 2), "/")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot/efi")
    disks.pseudo("/home/bob/vault", "gocryptfs", "fuse.gocryptfs")
    snap = disks.loop("/var/lib/snapd/snaps/core24_1.snap", "squashfs")
    disks.mount(snap, "/snap/core24/1", "squashfs", options="ro")
    disks.zram(backing="/dev/nvme0n1p3")
    disks.part(disk, 3)
    disks.write()
    m.command(("fscrypt", "status", "/"), 'ext4 filesystem "/" has 2 protectors and 1 policy.\n')
    d.display_manager(m, "gdm", "/usr/sbin/gdm3")
    session = d.Session(id="2", user="bob", uid=1000, desktop="ubuntu", current="ubuntu:GNOME")
    d.sessions(m, session, new=False)
    d.run(m, session, "/usr/bin/gnome-shell")
    said = "(process:4711): dconf-WARNING **: failed to commit changes to dconf: no bus"
    d.gsettings(m, session, d.gnome_settings(), stderr=said + "\n")
    n.ufw(m)
    n.sshd(m)
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


def _bitlocker(m: Machine) -> None:
    _debian(m, LATITUDE, WIFI, trixie=True)
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, windows = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 3, "BitLocker")
    raid = disks.raid(
        "md0",
        [disks.crypt(disks.part(disk, 5), "left"), disks.crypt(disks.disk("nvme1n1"), "right")],
        "raid0",
    )
    disks.mount(raid, "/", "ext4")
    disks.mount(disks.part(disk, 4), "/boot")
    disks.mount(efi, "/boot/efi")
    disks.mount(disks.crypt(windows, "win", kind="BITLK", fstype="ntfs"), "/mnt/win dows", "ntfs3")
    container = disks.loop("/home/ada/secret.hc")
    disks.mount(disks.crypt(container, "veracrypt1", kind="TCRYPT"), "/media/veracrypt1", "vfat")
    disks.write()
    n.nft(m, n.guarded())


def _zfs_on_luks(m: Machine) -> None:
    _debian(m, SERVER, WIRED)
    disks = Disks(m)
    disk = disks.disk("sda")
    disks.crypt(disks.part(disk, 3), "zpool_crypt", fstype="zfs_member")
    disks.pseudo("/", "tank/root", "zfs")
    disks.mount(disks.part(disk, 2), "/boot")
    disks.write()
    m.command(ENCRYPTION, stderr="bad property list: invalid property 'encryption'\n", returncode=2)
    m.command(
        POOLS,
        "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME STATE READ WRITE CKSUM\n"
        "\ttank ONLINE 0 0 0\n\t  /dev/dm-0 ONLINE 0 0 0\n\nerrors: No known data errors\n",
    )
    chains = n.table(
        "ip",
        "filter",
        n.chain("INPUT", [n.jump("shorewall")], hook="input", policy="drop"),
        n.chain("shorewall", [n.ESTABLISHED, n.ACCEPT]),
    )
    n.nft(m, chains)


RECIPES = (
    Recipe(
        "debian-12-multipath",
        "a server whose root lies on LUKS over two paths to a SAN; its rules drop before the input"
        " hook",
        "https://docs.kernel.org/admin-guide/device-mapper/ and nft(8)",
        _multipath,
    ),
    Recipe(
        "debian-12-iscsi-root",
        "a server started from another machine's disk; its rules drop only what comes too fast",
        "https://docs.kernel.org/ and dracut.cmdline(7)",
        _iscsi_root,
    ),
    Recipe(
        "debian-12-overlayroot",
        "a guest whose encrypted root is read-only below an overlay that keeps changes in plain",
        "https://manpages.ubuntu.com/manpages/noble/man8/overlayroot.8.html",
        _overlay_root,
    ),
    Recipe(
        "debian-13-integrity-thin",
        "a server on thin LVM over dm-integrity, which checks and does not encrypt; its drop policy"
        " is undone by a rule for its only interface",
        "integritysetup(8), lvmthin(7) and nft(8)",
        _integrity,
    ),
    Recipe(
        "debian-12-opal",
        "a laptop in plain on a drive that encrypts by itself and has locking enabled",
        "https://github.com/Drive-Trust-Alliance/sedutil/wiki",
        _opal,
    ),
    Recipe(
        "ubuntu-24.04-directories",
        "Ubuntu 24.04 with directories encrypted by fscrypt and gocryptfs on a plain disk, zram"
        " with a backing partition, and a gsettings that does not see its user's settings",
        "https://github.com/google/fscrypt, https://nuetzlich.net/gocryptfs/ and"
        " https://docs.kernel.org/admin-guide/blockdev/zram.html",
        _fscrypt,
    ),
    Recipe(
        "debian-13-striped-luks-bitlocker",
        "a laptop on a RAID 0 of two LUKS volumes, with Windows' partition opened by cryptsetup and"
        " a container of VeraCrypt in use",
        "cryptsetup-open(8) and md(4)",
        _bitlocker,
    ),
    Recipe(
        "debian-12-old-zfs-on-luks",
        "a server on a ZFS that cannot encrypt, over LUKS; Shorewall's rules, for IPv4 only",
        "https://openzfs.github.io/openzfs-docs/ and https://shorewall.org/Documentation.htm",
        _zfs_on_luks,
    ),
)
