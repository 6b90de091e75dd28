"""The server's settings, `server/settings.yml`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from qlmdm_core.settings import setting
from qlmdm_core.units import Duration, Size, parse_duration, parse_size


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """The server's own TLS, for sites without a reverse proxy; both files or none."""

    certificate: str | None = setting(None, "PEM file: the certificate, then its chain.")
    key: str | None = setting(None, "PEM file: the private key.")

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("expected both certificate and key, or neither")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one client, or one stranger, may cost."""

    body: Size = setting(parse_size("8 MB"), "The largest request.", minimum=10_000)
    enrolments_per_minute: int = setting(
        120, "Enrolment requests that one server process looks at in a minute.", minimum=1
    )
    requests_per_minute: int = setting(
        600, "Requests of one client that one server process looks at in a minute.", minimum=10
    )
    requests_at_once: int = setting(
        4, "Requests of one client that one server process works on at once.", minimum=1
    )
    clock_skew: Duration = setting(
        parse_duration("5m"), "How far a client's clock may be off.", minimum=1, maximum=86400
    )


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What a site changes about one audit check."""

    enabled: bool = setting(True, "False: the check is not run.")
    grace_period: Duration | None = setting(
        None, "How long this failure may last before anybody is told."
    )
    alert_frequency: Duration | None = setting(
        None, "How long until this issue, still open, is told again."
    )
    tags: tuple[str, ...] = setting((), "Judge only clients that have one of these tags.")


@dataclass(frozen=True, kw_only=True)
class SiteCheck:
    """A check of the site's own, without Python: a query over the report."""

    query: Any = setting(help="A MongoDB-style query; a client fails that matches it.")
    message: str = setting(help="What to say about such a client, and what to do.")
    needs: tuple[str, ...] = setting((), "Collectors that the query reads.")
    grace_period: Duration = setting(parse_duration("0"), "As in checks.")
    alert_frequency: Duration = setting(parse_duration("1h"), "As in checks.")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """How clients are judged, and how often people hear of it."""

    grace_period: Duration | None = setting(
        None, "How long any failure may last before anybody is told; else each check's own."
    )
    alert_frequency: Duration | None = setting(
        None, "How long until any open issue is told again; else each check's own."
    )
    unknown_grace_period: Duration = setting(
        parse_duration("7 days"), "How long a check may be unknown before anybody is told."
    )
    value_max_age: Duration = setting(
        parse_duration("3 days"),
        "How old a collected value may get before its checks are unknown.",
        minimum=86400,
    )
    checks: dict[str, CheckSettings] = field(
        default_factory=dict, metadata={"help": "Changes to checks, by name."}
    )
    site_checks: dict[str, SiteCheck] = field(
        default_factory=dict, metadata={"help": "Checks of the site's own, by name."}
    )


@dataclass(frozen=True, kw_only=True)
class EnrolmentSettings:
    """How machines become clients."""

    approval: bool = setting(
        False, "True: each new machine waits until an administrator approves it."
    )


@dataclass(frozen=True, kw_only=True)
class LegacySettings:
    """Reports of the original's clients, which all share one key; both keys or none."""

    public_key: str | None = setting(None, "File with the public key that those clients share.")
    until: str | None = setting(None, "The last day on which they are taken, as in 2027-03-31.")

    def __post_init__(self) -> None:
        if (self.public_key is None) != (self.until is None):
            raise ValueError("expected both public_key and until, or neither")
        if self.until is not None:
            date.fromisoformat(self.until)


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """What `qlmdm-client-release build` puts into a release."""

    settings: str | None = setting(
        None, "The client settings to ship; else client/settings.yml beside this file."
    )
    commands: str | None = setting(
        None, "Folder with scripts that run once on each client; else client/commands there."
    )
    distributions: tuple[str, ...] = setting(
        (),
        "Plugin distributions to ship; else all that are installed here and have client plugins.",
    )
    wheels: str | None = setting(
        None, "Folder of wheels to take packages from; else the package index that pip knows."
    )
    expires_after: Duration = setting(
        parse_duration("180 days"), "How long a release may be installed.", minimum=3600
    )
    mirrors: tuple[str, ...] = setting(
        (), "URLs below which clients find releases by hash; else this server."
    )


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """Defaults of one-time commands."""

    expires_after: Duration = setting(
        parse_duration("7 days"), "How long a command waits.", minimum=60, maximum=86400 * 30
    )
    timeout: Duration = setting(
        parse_duration("1h"), "How long a script may run.", minimum=1, maximum=86400
    )


