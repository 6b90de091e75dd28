"""Asks the front ends of the packet filter, ufw and firewalld, what they do.

Their word is weaker than the kernel's rules, which can be changed behind their back; it is
what is left where those can't be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qlmdm_core import Host
from qlmdm_plugins_builtin.collectors.firewall import frontends, service
from qlmdm_plugins_builtin.collectors.firewall.interfaces import external
from qlmdm_plugins_builtin.collectors.firewall.service import FrontEnd, judge_zones
from qlmdm_plugins_builtin.collectors.firewall.walk import Finding


def ask_ufw(host: Host) -> FrontEnd | None:
    """What ufw says; None if it is not installed."""
    if host.which("ufw") is None:
        return None
    said = None
    for argv in (("ufw", "status", "verbose"), ("ufw", "status"), ("ufw", "status", "numbered")):
        answer = host.run(argv, timeout=5.0)
        if answer.found:
            said = frontends.parse_ufw(answer.stdout) if answer.ok else None
            break
    if said is None:
        # "active" for systemd means that its start script ran, not that there are rules.
        enabled = (_assignments(host, "/etc/ufw/ufw.conf") or {}).get("ENABLED", "")
        notes = [f"/etc/ufw/ufw.conf has ENABLED={enabled}"] if enabled else []
        return FrontEnd("ufw", notes=notes)
    if not said.active:
        off = Finding("off", "ufw is inactive")
        return FrontEnd("ufw", off, off)
    settings = _assignments(host, "/etc/default/ufw")
    incoming = said.incoming or (settings or {}).get("DEFAULT_INPUT_POLICY", "").lower()
    # The plain form leaves the default out; ufw's own is to deny (ufw(8)).
    opened = incoming in ("allow", "accept")
    why = f"ufw is active, and its default is to {incoming or 'deny'} what comes in"
    ipv4 = ipv6 = Finding("off" if opened else "on", why)
    outside = set(external(host, {rule.interface for rule in said.open_rules}))
    rules = [rule for rule in said.open_rules if not rule.interface or rule.interface in outside]
    if rule := next((rule for rule in rules if not rule.ipv6), None):
        ipv4 = Finding("off", f"ufw is active, and lets everybody in: {rule.text}")
    if not _handles_ipv6(settings, said):
        ipv6 = Finding("on", "/etc/default/ufw has no IPV6=yes: ufw drops all that comes over IPv6")
    elif rule := next((rule for rule in rules if rule.ipv6), None):
        ipv6 = Finding("off", f"ufw is active, and lets everybody in: {rule.text}")
    return FrontEnd("ufw", ipv4, ipv6, active=True)


def _handles_ipv6(settings: Mapping[str, str] | None, said: frontends.Ufw) -> bool:
    """Whether ufw applies its rules to IPv6: only if its settings say yes (`use_ipv6` in its
    backend). Else it sets the policy there to drop, and accepts the loopback device alone
    (ufw-init-functions, "IPv6 support disabled but available in the kernel").

    It does not run without that file, and is delivered with IPV6=yes: that is what counts
    where the file is no part of a recording.
    """
    return settings is None or said.has_ipv6_rules or settings.get("IPV6", "").lower() == "yes"


def _assignments(host: Host, path: str) -> dict[str, str] | None:
    try:
        return frontends.parse_assignments(host.read(path))
    except OSError:
        return None


def ask_firewalld(host: Host) -> FrontEnd | None:
    """What firewalld says; None if it is not installed."""
    if host.which("firewall-cmd") is None:
        return service.ask_firewalld(host)
    answer = host.run(["firewall-cmd", "--list-all-zones"], timeout=5.0)
    if not answer.found:
        answer = host.run(["firewall-cmd", "--state"], timeout=5.0)
    if "not running" in (answer.stdout + answer.stderr).lower() or answer.returncode == 252:
        off = Finding("off", "firewalld is not running")
        return FrontEnd("firewalld", off, off)
    zones = frontends.parse_zones(answer.stdout) if answer.ok else []
    if answer.ok and answer.stdout.strip() == "running":
        zones = _zones_one_by_one(host)
        if not zones:
            return service.by_its_files(host)
    elif not zones:
        # Refused by polkit, or D-Bus is down: systemd can still tell whether it runs.
        said = service.ask_firewalld(host)
        why = answer.why if not answer.ok else "firewall-cmd printed what is not understood"
        return said or FrontEnd("firewalld", notes=[why])
    finding, names = judge_zones(zones, external(host, _interfaces(zones)))
    return FrontEnd("firewalld", finding, finding, active=True, zone=", ".join(names) or None)


def _interfaces(zones: Sequence[frontends.Zone]) -> list[str]:
    return [name for zone in zones for name in zone.interfaces]


def _zones_one_by_one(host: Host) -> list[frontends.Zone]:
    """The active zones and the default one, by the questions that every version answers."""
    # Without a zone's name, it is the default one.
    listed = frontends.parse_zones(_said(host, "--list-all"))
    if len(listed) == 1:
        return [replace(listed[0], default=True)]
    active = frontends.parse_zones(_said(host, "--get-active-zones"))
    default = _said(host, "--get-default-zone").strip()
    if len(default.split()) != 1 or default == "running":  # a recording of --state alone
        default = ""
    names = dict.fromkeys([zone.name for zone in active] + ([default] if default else []))
    interfaces = {zone.name: zone.interfaces for zone in active}
    zones = [_zone(host, name) for name in names]
    return [
        replace(
            zone,
            default=zone.name == default,
            active=zone.name in interfaces,
            interfaces=interfaces.get(zone.name, ()),
        )
        for zone in zones
    ]


def _zone(host: Host, name: str) -> frontends.Zone:
    """One zone, by whichever question about it is answered."""
    for question in (
        (f"--zone={name}", "--list-all"),
        ("--list-all", f"--zone={name}"),
        ("--zone", name, "--list-all"),
        (f"--info-zone={name}",),
    ):
        listed = frontends.parse_zones(_said(host, *question))
        if len(listed) == 1 and listed[0].name == name and listed[0].target is not None:
            return listed[0]
    return frontends.Zone(name, target=_target(host, name))


def _target(host: Host, zone: str) -> str | None:
    for options in ((), ("--permanent",)):
        target = _said(host, *options, f"--zone={zone}", "--get-target").strip()
        if target in ("default", "ACCEPT", "DROP", "REJECT", "%%REJECT%%"):
            return target
    return None


def _said(host: Host, *options: str) -> str:
    answer = host.run(["firewall-cmd", *options], timeout=5.0)
    return answer.stdout if answer.ok else ""
