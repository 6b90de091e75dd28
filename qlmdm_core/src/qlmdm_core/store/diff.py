"""Where two JSON values differ, as JSON pointers (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest

from qlmdm_core.api import JSON

MAX_PATHS = 64
"""The most paths that a line of history names."""

MAX_DEPTH = 64
"""What differs deeper than this is named by the path at this depth."""

_ABSENT = object()  # stands for what is not there: equal to nothing else


def differing_paths(old: JSON, new: JSON, limit: int = MAX_PATHS) -> tuple[str, ...]:
    """The pointers at which two values differ, at most `limit`, in order.

    >>> differing_paths({"a/b": [1, 2], "c": 1}, {"a/b": [1, 3, 4], "c": 1})
    ('/a~1b/1', '/a~1b/2')
    """
    # Python's == skips what is equal quickly, but takes 1, 1.0 and true for the same, and 0 and -0.
    found = tuple(islice(_differences("", old, new, 0, strict=False), limit))
    return found or tuple(islice(_differences("", old, new, 0, strict=True), limit))


def _differences(path: str, old: JSON, new: JSON, depth: int, *, strict: bool) -> Iterator[str]:
    if not strict and old == new:
        return
    members = _members(old, new) if depth < MAX_DEPTH and type(old) is type(new) else None
    if members is not None:
        for key, left, right in members:
            step = key.replace("~", "~0").replace("/", "~1")
            yield from _differences(f"{path}/{step}", left, right, depth + 1, strict=strict)
    elif type(old) is not type(new) or old != new or (strict and str(old) != str(new)):
        yield path


def _members(old: JSON, new: JSON) -> Iterable[tuple[str, JSON, JSON]] | None:
    """Each key or index with what both have there; None for what has no members."""
    if isinstance(old, dict):
        keys = sorted({**old, **new})
        return ((key, old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in keys)
    if isinstance(old, list):
        pairs = enumerate(zip_longest(old, new, fillvalue=_ABSENT))
        return ((str(index), left, right) for index, (left, right) in pairs)
    return None
