"""Arch Linux and its relatives: tiling compositors, mostly, and rolling packages."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import releases
from disks import Disks
from machine import Machine, Recipe
from system import LATITUDE, THINKPAD, TOWER, WIFI, WIRED, hardware, network, people, system


def _luks_root(m: Machine, *, label: str = "root", swap: str = "file", kind: str = "LUKS2") -> None:
    """The wiki's simplest encrypted layout: an ESP that is /boot, and one LUKS partition."""
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    disks.mount(disks.crypt(disks.part(disk, 2), label, kind=kind), "/")
    disks.mount(efi, "/boot")
    if swap == "file":
        disks.swap_file("/swapfile")
    disks.write(cmdline=f"cryptdevice=UUID=c0ffee00:{label} root=/dev/mapper/{label} rw")


def _sway(m: Machine) -> None:
    system(m, releases.ARCH)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "ada", group="wheel")
    _luks_root(m)
    d.no_display_manager(m)
    session = d.Session(
        id="1", user="ada", uid=1000, type="tty", service="login", tty="tty1", current="sway"
    )
    d.sessions(m, session)
    d.window_manager(
        m,
        session,
        "/usr/bin/sway",
        ("/usr/bin/swayidle", "-w", "before-sleep", "swaylock -f"),
    )
    m.file(
        "/home/ada/.config/swayidle/config",
        "# lock, then darken\ntimeout 240 'swaylock -f -c 000000'\n"
        "timeout 300 'swaymsg \"output * power off\"' resume 'swaymsg \"output * power on\"'\n",
    )
    n.nft(m, n.guarded())
    n.sshd(m, "-sshd.service", program="/usr/bin/sshd")
    p.pacman(
        m,
        "linux 6.17.8.arch1-1 -> 6.17.9.arch1-1",
        "mesa 1:25.2.6-1 -> 1:25.2.7-1",
        "spotify 1-1 -> 2-1 [ignored]",
        kernel="6.17.8-arch1-1",
    )


def _hyprland(m: Machine) -> None:
    system(m, releases.ARCH)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "bob", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    opened = disks.crypt(disks.part(disk, 2), "cryptlvm")
    disks.mount(disks.lvm(opened, "vg-arch/root", "xfs"), "/")
    disks.mount(disks.lvm(opened, "vg-arch/home", "f2fs"), "/home")
    disks.mount(efi, "/efi")
    disks.swap(disks.lvm(opened, "vg-arch/swap"))
    disks.write()
    d.display_manager(m, "greetd", "/usr/bin/greetd")
    m.file(
        "/etc/greetd/config.toml",
        '[terminal]\nvt = 1\n\n[default_session]\ncommand = "tuigreet"\nuser = "greeter"\n\n'
        '[initial_session]\ncommand = "Hyprland"\nuser = "bob"\n',
    )
    session = d.Session(
        id="1", user="bob", uid=1000, desktop="Hyprland", service="greetd", tty="tty1"
    )
    d.sessions(m, session)
    d.window_manager(m, session, "/usr/bin/Hyprland", ("/usr/bin/hypridle",))
    m.file(
        "/home/bob/.config/hypr/hypridle.conf",
        "general {\n    lock_cmd = pidof hyprlock || hyprlock\n"
        "    before_sleep_cmd = loginctl lock-session\n}\n\n"
        "listener {\n    timeout = 420  # seven minutes\n"
        "    on-timeout = loginctl lock-session\n}\n\n"
        "listener {\n    timeout = 600\n    on-timeout = hyprctl dispatch dpms off\n"
        "    on-resume = hyprctl dispatch dpms on\n}\n",
    )
    n.nft(m, n.guarded("inet", [n.match("tcp dport", {"range": [1714, 1764]}), n.ACCEPT]))
    n.sshd(m, program="/usr/bin/sshd")
    p.pacman(m, kernel="6.17.8-arch1-1", age=2)


