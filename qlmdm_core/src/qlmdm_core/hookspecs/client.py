"""Hooks of the entry-point group `qlmdm_client`: what runs on laptops and desktops, as root.

A distribution's implementations are imported in a worker process of its own, never in the
agent itself; whatever goes wrong there is reported to the server as that distribution's
failure, and costs nobody else's result. All hooks are of 1.0.
"""

# The bodies are empty on purpose: a specification is its signature and its docstring.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Sequence

from qlmdm_core.api import (
    JSON,
    Collector,
    DistroAdapter,
    Host,
    Objection,
    Settings,
    SettingsSection,
    SubCommand,
)
from qlmdm_core.hookspecs import hookspec


@hookspec
def qlmdm_register_settings() -> Sequence[SettingsSection]:
    """The plugin's own sections of `client/settings.yml`.

    Fires first, whenever the distribution is loaded, in the worker (a client cycle) or in the
    command itself (`qlmdm-plugins`). Each section is a dataclass; core parses and validates
    `plugins: {NAME: …}` by its fields and types, and a mistake there is an error with file,
    line and key. Returning nothing means that there is nothing to set.

    Example::

        @dataclass(frozen=True, kw_only=True)
        class Badge:
            reader: str = "/dev/badge0"

        @hookimpl
        def qlmdm_register_settings():
            return [SettingsSection(name="acme_badge", schema=Badge)]
    """


@hookspec
def qlmdm_register_collectors(settings: Settings) -> Sequence[Collector]:
    """The kinds of fact that this plugin can collect.

    Fires in the worker, as root, at every cycle in which something is due; it must be quick
    and must not look at the machine: that is for `Collector.run`, which gets the `host`. Two
    distributions that claim one name are an error that names both, and neither is run. If
    it raises, all collectors of the distribution are reported as failed.

    Example::

        @hookimpl
        def qlmdm_register_collectors(settings):
            reader = settings.section("acme_badge").reader
            return [Collector(name="acme_badge", run=functools.partial(collect, reader=reader))]
    """


@hookspec
def qlmdm_register_distros(settings: Settings) -> Sequence[DistroAdapter]:
    """Adapters to families of Linux distributions.

    Fires in the worker, as root, when a collector first asks for `host.distro`. The adapter
    whose `match` is highest, and above 0, is used; a tie is an error that names both. With
    no adapter, what needs one is unknown.

    Example::

        @hookimpl
        def qlmdm_register_distros(settings):
            return [VoidLinux(settings.section("void"))]
    """


@hookspec
def qlmdm_release_installed(update: JSON, host: Host) -> None:
    """A new client release is in place, and will be committed if nothing objects.

    Fires in a worker, as root, after the files are in place and before the release is
    committed; power may fail in between, so it must be idempotent. `update` is
    `{"from": "EPOCH.NUMBER" or null, "to": "EPOCH.NUMBER"}`. If it raises, the release is
    not committed.

    Example::

        @hookimpl
        def qlmdm_release_installed(update, host):
            host.run(["systemctl", "daemon-reload"])
    """


@hookspec
def qlmdm_release_objections(release: JSON, stage: str) -> Sequence[Objection]:
    """Reasons against a release: a plugin can veto one, never approve one.

    Fires in a worker, as root, at the stage "install", after the release was verified and
    before anything of it runs. If it raises, that counts as an objection.

    Example::

        @hookimpl
        def qlmdm_release_objections(release, stage):
            if pathlib.Path("/etc/acme/freeze").exists():
                return [Objection(reason="change freeze: /etc/acme/freeze")]
            return []
    """


@hookspec
def qlmdm_register_commands() -> Sequence[SubCommand]:
    """Subcommands for the person at the machine: `qlmdm-plugins run NAME …`.

    Fires when a command line asks for them, with the rights of the caller. The target is
    imported on use only.

    Example::

        @hookimpl
        def qlmdm_register_commands():
            return [SubCommand(name="acme-badge", target="qlmdm_acme.badge:main")]
    """
