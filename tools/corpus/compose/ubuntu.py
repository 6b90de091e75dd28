"""Ubuntu and the distributions that are built upon it."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import products
import releases
from disks import Disks
from machine import Machine, Recipe
from pools import zfs
from system import (
    LATITUDE,
    THINKPAD,
    TOWER,
    UNPLUGGED,
    WIFI,
    WIRED,
    hardware,
    network,
    people,
    system,
)

NOBLE = (
    ("archive.ubuntu.com_ubuntu_dists_noble", 576.0),
    ("archive.ubuntu.com_ubuntu_dists_noble-updates", 0.2),
    ("security.ubuntu.com_ubuntu_dists_noble-security", 0.2),
)
JAMMY = (
    ("archive.ubuntu.com_ubuntu_dists_jammy-updates", 0.5),
    ("security.ubuntu.com_ubuntu_dists_jammy-security", 0.5),
)
SSHD_CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
UsePAM yes
KbdInteractiveAuthentication no
"""
CURL = p.Pending(
    "curl",
    "7.81.0-1ubuntu1.20",
    "7.81.0-1ubuntu1.21",
    ("Ubuntu:22.04/jammy-updates", "Ubuntu:22.04/jammy-security"),
)
TZDATA = p.Pending(
    "tzdata", "2026a-0ubuntu0.22.04", "2026b-0ubuntu0.22.04", ("Ubuntu:22.04/jammy-updates",)
)


def lvm_on_luks(machine: Machine, group: str, *, kind: str = "LUKS2") -> None:
    """What the installers of Ubuntu and Mint make of "encrypt the new installation"."""
    disks = Disks(machine)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    boot = disks.part(disk, 2, "ext4")
    opened = disks.crypt(disks.part(disk, 3), "nvme0n1p3_crypt", kind=kind)
    root, swap = disks.lvm(opened, f"{group}/root"), disks.lvm(opened, f"{group}/swap_1")
    disks.mount(root, "/")
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.swap(swap)
    disks.write()


def plain_with_swap_file(machine: Machine, name: str = "sda") -> None:
    """What they make without it."""
    disks = Disks(machine)
    disk = disks.disk(name)
    efi = disks.part(disk, 1, "vfat", esp=True)
    disks.mount(disks.part(disk, 2), "/")
    disks.mount(efi, "/boot/efi")
    disks.swap_file("/swapfile")
    disks.write()


def _session(user: str = "ada", **changes: str) -> d.Session:
    values = {"id": "2", "desktop": "ubuntu", "current": "ubuntu:GNOME", **changes}
    return d.Session(user=user, uid=1000, **values)  # type: ignore[arg-type]


def _gdm(machine: Machine, text: str = "[daemon]\n#AutomaticLoginEnable = true\n") -> None:
    d.display_manager(machine, "gdm", "/usr/sbin/gdm3")
    machine.file("/etc/gdm3/custom.conf", text)


def _noble_laptop(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, THINKPAD)
    network(m, UNPLUGGED, WIFI)
    people(m, "ada")
    lvm_on_luks(m, "vgubuntu")
    _gdm(m)
    session = _session()
    d.sessions(m, session, new=False)
    d.gnome(m, session)
    n.ufw(m)
    n.sshd(m)
    products.eset(m)
    products.management_agent(m)
    p.apt(m, archives=NOBLE, phased=["snapd"], policy=PHASED)
    p.restart_mark(m, due=False)


PHASED = """\
snapd:
  Installed: 2.71+ubuntu24.04
  Candidate: 2.72+ubuntu24.04
  Version table:
     2.72+ubuntu24.04 500 (phased 20%)
        500 http://archive.ubuntu.com/ubuntu noble-updates/main amd64 Packages
 *** 2.71+ubuntu24.04 100
        100 /var/lib/dpkg/status
"""


