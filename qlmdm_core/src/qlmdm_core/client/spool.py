"""Records that wait for the server, on disk, so that neither a power cut nor a full disk lies.

A record is one file, named by when it was stored and by its id. It becomes pending in one
step (a rename after its content is on disk) and stops being so in one step:

    TIME-RID.json            pending
    TIME-RID.lost-REASON     given up (too old, too much, disk full), and not yet counted
    TIME-RID.bad-REASON      set aside (damaged, or refused by the server), not yet counted
    TIME-RID.kept            set aside, and counted
    losses.json              the counts, and the names of what was counted last

Losing a record is thus a rename, which is atomic, needs no space, and can't be forgotten;
counting is done afterwards. `losses.json` names what it has just counted, so that a crash
between counting and tidying up counts nothing twice. Whoever changes the spool holds the
cycle lock (`State.lock`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qlmdm_core.api import JSON
from qlmdm_core.client.disk import TEMPORARY, Directory
from qlmdm_core.errors import SpoolError

LEDGER = "losses.json"
KEPT_FILES = 20
"""How many records that were set aside are kept for a person to look at."""
RECENT = 10
"""How many losses are described one by one, beside their counts."""

_PENDING = re.compile(r"([0-9]{17})-([0-9a-f-]{36})\.json\Z")
_UNCOUNTED = re.compile(r"([0-9]{17})-([0-9a-f-]{36})\.(lost|bad)-([a-z_]+)\Z")
_KEPT = re.compile(r"[0-9]{17}-[0-9a-f-]{36}\.kept\Z")
_RID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Entry(NamedTuple):
    """One pending record."""

    name: str
    rid: str
    stored_at: float
    """Seconds since 1970, UTC, by the machine's clock."""
    size: int
    """Bytes."""


