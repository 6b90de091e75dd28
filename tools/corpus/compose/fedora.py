"""Fedora, its relatives, and openSUSE."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import products
import releases
from disks import Block, Disks
from machine import Machine, Recipe
from system import (
    GUEST,
    LATITUDE,
    SERVER,
    THINKPAD,
    VIRTIO,
    WIFI,
    WIRED,
    efi_variable,
    hardware,
    located,
    network,
    people,
    system,
)

WIDE = "1025-65535/udp 1025-65535/tcp"
"""What firewalld's zone FedoraWorkstation opens."""


PROVIDER = "https://location.example.org/v1/geolocate"
ASK_WHERE = f"""\
# A site that wants to know where its machines are, to a kilometre.
plugins:
  geolocation:
    enabled: true
    provider_url: {PROVIDER}
    decimals: 2
"""


def _btrfs(disks: Disks, device: Block, *subvolumes: tuple[str, str]) -> None:
    """Mount the subvolumes of one btrfs: (directory in it, mount point)."""
    number = "0:33"
    for root, point in subvolumes:
        disks.mount(device, point, "btrfs", root=root, options="rw,compress=zstd:1", number=number)
    disks.btrfs(device)


def _workstation(m: Machine, *, encrypted: bool) -> Disks:
    """Anaconda's own layout: ESP, /boot, btrfs with root and home; swap in memory."""
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2, "ext4")
    data = disks.part(disk, 3, None if encrypted else "btrfs")
    if encrypted:
        label = "luks-c0ffee00-0000-4000-8000-000000000001"
        data = disks.crypt(data, label, fstype="btrfs", options="1 allow_discards")
    _btrfs(disks, data, ("/root", "/"), ("/home", "/home"))
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.zram()
    disks.write(cmdline="BOOT_IMAGE=(hd0,gpt2)/vmlinuz rootflags=subvol=root rhgb quiet")
    return disks


def _fedora_gnome(m: Machine) -> None:
    system(m, releases.FEDORA_43)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "ada", group="wheel")
    _workstation(m, encrypted=True)
    d.display_manager(m, "gdm", "/usr/sbin/gdm")
    m.file("/etc/gdm/custom.conf", "[daemon]\n# WaylandEnable=false\n")
    session = d.Session(id="2", user="ada", uid=1000, desktop="gnome", current="GNOME")
    manager = d.Session(
        id="3", user="ada", uid=1000, kind="manager", seat="", tty="", type="unspecified"
    )
    d.sessions(m, session, manager)
    d.gnome(m, session)
    n.firewalld(m, "FedoraWorkstation", WIFI.name, ports=WIDE)
    n.sshd(m, "-sshd.service", others=["127.0.0.53%lo:53", "127.0.0.1:631"])
    p.dnf(m, "kernel.x86_64   6.17.9-300.fc43   updates")
    located(m, WIFI, PROVIDER)


def _fedora_kde(m: Machine) -> None:
    system(m, releases.FEDORA_KDE)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "bob", group="wheel")
    _workstation(m, encrypted=False)
    d.display_manager(m, "sddm", "/usr/bin/sddm")
    m.file("/etc/sddm.conf", "[Autologin]\n#User=\n")
    m.file(
        "/etc/sddm.conf.d/kde_settings.conf",
        "[Autologin]\nRelogin=false\nSession=plasma\nUser=bob\n",
    )
    session = d.Session(id="1", user="bob", uid=1000, desktop="KDE", service="sddm-autologin")
    d.sessions(m, session)
    d.plasma(m, session, 6, Timeout="10", LockGrace="60")
    n.firewalld(m, "public", WIRED.name)
    n.sshd(m, "sshd.service", effective={"permitrootlogin": "no"})
    p.dnf(m)


def _silverblue(m: Machine) -> None:
    system(m, releases.SILVERBLUE)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "carol", group="wheel", homes="/var/home")
    m.file("/run/ostree-booted", "")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2, "ext4")
    data = disks.crypt(disks.part(disk, 3), "luks-c0ffee00", fstype="btrfs")
    layers = "ro,lowerdir+=/run/ostree/.private/cfsroot-lower,datadir+=/sysroot/ostree/repo/objects"
    disks.pseudo("/", "composefs", "overlay", options=layers)
    _btrfs(
        disks,
        data,
        ("/root", "/sysroot"),
        ("/root/ostree/deploy/fedora/deploy/0/etc", "/etc"),
        ("/var", "/var"),
        ("/home", "/var/home"),
    )
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.zram()
    disks.write(cmdline="root=UUID=c0ffee00-0000-4000-8000-000000000002 rw ostree=/ostree/boot.1")
    d.display_manager(m, "gdm", "/usr/sbin/gdm")
    session = d.Session(id="2", user="carol", uid=1000, desktop="gnome", current="GNOME")
    d.sessions(m, session)
    d.gnome(m, session, idle=900)
    n.firewalld(m, "FedoraWorkstation", WIFI.name, ports=WIDE)
    n.sshd(m)
    deployment = '{"deployments": [{"booted": true, "staged": false, "version": "43.20261101.0"}]}'
    m.command(("rpm-ostree", "status", "--json"), deployment + "\n")
    booted = "* fedora 0123456789abcdef.0\n    Version: 43.20261101.0\n"
    m.command(("ostree", "admin", "status"), booted)
    m.command(("rpm-ostree", "upgrade", "--check"), "No updates available.\n", returncode=77)


