"""Debian itself."""

from __future__ import annotations

import desktops as d
import network_services as n
import packages as p
import products
import releases
from disks import Disks
from machine import Machine, Recipe
from system import (
    GUEST,
    LATITUDE,
    VIRTIO,
    WIFI,
    WIRED,
    hardware,
    network,
    people,
    system,
)
from ubuntu import lvm_on_luks

BOOKWORM = (
    ("deb.debian.org_debian_dists_bookworm", 60.0),
    ("deb.debian.org_debian-security_dists_bookworm-security", 1.0),
)
TRIXIE = (
    ("deb.debian.org_debian_dists_trixie", 10.0),
    ("deb.debian.org_debian-security_dists_trixie-security", 0.5),
)
OPENSSL = p.Pending(
    "libssl3", "3.0.17-1~deb12u2", "3.0.17-1~deb12u3", ("Debian-Security:12/stable-security",)
)


def _two_users(m: Machine) -> None:
    system(m, releases.DEBIAN_12)
    hardware(m, LATITUDE)
    network(m, WIRED)
    people(m, "ada", "bob", admins=["ada"])
    lvm_on_luks(m, "debian-vg")
    d.display_manager(m, "gdm", "/usr/sbin/gdm3")
    m.file("/etc/gdm3/daemon.conf", "[daemon]\n#  AutomaticLoginEnable = true\n")
    one = d.Session(id="2", user="ada", uid=1000, desktop="gnome", current="GNOME")
    two = d.Session(
        id="5", user="bob", uid=1001, desktop="gnome", current="GNOME", tty="tty3", state="online"
    )
    d.sessions(m, one, two, new=False)
    d.gnome(m, one)
    d.gnome(m, two, lock=False)
    n.ufw(m, incoming="allow")
    n.sshd(m, "ssh.service", effective={"permitrootlogin": "no", "passwordauthentication": "no"})
    products.prey(m)
    p.apt(m, OPENSSL, archives=BOOKWORM)
    p.debian_kernel(m, "6.1.0-41-amd64")


def _mate(m: Machine) -> None:
    system(m, releases.DEBIAN_13)
    hardware(m, LATITUDE)
    network(m, WIFI)
    people(m, "carol")
    disks = Disks(m)
    disk = disks.disk("sda")
    disks.mount(disks.crypt(disks.part(disk, 2), "sda2_crypt", kind="LUKS1"), "/")
    disks.mount(disks.part(disk, 1), "/boot", "ext2")
    disks.swap(disks.crypt(disks.part(disk, 3), "swap_crypt", kind="PLAIN"))
    disks.write()
    d.display_manager(m, "lightdm", "/usr/sbin/lightdm")
    m.file("/etc/X11/default-display-manager", "/usr/sbin/lightdm\n")
    m.file(
        "/etc/lightdm/lightdm.conf", "[Seat:*]\nautologin-user=carol\ngreeter-hide-users=false\n"
    )
    session = d.Session(
        id="2",
        user="carol",
        uid=1000,
        type="x11",
        desktop="mate",
        current="MATE",
        service="lightdm-autologin",
        tty="tty7",
    )
    d.sessions(m, session)
    d.mate(m, session, idle=10, lock_delay=2)
    n.nft(m, n.guarded("inet", [n.match("tcp dport", 22), n.ACCEPT]))
    n.sshd(m, "ssh.service")
    p.apt(m, archives=TRIXIE)
    p.debian_kernel(m, "6.12.57+deb13-amd64", "6.12.60+deb13-amd64")


