"""What is built upon Debian or Ubuntu: Mint, MX, Kali, Raspberry Pi OS."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import products
import releases
from debian import BOOKWORM
from disks import Disks
from machine import Machine, Recipe
from system import (
    LATITUDE,
    THINKPAD,
    TOWER,
    WIFI,
    WIRED,
    hardware,
    network,
    people,
    system,
)
from ubuntu import lvm_on_luks, plain_with_swap_file


def _lmde(m: Machine) -> None:
    system(m, releases.LMDE_6)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "erin")
    lvm_on_luks(m, "lvmlmde", kind="LUKS1")
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file("/etc/lightdm/lightdm.conf", "[Seat:*]\ngreeter-session=slick-greeter\n")
    session = d.Session(
        id="c2",
        user="erin",
        uid=1000,
        type="x11",
        desktop="cinnamon",
        current="X-Cinnamon",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.cinnamon(m, session, idle=300)
    n.ufw(m)
    n.sshd(m)
    p.apt(m, archives=[*BOOKWORM, ("packages.linuxmint.com_dists_faye", 3)])
    p.restart_mark(m, due=False)


def _mx(m: Machine) -> None:
    system(m, releases.MX_23, init="sysvinit", secure_boot=False)
    m.file("/etc/lsb-release", "DISTRIB_ID=MX\nDISTRIB_RELEASE=23.6\nDISTRIB_CODENAME=Libretto\n")
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "frank")
    plain_with_swap_file(m)
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file("/etc/X11/default-display-manager", "/usr/sbin/lightdm\n")
    m.file("/etc/lightdm/lightdm.conf", "[SeatDefaults]\nautologin-user=frank\n")
    session = d.Session(
        id="1",
        user="frank",
        uid=1000,
        type="x11",
        desktop="xfce",
        current="XFCE",
        service="lightdm-autologin",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.xfce(m, session, None)
    d.run(m, session, "/usr/bin/light-locker", "--lock-on-lid")
    d.gsettings(m, session, {"apps.light-locker lock-after-screensaver": "uint32 10"})
    d.xset(m, session, 600, 600)
    n.nft(m)
    n.sshd(m)
    p.apt(m, archives=BOOKWORM, kept_back=["firefox-esr"], policy=KEPT)
    p.debian_kernel(m, "6.1.0-41-amd64")


KEPT = """\
firefox-esr:
  Installed: 128.10.0esr-1~deb12u1
  Candidate: 140.5.0esr-1~deb12u1
  Version table:
     140.5.0esr-1~deb12u1 500
        500 http://security.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 128.10.0esr-1~deb12u1 100
        100 /var/lib/dpkg/status
