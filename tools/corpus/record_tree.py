"""Records machines of the corpus in a tree of Debian packages, without starting a machine.

    sudo python tools/corpus/record_tree.py --cache DIR [NAME…]

Each machine has a script in tree_steps/, which runs inside the tree, in namespaces of its own:
it configures and starts what the machine is about. Programs, packages, settings and firewall
rules are then real. There is no boot, no logind, no udev, no /sys and no disk; the kernel is
the builder's, so that its release and command line are replaced in the recording.

Needs root, mmdebstrap, and a kernel with overlayfs and nf_tables.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = Path(__file__).resolve().parent / "tree_steps"
MACHINES = ROOT / "tests" / "machines"
ALWAYS = (
    "dbus", "dbus-x11", "distro-info-data", "dconf-cli", "gsettings-desktop-schemas", "iproute2",
    "libglib2.0-bin", "nftables", "openssh-server", "procps", "python3",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A Debian, and what is installed in it."""

    suite: str
    kernel: str
    """The release that the recording shows in place of the builder's."""
    packages: tuple[str, ...]


TREES = {
    "bookworm": Tree(
        suite="bookworm",
        kernel="6.1.0-41-amd64",
        packages=(
            "ufw", "iptables", "lightdm", "lightdm-gtk-greeter", "lxdm", "sddm", "greetd", "xvfb",
            "x11-xserver-utils", "xfce4-session", "xfwm4", "xfconf", "xscreensaver",
            "mate-session-manager", "marco", "mate-screensaver", "i3-wm", "i3lock", "xss-lock",
            "xautolock", "sway", "swayidle", "swaylock", "lxqt-session", "lxqt-panel", "openbox",
            "pacman-package-manager",
        ),
    ),
    "trixie": Tree(
        suite="trixie",
        kernel="6.12.57+deb13-amd64",
        packages=("firewalld", "xvfb", "xfce4-session", "xfwm4", "xfce4-screensaver", "xfconf"),
    ),
    "trixie-gnome": Tree(suite="trixie", kernel="6.12.57+deb13-amd64", packages=("gdm3",)),
    "sid": Tree(suite="sid", kernel="6.17.8+deb14-amd64", packages=()),
}  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """One machine: its tree, and what it is."""

    name: str
    tree: str
    what: str


RECORDED = (
    Recorded(
        "recorded-xfce-ufw",
        "bookworm",
        "XFCE without a locker, ufw turned on, LightDM with an autologin, sshd with drop-ins",
    ),
    Recorded(
        "recorded-mate-legacy-rules",
        "bookworm",
        "MATE with mate-screensaver, iptables-legacy, LXDM with an autologin, a Match block",
    ),
    Recorded(
        "recorded-i3-xautolock",
        "bookworm",
        "i3 with xautolock, greetd with an initial session, Debian's nftables.conf loaded",
    ),
    Recorded(
        "recorded-i3-xss-lock",
        "bookworm",
        "i3 with xss-lock and a notifier, SDDM, ufw without IPv6, which it then drops",
    ),
    Recorded(
        "recorded-sway-swayidle",
        "bookworm",
        "sway without a screen, swayidle with a configuration, ufw installed and not turned on",
    ),
    Recorded(
        "recorded-lxqt-xscreensaver",
        "bookworm",
        "LXQt with xscreensaver, rules of iptables-nft, an ssh server that wants key and password",
    ),
    Recorded(
        "recorded-apt-states",
        "bookworm",
        "apt with an archive of its own: an update, one that is held, one that is phased, one that"
        " is kept back",
    ),
    Recorded(
        "recorded-pacman",
        "bookworm",
        "pacman with a database of its own: an update, one that is ignored; os-release is Arch's,"
        " written by hand",
    ),
    Recorded(
        "recorded-xfce4-screensaver-firewalld",
        "trixie",
        "XFCE with xfce4-screensaver, firewalld with its default zone",
    ),
    Recorded(
        "recorded-firewalld-trusted",
        "trixie",
        "firewalld with the interface in its zone trusted, and nobody logged in",
    ),
    Recorded(
        "recorded-gdm-dconf",
        "trixie-gnome",
        "GNOME Shell without a screen, settings of the administrator with a lock, GDM with a timed"
        " login",
    ),
    Recorded(
        "recorded-sid-unprivileged",
        "sid",
        "Debian sid with sshd, whose agent is not root",
    ),
)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {machine.name: machine for machine in RECORDED}
    parser.add_argument("names", nargs="*", metavar="NAME", help="machines; all unless named")
    parser.add_argument("--cache", type=Path, required=True, help="where the trees are kept")
    args = parser.parse_args()
    if unknown := set(args.names) - set(known):
        parser.error(f"nothing is known of {', '.join(sorted(unknown))}")
    for name in args.names or known:
        machine = known[name]
        tree = build(TREES[machine.tree], args.cache / machine.tree)
        record(machine, TREES[machine.tree], tree)
        print(f"recorded {name}")
    return 0


