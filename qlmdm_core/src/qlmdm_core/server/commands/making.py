"""Makes a command's texts: one for each part of its clients, ready to be signed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from qlmdm_core import commanddoc
from qlmdm_core.api import JSON
from qlmdm_core.commanddoc import Command

MAX_PAYLOAD_BYTES = 32 << 20
"""Clients would take more; but the server holds a payload in memory for each that fetches it."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command that an administrator asked for, for all of its clients."""

    command: Command
    """For the first part; its `hosts` are the first clients."""
    hosts: tuple[str, ...]
    """All of them, sorted."""
    summary: str
    about: dict[str, JSON]

    def texts(self) -> list[str]:
        """What is to be signed. Raises `TrustError` if clients would refuse it."""
        return [
            commanddoc.build(replace(self.command, part=number, hosts=hosts))
            for number, hosts in enumerate(parts(self.hosts), start=1)
        ]

    @property
    def name(self) -> str:
        """What a draft of it is called."""
        return f"command-{self.command.id}"

    def attach(self, created_by: str) -> dict[str, JSON]:
        """What `publish.finish` wants to know beside the texts."""
        return {"summary": self.summary, "about": self.about, "created_by": created_by}


def parts(hosts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The clients in parts that one document can name."""
    for start in range(0, len(hosts), commanddoc.MAX_HOSTS):
        yield tuple(hosts[start : start + commanddoc.MAX_HOSTS])


def make(
    *,
    server_id: str,
    kind: commanddoc.Kind,
    hosts: Sequence[str],
    now: datetime,
    lifetime_seconds: float,
    requested_by: str,
    summary: str,
    about: dict[str, JSON],
    **fields: Any,
) -> Order:
    """An order; `fields` are those of `commanddoc.Command` that its kind needs."""
    now = now.replace(microsecond=0)
    everyone = tuple(sorted(set(hosts)))
    command = Command(
        server_id=server_id,
        id=secrets.token_hex(16),
        part=1,
        kind=kind,
        hosts=everyone[: commanddoc.MAX_HOSTS],
        issued_at=now,
        expires_at=now + timedelta(seconds=int(lifetime_seconds)),
        not_before=fields.pop("not_before", now),
        requested_by=requested_by[:200],
        **fields,
    )
    return Order(command=command, hosts=everyone, summary=summary, about=about)
