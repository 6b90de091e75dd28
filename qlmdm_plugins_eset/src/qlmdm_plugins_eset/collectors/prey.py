"""Finds out whether Prey, which tracks stolen machines, is installed, runs and is registered.

Its keys are never reported, only whether there are any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from qlmdm_core import JSON, Host, Process
from qlmdm_plugins_eset.collectors._service import Finding, ask_unit, is_there, state_of

FOLDERS = (
    "/usr/lib/prey/current",
    "/usr/local/lib/prey/current",
    "/opt/prey/current",
    "/usr/lib/prey",
    "/usr/local/lib/prey",
    "/usr/lib/node_modules/prey",
    "/usr/local/lib/node_modules/prey",
)
"""Where packages, its own updates (`current -> versions/X.Y.Z`) and npm put it."""

CONFIG = "/etc/prey/prey.conf"
DATABASE = "/etc/prey/commands.db"
"""Newer clients keep their settings here, and take the file for a beginning only."""

_VERSION = re.compile(r"\d{1,6}(?:\.\d{1,6}){1,3}(?:[-+.][0-9A-Za-z.-]{1,30})?")


def collect(host: Host) -> JSON:
    """`state` running, stopped, absent or unknown; `version`, and whether it is `registered`."""
    unit = ask_unit(host, "prey-agent")
    installed = is_there(host, [f"{folder}/bin/prey" for folder in FOLDERS])
    finding = state_of(host, installed, unit, is_agent)
    if finding.state == "stopped" and installed and unit.exists is False:
        # What the uninstaller leaves: its files, but no unit.
        finding = Finding("absent", "its files are there, but no unit that would start it")
    if finding.state == "absent" and unit.exists is None and host.exists(CONFIG):
        # What removes it would leave the settings, and whoever installs it writes them first.
        finding = Finding("unknown", "its settings are there, but none of its programs is in sight")
    there = finding.state != "absent"
    value: dict[str, JSON] = {
        "state": finding.state,
        "version": _version(host) if there else None,
        "up_to_date": None,
        "registered": _registered(host) if there else None,
        "evidence": {"state": finding.why, "unit": unit.name},
    }
    if finding.state == "unknown":
        value["reason"] = finding.why
    return value


def is_agent(process: Process) -> bool:
    """Whether a process is Prey's agent: node with its script, or the name it gives itself."""
    words = process.argv or ()
    if any(word.endswith("/lib/agent/cli.js") and "prey" in word for word in words[:6]):
        return True
    title = words[0] if words else ""
    return process.user == "prey" and (process.comm in ("prx", "prey") or title in ("prx", "prey"))


def _version(host: Host) -> str | None:
    for folder in FOLDERS:
        try:
            document = json.loads(host.read(f"{folder}/package.json"))
        except (OSError, ValueError, RecursionError):
            continue
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, str) and _VERSION.fullmatch(version):
            return version
    for folder in FOLDERS[:3]:
        try:
            version = host.readlink(folder).rstrip("/").rsplit("/", 1)[-1]
        except OSError:
            continue
        if _VERSION.fullmatch(version):
            return version
    return None


def _registered(host: Host) -> bool | None:
    """Whether the machine is linked to an account; None if that can't be seen."""
    try:
        keys = parse_keys(host.read(CONFIG))
    except OSError:
        return None
    if keys:
        return True
    return None if host.exists(DATABASE) else False


def parse_keys(text: str) -> bool:
    """Whether prey.conf holds a device's key. Never raises.

    The keys may stand before the first section, and again in `[control-panel]`.
    """
    return any(value for name, value in _entries(text) if name == "device_key")


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            yield name.strip(), value.strip().strip("\"'")
