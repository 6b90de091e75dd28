"""What a person should do about a disk in plain: by what is plain, and by distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlmdm_core.api import JSON
from qlmdm_plugins_builtin.checks._values import plain_path

# The words that the installers show; the first of a family's names that fits counts.
INSTALLERS = {
    "ubuntu": "in its installer: Advanced features, Use LVM and encryption",
    "linuxmint": "in its installer: Advanced features, Use LVM and encryption",
    "pop": "in its installer: Encrypt, which is ticked unless one unticks it",
    "debian": "in its installer: Guided, use entire disk and set up encrypted LVM",
    "fedora": "in its installer: Encrypt my data",
    "rhel": "in its installer: Installation Destination, Encrypt my data",
    "suse": "in its installer: Guided Setup, Enable Disk Encryption",
    "opensuse": "in its installer: Guided Setup, Enable Disk Encryption",
    "arch": "in archinstall: Disk encryption, LUKS",
    "manjaro": "in its installer: Encrypt system",
    "endeavouros": "in its installer: Encrypt system",
    "nixos": "in its installer: Encrypt system, or by hand with boot.initrd.luks.devices",
    "alpine": "setup-alpine, disk mode cryptsys",
}
_SYSTEM = frozenset({"/", "/usr", "/var", "/etc", "/nix", "/nix/store"})
"""Where what runs is mounted: that can't be taken away and made anew while it runs."""
_NIX_SWAP = (
    'swapDevices = [{ device = "%s"; randomEncryption.enable = true; }] in configuration.nix'
)


def mend(plain: Sequence[Mapping[str, JSON]], os_info: JSON) -> str:
    """One sentence: what to do. `os_info` is that collector's value, or anything else."""
    what = "it" if len(plain) == 1 else "them"
    names = _names(os_info)
    if plain and all(volume.get("mount") == "swap" for volume in plain):
        return _swap(plain, what, names)
    if plain and all(volume.get("fstype") == "zfs" for volume in plain):
        return (
            f"Encrypt {what}: copy the data to a data set that has it: zfs create -o encryption=on"
            " -o keyformat=passphrase POOL/NAME"
        )
    if plain and all(str(volume.get("fstype")).startswith("ntfs") for volume in plain):
        return f"Encrypt {what}: in Windows, with BitLocker"
    if plain and not any(volume.get("mount") in _SYSTEM for volume in plain):
        return (
            f"Encrypt {what}: back up, then make {what} anew in LUKS: sudo cryptsetup luksFormat "
            "DEVICE, with lines in /etc/crypttab and /etc/fstab"
        )
    how = next((INSTALLERS[name] for name in names if name in INSTALLERS), "")
    message = f"Encrypt {what if plain else 'them'}: back up, then reinstall with disk encryption"
    return f"{message} ({how})" if how else message


def _swap(plain: Sequence[Mapping[str, JSON]], what: str, names: Sequence[str]) -> str:
    """Swap needs no reinstallation: what it holds may be lost at each start."""
    device = plain[0].get("device")
    shown = plain_path(device, "DEVICE")
    if not shown.startswith("/dev/") and shown != "DEVICE":
        return f"Its file system has to be encrypted, or {shown} be given up: sudo swapoff {shown}"
    if "nixos" in names:
        return f"Encrypt {what} with a random key: {_NIX_SWAP % shown}"
    if shown.startswith("/dev/zram"):
        return f"Take the disk behind {shown} away: writeback-device in zram-generator.conf"
    line = f"cryptswap {shown} /dev/urandom swap"
    return (
        f"Encrypt {what} with a random key: sudo swapoff {shown}, the line `{line}` in"
        " /etc/crypttab, and /dev/mapper/cryptswap in /etc/fstab"
    )


def _names(os_info: JSON) -> list[str]:
    """The distribution's name, then those that it says it is like."""
    if not isinstance(os_info, dict):
        return []
    like = os_info.get("id_like")
    names = [os_info.get("id"), *(like if isinstance(like, list) else ())]
    # "opensuse-leap" and "opensuse-tumbleweed" have one installer.
    return [name.partition("-")[0] for name in names if isinstance(name, str)]
