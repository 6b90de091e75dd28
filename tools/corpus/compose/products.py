"""Products that guard machines: ESET's antivirus and management agent, Prey.

Formats: ESET's online help (`upd`, `lic`), systemctl(1), and Prey's own prey.conf.default.
"""

from __future__ import annotations

import json

from machine import Machine, ago

ENDPOINT, SERVER = "eea", "efs"


def unit(machine: Machine, name: str, *, up: bool) -> None:
    """What systemd says of a product's service."""
    active, sub = ("active", "running") if up else ("inactive", "dead")
    argv = ("systemctl", "show", "-p", "LoadState,ActiveState,SubState", f"{name}.service")
    machine.command(argv, f"LoadState=loaded\nActiveState={active}\nSubState={sub}\n")


def eset(
    machine: Machine,
    *,
    product: str = ENDPOINT,
    version: str = "12.1.9.0",
    engine: str = "34102 (20261123)",
    up: bool = True,
    licence: str = "Activated",
) -> None:
    """ESET's antivirus since version 7; `engine` is the detection engine's version and day."""
    folder = f"/opt/eset/{product}"
    for program in ("bin/upd", "sbin/startd", "lib/scand", "lib/oaeventd", "sbin/lic"):
        machine.program(f"{folder}/{program}")
    unit(machine, product, up=up)
    for program in ("sbin/startd", "lib/scand", "lib/oaeventd") if up else ():
        machine.daemon(f"{folder}/{program}")
    upd, lic = f"{folder}/bin/upd", f"{folder}/sbin/lic"
    machine.command((upd, "--version"), f"{upd} ({product}) {version}\n")
    if not machine.root:
        for option in ("--list-modules", "-l"):
            machine.refused(upd, option, stderr="Permission denied")
        machine.refused(lic, "--status", stderr="Permission denied")
        return
    modules = f"EM000\t1111 (20240214)\tUpdate module\nEM002\t{engine}\tDetection engine\n"
    machine.command((upd, "--list-modules"), modules)
    said = f"Product name: ESET\nStatus: {licence}\nLicense Validity: 2027-05-31\n"
    machine.command((lic, "--status"), said)


def eset_4(machine: Machine, *, updated_days_ago: float) -> None:
    """ESET File Security 4, which touches a file at each update."""
    daemon = "/opt/eset/esets/sbin/esets_daemon"
    machine.program(daemon)
    machine.daemon(daemon)
    unit(machine, "esets", up=True)
    machine.command((daemon, "--version"), f"{daemon} (esets) 4.5.16.0\n")
    data = "/var/opt/eset/esets/lib/data/data.txt"
    machine.stat(data, mode=0o100644, mtime=ago(days=updated_days_ago))


def management_agent(machine: Machine, *, up: bool = True, contact_days_ago: float = 0) -> None:
    """ESET Management Agent."""
    path = "/opt/eset/RemoteAdministrator/Agent/ERAAgent"
    machine.program(path)
    unit(machine, "eraagent", up=up)
    if up:
        machine.daemon(path, "--daemon", "--pidfile", "/run/eraagent.pid")
    if machine.root:
        status = "/var/log/eset/RemoteAdministrator/Agent/status.html"
        machine.stat(status, mode=0o100640, mtime=ago(days=contact_days_ago))


def prey(machine: Machine, *, up: bool = True, registered: bool = True) -> None:
    """Prey, installed by its package."""
    folder = "/usr/lib/prey/versions/1.13.20"
    machine.file(f"{folder}/bin/prey", "#!/bin/sh\n")
    machine.file(
        f"{folder}/package.json", json.dumps({"name": "prey", "version": "1.13.20"}) + "\n"
    )
    machine.link("/usr/lib/prey/current", "versions/1.13.20")
    key = "inventeddevicekey" if registered else ""
    settings = f"auto_connect = false\ndevice_key = {key}\n\n[control-panel]\ndevice_key = {key}\n"
    machine.file("/etc/prey/prey.conf", settings, mode=0o600)
    unit(machine, "prey-agent", up=up)
    if up:
        script = "/usr/lib/prey/current/lib/agent/cli.js"
        machine.daemon("/usr/lib/prey/current/bin/node", script, uid=998, user="prey")
