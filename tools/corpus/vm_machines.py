"""The machines that record_vm.py records, and what is right for each.

What is right is written down for each step, from what the step does and not from what a
collector said; a machine's is put together from that of its steps. docs/data-model.md has the
words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vm_image import Image

_BASE = ("iptables", "nftables")
BOOKWORM = Image(suite="bookworm", encrypted=True, packages=_BASE)
BOOKWORM_PLAIN = Image(suite="bookworm", encrypted=False, packages=_BASE)
BOOKWORM_UFW = Image(suite="bookworm", encrypted=True, packages=("ufw",))
BOOKWORM_FIREWALLD = Image(suite="bookworm", encrypted=True, packages=("firewalld",))
TRIXIE = Image(suite="trixie", encrypted=True, packages=_BASE)
NOBLE = Image(suite="noble", encrypted=True, packages=("nftables", "ufw"))
JAMMY = Image(suite="jammy", encrypted=True, packages=("nftables", "ufw"))

STORAGE: dict[str, tuple[str, ...]] = {
    "bcache-under-luks": ("/home encrypted",),
    "bind-and-overlay": ("/srv not_encrypted", "/home not_encrypted", "/opt not_encrypted"),
    "btrfs-luks-and-plain": ("/home not_encrypted",),
    "btrfs-two-luks": ("/home encrypted", "/srv encrypted"),
    "ecryptfs": (),
    "fscrypt": ("/home not_encrypted",),
    "integrity": ("/srv not_encrypted", "/home encrypted"),
    "locked-container": (),
    "loop-container-on-plain": ("/srv not_encrypted", "/home/ada/vault encrypted"),
    "loop-plain-on-luks": ("/srv encrypted",),
    "luks-home": ("/home encrypted",),
    "luks-on-lvm": ("/home encrypted", "/srv not_encrypted"),
    "luks-with-integrity": ("/home encrypted",),
    "luks-with-plain-cache": ("/home not_encrypted",),
    "luks1-srv": ("/srv encrypted",),
    "lvm-on-luks": ("/home encrypted", "swap encrypted"),
    "lvm-plain-cache": ("/home not_encrypted",),
    "multipath-luks": ("/home encrypted",),
    "multipath-plain": ("/home not_encrypted",),
    "nothing-more": (),
    "null-cipher": ("/home not_encrypted",),
    "odd-names": ("/srv/my files\\here encrypted",),
    "raid1-half-luks": ("/home not_encrypted",),
    "raid1-over-luks": ("/home encrypted",),
    "raid1-under-luks": ("/home encrypted",),
    "swap-file-encrypted": ("swap encrypted",),
    "swap-file-plain": ("/var/swap not_encrypted", "swap not_encrypted"),
    "swap-plain": ("swap not_encrypted",),
    "swap-random-key": ("swap encrypted",),
    "thin-on-luks": ("/home encrypted", "/srv encrypted"),
    "verity": ("/srv not_encrypted",),
    "vg-luks-and-plain": ("/home not_encrypted",),
    "vg-luks-side": ("/home encrypted",),
    "zram": (),
    "zram-writeback-luks": ("swap encrypted",),
    "zram-writeback-plain": ("swap not_encrypted",),
}
"""The volumes that a step adds, but for those that need not be encrypted."""

FIREWALL: dict[str, tuple[str, str, str | None, str | None]] = {
    "docker": ("off", "off", None, None),
    "firewalld-public": ("on", "on", "firewalld", "public"),
    "firewalld-stopped": ("off", "off", None, None),
    "firewalld-trusted": ("off", "off", "firewalld", "trusted"),
    "iptables-nft": ("on", "on", "iptables", None),
    "iptables-nft-without-nft": ("on", "on", "iptables", None),
    "legacy-both": ("on", "on", "iptables", None),
    "legacy-v4-only": ("on", "off", "iptables", None),
    "nft-accept-before-drop": ("off", "off", None, None),
    "nft-dormant": ("off", "off", None, None),
    "nft-drop": ("on", "on", "nftables", None),
    "nft-empty": ("off", "off", None, None),
    "nft-jump": ("on", "on", "nftables", None),
    "nft-limited-drop": ("off", "off", None, None),
    "nft-reject": ("on", "on", "nftables", None),
    "nft-v4-only": ("on", "off", "nftables", None),
    "nft-v4-without-ipv6": ("on", "on", "nftables", None),
    # Nothing that could show rules is not the same as no rules.
    "none": ("unknown", "unknown", None, None),
    "ufw-allow": ("off", "off", "ufw", None),
    "ufw-off": ("off", "off", None, None),
    "ufw-on": ("on", "on", "ufw", None),
    # With IPV6=no ufw drops all of IPv6, but on the loopback (ufw-init-functions).
    "ufw-on-v4-only": ("on", "on", "ufw", None),
    "ufw-stopped": ("off", "off", None, None),
}
"""Whether inbound packets are dropped, by IPv4 and by IPv6; the front end, and its zone."""

SSHD: dict[str, tuple[str, bool | None, bool | None, tuple[int, ...]]] = {
    # Debian's own configuration: passwords are taken, but not root's.
    "as-installed": ("running", True, False, (22,)),
    "gone": ("not_running", None, None, ()),
    "keys-only": ("running", False, False, (22,)),
    "late-include": ("running", True, False, (22,)),
    "match": ("running", True, False, (22,)),
    "off": ("not_running", None, None, ()),
    "root-password": ("running", True, True, (2222,)),
    "socket": ("running", True, False, (22,)),
}
"""Whether it can be reached, takes passwords, takes root's, and its ports."""

