"""What is made of one collector's result: its hash, flat facts, entry, line of history."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store.codec import dumps, iso, loads
from qlmdm_core.store.diff import differing_paths
from qlmdm_core.store.records import Change, CollectorResult, Submission

_FACTS_EACH = 32
_FACT_LENGTH = 200
_FACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")


def result_sha256(result: CollectorResult) -> str:
    """The hash that tells a collector's result from another: the value's, or the failure's."""
    if result.status == "ok":
        return value_sha256(result.value)
    return value_sha256({"status": result.status, "error": result.error})


def value_sha256(value: JSON) -> str:
    """SHA-256, in hex, of the canonical JSON: keys sorted, no spaces, UTF-8."""
    return hashlib.sha256(dumps(value, sort_keys=True)).hexdigest()


def flat_facts(collectors: Mapping[str, CollectorResult]) -> dict[str, JSON]:
    """The facts that lists show and filter by: `{"os_info.id": "arch", …}`.

    Those fields of each value that are text, numbers, true, false or null. Private values
    and failures give none. At most 32 of each collector, text cut at 200 characters, a NUL
    replaced; a field with a name that is not a plain word is left out.
    """
    facts: dict[str, JSON] = {}
    for name, result in collectors.items():
        if result.private or result.status != "ok" or not isinstance(result.value, dict):
            continue
        if not _FACT_NAME.match(name):
            continue
        count = 0
        for field, value in result.value.items():
            if count == _FACTS_EACH:
                break
            if _FACT_NAME.match(field) and _is_scalar(value):
                facts[f"{name}.{field}"] = _fact(value)
                count += 1
    return facts


def entry(result: CollectorResult, sha256: str, received_at: datetime) -> dict[str, JSON]:
    """What is kept of a result that is new."""
    made: dict[str, JSON] = {"status": result.status}
    if result.status == "ok":
        made["value"] = result.value
    if result.error is not None:
        made["error"] = result.error
    if result.private:
        made["private"] = True
    made["value_sha256"] = sha256
    made["collected_at"] = result.collected_at
    made["changed_at"] = iso(received_at)
    made["seconds"] = result.seconds
    return made


def change(
    submission: Submission,
    name: str,
    old: Mapping[str, JSON] | None,
    new: Mapping[str, JSON],
    received_at: datetime,
) -> Change:
    """The line of history of one entry that became another."""
    private = bool(new.get("private") or (old and old.get("private")))
    old_value, new_value = old.get("value") if old else None, new.get("value")
    paths: tuple[str, ...] = ()
    if not private and (old_value, new_value) != (None, None):
        # Their hashes differ; if nothing is found it was a number too large for a database.
        paths = differing_paths(old_value, new_value) or ("",)
    return Change(
        change_id=f"{submission.cid}:{submission.seq}:{name}",
        cid=submission.cid,
        collector=name,
        changed_at=received_at,
        old_sha256=old.get("value_sha256") if old else None,
        new_sha256=new["value_sha256"],
        old_status=old.get("status") if old else None,
        new_status=new["status"],
        paths=paths,
        old=None if private else old_value,
        new=None if private else new_value,
    )


def load_entry(cid: str, name: str, stored: bytes) -> dict[str, JSON]:
    """The entry in `"name":{…}`. Raises `StoreCorruptError`."""
    try:
        made: dict[str, JSON] = loads(b"{%b}" % stored)[name]
    except (ValueError, KeyError) as error:
        raise StoreCorruptError(f"client {cid}: its report is damaged") from error
    return made


def new_facts(cid: str, changed: Mapping[str, CollectorResult], present: bytes) -> bytes | None:
    """The facts with those of the changed collectors anew; None if that makes no difference."""
    try:
        old: dict[str, JSON] = loads(present)
    except ValueError as error:
        raise StoreCorruptError(f"client {cid}: its facts are damaged") from error
    kept = {key: value for key, value in old.items() if key.split(".", 1)[0] not in changed}
    facts = dumps({**kept, **flat_facts(changed)})
    return None if facts == present else facts


def _is_scalar(value: JSON) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _fact(value: JSON) -> JSON:
    if isinstance(value, str):
        return value[:_FACT_LENGTH].replace("\0", "\ufffd")
    return value
