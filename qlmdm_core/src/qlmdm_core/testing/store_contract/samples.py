"""Invitations, clients, records and issues to test with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandPart, CommandRecord, Draft, ReleaseRecord
from qlmdm_core.store.records import (
    CollectorResult,
    Enrolled,
    Enrolment,
    Invitation,
    Issue,
    Rekeying,
    Submission,
    VerdictRecord,
)
from qlmdm_core.store.results import value_sha256

NOW = datetime(2025, 3, 4, 5, 6, 7, 890_123, tzinfo=timezone.utc)
"""Finer than a millisecond, on purpose."""

KEPT = NOW.replace(microsecond=890_000)
"""What an engine gives back for `NOW`."""

HOSTILE = (
    "$set",
    "$where",
    "a.b",
    ".",
    "",
    "nul\0inside",
    "\0",
    "__proto__",
    "'; DROP TABLE clients; --",
    "日本語",
    "\u202e\U0001f4a9",
    "x" * 10_000,
)
"""Names that a plugin, a host or an administrator may come up with."""


def invitation(invitation_id: str = "inv", *, uses: int = 1_000_000) -> Invitation:
    """An invitation for the next hour."""
    return Invitation(
        invitation_id=invitation_id,
        secret="00ff",  # noqa: S106 - of nothing
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        uses=uses,
        created_by="ada",
    )


def enrolment(cid: str, *, invitation_id: str = "inv", hostname: str = "") -> Enrolment:
    """A machine with a key of its own that asks to be enrolled."""
    return Enrolment(
        invitation_id=invitation_id,
        cid=cid,
        fingerprint=f"FPR{cid}",
        public_key=f"KEY {cid}",
        hostname=hostname or f"host-{cid}",
        mid=f"mid-{cid}",
        enrolled_at=NOW,
    )


def enrolled(store: Store, cid: str = "c1", **changes: str) -> str:
    """Enrol a client, by an invitation that is made if need be."""
    wanted = replace(enrolment(cid), **changes)  # type: ignore[arg-type]
    if store.invitation(wanted.invitation_id) is None:
        store.add_invitation(invitation(wanted.invitation_id))
    outcome = store.enrol(wanted)
    if not isinstance(outcome, Enrolled):
        raise TypeError(f"could not enrol {cid}: {outcome}")
    return outcome.cid


def result(value: JSON, *, at: datetime = NOW, private: bool = False) -> CollectorResult:
    """What a collector said that went well."""
    return CollectorResult(
        status="ok",
        value=value,
        value_sha256=value_sha256(value),
        collected_at=at.isoformat(),
        seconds=0.25,
        private=private,
    )


def failure(error: str, *, status: str = "error", at: datetime = NOW) -> CollectorResult:
    """What a collector said that went wrong."""
    return CollectorResult(
        status=status,
        error=error,
        value_sha256=value_sha256([status, error]),
        collected_at=at.isoformat(),
    )


def submission(
    cid: str,
    seq: int,
    collectors: Mapping[str, CollectorResult] | None = None,
    *,
    rid: str | None = None,
    at: datetime = NOW,
    flags: Mapping[str, JSON] | None = None,
    hostname: str | None = None,
) -> Submission:
    """A record of a client that `enrolment` made."""
    if collectors is None:
        collectors = {"os_info": result({"state": "available", "id": "arch"}, at=at)}
    return Submission(
        cid=cid,
        fingerprint=f"FPR{cid}",
        seq=seq,
        rid=rid or f"{cid}-{seq}",
        received_at=at,
        hostname=hostname or f"host-{cid}",
        mid=f"mid-{cid}",
        boot="boot-1",
        collectors=collectors,
        flags=flags or {},
    )


def verdict(cid: str, check: str = "firewall-disabled", **changes: JSON) -> VerdictRecord:
    """A verdict that is not "pass"."""
    record = VerdictRecord(
        cid=cid, check=check, state="fail", since_at=NOW, message="It is off.", evidence={"n": 1}
    )
    return replace(record, **changes)


def issue(issue_id: str, cid: str, check: str = "firewall-disabled", **changes: JSON) -> Issue:
    """An open issue, due at once."""
    record = Issue(
        issue_id=issue_id,
        cid=cid,
        check=check,
        state="fail",
        message="It is off.",
        evidence={"ipv4": "off"},
        opened_at=NOW,
        alert_due_at=NOW,
    )
    return replace(record, **changes)


def rekeying(cid: str, new: str, *, old: str | None = None) -> Rekeying:
    """A client that replaces the key that `enrolment` gave it, or the key `old`."""
    return Rekeying(
        cid=cid,
        old_fingerprint=old or f"FPR{cid}",
        new_fingerprint=new,
        public_key=f"KEY {new}",
        at=NOW,
    )


def release(number: int, *, epoch: int = 1) -> ReleaseRecord:
    """A release, as it is first put."""
    return ReleaseRecord(
        epoch=epoch,
        number=number,
        manifest_sha256="a" * 64,
        tar_sha256="b" * 64,
        tar_size=3 << 20,
        created_at=KEPT,
        created_by="ada",
        note="the new plugin",
        rollout={"tags": ["lab"]},
        about={"$files": 600, "a.b": None},
    )


def command(name: str = "1", *, hosts: int = 1, kind: str = "script") -> CommandRecord:
    """A command of the last minute, for the next hour; its id is `command_id(name)`."""
    return CommandRecord(
        command_id=command_id(name),
        kind=kind,
        summary="uname -a",
        created_at=KEPT,
        created_by="ada",
        not_before=KEPT,
        expires_at=KEPT + timedelta(hours=1),
        hosts=hosts,
        payload_sha256="c" * 64,
        about={"$path": "a.b"},
    )


def command_id(name: str) -> str:
    """32 digits, as the ids of commands have."""
    return name.rjust(32, "0")


def parts(hosts: Sequence[str], *, each: int = 1000) -> list[CommandPart]:
    """So many hosts in documents of so many each."""
    pieces = [hosts[start : start + each] for start in range(0, len(hosts), each)]
    return [
        CommandPart(part=number, document=f'{{"part": {number}}}'.encode(), hosts=tuple(piece))
        for number, piece in enumerate(pieces)
    ]


def queued(store: Store, *hosts: str, name: str = "1", **changes: Any) -> str:
    """Queue a command for these hosts; its id."""
    wanted = replace(command(name, hosts=len(hosts)), **changes)
    if not store.put_command(wanted, parts(hosts)):
        raise TypeError(f"could not queue {name}")
    return wanted.command_id


def large_bytes() -> bytes:
    """A few megabytes, always the same."""
    return b"".join(number.to_bytes(8, "big") for number in range(500_000))


def sha256_of(data: bytes) -> str:
    """The name that bytes are kept by."""
    return hashlib.sha256(data).hexdigest()


def draft(name: str = "release-1.7") -> Draft:
    """A text that waits for two signatures and has one."""
    return Draft(
        name=name,
        kind="release",
        role="release",
        texts=('{"number": 7}', "\u65e5\n"),
        sigs=(("-----BEGIN ONE-----",), ()),
        created_at=KEPT,
        created_by="ada",
        attach={"$set": [1, {"a.b": None}]},
    )


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it comes true soon: what need not be durable at once need not be seen at once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
