"""What a person should type so that a password is not enough for ssh: by distribution."""

from __future__ import annotations

from collections.abc import Mapping

from qlmdm_core.api import JSON, ClientView

_OPENRC = frozenset({"alpine", "artix", "gentoo", "postmarketos"})
_SYSV = frozenset({"devuan", "mx"})
_OPENSUSE = frozenset({"opensuse", "opensuse-leap", "opensuse-tumbleweed", "sled", "sles", "suse"})
_NIXOS = {
    "root": 'services.openssh.settings.PermitRootLogin to "prohibit-password"',
    "people": "services.openssh.settings.PasswordAuthentication and KbdInteractiveAuthentication "
    "to false",
}
_DEBIAN = frozenset({"debian", "ubuntu"})


def mend_ssh(who: str, *, in_block: bool, client: ClientView) -> str:
    """The settings to change and the command that makes them hold, in a sentence.

    `who` is root or people. A Match block is stronger than what stands above it, so there the
    block itself must be changed.
    """
    lines = (
        "PermitRootLogin prohibit-password"
        if who == "root"
        else "PasswordAuthentication no and KbdInteractiveAuthentication no"
    )
    if "nixos" in _distribution(client):
        # Its sshd_config is made from this, and can't be edited.
        where = "the Match block of services.openssh.extraConfig" if in_block else _NIXOS[who]
        return f"Change {where} in configuration.nix, then: sudo nixos-rebuild switch"
    reload = _reload(client)
    if in_block:
        return f"Put {lines} into that Match block, then{reload}"
    if _distribution(client) & _OPENSUSE:
        # There, /etc/ssh/sshd_config would replace the vendor's file of /usr/etc/ssh.
        return f"Put {lines} into /etc/ssh/sshd_config.d/00-passwords.conf, then{reload}"
    return f"Put {lines} at the top of /etc/ssh/sshd_config, then{reload}"


def _reload(client: ClientView) -> str:
    """The command after which sshd knows its settings, with what leads to it."""
    units = _units(client)
    names, known = _distribution(client), set(units)
    up = {name for name, unit in units.items() if _is_up(unit)}
    if up and not any(name.endswith(".service") for name in up):
        # The socket waits for somebody; sshd reads its settings when it is started.
        return " nothing more: sshd is started for each connection, or at the next one"
    if not known and names & _OPENRC:
        # Alpine Linux has doas, and no sudo unless one installs it.
        become = "doas" if names & {"alpine", "postmarketos"} else "sudo"
        return f": {become} rc-service sshd reload"
    if not known and "void" in names:
        return ": sudo sv hup sshd"
    if not known and "slackware" in names:
        return ": sudo /etc/rc.d/rc.sshd restart"
    debian = bool({"ssh.service", "ssh.socket"} & known) or (not known and names & _DEBIAN)
    if not known and names & _SYSV:
        return ": sudo service ssh reload"
    return f": sudo systemctl reload {'ssh' if debian else 'sshd'}"


def _is_up(unit: JSON) -> bool:
    return isinstance(unit, dict) and unit.get("active") in ("active", "reloading", "activating")


def _units(client: ClientView) -> Mapping[str, JSON]:
    evidence = _value(client, "sshd").get("evidence")
    units = evidence.get("units") if isinstance(evidence, dict) else None
    return units if isinstance(units, dict) else {}


def _distribution(client: ClientView) -> set[str]:
    """What the machine says that it is, and is like."""
    value = _value(client, "os_info")
    like = value.get("id_like")
    names = [value.get("id"), *(like if isinstance(like, list) else [like])]
    return {word for name in names if isinstance(name, str) for word in name.split()}


def _value(client: ClientView, name: str) -> Mapping[str, JSON]:
    value = client.report.get(name, {}).get("value")
    return value if isinstance(value, dict) else {}