def _jammy_desktop(m: Machine) -> None:
    system(m, releases.UBUNTU_22, secure_boot=False)
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "bob")
    plain_with_swap_file(m)
    _gdm(m, "[daemon]\nAutomaticLoginEnable=True\nAutomaticLogin=bob\n")
    session = _session("bob")
    d.sessions(m, session, new=False)
    d.gnome(m, session, idle=0)
    n.ufw(m, active=False)
    n.sshd(
        m,
        "ssh.service",
        config="PasswordAuthentication yes\nPermitRootLogin yes\n",
        effective={"permitrootlogin": "yes"},
    )
    products.eset(m, version="10.3.5.0", engine="31040 (20250412)", up=False, licence="Expired")
    products.management_agent(m, up=False, contact_days_ago=200)
    p.apt(m, CURL, TZDATA, archives=JAMMY, held=["firefox"])
    p.restart_mark(m, due=True)


def _noble_zfs(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, LATITUDE)
    network(m, WIFI, more=["docker0"])
    people(m, "carol")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    swap = disks.crypt(disks.part(disk, 2), "dm_crypt-0", kind="PLAIN")
    disks.part(disk, 3, "zfs_member")
    disks.part(disk, 4, "zfs_member")
    keystore = disks.virtual("zd0", "230:0", "disk", fstype="crypto_LUKS")
    m.link("/dev/zvol/rpool/keystore", "../../zd0")
    disks.mount(disks.crypt(keystore, "keystore-rpool"), "/run/keystore/rpool")
    datasets = {
        "rpool/ROOT/ubuntu": "/",
        "rpool/USERDATA/home": "/home",
        "bpool/BOOT/ubuntu": "/boot",
    }
    for dataset, point in datasets.items():
        disks.pseudo(point, dataset, "zfs", options="rw,xattr,posixacl")
    disks.mount(efi, "/boot/efi")
    disks.swap(swap, shown="/dev/dm-0")
    disks.write()
    names = {
        "bpool": "off",
        "bpool/BOOT/ubuntu": "off",
        "rpool": "aes-256-gcm",
        "rpool/ROOT/ubuntu": "aes-256-gcm",
        "rpool/USERDATA/home": "aes-256-gcm",
        "rpool/keystore": "off",
    }
    zfs(m, names, {"bpool": "/dev/nvme0n1p3", "rpool": "/dev/nvme0n1p4"})
    _gdm(m)
    session = _session("carol")
    d.sessions(m, session, new=False)
    d.gnome(m, session, delay=30)
    n.nft(m, n.docker_tables())
    n.sshd(m, "ssh.socket", effective={"passwordauthentication": "no"}, config=SSHD_CONFIG)
    m.file("/etc/ssh/sshd_config.d/50-keys.conf", "PasswordAuthentication no\n")
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


