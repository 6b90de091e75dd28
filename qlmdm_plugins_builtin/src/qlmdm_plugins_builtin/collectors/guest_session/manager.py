"""Which display manager opens graphical sessions on this machine.

The one that runs decides; where processes can't tell, the one that would be started. The
configuration of a display manager that is installed and not used says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import basename

from qlmdm_core import CommandResult, Host, Process

DAEMONS = {
    "cosmic-greeter": "greetd", "emptty": "emptty", "entranced": "entrance", "gdm": "gdm",
    "gdm3": "gdm", "greetd": "greetd", "kdm": "kdm", "lemurs": "lemurs", "lightdm": "lightdm",
    "lxdm": "lxdm", "lxdm-binary": "lxdm", "ly": "ly", "ly-dm": "ly", "mdm": "mdm",
    "nodm": "nodm", "plasmalogin": "plasmalogin", "sddm": "sddm", "slim": "slim", "wdm": "wdm",
    "xdm": "xdm",
}  # fmt: skip
"""Programs and services, and the display manager that each belongs to."""

CONFIGURATION = {
    "gdm": ("/etc/gdm3", "/etc/gdm"),
    "greetd": ("/etc/greetd",),
    "lightdm": ("/etc/lightdm/lightdm.conf", "/etc/lightdm/lightdm.conf.d",
                "/etc/xdg/lightdm/lightdm.conf.d", "/usr/local/share/lightdm/lightdm.conf.d",
                "/usr/share/lightdm/lightdm.conf.d"),
    "lxdm": ("/etc/lxdm",),
    "ly": ("/etc/ly",),
    "plasmalogin": ("/etc/plasmalogin.conf",),
    "sddm": ("/etc/sddm.conf", "/etc/sddm.conf.d", "/usr/lib/sddm/sddm.conf.d"),
    "slim": ("/etc/slim.conf",),
}  # fmt: skip
"""Where the presence of a display manager shows, if nothing else does."""

SYSTEMD_LINK = "/etc/systemd/system/display-manager.service"
DEBIAN_DEFAULT = "/etc/X11/default-display-manager"
OPENRC = (("/etc/conf.d/display-manager", "display-manager"), ("/etc/conf.d/xdm", "xdm"))
"""The settings of the services that start whatever display manager is chosen there."""
RUNIT = ("/var/service", "/etc/service", "/run/runit/service", "/etc/runit/runsvdir/default")
TIMEOUT = 5.0
_FORMS = (
    ("show", "display-manager.service"), ("show", "display-manager"),
    ("status", "display-manager.service"), ("status", "display-manager"),
)  # fmt: skip
"""How else systemd may have been asked, in a recording."""
_COMMON = ("gdm", "gdm3", "sddm", "lightdm", "greetd", "lxdm", "ly")
"""Services that somebody may have asked for by name."""
_HEAD = re.compile(r"(?:\S )?(\S+\.service) - ")


@dataclass(frozen=True)
class Active:
    """The display manager in charge."""

    name: str | None
    """None: there is none, or (`presumed`) nobody says which."""
    evidence: str
    """How it was found."""
    argv: tuple[str, ...] = ()
    """How it was started, if it runs."""
    environ: tuple[tuple[str, str], ...] = ()
    configured: str | None = None
    """Another one that would be started at the next boot."""
    presumed: bool = False
    """Only its configuration was found: it may be a leftover."""
    nobody_tells: bool = False
    """There may be one: neither processes nor services could be asked."""


def find(host: Host, processes: Sequence[Process]) -> Active:
    """The display manager that runs, else that is set to run, else that may be meant to."""
    configured, evidence = _configured(host)
    running = _running(processes)
    if running is not None:
        name, process = running
        return Active(
            name,
            f"process {process.pid}",
            argv=process.argv or (),
            environ=tuple((process.environ or {}).items()),
            configured=configured if configured != name else None,
        )
    if configured is not None:
        return Active(configured, evidence)
    traces = [name for name, paths in CONFIGURATION.items() if any(map(host.exists, paths))]
    if "lightdm" not in traces and host.which("lightdm") is not None:
        traces.append("lightdm")
    if any(process.pid == 1 for process in processes):
        return Active(None, "none is running, and none is set to start")
    if not traces:
        told = _services_tell(host)
        return Active(None, "none is set to start" if told else "", nobody_tells=not told)
    if len(traces) == 1:
        return Active(traces[0], "its configuration alone", presumed=True)
    return Active(None, f"configured: {', '.join(sorted(traces))}", presumed=True)


def _running(processes: Sequence[Process]) -> tuple[str, Process] | None:
    for process in processes:
        if process.uid not in (0, None):
            continue
        argv = process.argv or ()
        names = {process.comm, basename(process.program or ""), basename(argv[0]) if argv else ""}
        for name in names:
            if name in DAEMONS:
                return DAEMONS[name], process
    return None


def _configured(host: Host) -> tuple[str | None, str]:
    """The display manager that is set to be started, and where that is said."""
    sources: tuple[tuple[Callable[[Host], str | None], str], ...] = (
        (_by_systemd, "systemctl: display-manager.service"),
        (_by_status, "systemctl: display-manager.service"),
        (_by_link, SYSTEMD_LINK),
        (_by_debian, DEBIAN_DEFAULT),
        (_by_openrc, "OpenRC"),
        (_by_runit, "runit"),
    )
    for source, where in sources:
        try:
            said = source(host)
        except OSError:
            continue
        if said:
            return DAEMONS.get(said, said), where
    return None, ""


def _services_tell(host: Host) -> bool:
    """Whether there is a list of what is started, in which a display manager would be."""
    answered = _ask_systemd(host)
    if answered.ok and answered.stdout.strip():
        return True
    directories = ("/etc/runlevels/default", *RUNIT)
    return any(_entries(host, directory) for directory in directories)


def _ask_systemd(host: Host) -> CommandResult:
    return host.run(
        ["systemctl", "show", "-p", "Id", "--value", "display-manager.service"], timeout=TIMEOUT
    )


def _by_systemd(host: Host) -> str | None:
    result = _ask_systemd(host)
    return unit_name(result.stdout) if result.ok else None


def _by_status(host: Host) -> str | None:
    """The same in other forms; a live systemd answered the first one."""
    if _ask_systemd(host).found or host.which("systemctl") is None:
        return None
    for form, alias in _FORMS:
        result = host.run(["systemctl", form, alias], timeout=TIMEOUT)
        if result.found:
            return unit_name(result.stdout)
    return next(
        (name for name in _COMMON if _is_active(host, name) or _is_active(host, f"{name}.service")),
        None,
    )


def _is_active(host: Host, service: str) -> bool:
    result = host.run(["systemctl", "is-active", service], timeout=TIMEOUT)
    return result.stdout.strip() == "active"


def unit_name(text: str) -> str | None:
    """The service behind the alias in `Id=gdm.service` (or without `Id=`); None if none is.

    So it stands in `systemctl show`, and at the head of `systemctl status`. A unit that is not
    there has the name that was asked for.
    """
    lines = text.strip().splitlines()
    named = re.search(r"^Id=(.*)", text, re.MULTILINE) or _HEAD.match(text.lstrip())
    name = named[1].strip() if named else lines[0].strip() if lines else ""
    match = re.match(r"([\w.-]+?)(?:@[\w.-]*)?\.service\Z", name)
    return match[1] if match and match[1] != "display-manager" else None


def _by_link(host: Host) -> str | None:
    return unit_name(basename(host.readlink(SYSTEMD_LINK)))


def _by_debian(host: Host) -> str | None:
    lines = [line.strip() for line in host.read(DEBIAN_DEFAULT).splitlines()]
    paths = [line for line in lines if line.startswith("/")]
    return basename(paths[0]) if paths else None


def _by_openrc(host: Host) -> str | None:
    enabled = _entries(host, "/etc/runlevels/default")
    for settings, service in OPENRC:
        if service in enabled:
            match = re.search(
                r"^[ \t]*DISPLAYMANAGER=[\"']?([\w-]+)", host.read(settings), re.MULTILINE
            )
            return match[1] if match else None
    return next((name for name in DAEMONS if name in enabled), None)


def _by_runit(host: Host) -> str | None:
    enabled = {name for directory in RUNIT for name in _entries(host, directory)}
    return next((name for name in DAEMONS if name in enabled), None)


def _entries(host: Host, directory: str) -> set[str]:
    try:
        return set(host.listdir(directory))
    except OSError:
        return set()