@dataclass(frozen=True, kw_only=True)
class WipeSettings:
    """What stands between a wipe and a mistake."""

    cancel_window: Duration = setting(
        parse_duration("15m"), "How long a wipe is held back, and can be cancelled.", maximum=86400
    )
    operators: int = setting(
        1,
        "How many different operators must sign a wipe. Clients go by the root document, which "
        "may ask for more (qlmdm-keys policy).",
        minimum=1,
        maximum=8,
    )
    never: tuple[str, ...] = setting(
        (), "Hostnames, client ids, or tag:NAME, that can't be wiped from this server."
    )
    expires_after: Duration = setting(
        parse_duration("30 days"), "How long a wipe waits.", minimum=3600, maximum=86400 * 30
    )


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything the server, the audit and the administrator's commands read."""

    url: str = setting(help="The address that clients use, as in https://qlmdm.example.com.")
    listen: str = setting("127.0.0.1:8421", "Address and port, or unix:/path, to listen on.")
    store: str = setting(
        "sqlite:///var/lib/qlmdm/server/qlmdm.sqlite",
        "The database: sqlite:///PATH or mongodb://HOST/NAME. With a password in it, only the "
        "owner may read this file (chmod 600).",
    )
    keys: str = setting(
        "/var/lib/qlmdm/server/keys", "The directory with the keyrings of the roles."
    )
    online_key: str | None = setting(
        None, "The online private key, for the server process; else online.key in `keys`."
    )
    deprecated_urls: tuple[str, ...] = setting(
        (), "Old addresses of this server that clients should no longer use."
    )
    tls: TlsSettings = field(default_factory=TlsSettings)
    trusted_proxies: tuple[str, ...] = setting(
        (), "Addresses of reverse proxies whose X-Forwarded-For is believed."
    )
    workers: int = setting(2, "Server processes.", minimum=1, maximum=64)
    threads: int = setting(8, "Threads in each process.", minimum=1, maximum=64)
    logs: Literal["plain", "json"] = setting("plain", "How the server logs.")
    limits: LimitSettings = field(default_factory=LimitSettings)
    root_expires_after: Duration = setting(
        parse_duration("365 days"), "How long a root document is valid.", minimum=86400
    )
    changes_kept: Duration = setting(
        parse_duration("400 days"), "How long the history of values is kept."
    )
    audit: AuditSettings = field(default_factory=AuditSettings)
    blobs: str | None = setting(
        None, "Folder from which releases are served; else `blobs` beside `keys`. Can be rebuilt."
    )
    enrolment: EnrolmentSettings = field(default_factory=EnrolmentSettings)
    legacy: LegacySettings = field(default_factory=LegacySettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    wipe: WipeSettings = field(default_factory=WipeSettings)
    plugins_off: tuple[str, ...] = setting(
        (), "Plugin distributions that are not loaded, or DISTRIBUTION:ENTRY-POINT."
    )

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url: expected a URL that starts with https:// or http://")


def shipped_settings(settings: ServerSettings, settings_file: str) -> str:
    """The file with the clients' settings that a release ships."""
    return settings.release.settings or _beside(settings_file, "settings.yml")


def shipped_commands(settings: ServerSettings, settings_file: str) -> str:
    """The folder with the scripts that a release ships."""
    return settings.release.commands or _beside(settings_file, "commands")


def _beside(settings_file: str, name: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(settings_file)), "client", name)
