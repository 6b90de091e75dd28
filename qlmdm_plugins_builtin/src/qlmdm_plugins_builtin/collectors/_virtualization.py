"""Tells whether the machine is real, virtual, or a container: for several collectors."""

from __future__ import annotations

from qlmdm_core.api import Host

CONTAINERS = (
    # systemd-detect-virt(1)
    "openvz",
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "rkt",
    "wsl",
    "proot",
    "pouch",
    "container-other",
)
_MARKERS = (
    ("/.dockerenv", "docker"),
    ("/run/.containerenv", "podman"),
)


def detect(host: Host) -> str | None:
    """What systemd-detect-virt says: "kvm", "docker", "none" for a real machine, or None.

    It exits 1 with "none" on a real machine.
    """
    result = host.run(["systemd-detect-virt"])
    word = result.stdout.strip()
    if result.timed_out or not word or len(word.split()) != 1:
        return None
    return word


def container(host: Host) -> str | None:
    """The kind of container that this is, or None if it is none (as far as can be seen)."""
    try:
        # systemd's container interface: the manager says what it runs in.
        if word := host.read("/run/systemd/container").strip():
            return word
    except OSError:
        pass
    for path, kind in _MARKERS:
        if host.exists(path):
            return kind
    try:
        version = host.read("/proc/version").lower()
    except OSError:
        version = ""
    if "microsoft" in version:
        return "wsl"
    found = detect(host)
    return found if found in CONTAINERS else None
