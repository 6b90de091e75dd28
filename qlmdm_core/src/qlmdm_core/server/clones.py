"""Notices when two machines speak with one key: a disk was copied, or a virtual machine.

Two signs. A message whose machine hash is not that of the machine that enrolled. Or sequence
numbers that keep falling behind, from more than one boot: each copy overtakes the other. A
single machine falls behind once, after its disk was restored, and then goes on.

The second sign is remembered in this process only. With several processes it takes a little
longer to add up; it never raises a false alarm.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from qlmdm_core.api import JSON
from qlmdm_core.envelope import Envelope
from qlmdm_core.store.records import ClientKey

FLAG = "duplicate_identity"
BEHIND_LIMIT = 4
"""So often must a client fall behind, from at least two boots, …"""
WINDOW_SECONDS = 86400.0
"""… within so many seconds."""
_TRACKED = 10_000


@dataclass
class _Falls:
    since: float
    count: int = 0
    boots: set[str] = field(default_factory=set)


class CloneWatch:
    """The memory of one server process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._falls: OrderedDict[str, _Falls] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def by_machine(sent: Envelope, key: ClientKey) -> JSON:
        """The mark to set if the message is from another machine than enrolled, or None."""
        if not key.mid or sent.mid == key.mid:
            return None
        return {"reason": "another machine uses this key", "mid": sent.mid}

    def by_counting(self, sent: Envelope, key: ClientKey, now: float) -> JSON:
        """Note that a client fell behind; the mark to set if that tells of two machines."""
        with self._lock:
            falls = self._falls.get(key.cid)
            if falls is None or now - falls.since > WINDOW_SECONDS:
                falls = self._falls[key.cid] = _Falls(since=now)
            self._falls.move_to_end(key.cid)
            while len(self._falls) > _TRACKED:
                self._falls.popitem(last=False)
            falls.count += 1
            if len(falls.boots) < BEHIND_LIMIT:
                falls.boots.add(sent.boot)
            if falls.count < BEHIND_LIMIT or len(falls.boots) < 2:
                return None
            del self._falls[key.cid]
        return {"reason": "two machines count with this key", "boot": sent.boot}
