"""Distributions of their own: NixOS, Void, Alpine, Gentoo, Chimera."""

from __future__ import annotations

import desktops as d
import network_services as n
import releases
from disks import Disks
from machine import Machine, Recipe
from pools import zfs
from system import LATITUDE, THINKPAD, TOWER, WIFI, WIRED, hardware, network, people, system


def _nixos(m: Machine) -> None:
    system(m, releases.NIXOS, secure_boot=False)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "ada", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.part(disk, 2, "zfs_member")
    for dataset, point in {"rpool/root": "/", "rpool/nix": "/nix", "rpool/home": "/home"}.items():
        disks.pseudo(point, dataset, "zfs", options="rw,xattr,posixacl")
    disks.pseudo("/nix/store", "rpool/nix", "zfs", root="/store", options="ro,xattr")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot")
    m.link("/run/booted-system/kernel", "/nix/store/1example-linux-6.12.57/bzImage")
    m.link("/run/current-system/kernel", "/nix/store/2example-linux-6.12.58/bzImage")
    disks.zram()
    disks.write(cmdline="init=/nix/store/example-nixos-system/init loglevel=4")
    names = {
        "rpool": "aes-256-gcm",
        "rpool/root": "aes-256-gcm",
        "rpool/nix": "off",
        "rpool/home": "off",
    }
    zfs(m, names, {"rpool": "/dev/nvme0n1p2"})
    d.display_manager(m, "gdm", "/run/current-system/sw/bin/gdm")
    session = d.Session(id="2", user="ada", uid=1000, desktop="gnome", current="GNOME")
    d.sessions(m, session)
    d.gnome(m, session)
    nixos = [n.match("tcp dport", {"set": [22, 80]}), n.ACCEPT]
    n.nft(
        m,
        n.table(
            "inet",
            "nixos-fw",
            n.chain(
                "input",
                [n.LOOPBACK, n.ACCEPT],
                [n.ESTABLISHED, n.ACCEPT],
                [n.jump("input-allow")],
                hook="input",
                policy="drop",
            ),
            n.chain("input-allow", nixos),
        ),
    )
    n.sshd(
        m,
        "sshd.service",
        program="/run/current-system/sw/bin/sshd",
        config=NIXOS_SSHD,
        effective={"kbdinteractiveauthentication": "no", "passwordauthentication": "no"},
    )