_ORDER = ("not_encrypted", "unknown", "encrypted")
_WORSE = ("off", "unknown", "on")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine: a system, what is done to it, and who records it."""

    name: str
    image: Image
    storage: str = "nothing-more"
    firewall: str = "nft-drop"
    sshd: str = "as-installed"
    user: str = "root"
    but: dict[tuple[str, str], object] = field(default_factory=dict)
    """Where something else is right than its steps say, and why in a comment."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of its steps, in their order."""
        return f"storage-{self.storage}", f"firewall-{self.firewall}", f"sshd-{self.sshd}"

    @property
    def right(self) -> dict[tuple[str, str], object]:
        """What must be reported: by collector and key."""
        root = "encrypted" if self.image.encrypted else "not_encrypted"
        volumes = [f"/ {root}", *STORAGE[self.storage]]
        states = {volume.rsplit(" ", 1)[1] for volume in volumes}
        ipv4, ipv6, front_end, zone = FIREWALL[self.firewall]
        sshd, password, root_password, ports = SSHD[self.sshd]
        return {
            ("hd_encryption", "state"): min(states, key=_ORDER.index),
            ("hd_encryption", "volumes"): sorted(volumes),
            ("firewall", "state"): min(ipv4, ipv6, key=_WORSE.index),
            ("firewall", "ipv4"): ipv4,
            ("firewall", "ipv6"): ipv6,
            ("firewall", "front_end"): front_end,
            ("firewall", "zone"): zone,
            ("sshd", "state"): sshd,
            ("sshd", "password_login"): password,
            ("sshd", "root_password_login"): root_password,
            ("sshd", "ports"): list(ports),
            ("screenlock", "state"): "no_graphical_session",
            ("guest_session", "state"): "disabled",
            ("guest_session", "display_manager"): None,
            ("os_info", "virtualization"): "qemu",
            ("eset", "state"): "absent",
            ("eraagent", "state"): "absent",
            ("prey", "state"): "absent",
            ("geolocation", "state"): "off",
            **self.but,
        }


_UNSEEN: dict[tuple[str, str], object] = {
    ("firewall", key): value
    for key, value in {
        "state": "unknown",
        "ipv4": "unknown",
        "ipv6": "unknown",
        "front_end": None,
        "zone": None,
    }.items()
}
"""Without root the kernel does not show its rules."""


_NOT_TOLD: dict[tuple[str, str], object] = {
    ("firewall", "state"): "unknown",
    ("firewall", "ipv4"): "unknown",
    ("firewall", "ipv6"): "unknown",
    ("firewall", "zone"): None,
}
"""Neither nft nor iptables is installed, no interface is in a zone by itself, and firewalld 1.3
lists all zones without saying which is the default one."""

_NOT_STARTED: dict[tuple[str, str], object] = {
    ("sshd", "state"): "not_running",
    ("sshd", "password_login"): None,
    ("sshd", "root_password_login"): None,
    ("sshd", "ports"): [],
}
"""As Ubuntu 24.04 comes: ssh.socket is enabled, but in this image nothing starts it."""


