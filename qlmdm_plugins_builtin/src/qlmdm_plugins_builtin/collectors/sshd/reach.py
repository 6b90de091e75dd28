"""Finds out whether an sshd waits for connections from the network.

Three witnesses are asked: systemd about its units, the kernel about its sockets, and the
list of processes. One is enough to say that it runs; to say that it does not, two must.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qlmdm_core import Host, Process
from qlmdm_plugins_builtin.collectors.sshd import sockets, units
from qlmdm_plugins_builtin.collectors.sshd.config import MAIN_FILES
from qlmdm_plugins_builtin.collectors.sshd.processes import (
    OTHER_SERVERS,
    Options,
    in_container,
    is_listener,
    options_of,
    other_servers,
    parse_options,
)
from qlmdm_plugins_builtin.collectors.sshd.sockets import Listener
from qlmdm_plugins_builtin.collectors.sshd.units import Unit

_OPTION_FILES = (("/etc/default/ssh", "SSHD_OPTS"), ("/etc/sysconfig/sshd", "OPTIONS"))
_SYSTEMD = ("systemd", "init")


@dataclass(frozen=True)
class Reach:
    """Whether sshd can be reached, and what shows it."""

    state: Literal["running", "not_running", "unknown"]
    why: str
    units: tuple[Unit, ...] = ()
    listeners: tuple[Listener, ...] = ()
    """The sockets that are sshd's, or that wait for it."""
    pid: int | None = None
    """The process that listens, if there is one."""
    options: Options = Options()
    other_servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """What the witnesses said; None where one could not be asked."""

    units: tuple[Unit, ...] | None
    sockets: tuple[Listener, ...] | None
    processes: tuple[Process, ...] | None
    daemons: tuple[Process, ...]
    of_socket_units: tuple[Listener, ...]
    others: tuple[str, ...]
    installed: bool
    set_up: bool
    """Installed, as far as its configuration shows it."""


def find(host: Host) -> Reach:
    """Ask the witnesses, and put together what they say."""
    seen = _ask(host)
    mine = tuple(listener for listener in seen.sockets or () if _is_sshds(listener, seen))
    up = [unit for unit in seen.units or () if unit.up and _counts(unit, seen)]
    state: Literal["running", "not_running", "unknown"] = "running"
    if up:
        why = f"{up[0].name} is {up[0].active}"
    elif mine:
        why = f"{mine[0].programs[0]} listens on {mine[0].where}"
    elif nameless := _nameless(seen):
        why = f"something listens on {nameless[0].where}, and no other server of ssh is known here"
    elif seen.daemons:
        why = f"a process is an sshd ({seen.daemons[0].program or 'by its name'})"
    else:
        state, why = _absence(seen)
    daemon = seen.daemons[0] if seen.daemons else None
    return Reach(
        state=state,
        why=why,
        units=seen.units or (),
        listeners=mine or _likely(seen, state),
        pid=daemon.pid if daemon else None,
        options=options_of(daemon.argv) if daemon and daemon.argv else _packaged(host),
        other_servers=seen.others,
    )


def _nameless(seen: _Seen) -> tuple[Listener, ...]:
    """Sockets on ssh's own port that nobody says whose they are, on a machine that has sshd.

    Where systemd or a whole list of processes was asked, it would have named sshd.
    """
    if seen.others or not seen.set_up or seen.units is not None or seen.processes is not None:
        return ()
    return tuple(
        item
        for item in seen.sockets or ()
        if item.port == 22 and not item.programs and not item.local_only
    )


def _absence(seen: _Seen) -> tuple[Literal["not_running", "unknown"], str]:
    """Whether what was not seen is really not there."""
    unexplained = [
        item
        for item in seen.sockets or ()
        # With all processes in sight, an sshd on another port would have been seen there.
        if not item.programs
        and (item.port == 22 or (seen.processes is None and not item.local_only))
    ]
    if seen.others:
        return "unknown", f"{seen.others[0]} lets people in, and its settings are not known"
    if unexplained:
        return "unknown", f"something listens on {unexplained[0].where}; root could see what"
    says_no = [
        name
        for name, said in (
            ("no unit of sshd is active", seen.units is not None),
            ("no socket waits for it", seen.sockets is not None),
            ("no process is an sshd", seen.processes is not None),
            ("it is not installed", not seen.installed),
        )
        if said
    ]
    asked = (seen.units, seen.sockets, seen.processes)
    if len(says_no) >= 2 and any(said is not None for said in asked):
        return "not_running", "; ".join(says_no)
    return "unknown", "neither systemd, sockets nor processes tell enough" + (
        f" ({says_no[0]})" if says_no else ""
    )