"""


def _kali(m: Machine) -> None:
    system(m, releases.KALI)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "kali", "kiosk", empty=["kiosk"])
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2)
    opened = disks.crypt(disks.part(disk, 3), "nvme0n1p3_crypt", cipher="cipher_null-ecb")
    disks.mount(disks.lvm(opened, "kali-vg/root"), "/")
    disks.mount(boot, "/boot", "ext2")
    disks.mount(efi, "/boot/efi")
    disks.write()
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file(
        "/etc/lightdm/lightdm.conf",
        "[Seat:*]\nallow-guest=true\ngreeter-session=lightdm-gtk-greeter\n",
    )
    session = d.Session(
        id="2",
        user="kali",
        uid=1000,
        type="x11",
        desktop="lightdm-xsession",
        current="XFCE",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session)
    d.xfce(
        m,
        session,
        {
            "/saver/idle-activation/delay": "10",
            "/lock/saver-activation/delay": "1",
            "/lock/enabled": "true",
        },
    )
    n.nft(m)
    n.sshd(m, "ssh.service", effective={"permitrootlogin": "yes", "permitemptypasswords": "yes"})
    p.apt(m, archives=[("http.kali.org_kali_dists_kali-rolling", 2)])


def _mint(m: Machine) -> None:
    system(m, releases.MINT_22)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "grace")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi = disks.part(disk, 1, "vfat", esp=True)
    disks.mount(disks.part(disk, 2), "/")
    disks.mount(disks.crypt(disks.part(disk, 3), "home"), "/home")
    disks.mount(efi, "/boot/efi")
    disks.swap(disks.crypt(disks.part(disk, 4), "cryptswap", kind="PLAIN"))
    disks.write()
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file(
        "/etc/lightdm/lightdm.conf.d/70-linuxmint.conf",
        "[SeatDefaults]\nuser-session=cinnamon\nallow-guest=false\n",
    )
    session = d.Session(
        id="c2",
        user="grace",
        uid=1000,
        type="x11",
        desktop="cinnamon",
        current="X-Cinnamon",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.cinnamon(m, session, idle=0)
    n.ufw(m, active=False)
    n.sshd(m)
    products.prey(m, up=False, registered=False)
    noble = [
        ("archive.ubuntu.com_ubuntu_dists_noble-updates", 20.0),
        ("security.ubuntu.com_ubuntu_dists_noble-security", 20.0),
    ]
    p.apt(m, archives=noble)
    p.restart_mark(m, due=False)


def _raspberry(m: Machine) -> None:
    system(m, releases.DEBIAN_12, secure_boot=None)
    m.file("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    m.file("/proc/device-tree/serial-number", "00000000e4a1e4a1\0")
    m.file("/sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    network(m, WIRED)
    people(m, "heidi")
    disks = Disks(m)
    card = disks.disk("mmcblk0")
    disks.mount(disks.part(card, 2), "/")
    disks.mount(disks.part(card, 1, "vfat"), "/boot/firmware")
    disks.swap_file("/var/swap")
    disks.write(cmdline="console=tty1 root=PARTUUID=c0ffee00-02 rootfstype=ext4 rootwait")
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file(
        "/etc/lightdm/lightdm.conf",
        "[Seat:*]\ngreeter-session=pi-greeter-labwc\nautologin-user=heidi\n",
    )
    session = d.Session(
        id="1",
        user="heidi",
        uid=1000,
        desktop="LXDE-pi-labwc",
        service="lightdm-autologin",
        current="labwc:wlroots",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.window_manager(
        m,
        session,
        "/usr/bin/labwc",
        ("/usr/bin/swayidle", "-w", "timeout", "600", "wlopm --off \\*"),
    )
    n.nft(m)
    n.sshd(m, "ssh.service")
    p.apt(m, archives=BOOKWORM)
    p.debian_kernel(m, "6.1.0-41-amd64")


RECIPES = (
    Recipe(
        "lmde-6-cinnamon",
        "Linux Mint Debian Edition 6 with Cinnamon, on LVM on LUKS 1",
        "https://linuxmint-installation-guide.readthedocs.io/",
        _lmde,
    ),
    Recipe(
        "mx-23-xfce-sysvinit",
        "MX Linux 23 without systemd, in plain: XFCE with light-locker; LightDM logs its user in;"
        " a security fix is kept back",
        "https://mxlinux.org/manuals/ and https://github.com/the-cavalry/light-locker",
        _mx,
    ),
    Recipe(
        "kali-xfce-null-cipher",
        "Kali Linux, whose LUKS volume uses the null cipher and protects nothing; XFCE locks; sshd"
        " takes root and empty passwords",
        "https://www.kali.org/docs/, cryptsetup-benchmark(8) and"
        " https://docs.xfce.org/apps/xfce4-screensaver/preferences",
        _kali,
    ),
    Recipe(
        "mint-22-only-home-encrypted",
        "Linux Mint 22 with Cinnamon: /home and swap encrypted, / in plain, no lock, package lists"
        " of three weeks ago",
        "https://linuxmint-user-guide.readthedocs.io/ and crypttab(5)",
        _mint,
    ),
    Recipe(
        "raspberry-pi-labwc",
        "a Raspberry Pi with Raspberry Pi OS on its card, logged in by itself; labwc only darkens"
        " the screen",
        "https://www.raspberrypi.com/documentation/ and https://labwc.github.io/",
        _raspberry,
    ),
)
