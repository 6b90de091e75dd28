"""Hooks of the entry-point group `qlmdm_server`: what runs in the server and in the audit.

Import and registration are guarded: a plugin that raises there is left out, recorded (see
`qlmdm-plugins`) and logged, and everything else works. All hooks are of 1.0.
"""

# The bodies are empty on purpose: a specification is its signature and its docstring.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlmdm_core.api import (
    JSON,
    AuditCheck,
    Notifier,
    Objection,
    Route,
    Settings,
    SettingsSection,
    StoreBackend,
    SubCommand,
)
from qlmdm_core.hookspecs import hookspec


@hookspec
def qlmdm_register_settings() -> Sequence[SettingsSection]:
    """The plugin's own sections of `server/settings.yml`, below `plugins:`.

    Fires first, whenever the server or a server command loads plugins. Returning nothing
    means that there is nothing to set.

    Example::

        @hookimpl
        def qlmdm_register_settings():
            return [SettingsSection(name="acme_badge", schema=BadgePolicy)]
    """


@hookspec
def qlmdm_register_audit_checks(settings: Settings) -> Sequence[AuditCheck]:
    """The rules that clients are judged by.

    Fires once per run of `qlmdm-audit` (cron, the server's own user). If it raises, the
    distribution's checks are left out and the audit says so; a `judge` that raises makes
    that check unknown for that client. Two distributions that claim one name are an error
    that names both.

    Example::

        @hookimpl
        def qlmdm_register_audit_checks(settings):
            return [AuditCheck(name="no-badge", needs=("acme_badge",), judge=judge_badge)]
    """


@hookspec
def qlmdm_register_notifiers(settings: Settings) -> Sequence[Notifier]:
    """Ways to tell people about issues, beside what `qlmdm-audit` prints.

    Fires once per run of `qlmdm-audit`; `send` is called in a process of its own, and only
    when there is something to say. If it raises or takes too long, its alerts stay due.

    Example::

        @hookimpl
        def qlmdm_register_notifiers(settings):
            return [Notifier(name="acme-pager", send=page)]
    """


@hookspec
def qlmdm_register_stores() -> Sequence[StoreBackend]:
    """Database engines, chosen by the scheme of the `store` setting.

    Fires when a store of a scheme is opened that core does not bring itself (`sqlite`,
    `mongodb`, `mongodb+srv`).

    Example::

        @hookimpl
        def qlmdm_register_stores():
            return [StoreBackend(scheme="memory", open=MemoryStore)]
    """


@hookspec
def qlmdm_register_routes(services: Mapping[str, JSON]) -> Sequence[Route]:
    """Addresses below `/qlmdm/v1/x/<distribution>/`.

    Fires once per server process, at its start. `services` has `store` and `settings`. If it
    raises, none of the distribution's routes exist and the server starts without them.

    Example::

        @hookimpl
        def qlmdm_register_routes(services):
            return [Route(path="badges", resource=Badges(services["store"]))]
    """


@hookspec
def qlmdm_release_files(plan: JSON) -> Mapping[str, bytes]:
    """Files that a plugin adds to a client release: relative path to content.

    Fires once per `qlmdm-client-release build`. `plan` has `server_id`, `distributions` (name to
    version) and `settings` (the text of the clients' settings). The files lie below `files/` in
    the release, which anybody may fetch. If it raises, no release is built.

    Example::

        @hookimpl
        def qlmdm_release_files(plan):
            return {"acme/badge-ca.pem": BADGE_CA}
    """


@hookspec
def qlmdm_release_objections(release: JSON, stage: str) -> Sequence[Objection]:
    """Reasons against a release: a plugin can veto one, never approve one.

    Fires on the server at the stage "build", before it is signed. `release` has `version`,
    `tar_sha256`, `size` (bytes, unpacked), `distributions`, `machines`, `settings`, `files` (paths)
    and `changes` since the last one. If it raises, that counts as an objection.

    Example::

        @hookimpl
        def qlmdm_release_objections(release, stage):
            return [Objection(reason="it is Friday")] if friday() else []
    """


@hookspec
def qlmdm_register_commands() -> Sequence[SubCommand]:
    """Subcommands for administrators: `qlmdm-plugins run NAME …`; imported on use only.

    Example::

        @hookimpl
        def qlmdm_register_commands():
            return [SubCommand(name="acme-badges", target="qlmdm_acme.admin:main")]
    """