def _likely(seen: _Seen, state: str) -> tuple[Listener, ...]:
    """Sockets that must be sshd's when it runs, where nobody says whose they are."""
    if state != "running":
        return ()
    if seen.of_socket_units:
        return seen.of_socket_units
    return tuple(item for item in seen.sockets or () if item.port == 22 and not item.programs)


def _is_sshds(listener: Listener, seen: _Seen) -> bool:
    if "sshd" in listener.programs:
        return True
    ports = {22, *(unit.port for unit in seen.of_socket_units)}
    return listener.port in ports and bool(set(_SYSTEMD) & set(listener.programs))


def _counts(unit: Unit, seen: _Seen) -> bool:
    """Not a socket unit that is known to wait elsewhere than on TCP."""
    return not unit.name.endswith(".socket") or seen.of_socket_units != (_ELSEWHERE,)


_ELSEWHERE = Listener("", 0)
"""Stands for sockets that are none of TCP."""


# --- the witnesses ------------------------------------------------------------------------


def _ask(host: Host) -> _Seen:
    found_units = units.ask(host)
    processes = host.processes()
    # Without process 1 in sight (hidepid in proc(5)), the list is not whole.
    whole = bool(processes) and (host.is_root or any(process.pid == 1 for process in processes))
    listeners = _sockets(host)
    programs = {program for item in listeners or () for program in item.programs}
    others = dict.fromkeys(
        [*other_servers(processes), *(n for n in OTHER_SERVERS if n in programs)]
    )
    installed = host.which("sshd") is not None or host.exists("/usr/sbin/sshd")
    return _Seen(
        units=found_units,
        sockets=listeners,
        processes=tuple(processes) if whole else None,
        daemons=tuple(p for p in processes if is_listener(p) and not in_container(host, p.pid)),
        of_socket_units=_socket_units(host, found_units or ()),
        others=tuple(others),
        installed=installed,
        set_up=installed or any(host.exists(path) for path in MAIN_FILES),
    )


def _socket_units(host: Host, found: tuple[Unit, ...]) -> tuple[Listener, ...]:
    """Where the active socket units wait; `_ELSEWHERE` if they do, and not on TCP."""
    listeners: list[Listener] = []
    elsewhere = False
    for unit in found:
        if unit.up and unit.name.endswith(".socket"):
            answer = host.run(["systemctl", "show", "-p", "Listen", unit.name], timeout=5.0)
            if not answer.found:  # a recording may hold the status instead, which has it, too
                answer = host.run(["systemctl", "status", unit.name], timeout=5.0)
            here = sockets.parse_socket_unit(answer.stdout) if answer.ok else []
            listeners += here
            elsewhere = elsewhere or (answer.ok and "Listen=" in answer.stdout and not here)
    return tuple(listeners) or ((_ELSEWHERE,) if elsewhere else ())


def _sockets(host: Host) -> tuple[Listener, ...] | None:
    for argv in (("ss", "-Hltnp"), ("netstat", "-tlnp")):
        answer = host.run(argv, timeout=5.0)
        if answer.ok:
            return tuple(sockets.parse_ss(answer.stdout))
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        try:
            found += sockets.parse_proc(host.read(f"/proc/net/{name}", max_bytes=4 << 20))
        except FileNotFoundError:
            if name == "tcp":
                return None  # without IPv6, there is no tcp6
        except OSError:
            return None
    return tuple(found)


def _packaged(host: Host) -> Options:
    """The options that the distribution's service file would give to sshd."""
    for path, name in _OPTION_FILES:
        try:
            text = host.read(path)
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.strip().partition("=")
            if equals and key == name:
                return parse_options(value.strip("\"'").split())
    return Options()