def build(tree: Tree, path: Path) -> Path:
    """Make the tree, unless it is there."""
    if path.exists():
        return path
    argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join((*ALWAYS, *tree.packages))}"]
    argv += ['--aptopt=APT::Install-Recommends "false"', "--skip=cleanup/apt/lists"]
    mirror = "http://deb.debian.org/debian"
    sources = [f"deb {mirror} {tree.suite} main"]
    if tree.suite != "sid":
        sources += [
            f"deb {mirror} {tree.suite}-updates main",
            f"deb {mirror}-security {tree.suite}-security main",
        ]
    subprocess.run([*argv, tree.suite, str(path), *sources], check=True)
    return path


def record(machine: Recorded, tree: Tree, path: Path) -> None:
    """Run the machine's script over the tree, and take what it recorded."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-tree-") as folder:
        work = Path(folder)
        for name in ("upper", "work", "root"):
            (work / name).mkdir()
        inner = ["sh", "-eu", str(STEPS / "_enter.sh"), str(path), folder, str(STEPS), machine.name]
        inner += [str(ROOT), str(Path(sys.prefix))]
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork"]
        subprocess.run([*unshare, "--kill-child", *inner], check=True, timeout=300)
        tidy(machine, tree, work / "upper" / "machine")
        target = MACHINES / machine.name
        expected = target / "expected.json"
        if expected.exists():
            shutil.copy2(expected, work / "upper" / "machine" / "expected.json")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / "upper" / "machine", target, symlinks=True)
    for where, _, names in os.walk(target):
        os.chmod(where, 0o755)  # recordings are their owner's alone; these are everybody's
        for name in names:
            if not os.path.islink(os.path.join(where, name)):
                os.chmod(os.path.join(where, name), 0o644)


def tidy(machine: Recorded, tree: Tree, folder: Path) -> None:
    """Say what it is, and put a Debian kernel in the place of the builder's."""
    description = folder / "machine.json"
    document = json.loads(description.read_text())
    suite = tree.suite
    document["note"] = (
        f"recorded: {machine.what}; on Debian {suite}'s own packages, in a tree without boot,"
        " logind, /sys and disks; the kernel's release and command line were put in"
    )
    description.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    for path, text in (
        ("proc/cmdline", "ro quiet\n"),
        ("proc/sys/kernel/osrelease", f"{tree.kernel}\n"),
        ("proc/version", f"Linux version {tree.kernel} (debian-kernel@lists.example.org) #1 SMP\n"),
    ):
        if (folder / "files" / path).exists():
            (folder / "files" / path).write_text(text)
    for group in folder.glob("files/proc/*/cgroup"):
        group.write_text("0::/\n")
    mounts = folder / "files/proc/self/mountinfo"
    if mounts.exists():
        text = re.sub(
            r"(lowerdir|upperdir|workdir)=[^,\s]+", r"\1=/run/tree/\1", mounts.read_text()
        )
        mounts.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