class Spool:
    """The pending records of one client, oldest first.

    `max_bytes` bounds all pending records together and `max_age` (seconds) each of them; a
    tenth of `max_bytes` more may be taken by records that were set aside. `now` is the clock.
    """

    def __init__(
        self,
        directory: str | Directory,
        *,
        max_bytes: int,
        max_age: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._disk = Directory(directory) if isinstance(directory, str) else directory
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._now = now

    def close(self) -> None:
        """Let go of the directory."""
        self._disk.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, entry: Entry) -> str:
        """Where a pending record lies."""
        return os.path.join(self._disk.path, entry.name)

    # --- reading -----------------------------------------------------------------------------

    def pending(self) -> list[Entry]:
        """What waits for the server, oldest first."""
        try:
            return self._pending(self._disk.names())
        except OSError as error:
            raise self._error(error) from None

    def load(self, entry: Entry) -> dict[str, JSON] | None:
        """A pending record; None if its file is damaged (it is then set aside, and counted)."""
        try:
            data = self._disk.read(entry.name, self._max_bytes)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EFBIG, errno.EINVAL, errno.ELOOP):
                raise self._error(error) from None
            data = b""
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and record.get("rid") == entry.rid:
            return record
        self._set_aside(entry, "damaged", "not the record that was stored")
        return None

    def report(self) -> dict[str, JSON]:
        """What the server is told of the spool in the next record.

        `dropped` counts, by reason, every record that was ever given up or set aside here: a
        total, so that it does not matter which of the reports arrives. `recent` describes
        the last ones, `quarantined` is how many are kept for a person to look at.
        """
        try:
            self._settle()
            names = self._disk.names()
        except OSError as error:
            raise self._error(error) from None
        ledger = self._ledger()
        dropped = dict(ledger["dropped"])
        uncounted = [match for name in names if (match := _UNCOUNTED.match(name))]
        for match in uncounted:
            if match.string not in ledger["counted"]:
                dropped[match[4]] = dropped.get(match[4], 0) + 1
        entries = self._pending(names)
        return {
            "pending": len(entries),
            "bytes": sum(entry.size for entry in entries),
            "dropped": dropped,
            "recent": ledger["recent"],
            "quarantined": sum(1 for name in names if _KEPT.match(name)),
        }

    # --- changing ----------------------------------------------------------------------------

    def put(self, record: Mapping[str, JSON]) -> Entry:
        """Store a record durably; once this returns, only `remove` or a counted loss ends it.

        Raises `SpoolError` if it can't be stored even after the oldest records made room.
        """
        rid = record["rid"]
        if not _RID.match(rid):
            raise ValueError(f"a record's id must be a UUID in lower case, not {rid!r}")
        data = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")
        if len(data) > self._max_bytes:
            raise SpoolError(
                f"a record of {len(data)} bytes is more than spool_max_bytes ({self._max_bytes})"
            )
        try:
            self._settle()
            now = self._now()
            entries = self._pending(self._disk.names())
            entries = self._drop_old(entries, now)
            entries = self._drop_excess(entries, len(data))
            latest = int(entries[-1].name[:17]) if entries else 0
            moment = min(max(int(now * 1e6), latest + 1), 10**17 - 1)
            entry = Entry(f"{moment:017d}-{rid}.json", rid, moment / 1e6, len(data))
            self._write(entry, data, entries)
            self._count()
        except OSError as error:
            raise self._error(error) from None
        return entry

    def remove(self, entry: Entry) -> None:
        """The server has it: the record is gone for good."""
        try:
            self._disk.remove(entry.name)
        except OSError as error:
            raise self._error(error) from None

    def quarantine(self, entry: Entry, reason: str) -> None:
        """The server refused it as malformed: set it aside, count it, keep it for a person."""
        self._set_aside(entry, "refused", reason)

    # --- steps -------------------------------------------------------------------------------

    def _pending(self, names: list[str]) -> list[Entry]:
        matches = [match for name in names if (match := _PENDING.match(name))]
        sizes = {match.string: self._size(match.string) for match in matches}
        return [
            Entry(match.string, match[2], int(match[1]) / 1e6, sizes[match.string])
            for match in matches
        ]

    def _size(self, name: str) -> int:
        """Bytes in a file; none if an administrator has just deleted it."""
        try:
            return self._disk.size(name)
        except FileNotFoundError:
            return 0

    def _write(self, entry: Entry, data: bytes, others: list[Entry]) -> None:
        """Write the record; while the disk is full, give up the oldest of the others."""
        while True:
            try:
                self._disk.write(entry.name, data)
                return
            except OSError as error:
                if error.errno not in _FULL or not self._free_some(others):
                    raise

    def _free_some(self, others: list[Entry]) -> bool:
        """Give blocks back to a full disk: first what was set aside, then the oldest record."""
        for name in self._disk.names():
            if _KEPT.match(name):
                self._disk.remove(name)
                return True
            if _UNCOUNTED.match(name) and self._size(name):
                self._disk.truncate(name)
                return True
        if others:
            self._drop(others.pop(0), "disk_full")
            return True
        return False

    def _drop_old(self, entries: list[Entry], now: float) -> list[Entry]:
        kept: list[Entry] = []
        for entry in entries:
            if now - entry.stored_at > self._max_age:
                self._drop(entry, "too_old")
            else:
                kept.append(entry)
        return kept

    def _drop_excess(self, entries: list[Entry], needed: int) -> list[Entry]:
        total = needed + sum(entry.size for entry in entries)
        while entries and total > self._max_bytes:
            total -= entries[0].size
            self._drop(entries[0], "too_much")
            entries = entries[1:]
        return entries

    def _drop(self, entry: Entry, reason: str) -> None:
        """Give a record up in one step; then give its blocks back, which needs no new one."""
        tombstone = entry.name.removesuffix(".json") + f".lost-{reason}"
        self._disk.rename(entry.name, tombstone)
        self._disk.sync()
        self._disk.truncate(tombstone)

    def _set_aside(self, entry: Entry, kind: str, text: str) -> None:
        try:
            self._disk.rename(entry.name, entry.name.removesuffix(".json") + f".bad-{kind}")
            self._disk.sync()
            self._settle()
            self._count({entry.rid: text})
        except OSError as error:
            raise self._error(error) from None

    def _count(self, texts: Mapping[str, str] | None = None) -> None:
        """Count what was lost since the last time, then tidy up. A full disk puts it off."""
        ledger = self._ledger()
        uncounted = [match for name in self._disk.names() if (match := _UNCOUNTED.match(name))]
        if not uncounted:
            return
        for match in uncounted:
            reason = match[4]
            ledger["dropped"][reason] = ledger["dropped"].get(reason, 0) + 1
            ledger["recent"].append(
                {
                    "rid": match[2],
                    "stored_at": _iso(int(match[1]) / 1e6),
                    "reason": reason,
                    "detail": (texts or {}).get(match[2], "")[:500],
                }
            )
        ledger["recent"] = ledger["recent"][-RECENT:]
        ledger["counted"] = [match.string for match in uncounted]
        try:
            self._disk.write(LEDGER, json.dumps(ledger, indent=1, sort_keys=True).encode("ascii"))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return
        self._tidy(ledger["counted"], self._disk.names())

    def _settle(self) -> None:
        """Finish what a crash interrupted: half-written files, and losses already counted."""
        names = self._disk.names()
        for name in names:
            if name.startswith(TEMPORARY):
                self._disk.unlink(name)
        self._tidy(self._ledger()["counted"], names)

    def _tidy(self, counted: list[str], names: list[str]) -> None:
        changed = False
        for name in names:
            match = _UNCOUNTED.match(name) if name in counted else None
            if match is None:
                continue
            changed = True
            if match[3] == "lost":
                self._disk.unlink(name)
            else:
                self._disk.rename(name, f"{match[1]}-{match[2]}.kept")
        if changed:
            self._disk.sync()
            self._bound_kept()

    def _bound_kept(self) -> None:
        kept = [name for name in self._disk.names() if _KEPT.match(name)]
        sizes = [self._size(name) for name in kept]
        while kept and (len(kept) > KEPT_FILES or sum(sizes) > self._max_bytes // 10):
            self._disk.unlink(kept.pop(0))
            sizes.pop(0)

    def _ledger(self) -> dict[str, JSON]:
        """The counts so far; a damaged file starts anew and says that it did."""
        empty: dict[str, JSON] = {"dropped": {}, "counted": [], "recent": []}
        try:
            ledger = json.loads(self._disk.read(LEDGER, 1 << 20))
            whole = (
                all(isinstance(count, int) for count in ledger["dropped"].values())
                and all(isinstance(name, str) for name in ledger["counted"])
                and isinstance(ledger["recent"], list)
            )
        except FileNotFoundError:
            return empty
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            return {**empty, "dropped": {"losses_unknown": 1}}
        return {key: ledger[key] for key in empty}

    def _error(self, error: OSError) -> SpoolError:
        what = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
        }.get(error.errno or 0, error.strerror)
        return SpoolError(f"{self._disk.path}: {what}")


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