def _machines() -> list[Machine]:
    def of(image: Image, name: str, storage: str, firewall: str, sshd: str, **more: Any) -> Machine:
        return Machine(
            name=f"vm-{name}", image=image, storage=storage, firewall=firewall, sshd=sshd, **more
        )

    def bookworm(storage: str, firewall: str, sshd: str, **more: Any) -> Machine:
        return of(BOOKWORM, f"bookworm-{storage}", storage, firewall, sshd, **more)

    unseen: dict[str, Any] = {"user": "ada", "but": _UNSEEN}
    return [
        bookworm("luks-home", "nft-drop", "keys-only"),
        bookworm("lvm-on-luks", "nft-jump", "as-installed"),
        bookworm("luks-on-lvm", "nft-v4-only", "off"),
        bookworm("raid1-under-luks", "nft-limited-drop", "match"),
        bookworm("raid1-over-luks", "legacy-both", "socket"),
        bookworm("raid1-half-luks", "legacy-v4-only", "root-password"),
        bookworm("btrfs-two-luks", "iptables-nft", "late-include"),
        bookworm("bcache-under-luks", "nft-reject", "keys-only"),
        bookworm("luks-with-plain-cache", "docker", "as-installed"),
        bookworm("lvm-plain-cache", "nft-accept-before-drop", "gone"),
        bookworm("swap-file-encrypted", "nft-dormant", "match"),
        bookworm("swap-file-plain", "none", "as-installed"),
        bookworm("zram", "iptables-nft-without-nft", "socket"),
        bookworm("zram-writeback-plain", "nft-empty", "root-password"),
        bookworm("zram-writeback-luks", "nft-v4-without-ipv6", "keys-only"),
        bookworm("loop-container-on-plain", "nft-jump", "off"),
        bookworm("loop-plain-on-luks", "nft-reject", "gone"),
        bookworm("integrity", "nft-limited-drop", "socket"),
        bookworm("luks-with-integrity", "iptables-nft", "match"),
        bookworm("null-cipher", "legacy-both", "keys-only"),
        bookworm("verity", "nft-v4-only", "late-include"),
        bookworm("thin-on-luks", "legacy-v4-only", "keys-only"),
        bookworm("multipath-luks", "docker", "off"),
        bookworm("multipath-plain", "nft-dormant", "as-installed"),
        bookworm("vg-luks-and-plain", "nft-drop", "root-password"),
        bookworm("vg-luks-side", "nft-drop", "socket"),
        bookworm("bind-and-overlay", "nft-empty", "match"),
        bookworm("locked-container", "nft-drop", "as-installed"),
        bookworm("odd-names", "nft-drop", "off"),
        bookworm("luks1-srv", "none", "keys-only"),
        bookworm("swap-random-key", "nft-drop", "keys-only", **unseen),
        # --- its root is not encrypted
        of(BOOKWORM_PLAIN, "plain-root", "nothing-more", "nft-drop", "keys-only"),
        of(BOOKWORM_PLAIN, "plain-root-luks-home", "luks-home", "nft-drop", "match", **unseen),
        of(BOOKWORM_PLAIN, "plain-root-ecryptfs", "ecryptfs", "nft-reject", "as-installed"),
        of(BOOKWORM_PLAIN, "plain-root-fscrypt", "fscrypt", "docker", "socket"),
        # --- with a front end for the firewall
        of(BOOKWORM_UFW, "ufw-on", "btrfs-luks-and-plain", "ufw-on", "as-installed"),
        of(BOOKWORM_UFW, "ufw-on-v4-only", "luks-home", "ufw-on-v4-only", "off"),
        of(BOOKWORM_UFW, "ufw-allow", "raid1-under-luks", "ufw-allow", "keys-only"),
        of(BOOKWORM_UFW, "ufw-off", "swap-plain", "ufw-off", "match"),
        of(BOOKWORM_UFW, "ufw-stopped", "lvm-on-luks", "ufw-stopped", "socket"),
        of(BOOKWORM_UFW, "ufw-on-not-root", "luks-on-lvm", "ufw-on", "match", **unseen),
        of(BOOKWORM_FIREWALLD, "firewalld-public", "luks-home", "firewalld-public", "keys-only"),
        of(
            *(BOOKWORM_FIREWALLD, "firewalld-trusted", "zram"),
            *("firewalld-trusted", "as-installed"),
            but=_NOT_TOLD,
        ),
        of(BOOKWORM_FIREWALLD, "firewalld-stopped", "swap-plain", "firewalld-stopped", "off"),
        of(
            *(BOOKWORM_FIREWALLD, "firewalld-not-root", "btrfs-two-luks"),
            *("firewalld-public", "socket"),
            **unseen,
        ),
        # --- other releases
        of(TRIXIE, "trixie-lvm-on-luks", "lvm-on-luks", "nft-drop", "keys-only"),
        of(TRIXIE, "trixie-btrfs-luks-and-plain", "btrfs-luks-and-plain", "nft-jump", "match"),
        of(TRIXIE, "trixie-luks-with-integrity", "luks-with-integrity", "legacy-both", "socket"),
        of(TRIXIE, "trixie-zram", "zram", "nft-reject", "keys-only", **unseen),
        of(NOBLE, "noble-luks-home", "luks-home", "ufw-on", "as-installed", but=_NOT_STARTED),
        of(NOBLE, "noble-raid1-half-luks", "raid1-half-luks", "ufw-off", "keys-only"),
        of(NOBLE, "noble-thin-on-luks", "thin-on-luks", "nft-v4-only", "off", **unseen),
        of(JAMMY, "jammy-btrfs-two-luks", "btrfs-two-luks", "ufw-on", "as-installed"),
        of(JAMMY, "jammy-swap-file-plain", "swap-file-plain", "docker", "keys-only"),
        of(JAMMY, "jammy-lvm-on-luks", "lvm-on-luks", "ufw-allow", "match", **unseen),
    ]


MACHINES = _machines()