def _xenial_unity(m: Machine) -> None:
    system(m, releases.UBUNTU_16, secure_boot=None)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "dave", "erin", admins=["dave"])
    disks = Disks(m)
    disk = disks.disk("sda")
    disks.mount(disks.part(disk, 1), "/")
    swap = disks.crypt(disks.part(disk, 5), "cryptswap1", kind="PLAIN")
    disks.swap(swap, shown="/dev/mapper/cryptswap1")
    disks.pseudo(
        "/home/dave", "/home/.ecryptfs/dave/.Private", "ecryptfs", options="rw,ecryptfs_cipher=aes"
    )
    disks.write()
    m.file("/home/.ecryptfs/erin/.ecryptfs/auto-mount", "")
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file(
        "/usr/share/lightdm/lightdm.conf.d/50-disable-guest.conf",
        "[SeatDefaults]\nallow-guest=false\n",
    )
    m.file("/etc/lightdm/lightdm.conf", "[Seat:*]\nallow-guest=true\n")
    m.program("/usr/sbin/guest-account").program("/usr/sbin/lightdm")
    m.command(("lightdm", "--show-config"), stderr=SHOWN_CONFIG)
    session = d.Session(
        id="c2",
        user="dave",
        uid=1000,
        type="x11",
        desktop="ubuntu",
        current="Unity",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.run(m, session, "/usr/lib/unity/unity-panel-service")
    d.gsettings(m, session, d.gnome_settings(idle=600))
    n.iptables(m, OPEN)
    m.program("/usr/sbin/ufw")
    m.command(("ufw", "status", "verbose"), "Status: inactive\n")
    n.sshd(m)
    products.eset_4(m, updated_days_ago=1)
    p.apt(m, archives=[("security.ubuntu.com_ubuntu_dists_xenial-security", 40)])
    p.restart_mark(m, due=False)


SHOWN_CONFIG = """\
   [Seat:*]
B  allow-guest=true

Sources:
A  /usr/share/lightdm/lightdm.conf.d/50-disable-guest.conf
B  /etc/lightdm/lightdm.conf
"""
OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


def _noble_unprivileged(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "frank")
    lvm_on_luks(m, "ubuntu-vg")
    _gdm(m)
    session = _session("frank")
    d.sessions(m, session, new=False)
    d.gnome(m, session)
    n.ufw(m)
    n.sshd(
        m,
        "ssh.service",
        config=SSHD_CONFIG,
    )
    products.eset(m)
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


def _noble_greeter(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "grace", "heidi", admins=["grace", "heidi"])
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2, "ext4")
    disks.mount(disks.crypt(disks.part(disk, 3), "dm_crypt-0"), "/")
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.swap_file("/swap.img")
    disks.write()
    _gdm(m)
    greeter = d.greeter("gdm", "gdm-launch-environment", "GNOME-Greeter:GNOME")
    d.sessions(m, greeter, new=False)
    d.run(m, greeter, "/usr/bin/gnome-shell")
    n.ufw(m, incoming="reject")
    n.sshd(m, "-ssh.service")
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


RECIPES = (
    Recipe(
        "ubuntu-24.04-lvm-on-luks",
        "Ubuntu 24.04 as its installer leaves it with encryption, ufw turned on, one update"
        " held back by phasing",
        "https://documentation.ubuntu.com/desktop/ and https://wiki.ubuntu.com/PhasedUpdates",
        _noble_laptop,
    ),
    Recipe(
        "ubuntu-22.04-careless",
        "Ubuntu 22.04 without encryption, which logs its user in, never locks, has no firewall"
        " and lets root in by password; a security update and a restart are due",
        "https://help.ubuntu.com/stable/ubuntu-help/ and sshd_config(5)",
        _jammy_desktop,
    ),
    Recipe(
        "ubuntu-24.04-zfs-native",
        "Ubuntu 24.04 on encrypted ZFS, its key on a LUKS volume in the pool; Docker's rules are"
        " all the firewall it has; sshd waits behind its socket, for keys",
        "https://openzfs.github.io/openzfs-docs/ (zfsprops(7), zpool-status(8))",
        _noble_zfs,
    ),
    Recipe(
        "ubuntu-16.04-unity-guest",
        "Ubuntu 16.04 with Unity: homes in eCryptfs, swap encrypted, / in plain; a guest may"
        " log in because lightdm.conf takes back what a package had set; support ended",
        "https://wiki.ubuntu.com/LightDM and ecryptfs-setup-private(1)",
        _xenial_unity,
    ),
    Recipe(
        "ubuntu-24.04-not-root",
        "Ubuntu 24.04 in good order, whose agent is run by its user and not by root",
        "https://ubuntu.com/desktop/docs, ufw(8), sshd(8), proc(5)",
        _noble_unprivileged,
        root=False,
    ),
    Recipe(
        "ubuntu-24.04-greeter-only",
        "Ubuntu 24.04 at its login screen, with nobody logged in; LUKS without LVM; ufw rejects",
        "loginctl(1), ufw(8) and https://wiki.gnome.org/Projects/GDM",
        _noble_greeter,
    ),
)