def _rhel_server(m: Machine) -> None:
    system(m, releases.RHEL_8)
    hardware(m, SERVER)
    network(m, WIRED)
    people(m, "erin", group="wheel")
    disks = Disks(m)
    legs = [disks.disk(name) for name in ("sda", "sdb")]
    efi = disks.part(legs[0], 1, "vfat", esp=True)
    boots = [disks.part(leg, 2) for leg in legs]
    datas = [disks.part(leg, 3) for leg in legs]
    boot = disks.raid("md126", boots, fstype="xfs")
    opened = disks.crypt(disks.raid("md127", datas), "luks-md127")
    disks.mount(disks.lvm(opened, "rhel/root"), "/", "xfs")
    disks.mount(disks.lvm(opened, "rhel/var_log"), "/var/log", "xfs")
    disks.mount(boot, "/boot", "xfs")
    disks.mount(efi, "/boot/efi")
    disks.swap(disks.lvm(opened, "rhel/swap"))
    disks.write()
    d.no_display_manager(m)
    ssh = d.Session(
        id="7", user="erin", uid=1000, type="tty", service="sshd", seat="", tty="pts/0", remote=True
    )
    d.sessions(m, ssh, new=False)
    n.firewalld(m, "public", WIRED.name, target="DROP", old=True)
    config = "PermitRootLogin no\nUsePAM yes\nMatch Address 192.0.2.0/24\n\tPermitRootLogin yes\n"
    n.sshd(m, "sshd.service", config=config, effective={"permitrootlogin": "no"})
    n.visitors(m, "root", "erin", permitrootlogin="no")
    p.dnf(m, program="dnf")


def _rocky_open(m: Machine) -> None:
    system(m, releases.ROCKY_9, secure_boot=False)
    hardware(m, LATITUDE)
    network(m, WIRED, more=["virbr0"])
    people(m, "frank", group="wheel")
    disks = Disks(m)
    disk = disks.disk("sda")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2, "xfs")
    plain = disks.part(disk, 3)
    disks.mount(disks.lvm(plain, "rl/root"), "/", "xfs")
    disks.mount(disks.lvm(plain, "rl/home"), "/home", "xfs")
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.swap(disks.lvm(plain, "rl/swap"))
    disks.write()
    d.display_manager(m, "gdm", "/usr/sbin/gdm")
    m.file(
        "/etc/gdm/custom.conf",
        "[daemon]\nTimedLoginEnable=1\nTimedLogin=frank\nTimedLoginDelay=30\n",
    )
    session = d.Session(
        id="2",
        user="frank",
        uid=1000,
        type="x11",
        desktop="gnome-classic-xorg",
        current="GNOME-Classic:GNOME",
    )
    d.sessions(m, session, new=False)
    d.gnome(m, session, lockdown=True)
    n.firewalld(m, "trusted", WIRED.name, target="ACCEPT", old=True)
    n.sshd(m, "sshd.service", effective={"authenticationmethods": "publickey,password"})
    products.eset(m, product=products.SERVER, engine="33901 (20261030)")
    p.dnf(
        m,
        "openssl.x86_64  1:3.2.2-7.el9  baseos",
        program="dnf",
        security="RLSA-2026:0001 Important/Sec. openssl-1:3.2.2-7.el9.x86_64\n",
    )


def _leap(m: Machine) -> None:
    system(m, releases.LEAP, secure_boot=None)
    hardware(m, THINKPAD)
    network(m, WIRED)
    people(m, "grace", admins=[])
    disks = Disks(m)
    disk = disks.disk("sda")
    opened = disks.crypt(disks.part(disk, 1), "cr_sda1", kind="LUKS1")
    root = disks.lvm(opened, "system/root", "btrfs")
    _btrfs(
        disks,
        root,
        ("/@/.snapshots/1/snapshot", "/"),
        ("/@/.snapshots", "/.snapshots"),
        ("/@/home", "/home"),
        ("/@/boot/grub2/i386-pc", "/boot/grub2/i386-pc"),
    )
    disks.swap(disks.lvm(opened, "system/swap"))
    disks.write()
    d.display_manager(m, "sddm", "/usr/bin/sddm")
    session = d.Session(
        id="1", user="grace", uid=1000, type="x11", desktop="KDE", service="sddm", tty="tty7"
    )
    d.sessions(m, session, new=False)
    d.plasma(m, session, 5, Autolock="false")
    m.program("/usr/bin/firewall-cmd")
    m.refused("firewall-cmd", "--list-all-zones", stderr="FirewallD is not running", returncode=252)
    n.nft(m)
    n.sshd(m, "-sshd.service")
    m.command(("zypper", "--non-interactive", "--xmlout", "list-updates"), "<stream></stream>\n")


