"""How values become bytes and numbers in a database: the same way in every engine.

Times are kept to the millisecond (MongoDB's dates have no more), so that what a store gives
back does not depend on the engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import overload

import orjson

from qlmdm_core.api import JSON
from qlmdm_core.store.records import Change

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)


def truncated(at: datetime) -> datetime:
    """The same moment in UTC, without what is below a millisecond."""
    return from_ms(to_ms(at))


@overload
def to_ms(at: datetime) -> int: ...
@overload
def to_ms(at: datetime | None) -> int | None: ...
def to_ms(at: datetime | None) -> int | None:
    """Milliseconds since 1970; `at` must be aware."""
    return None if at is None else (at - EPOCH) // MILLISECOND


@overload
def from_ms(ms: int) -> datetime: ...
@overload
def from_ms(ms: int | None) -> datetime | None: ...
def from_ms(ms: int | None) -> datetime | None:
    """The aware time in UTC of so many milliseconds since 1970."""
    return None if ms is None else EPOCH + ms * MILLISECOND


def iso(at: datetime) -> str:
    """ISO 8601, UTC, milliseconds: `2025-11-24T10:00:00.000+00:00` (all Pythons parse it)."""
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def dumps(value: JSON, *, sort_keys: bool = False) -> bytes:
    """Compact JSON in UTF-8."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except TypeError:  # an integer of more than 64 bits (orjson refuses them; JSON does not)
        text = json.dumps(
            _finite(value), sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False
        )
        return text.encode()


def _finite(value: JSON) -> JSON:
    """Infinities and NaN as null, as orjson writes them: nobody could read them again."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dump_text(value: JSON) -> str:
    """Compact JSON as text."""
    return dumps(value).decode()


def loads(data: bytes | str) -> JSON:
    """The value of JSON that this module wrote."""
    return orjson.loads(data)


def dump_change(change: Change) -> bytes:
    """What a line of history says beside whose it is and when."""
    return dumps(
        {
            "old_sha256": change.old_sha256,
            "new_sha256": change.new_sha256,
            "old_status": change.old_status,
            "new_status": change.new_status,
            "paths": change.paths,
            "old": change.old,
            "new": change.new,
        }
    )


def load_change(
    body: bytes, *, change_id: str, cid: str, collector: str, changed_at: datetime
) -> Change:
    """The line of history that `dump_change` wrote."""
    fields = loads(body)
    fields["paths"] = tuple(fields["paths"])
    return Change(
        change_id=change_id, cid=cid, collector=collector, changed_at=changed_at, **fields
    )


def dump_times(times: Mapping[str, datetime]) -> str:
    """Named times, as `Issue.notified`."""
    return dump_text({name: to_ms(at) for name, at in times.items()})


def load_times(text: str) -> dict[str, datetime]:
    """The inverse of `dump_times`."""
    return {name: from_ms(ms) for name, ms in loads(text).items()} if text != "{}" else {}