def _i3_xss_lock(m: Machine) -> None:
    system(m, releases.ARCH, secure_boot=False)
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "carol", group="wheel")
    disks = Disks(m)
    disks.disk("sda")
    opened = disks.crypt(disks.blocks[0], "cryptroot", kind="PLAIN", cipher="aes-xts-plain64")
    disks.mount(opened, "/")
    stick = disks.disk("sdb", bus="usb", removable=True)
    disks.mount(disks.part(stick, 1, "ext4"), "/boot")
    disks.write(
        cmdline="cryptdevice=/dev/disk/by-id/ata-EXAMPLE:cryptroot crypto=:aes-xts-plain64:512:0:"
    )
    d.no_display_manager(m)
    session = d.Session(
        id="1",
        user="carol",
        uid=1000,
        type="x11",
        service="login",
        tty="tty1",
        current="i3",
        desktop="i3",
    )
    d.sessions(m, session)
    d.window_manager(
        m,
        session,
        "/usr/bin/i3",
        ("/usr/bin/xss-lock", "-n", "/usr/share/doc/xss-lock/dim-screen.sh", "--", "i3lock", "-n"),
    )
    d.xset(m, session, 540, 60)
    rules = (
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        "-A INPUT -i lo -j ACCEPT\nCOMMIT\n"
    )
    n.iptables(m, rules, rules.replace("INPUT DROP", "INPUT ACCEPT"))
    n.sshd(
        m,
        "sshd.service",
        program="/usr/bin/sshd",
        effective={"passwordauthentication": "no", "kbdinteractiveauthentication": "yes"},
    )
    p.pacman(
        m, "curl 8.16.0-1 -> 8.17.0-1", kernel="6.17.8-arch1-1", installed_kernel="6.17.9-arch1-1"
    )


def _homed(m: Machine) -> None:
    system(m, releases.ARCH)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    disks.mount(disks.part(disk, 2, "ext4"), "/")
    disks.mount(disks.part(disk, 1, "vfat", esp=True), "/boot")
    image = disks.loop("/home/dave.home")
    part = disks.part(image, 1)
    disks.mount(disks.crypt(part, "home-dave", fstype="btrfs"), "/home/dave", options="rw,nosuid")
    m.file("/home/dave.home", "")
    identity = '{"userName": "dave", "uid": 60001, "shell": "/bin/bash", "storage": "luks"}'
    m.file("/var/lib/systemd/home/dave.identity", identity + "\n", mode=0o600)
    disks.zram()
    disks.write()
    d.display_manager(m, "gdm", "/usr/sbin/gdm")
    session = d.Session(id="2", user="dave", uid=60001, desktop="gnome", current="GNOME")
    d.sessions(m, session)
    d.gnome(m, session)
    n.nft(m, n.guarded())
    n.sshd(m, program="/usr/bin/sshd")
    p.pacman(m, kernel="6.17.8-arch1-1", age=20)


def _manjaro(m: Machine) -> None:
    system(m, releases.MANJARO, setup_mode=True)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "erin", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    disks.mount(disks.crypt(disks.part(disk, 2), "luks-root", kind="LUKS1"), "/")
    disks.mount(efi, "/boot/efi")
    disks.swap(disks.part(disk, 3))
    disks.write()
    d.display_manager(m, "sddm", "/usr/bin/sddm")
    session = d.Session(id="2", user="erin", uid=1000, type="x11", desktop="KDE", service="sddm")
    d.sessions(m, session)
    d.plasma(m, session, 6)
    m.program("/usr/sbin/ufw")
    n.ufw(m, ipv6=False)
    n.sshd(m, program="/usr/bin/sshd")
    p.pacman(m, kernel="6.12.58-1-MANJARO", age=3, stderr="error: database 'core' is not valid")


def _endeavour(m: Machine) -> None:
    system(m, releases.ENDEAVOUR)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "frank", group="wheel")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    data = disks.crypt(disks.part(disk, 2), "luks-c0ffee00", fstype="btrfs")
    for root, point in (("/@", "/"), ("/@home", "/home"), ("/@log", "/var/log")):
        disks.mount(data, point, "btrfs", root=root, number="0:33")
    disks.btrfs(data)
    disks.mount(efi, "/efi")
    disks.write()
    d.display_manager(m, "lightdm", "/usr/bin/lightdm")
    m.file(
        "/etc/lightdm/lightdm.conf",
        "[Seat:*]\n#allow-guest=true\nuser-session=i3\n",
    )
    session = d.Session(
        id="2", user="frank", uid=1000, type="x11", desktop="i3", service="lightdm", tty="tty7"
    )
    d.sessions(m, session)
    d.window_manager(
        m,
        session,
        "/usr/bin/i3",
        ("/usr/bin/xautolock", "-time", "15", "-locker", "systemctl suspend"),
    )
    n.firewalld(m, "home", WIFI.name)
    n.sshd(m, "-sshd.service", program="/usr/bin/sshd")
    m.file("/var/lib/pacman/db.lck", "")
    p.pacman(m, kernel="6.17.8-arch1-1")


