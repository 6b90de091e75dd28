"""Tells whether an installed update of an Ubuntu or Debian machine waits for a restart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from qlmdm_core.api import Host, Reboot
from qlmdm_plugins_ubuntu import dpkg
from qlmdm_plugins_ubuntu.text import text_of

MARKS = ("/run/reboot-required", "/var/run/reboot-required")
MARKER = "/usr/share/update-notifier/notify-reboot-required"
"""Leaves the mark, for each package that asks it to: part of update-notifier-common."""
KERNEL_MARKERS = (
    # Leave the mark for a new kernel only: parts of unattended-upgrades and reboot-notifier.
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/etc/kernel/postinst.d/reboot-notifier",
)
_NOTE = "only the kernel was compared: nothing here notes updated libraries"
NEEDRESTART = ("needrestart", "-b", "-k", "-r", "l")
"""In batch mode it asks and restarts nothing (README.batch.md of needrestart)."""
MOST_PACKAGES = 200

_RELEASE = re.compile(r"[0-9][\w.~+-]*\Z", re.ASCII)
_BUILT = re.compile(r"\bDebian ([0-9][\w.~+-]*)", re.ASCII)


def reboot_required(host: Host) -> Reboot:
    """Whether an update waits for a restart. The first that fits decides:

    - the mark that packages leave: required, for these packages;
    - needrestart expects another kernel, or a newer kernel of the running one's flavour is
      installed, or a newer build of the same release: required, mark or no mark;
    - something is installed that would leave the mark: not required;
    - something would leave it for a kernel, or needrestart or the comparison finds the newest
      kernel running: not required. Of a library that is still in use after its update, nobody
      then tells, which is noted;
    - else it can't be told. That there is no mark proves nothing by itself.
    """
    running = _running_kernel(host)
    newest = newest_kernel(_installed(host), running)
    if any(host.exists(mark) for mark in MARKS):
        packages = _packages(host)
        reason = "updated packages ask for a restart" if packages else "a restart is asked for"
        return Reboot(
            required=True, reason=reason, packages=packages, installed_kernel=newest or None
        )
    answer = host.run(NEEDRESTART, timeout=30.0)
    expected, why = parse_needrestart(answer.stdout if answer.ok else "")
    why = why or _newer(host, running, newest)
    if why:
        return Reboot(required=True, reason=why, installed_kernel=newest or None)
    if host.exists(MARKER):
        return Reboot(required=False, installed_kernel=newest or None)
    marked = any(host.exists(marker) for marker in KERNEL_MARKERS)
    if marked or expected == "running" or (newest and newest == running):
        return Reboot(required=False, installed_kernel=newest or None, notes=(_NOTE,))
    reason = "nothing here notes that a restart is due, and the kernels can't be compared"
    return Reboot(required=None, reason=reason, installed_kernel=newest or None)


def _packages(host: Host) -> tuple[str, ...]:
    """The packages that left the mark; each writes a line, some several times."""
    for mark in MARKS:
        try:
            lines = host.read(f"{mark}.pkgs").splitlines()
        except OSError:
            continue
        names = dict.fromkeys(line.strip()[:100] for line in lines if line.strip())
        return tuple(names)[:MOST_PACKAGES]
    return ()


def _newer(host: Host, running: str, newest: str) -> str:
    """Why the running kernel is not the one that is installed; empty if it is, or unknown."""
    if running and newest and _order(newest) > _order(running):
        return f"kernel {newest} is installed, {running} runs"
    if running and newest == running:
        # Debian keeps the release while modules stay compatible, so a fix can leave it as it is.
        # The compiler and the linker, which may be Debian's as well, are named before the "#1".
        built = _BUILT.search(text_of(host, "/proc/version").rpartition(" #")[2])
        installed = dpkg.package_version(host, f"linux-image-{running}") if built else None
        if built and installed and _bare(installed) != _bare(built[1]):
            return f"kernel {running} is installed as {installed}, {built[1]} runs"
    return ""


def _bare(version: str) -> str:
    """A version without the mark of a rebuild, `+b1`."""
    return re.sub(r"\+b[0-9]+\Z", "", version)


def parse_needrestart(text: str) -> tuple[Literal["running", "other", "unknown"], str]:
    """Which kernel needrestart expects, and why a restart is due if it is another one.

    KSTA is 1 if the newest kernel runs, 2 for a newer build of the same, 3 for a newer one, and
    0 if it can't tell.

    >>> parse_needrestart("NEEDRESTART-KCUR: 6.1.0-28\\nNEEDRESTART-KSTA: 1\\n")
    ('running', '')
    """
    fields = {
        name.removeprefix("NEEDRESTART-"): value.strip()[:100]
        for name, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }
    state = fields.get("KSTA")
    if state == "1":
        return "running", ""
    if state not in ("2", "3"):
        return "unknown", ""
    current, expected = fields.get("KCUR", "?"), fields.get("KEXP", "?")
    if state == "2":
        return "other", f"a newer build of the running kernel {current} is installed"
    return "other", f"kernel {expected} is installed, {current} runs"


# --- kernels ----------------------------------------------------------------------------------


def _installed(host: Host) -> list[str]:
    """The releases of the kernels in /boot; if there are none, where the link `vmlinuz` leads."""
    found = [path.rpartition("/vmlinuz-")[2] for path in host.glob("/boot/vmlinuz-*")]
    for link in () if found else ("/vmlinuz", "/boot/vmlinuz"):
        try:
            found.append(host.readlink(link).rsplit("/", 1)[-1].removeprefix("vmlinuz-"))
        except OSError:
            continue
    return found


def newest_kernel(installed: Iterable[str], running: str) -> str:
    """The newest of the installed kernels that is of the running one's flavour, or empty.

    Of another flavour (cloud-amd64 beside amd64), it need not be the one that is booted.
    """
    flavour = split_release(running)[1]
    fit = [
        release
        for release in installed
        if _RELEASE.match(release)
        and not release.endswith((".old", ".bak", ".dpkg-new", ".dpkg-tmp", ".signed"))
        and split_release(release)[1] == flavour
    ]
    return max(fit, key=_order) if running and fit else ""


def split_release(release: str) -> tuple[str, str]:
    """The version and the flavour of a kernel's release.

    >>> split_release("6.1.0-28-cloud-amd64"), split_release("6.6.51+rpt-rpi-v8")
    (('6.1.0-28', 'cloud-amd64'), ('6.6.51+rpt', 'rpi-v8'))
    """
    parts = release.split("-")
    count = next((n for n, part in enumerate(parts) if not part[:1].isdigit()), len(parts))
    return "-".join(parts[:count]), "-".join(parts[count:])


def _order(release: str) -> list[tuple[int, str, int]]:
    """What sorts releases as Debian sorts versions: numbers by value, and ~ before the end."""
    version = split_release(release)[0].replace("~", "\0")
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", version)
    ordered = [(1, "", int(p)) if p[0] in "0123456789" else (0, p, 0) for p in parts]
    return [*ordered, (0, "\1", 0)]


def _running_kernel(host: Host) -> str:
    release = text_of(host, "/proc/sys/kernel/osrelease").strip()
    if not release:
        result = host.run(("uname", "-r"))
        release = result.stdout.strip() if result.ok else ""
    return release if _RELEASE.match(release) else ""