NIXOS_SSHD = """\
UsePAM yes
KbdInteractiveAuthentication no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


def _void(m: Machine) -> None:
    system(m, releases.VOID, init="runit", secure_boot=False)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "bob", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.mount(disks.part(disk, 2), "/", "bcachefs", number="0:30")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot/efi")
    disks.write(lsblk="no")
    d.daemons(m, "/usr/bin/greetd")
    m.file("/var/service/greetd/run", "#!/bin/sh\nexec greetd\n")
    m.file(
        "/etc/greetd/config.toml", '[default_session]\nuser = "_greeter"\ncommand = "gtkgreet"\n'
    )
    session = d.Session(id="1", user="bob", uid=1000, desktop="river", service="greetd", tty="tty1")
    d.window_manager(
        m,
        session,
        "/usr/bin/river",
        ("/usr/bin/swayidle", "timeout", "600", "waylock -fork-on-lock"),
    )
    n.nft(m, n.guarded())
    n.sshd(m)


def _alpine(m: Machine) -> None:
    system(m, releases.ALPINE, init="openrc", secure_boot=None)
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "carol", group="wheel", doas=True)
    disks = Disks(m)
    emmc = disks.disk("mmcblk0")
    opened = disks.crypt(disks.part(emmc, 2), "root")
    disks.mount(opened, "/")
    disks.mount(disks.part(emmc, 1), "/boot")
    disks.mount(disks.part(disks.disk("mmcblk1"), 1, "ext4"), "/srv")
    disks.write(lsblk="no", dmsetup=False)
    m.command(
        ("cryptsetup", "status", "root"),
        "/dev/mapper/root is active and is in use.\n  type:    LUKS2\n"
        "  cipher:  aes-xts-plain64\n  keysize: 512 bits\n  device:  /dev/mmcblk0p2\n",
    )
    rules = (
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        ":awall-INPUT - [0:0]\n-A INPUT -j awall-INPUT\n"
        "-A awall-INPUT -i lo -j ACCEPT\n"
        "-A awall-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )
    n.iptables(m, rules)
    m.daemon("/usr/sbin/dropbear", "-R")
    n.sshd(m, others=("0.0.0.0:22",))
    m.command(("apk", "version", "-l", "<"), "Installed:      Available:\n")


def _gentoo(m: Machine) -> None:
    system(m, releases.GENTOO, init="openrc", secure_boot=None)
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "dave", group="wheel")
    disks = Disks(m)
    big, fast = disks.disk("sda"), disks.disk("sdb")
    backing = disks.crypt(disks.part(big, 2), "backing")
    cache = disks.part(fast, 1, "bcache")
    root = disks.virtual("bcache0", "251:0", "disk", [backing, cache])
    disks.mount(root, "/", "ext4")
    disks.mount(disks.part(big, 1), "/boot", "ext2")
    disks.write()
    d.daemons(m, "/usr/bin/sddm")
    m.file("/etc/conf.d/display-manager", 'CHECKVT=7\nDISPLAYMANAGER="sddm"\n')
    m.file("/etc/runlevels/default/display-manager", "")
    session = d.Session(
        id="3", user="dave", uid=1000, type="x11", desktop="awesome", service="sddm", tty="tty7"
    )
    d.sessions(m, session, new=False)
    d.window_manager(m, session, "/usr/bin/awesome", ("/usr/bin/xscreensaver",))
    m.file("/home/dave/.xscreensaver", "timeout:\t0:10:00\nlock:\tFalse\n")
    m.refused(
        "nft",
        "--json",
        "list",
        "ruleset",
        stderr="mnl.c:60: Unable to initialize Netlink socket: Protocol not supported",
    )
    n.iptables(m, "")
    n.sshd(m, "sshd.service")
    m.command(("emerge", "-puDN", "@world"), "Calculating dependencies... done!\n")


def _chimera(m: Machine) -> None:
    system(m, releases.CHIMERA, init="dinit", secure_boot=False)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "erin", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.mount(disks.crypt(disks.part(disk, 2), "crypt"), "/", "xfs")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot")
    disks.write(lsblk="hangs")
    d.daemons(m, "/usr/bin/gdm")
    session = d.Session(id="2", user="erin", uid=1000, desktop="gnome", current="GNOME")
    d.sessions(m, session)
    d.run(m, session, "/usr/bin/gnome-shell")
    n.nft(m, n.guarded())
    n.sshd(m)


RECIPES = (
    Recipe(
        "nixos-zfs-child-in-plain",
        "NixOS on ZFS, where the home was created without encryption below an encrypted pool",
        "https://nixos.org/manual/nixos/stable/ and zfsprops(7)",
        _nixos,
    ),
    Recipe(
        "void-bcachefs",
        "Void Linux with runit and the compositor river, on bcachefs, whose own tool is missing,"
        " and without logind; the agent is not root",
        "https://docs.voidlinux.org/ and https://bcachefs.org/bcachefs-principles-of-operation.pdf",
        _void,
        root=False,
    ),
    Recipe(
        "alpine-emmc",
        "Alpine Linux on an eMMC, with a second one in plain; awall's iptables drop; dropbear"
        " lets people in",
        "https://wiki.alpinelinux.org/wiki/LVM_on_LUKS and cryptsetup(8)",
        _alpine,
    ),
    Recipe(
        "gentoo-bcache",
        "Gentoo with OpenRC: bcache over an encrypted disk and a plain cache; a kernel without"
        " nf_tables and no rules; xscreensaver does not lock",
        "https://wiki.gentoo.org/wiki/Handbook:AMD64 and"
        " https://docs.kernel.org/admin-guide/bcache.html",
        _gentoo,
    ),
    Recipe(
        "chimera-lsblk-hangs",
        "Chimera Linux, whose lsblk never answers and whose GNOME has no gsettings to ask",
        "https://chimera-linux.org/docs/ and https://docs.kernel.org/admin-guide/sysfs-rules.html",
        _chimera,
    ),
)