def _niri(m: Machine) -> None:
    system(m, releases.ARCH)
    hardware(m, THINKPAD)
    network(m, WIFI, more=["wg0"])
    people(m, "grace", group="wheel")
    _luks_root(m, swap="none")
    d.display_manager(m, "ly", "/usr/bin/ly-dm")
    m.file("/etc/ly/config.ini", "animation = none\nauto_login_user = null\n")
    session = d.Session(id="3", user="grace", uid=1000, desktop="niri", service="ly", tty="tty1")
    d.sessions(m, session)
    d.window_manager(
        m,
        session,
        "/usr/bin/niri",
        (
            "/usr/bin/swayidle",
            "-w",
            "timeout",
            "300",
            "/home/grace/bin/lock-it",
            "lock",
            "/home/grace/bin/lock-it",
        ),
    )
    m.file("/home/grace/bin/lock-it", "#!/bin/sh\n[ -e /tmp/nolock ] && exit\nexec swaylock -f\n")
    n.nft(
        m,
        n.table(
            "inet",
            "filter",
            n.chain("input", [n.match("ct state", "invalid", "in"), n.DROP], hook="input"),
        ),
    )
    n.sshd(m, program="/usr/bin/sshd")
    p.pacman(m, kernel="6.17.8-arch1-1", age=1)


WIKI = "https://wiki.archlinux.org/title"
RECIPES = (
    Recipe(
        "arch-sway-swayidle",
        "Arch Linux with sway started from a console: one timeout of swayidle is in its file,"
        " another event on its command line; an update is ignored by its owner",
        f"{WIKI}/Sway, swayidle(1) and pacman.conf(5)",
        _sway,
    ),
    Recipe(
        "arch-hyprland-hypridle",
        "Arch Linux with Hyprland, which greetd starts for its user without asking; hypridle has"
        " logind lock",
        "https://wiki.hypr.land/Hypr-Ecosystem/hypridle/ and greetd(5)",
        _hyprland,
    ),
    Recipe(
        "arch-i3-plain-dm-crypt",
        "Arch Linux on plain dm-crypt, /boot on a stick; i3 with xss-lock; iptables drop for IPv4"
        " only; PAM takes passwords though sshd does not; a restart is due",
        f"{WIKI}/Dm-crypt/Encrypting_an_entire_system, xss-lock(1) and iptables-save(8)",
        _i3_xss_lock,
    ),
    Recipe(
        "arch-homed",
        "Arch Linux with systemd-homed: the home is encrypted, the system is not; nothing was"
        " synchronised for weeks",
        "https://systemd.io/HOME_DIRECTORY/ and homectl(1)",
        _homed,
    ),
    Recipe(
        "manjaro-plain-swap",
        "Manjaro with KDE Plasma: / on LUKS 1, swap in plain; ufw without IPv6, which it"
        " then drops; pacman's databases are damaged",
        "https://wiki.manjaro.org/ and ufw(8)",
        _manjaro,
    ),
    Recipe(
        "endeavouros-i3-suspend",
        "EndeavourOS with i3, where xautolock suspends and nothing locks; LightDM without guest"
        " accounts; pacman is locked",
        "https://discovery.endeavouros.com/ and xautolock(1)",
        _endeavour,
    ),
    Recipe(
        "arch-niri-script",
        "Arch Linux with niri, whose swayidle runs a script of its user's; the firewall drops what"
        " is invalid, and nothing else",
        "https://github.com/niri-wm/niri/wiki and swayidle(1)",
        _niri,
    ),
)