def _tumbleweed(m: Machine) -> None:
    system(m, releases.TUMBLEWEED)
    efi_variable(m, "MokSBStateRT", True)
    m.command(
        ("mokutil", "--sb-state"), "SecureBoot enabled\nSecureBoot validation is disabled in shim\n"
    )
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "heidi", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    root = disks.crypt(disks.part(disk, 2), "cr_root", fstype="btrfs")
    _btrfs(
        disks, root, ("/@/.snapshots/42/snapshot", "/"), ("/@/var", "/var"), ("/@/home", "/home")
    )
    disks.mount(efi, "/boot/efi")
    disks.swap(disks.crypt(disks.part(disk, 3), "cr_swap"))
    disks.write()
    d.display_manager(m, "gdm", "/usr/sbin/gdm")
    session = d.Session(id="2", user="heidi", uid=1000, desktop="gnome", current="GNOME")
    d.sessions(m, session)
    d.gnome(m, session, lock=False)
    n.nft(m, n.guarded("ip"))
    n.sshd(m)
    m.command(("zypper", "--non-interactive", "dup", "--dry-run"), "Nothing to do.\n")


def _guest(m: Machine) -> None:
    system(m, releases.ROCKY_9, virt="kvm")
    hardware(m, GUEST)
    network(m, VIRTIO, ipv6_off=True)
    people(m, "ivan", group="wheel")
    disks = Disks(m)
    disk = disks.disk("vda")
    disks.mount(disks.part(disk, 4), "/", "xfs")
    disks.mount(disks.part(disk, 2, "vfat", esp=True), "/boot/efi")
    disks.write()
    d.no_display_manager(m)
    d.sessions(m)
    n.nft(m, n.guarded("ip", [n.match("tcp dport", 22), n.ACCEPT]))
    n.sshd(m, "sshd.service", effective={"passwordauthentication": "no"})
    p.dnf(m, program="dnf")


RECIPES = (
    Recipe(
        "fedora-43-workstation",
        "Fedora 43 Workstation with encryption as its installer offers it; its firewall's zone"
        " leaves the ports of users' programs open; its site asks where it is",
        "https://docs.fedoraproject.org/en-US/fedora/latest/ and firewalld.zone(5)",
        _fedora_gnome,
        settings=ASK_WHERE,
    ),
    Recipe(
        "fedora-43-kde-plain",
        "Fedora 43 with KDE Plasma 6: btrfs in plain, SDDM logs its user in, a minute of grace",
        "https://docs.fedoraproject.org/, https://man.archlinux.org/man/sddm.conf.5"
        " and https://invent.kde.org/plasma/kscreenlocker",
        _fedora_kde,
    ),
    Recipe(
        "fedora-silverblue",
        "Fedora Silverblue 43: / is a composefs image, what is written lies on btrfs on LUKS",
        "https://docs.fedoraproject.org/en-US/fedora-silverblue/ and rpm-ostree(1)",
        _silverblue,
    ),
    Recipe(
        "rhel-8-server",
        "RHEL 8 without a desktop: LVM on LUKS on a RAID 1; firewalld drops; sshd lets root in"
        " from one network only",
        "https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/8",
        _rhel_server,
    ),
    Recipe(
        "rocky-9-open",
        "Rocky Linux 9 in plain LVM, whose interface is in firewalld's zone trusted; GNOME Classic"
        " with the lock screen forbidden; GDM logs in after 30 seconds",
        "https://docs.rockylinux.org/ and https://help.gnome.org/admin/system-admin-guide/",
        _rocky_open,
    ),
    Recipe(
        "opensuse-leap-plasma5",
        "openSUSE Leap 15.6: btrfs on LVM on LUKS 1 with /boot inside; firewalld is stopped, and"
        " Plasma 5 does not lock",
        "https://doc.opensuse.org/documentation/leap/reference/html/book-reference/",
        _leap,
    ),
    Recipe(
        "opensuse-tumbleweed-ipv4-only",
        "openSUSE Tumbleweed: btrfs and swap each on LUKS 2, rules for IPv4 alone, GNOME set"
        " not to lock",
        "https://en.opensuse.org/Portal:Tumbleweed and nft(8)",
        _tumbleweed,
    ),
    Recipe(
        "rocky-9-guest-without-ipv6",
        "a Rocky Linux 9 of a cloud, in KVM: one plain partition, rules for IPv4, IPv6 turned off",
        "https://docs.kernel.org/networking/ip-sysctl.html and nft(8)",
        _guest,
    ),
)
