"""What a person should type to close a machine: by its front end, and by distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlmdm_core.api import JSON
from qlmdm_plugins_builtin.checks._values import word

NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}

# The firewall that a distribution brings along or recommends, and how it is installed. The
# first of a machine's names that is here counts, its own before those that it is like.
_INSTALL = {
    "ubuntu": ("ufw", "sudo apt install ufw"),
    "debian": ("ufw", "sudo apt install ufw"),
    "fedora": ("firewalld", "sudo dnf install firewalld"),
    "rhel": ("firewalld", "sudo dnf install firewalld"),
    "centos": ("firewalld", "sudo dnf install firewalld"),
    "suse": ("firewalld", "sudo zypper install firewalld"),
    "opensuse": ("firewalld", "sudo zypper install firewalld"),
    "arch": ("ufw", "sudo pacman -S --needed ufw"),
    "alpine": ("ufw", "doas apk add ufw"),
    "postmarketos": ("ufw", "doas apk add ufw"),
    "void": ("ufw", "sudo xbps-install ufw"),
    "gentoo": ("ufw", "sudo emerge net-firewall/ufw"),
}
_TURN_ON = {"ufw": "sudo ufw enable", "firewalld": "sudo systemctl enable --now firewalld"}
# Where the package of ufw does not see to it that the rules are there after the next start.
_UFW = {
    "arch": "sudo systemctl enable --now ufw && sudo ufw enable",
    "alpine": "doas rc-update add ufw && doas ufw enable",
    "postmarketos": "doas rc-update add ufw && doas ufw enable",
    "void": "sudo ln -s /etc/sv/ufw /var/service/ && sudo ufw enable",
    "gentoo": "sudo rc-update add ufw boot && sudo ufw enable",
}


def mend_firewall(value: Mapping[str, JSON], opened: Sequence[str], os_info: JSON) -> str:
    """One sentence: what to do. `os_info` is that collector's value, or anything else."""
    front_end, installed = value.get("front_end"), value.get("installed")
    there = installed if isinstance(installed, list) else []
    names = _names(os_info)
    if "nixos" in names:
        return "Close it: networking.firewall.enable = true in configuration.nix"
    if front_end == "ufw" and list(opened) == ["ipv6"]:
        return "Close it: see that /etc/default/ufw has IPV6=yes, then sudo ufw reload"
    if front_end == "ufw":
        return "Close it: sudo ufw default deny incoming, and see the rules: sudo ufw status"
    if front_end == "firewalld":
        zone = value.get("zone")
        if zone == "public":
            return "Close it: see which zone lets all in: sudo firewall-cmd --list-all-zones"
        open_zone = f" instead of {word(zone, 'the present one')}" if zone else ""
        return (
            f"Close it: sudo firewall-cmd --set-default-zone=public{open_zone}, "
            "and see the active zones: sudo firewall-cmd --get-active-zones"
        )
    if front_end in ("nftables", "iptables") and len(opened) == 1:
        return f"Give {NAMES[opened[0]]} the same rules, or use a table of family inet"
    for program in ("ufw", "firewalld"):
        if program in there:
            return f"Turn it on: {_turn_on(program, names)}"
    for name in names:
        if name in _INSTALL:
            program, command = _INSTALL[name]
            return f"Install {program} and turn it on: {command} && {_turn_on(program, names)}"
    return f"Install ufw or firewalld, and turn it on: {_TURN_ON['ufw']}"


def _turn_on(program: str, names: Sequence[str]) -> str:
    """The command that turns it on, now and after each start."""
    for name in names if program == "ufw" else ():
        if name in _UFW:
            return _UFW[name]
    return _TURN_ON[program]


def _names(os_info: JSON) -> list[str]:
    """What the machine says that it is, and then what it is like."""
    if not isinstance(os_info, dict):
        return []
    like = os_info.get("id_like")
    named = [os_info.get("id"), *(like if isinstance(like, list) else [like])]
    return [part for name in named if isinstance(name, str) for part in name.split()]
