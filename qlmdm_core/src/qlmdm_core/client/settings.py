"""The client's settings, `client/settings.yml`: few, since the server holds all policy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qlmdm_core.settings import setting
from qlmdm_core.units import Duration, Size, parse_duration, parse_size

_COLLECTOR = r"[a-z][a-z0-9_-]{0,62}"
_PART = re.compile(_COLLECTOR + r"(?:\.(?:\*|[A-Za-z0-9_-]+))+\Z")
_PART_OR_ALL = re.compile(_COLLECTOR + r"(?:\.(?:\*|[A-Za-z0-9_-]+))*\Z")


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What an agent must know to collect and to reach its server."""

    server_url: str = setting(
        help="Where the server is, as in https://qlmdm.example.com; the API's path is added."
    )
    ca_file: str | None = setting(
        None, "PEM file with the certificate authority to trust, instead of the system's."
    )
    poll_interval: Duration = setting(
        parse_duration("1m"), "How often the server is asked for news.", minimum=10, maximum=86400
    )
    collect_interval: Duration = setting(
        parse_duration("5m"),
        "How often facts are collected and sent.",
        minimum=10,
        maximum=86400 * 7,
    )
    network_timeout: Duration = setting(
        parse_duration("30s"),
        "How long to wait for the server, at each step.",
        minimum=1,
        maximum=600,
    )
    backoff_max: Duration = setting(
        parse_duration("1h"), "The longest pause between tries while the server is away.", minimum=1
    )
    spool_max_bytes: Size = setting(
        parse_size("50 MB"),
        "How much may wait for the server; beyond, the oldest goes.",
        minimum=100_000,
    )
    spool_max_age: Duration = setting(
        parse_duration("30 days"), "How old a record may get while it waits.", minimum=60
    )
    private: tuple[str, ...] = setting(
        (),
        "What is private besides what collectors say, as COLLECTOR or COLLECTOR.path, for example "
        "dmidecode.serial: if there are secret-keepers, only they can read it.",
    )
    not_private: tuple[str, ...] = setting(
        (),
        "Parts that collectors say are private, and that the server may read here all the same, "
        "as COLLECTOR.path: see docs/privacy.md. What is private as a whole stays so.",
    )
    collectors_off: tuple[str, ...] = setting((), "Collectors that are not run.")
    plugins_off: tuple[str, ...] = setting(
        (), "Plugin distributions that are not loaded, or DISTRIBUTION:ENTRY-POINT."
    )

    def __post_init__(self) -> None:
        if not self.server_url.startswith(("https://", "http://")):
            raise ValueError("server_url: expected a URL that starts with https:// or http://")
        for name, pattern in (("private", _PART_OR_ALL), ("not_private", _PART)):
            for word in getattr(self, name):
                if not pattern.match(word):
                    raise ValueError(f"{name}: {word!r} is not COLLECTOR.path, as in sshd.ports")


@dataclass(frozen=True, kw_only=True)
class StandaloneSettings(ClientSettings):
    """For `qlmdm-collect --stdout` on a machine that is not set up: no server."""

    server_url: str = setting("https://not-set-up.invalid", "Not used.")