def _server(m: Machine) -> None:
    system(m, releases.DEBIAN_12, virt="kvm", secure_boot=None)
    hardware(m, GUEST)
    network(m, VIRTIO)
    people(m, "dave")
    disks = Disks(m)
    disk = disks.disk("vda")
    disks.mount(disks.part(disk, 1), "/")
    data = disks.disk("vdb")
    disks.mount(disks.crypt(data, "data"), "/srv")
    disks.write()
    d.no_display_manager(m)
    d.sessions(m)
    rules = (
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        "-A INPUT -i lo -j ACCEPT\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n"
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
        "-A INPUT -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"
    )
    n.iptables(m, rules, rules.replace("icmp-port", "icmp6-port"))
    config = (
        "PermitRootLogin yes\nPasswordAuthentication no\n"
        "Match User backup\n  PasswordAuthentication yes\n"
    )
    n.sshd(
        m,
        "ssh.service",
        config=config,
        effective={"permitrootlogin": "yes", "passwordauthentication": "no"},
    )
    n.visitors(m, "root", "dave", permitrootlogin="yes", passwordauthentication="no")
    p.apt(m, archives=[("deb.debian.org_debian_dists_bookworm", 1)])
    query = "-f=${db:Status-Abbrev}\\t${Package}\\t${Version}\\t${Architecture}\\n"
    m.command(("dpkg-query", "-W", query), INSTALLED)
    for name in ("eea", "efs"):
        said = f"dpkg-query: no packages found matching {name}"
        m.refused("dpkg-query", "-W", name, stderr=said)
    m.file("/etc/ssl/example/www.pem", CERTIFICATE)
    m.file("/etc/apt/sources.list", "deb http://deb.debian.org/debian bookworm main\n")
    p.debian_kernel(m, "6.1.0-41-amd64")


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBQDCB6KADAgECAgISZzAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA93d3cuZXhh
bXBsZS5vcmcwHhcNMjYwOTAxMDAwMDAwWhcNMjYxMjAzMDAwMDAwWjAaMRgwFgYD
VQQDDA93d3cuZXhhbXBsZS5vcmcwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASP
SieBYO+GR3Yx01S1fQ8+V2gieKJuCDJ0evMHmU2s4/NM4UvGT4cVbKd+BBV5bq3N
8WJ7SNSfuMlRxvRFIRP4ox4wHDAaBgNVHREEEzARgg93d3cuZXhhbXBsZS5vcmcw
CgYIKoZIzj0EAwIDRwAwRAIgBcTv5CATKpTVCKFb2c0Jn7+/gQW9CX80ZMZdFP9j
Tv8CIAgwuNjaeubcnu7Osa2MgUbFrEMVaf9BYURTZBDHPCmy
-----END CERTIFICATE-----
"""
"""Made for this machine, of a key that was thrown away; good until 2026-12-03."""
INSTALLED = """\
ii \tbash\t5.2.15-2+b9\tamd64
hi \tlibc6\t2.36-9+deb12u13\tamd64
ii \tlibc6\t2.36-9+deb12u13\ti386
ii \ttzdata\t2025b-0+deb12u2\tall
rc \ttelnetd\t0.17+2.4-2\tamd64
"""
SETTINGS = """\
# What is off unless a site asks for it.
plugins:
  packages:
    enabled: true
  certificates:
    files: [/etc/ssl/example/*.pem]
"""

RECIPES = (
    Recipe(
        "debian-12-two-users",
        "Debian 12 with two people in GNOME at once, one of whom never locks; ufw is on and lets"
        " everything in; a security update waits",
        "https://www.debian.org/releases/bookworm/, ufw(8) and loginctl(1)",
        _two_users,
    ),
    Recipe(
        "debian-13-mate",
        "Debian 13 with MATE under LightDM, which logs its user in; LUKS 1, swap with a key of its"
        " own; a newer kernel waits for a restart",
        "https://www.debian.org/releases/trixie/ and"
        " https://github.com/mate-desktop/mate-screensaver",
        _mate,
    ),
    Recipe(
        "debian-12-server-match",
        "a Debian 12 of a cloud: only its second disk is encrypted; iptables-legacy ends in a"
        " reject; one user may use a password; no security archive is configured",
        "sshd_config(5), iptables-save(8) and sources.list(5)",
        _server,
        settings=SETTINGS,
    ),
)
