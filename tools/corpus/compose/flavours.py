"""Ubuntu with other desktops, and Ubuntu where it is not a machine of its own."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import releases
from disks import Disks
from machine import Machine, Recipe
from system import (
    LATITUDE,
    THINKPAD,
    TOWER,
    VIRTIO,
    WIFI,
    WIRED,
    hardware,
    network,
    people,
    system,
)
from ubuntu import JAMMY, NOBLE, lvm_on_luks, plain_with_swap_file


def _pop(m: Machine) -> None:
    system(m, releases.POP_22, secure_boot=False)
    hardware(m, THINKPAD)
    network(m, WIFI)
    people(m, "ada")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, recovery = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2, "vfat")
    opened = disks.crypt(disks.part(disk, 3), "cryptdata")
    disks.mount(disks.lvm(opened, "data/root"), "/")
    disks.mount(efi, "/boot/efi")
    disks.mount(recovery, "/recovery")
    disks.swap(disks.crypt(disks.part(disk, 4), "cryptswap", kind="PLAIN"))
    disks.write()
    d.display_manager(m, "gdm", "/usr/sbin/gdm3")
    m.file("/etc/gdm3/custom.conf", "[daemon]\nAutomaticLoginEnable=false\nAutomaticLogin=ada\n")
    session = d.Session(
        id="2", user="ada", uid=1000, type="x11", desktop="pop", current="pop:GNOME"
    )
    d.sessions(m, session, new=False)
    d.gnome(m, session, idle=900, delay=60)
    n.nft(m)
    n.sshd(m)
    p.apt(m, archives=[*JAMMY, ("apt.pop-os.org_release_dists_jammy", 1)])
    p.restart_mark(m, due=False)


def _elementary(m: Machine) -> None:
    system(m, releases.ELEMENTARY_8)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "bob")
    lvm_on_luks(m, "elementary")
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file(
        "/etc/lightdm/lightdm.conf.d/40-io.elementary.greeter.conf",
        "[Seat:*]\ngreeter-session=io.elementary.greeter\n",
    )
    session = d.Session(
        id="c2",
        user="bob",
        uid=1000,
        desktop="pantheon",
        current="Pantheon",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.window_manager(m, session, "/usr/bin/gala", ("/usr/bin/io.elementary.wingpanel",))
    n.ufw(m)
    n.sshd(m)
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


def _budgie(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "carol")
    disks = Disks(m)
    disk = disks.disk("nvme0n1")
    efi, boot = disks.part(disk, 1, "vfat", esp=True), disks.part(disk, 2)
    pair = [disks.crypt(disks.part(disk, 3), "one"), disks.disk("nvme1n1")]
    root = disks.lvm(pair, "ubuntu/root", target="striped 2 128 {0} 2048 {1} 2048")
    disks.mount(root, "/")
    disks.mount(boot, "/boot")
    disks.mount(efi, "/boot/efi")
    disks.write()
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file("/etc/lightdm/lightdm.conf.d/50-budgie.conf", "[Seat:*]\nuser-session=budgie-desktop\n")
    session = d.Session(
        id="c2",
        user="carol",
        uid=1000,
        type="x11",
        desktop="budgie-desktop",
        current="Budgie:GNOME",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.run(m, session, "/usr/bin/budgie-panel")
    d.run(m, session, "/usr/bin/budgie-screensaver")
    settings = {
        **d.gnome_settings(idle=240),
        "org.gnome.desktop.screensaver idle-activation-enabled": "true",
    }
    d.gsettings(m, session, settings)
    n.ufw(m)
    n.sshd(
        m,
        "ssh.service",
        effective={
            "kbdinteractiveauthentication": "yes",
            "usepam": "no",
            "passwordauthentication": "no",
        },
    )
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=True)


def _xubuntu(m: Machine) -> None:
    system(m, releases.UBUNTU_22)
    hardware(m, TOWER)
    network(m, WIRED)
    people(m, "dave")
    plain_with_swap_file(m, "sda")
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file("/etc/lightdm/lightdm.conf", "[Seat:*]\nautologin-guest=True\n")
    session = d.Session(
        id="c2",
        user="dave",
        uid=1000,
        type="x11",
        desktop="xubuntu",
        current="XFCE",
        service="lightdm",
        tty="tty7",
    )
    d.sessions(m, session, new=False)
    d.xfce(m, session, {"/saver/enabled": "true", "/lock/enabled": "false"})
    n.ufw(m)
    n.sshd(m)
    p.apt(m, archives=JAMMY)
    p.restart_mark(m, due=False)


def _lubuntu(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "erin")
    disks = Disks(m)
    disk = disks.disk("sda")
    efi = disks.part(disk, 1, "vfat", esp=True)
    opened = disks.crypt(disks.part(disk, 2), "luks-c0ffee00", kind="LUKS1")
    disks.mount(opened, "/")
    disks.mount(efi, "/boot/efi")
    stick = disks.disk("sdb", bus="usb", removable=True)
    disks.mount(disks.part(stick, 1, "vfat"), "/media/erin/STICK")
    windows = disks.part(disk, 3, "ntfs")
    disks.mount(windows, "/mnt/windows", "ntfs3")
    disks.swap_file("/swapfile")
    disks.write()
    d.display_manager(m, "sddm", "/usr/bin/sddm")
    m.file("/etc/sddm.conf.d/10-erin.conf", "[Autologin]\nUser=erin\nSession=Lubuntu\n")
    m.file("/etc/sddm.conf", "[Autologin]\nUser=\n")
    session = d.Session(
        id="1",
        user="erin",
        uid=1000,
        type="x11",
        desktop="Lubuntu",
        current="LXQt",
        service="sddm",
        tty="tty1",
    )
    d.sessions(m, session, new=False)
    d.window_manager(
        m,
        session,
        "/usr/bin/openbox",
        ("/usr/bin/lxqt-session",),
        ("/usr/bin/lxqt-panel",),
        ("/usr/bin/xscreensaver", "-no-splash"),
    )
    m.file(
        "/home/erin/.xscreensaver",
        "timeout:\t0:05:00\nlock:\t\tTrue\nlockTimeout:\t0:00:30\nmode:\t\tone\n",
    )
    n.ufw(m)
    n.sshd(m)
    p.apt(m, archives=NOBLE)
    p.restart_mark(m, due=False)


# --- not a machine of its own -----------------------------------------------------------------


def _live(m: Machine) -> None:
    system(m, releases.UBUNTU_24)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "ubuntu", empty=["ubuntu"])
    disks = Disks(m)
    disks.part(disks.disk("nvme0n1"), 1, "crypto_LUKS")
    stick = disks.disk("sda", bus="usb", removable=True)
    disks.mount(disks.part(stick, 1, "iso9660"), "/cdrom", options="ro")
    image = disks.loop("/cdrom/casper/minimal.squashfs", "squashfs")
    disks.mount(image, "/rofs", "squashfs", options="ro")
    disks.pseudo(
        "/", "/cow", "overlay", options="rw,lowerdir=/minimal.squashfs,upperdir=/cow/upper"
    )
    disks.write(cmdline="BOOT_IMAGE=/casper/vmlinuz boot=casper quiet splash ---")
    d.display_manager(m, "gdm", "/usr/sbin/gdm3")
    m.file("/etc/gdm3/custom.conf", "[daemon]\nAutomaticLoginEnable=true\nAutomaticLogin=ubuntu\n")
    session = d.Session(
        id="1",
        user="ubuntu",
        uid=1000,
        desktop="ubuntu",
        current="ubuntu:GNOME",
        service="gdm-autologin",
    )
    d.sessions(m, session, new=False)
    d.gnome(m, session, lockdown=True)
    n.nft(m)
    n.sshd(m)
    p.apt(m, archives=())


def _wsl(m: Machine) -> None:
    system(m, releases.UBUNTU_24, virt="wsl", secure_boot=None)
    version = "5.15.167.4-microsoft-standard-WSL2"
    m.file("/proc/sys/kernel/osrelease", version + "\n")
    m.file("/proc/version", f"Linux version {version} (build@example.org) #1 SMP\n")
    network(m, VIRTIO)
    people(m, "frank")
    disks = Disks(m)
    disks.mount(disks.disk("sdc", bus="sata"), "/", "ext4")
    disks.pseudo("/mnt/c", "C:\\", "9p", options="rw,aname=drvfs;path=C:\\")
    disks.swap(disks.disk("sdb", bus="sata"))
    disks.write(cmdline="initrd=\\initrd.img WSL_ROOT_INIT=1 panic=-1")
    d.no_display_manager(m)
    d.sessions(m, new=False)
    n.nft(m)
    n.sshd(m, others=())
    p.apt(m, archives=NOBLE)


def _container(m: Machine) -> None:
    system(m, releases.UBUNTU_22, init="none", virt="docker", secure_boot=None)
    m.file("/.dockerenv", "")
    network(m, ip=False)
    people(m)
    disks = Disks(m)
    disks.pseudo(
        "/",
        "overlay",
        "overlay",
        options="rw,lowerdir=/var/lib/docker/overlay2/l/AA,"
        "upperdir=/var/lib/docker/overlay2/bb/diff",
    )
    disks.mount(disks.disk("sda"), "/etc/hosts", "ext4", root="/var/lib/docker/containers/cc/hosts")
    disks.write(lsblk="no")
    p.apt(m, archives=())


RECIPES = (
    Recipe(
        "pop-os-22.04",
        "Pop!_OS 22.04 as its installer leaves it: LVM on LUKS, swap with a key of its own, the"
        " installer's image on /recovery; no firewall",
        "https://support.system76.com/articles/ and crypttab(5)",
        _pop,
    ),
    Recipe(
        "elementary-8-pantheon",
        "elementary OS 8, for whose Pantheon there is no reader of the lock's settings",
        "https://docs.elementary.io/",
        _elementary,
    ),
    Recipe(
        "ubuntu-budgie-24.04-half-encrypted",
        "Ubuntu Budgie 24.04, whose volume group spans an encrypted disk and a plain one; a"
        " restart is due",
        "https://docs.buddiesofbudgie.org/ and lvm(8)",
        _budgie,
    ),
    Recipe(
        "xubuntu-22.04-saver-without-lock",
        "Xubuntu 22.04 in plain, whose screen saver starts and asks for no password; LightDM's"
        " `True` is not true",
        "https://docs.xfce.org/apps/xfce4-screensaver/preferences and"
        " https://github.com/canonical/lightdm",
        _xubuntu,
    ),
    Recipe(
        "lubuntu-24.04-xscreensaver",
        "Lubuntu 24.04 with LXQt and xscreensaver, on LUKS 1, with a stick plugged in and Windows'"
        " partition mounted; /etc/sddm.conf takes SDDM's autologin back",
        "https://manual.lubuntu.me/, xscreensaver(1) and sddm.conf(5)",
        _lubuntu,
    ),
    Recipe(
        "ubuntu-24.04-live",
        "Ubuntu 24.04 run from a stick, with the machine's own disk locked",
        "https://manpages.ubuntu.com/manpages/noble/man7/casper.7.html",
        _live,
    ),
    Recipe(
        "ubuntu-24.04-wsl",
        "Ubuntu 24.04 in the Windows Subsystem for Linux",
        "https://learn.microsoft.com/en-us/windows/wsl/",
        _wsl,
    ),
    Recipe(
        "ubuntu-22.04-docker",
        "Ubuntu 22.04 in a container of Docker, without systemd and without package lists",
        "https://docs.docker.com/engine/storage/drivers/overlayfs-driver/",
        _container,
    ),
)
