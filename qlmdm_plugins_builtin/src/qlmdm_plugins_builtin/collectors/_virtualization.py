"""Tells whether the machine is real, virtual, or a container: for several collectors."""

from __future__ import annotations

from qlmdm_core.api import Host
from qlmdm_plugins_builtin.collectors.text import text_of

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
_BY_MARKER = ("docker", "podman")
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
    # systemd's container interface: the manager says what it runs in.
    if word := text_of(host, "/run/systemd/container").strip():
        return word
    own_root = has_own_root(text_of(host, "/proc/self/mountinfo"))
    for path, kind in _MARKERS:
        if host.exists(path) and not own_root:
            return kind
    if "microsoft" in text_of(host, "/proc/version").lower():
        return "wsl"
    found = detect(host)
    if found in _BY_MARKER and own_root:
        return None
    return found if found in CONTAINERS else None


def has_own_root(mountinfo: str) -> bool:
    """Whether / is the whole file system of a device: no container engine does that.

    A virtual machine whose disk was made of a container's image still has its marker file.
    """
    roots = [fields for line in mountinfo.splitlines() if (fields := line.split())[4:5] == ["/"]]
    if not roots:
        return False
    _, separator, after = " ".join(roots[-1]).partition(" - ")
    source = after.split()[1:2]
    return bool(separator and source and source[0].startswith("/dev/") and roots[-1][3] == "/")


def describe(host: Host) -> str | None:
    """What the machine runs on: "none" for a real one, a name, "vm-other", or None: unknown.

    Machines without systemd have no systemd-detect-virt; there the processor tells whether
    it is a virtual one, though not by whom (the flag exists on x86 only).
    """
    if kind := container(host):
        return kind
    found = detect(host)
    if found and found not in CONTAINERS:
        return found
    if text_of(host, "/sys/hypervisor/type").strip() == "xen":
        return "xen"
    processors = text_of(host, "/proc/cpuinfo").splitlines()
    flags = next((line for line in processors if line.startswith("flags")), "")
    if not flags:
        return None
    return "vm-other" if "hypervisor" in flags.split() else "none"
