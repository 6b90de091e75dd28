"""Finds out whether one can log in by ssh from the network, and whether a password is enough.

Only OpenSSH's sshd is judged. Other servers of the protocol make the answer unknown; other
ways in (xrdp, Cockpit, Tailscale's own ssh) are not looked at.
"""

from __future__ import annotations

from qlmdm_core import JSON, Host
from qlmdm_plugins_builtin.collectors.sshd import effective, reach
from qlmdm_plugins_builtin.collectors.sshd.effective import Effective
from qlmdm_plugins_builtin.collectors.sshd.reach import Reach


def collect(host: Host) -> JSON:
    """`state` running, not_running or unknown; `password_login` and `root_password_login`.

    The latter are None where they could not be found out, and while sshd is not running.
    """
    found = reach.find(host)
    if found.state == "not_running":
        return _value(found, Effective(None, None, None))
    ports = [listener.port for listener in found.listeners if listener.port]
    services = [unit.name for unit in found.units if unit.up and unit.name.endswith(".service")]
    unit = services[0] if services else None
    return _value(found, effective.find(host, found.options, found.pid, unit, ports))


def _value(found: Reach, settings: Effective) -> JSON:
    ports = {listener.port for listener in found.listeners if listener.port}
    if not ports and found.state == "running":
        ports = set(settings.ports)
    value: dict[str, JSON] = {
        "state": found.state,
        "password_login": settings.password_login,
        "root_password_login": settings.root_password_login,
        "ports": sorted(ports),
        "listen": sorted({listener.where for listener in found.listeners if listener.port}),
        "evidence": {
            "running": found.why,
            "source": settings.source,
            "settings": dict(settings.settings),
            "units": {
                unit.name: {"active": unit.active, "enabled": unit.enabled}
                for unit in found.units
                if unit.exists or unit.up
            },
        },
    }
    if found.other_servers:
        value["other_servers"] = list(found.other_servers)
    if found.state == "unknown":
        value["reason"] = found.why
    elif found.state == "running" and None in (
        settings.password_login,
        settings.root_password_login,
    ):
        value["reason"] = settings.why or "the settings do not say whether passwords are allowed"
    elif settings.why:
        value["note"] = settings.why
    return value
