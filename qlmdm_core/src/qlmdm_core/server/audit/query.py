"""A small part of MongoDB's query language, for checks that a site writes in YAML.

`{"os_info.id": arch, "firewall.state": {"$ne": on}}`: a path and a value, or operators
`$eq $ne $gt $gte $lt $lte $in $nin $exists $regex $not`, joined by `$and $or $nor`. A path
goes into objects by name and into lists by number or by any element, as in MongoDB. Whole
query engines exist, but either want a database or are no longer kept; see docs/adr/0050.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from qlmdm_core.errors import SettingsError

Predicate: TypeAlias = Callable[[Any], bool]
_ABSENT = object()
_MAX_DEPTH = 16
# A pattern runs against values that a client chose. Nested repetition is what makes `re` take
# exponential time, so a pattern may not repeat a group that repeats.
_NESTED_REPETITION = re.compile(r"[+*}]\)?[^()|]*\)(?:[+*]|\{\d)")


class Query:
    """A compiled query. Raises `SettingsError` on construction if it makes no sense."""

    def __init__(self, query: object, *, file: str = "", key: str = "query") -> None:
        self._file, self._key = file, key
        self._paths: set[str] = set()
        self.matches: Predicate = self._object(query, 0)

    @property
    def collectors(self) -> tuple[str, ...]:
        """The first words of the paths: the collectors that the query reads."""
        return tuple(sorted({path.split(".", 1)[0] for path in self._paths} - {"client"}))

    def _error(self, message: str) -> SettingsError:
        return SettingsError(message, file=self._file, key=self._key)

    def _object(self, query: object, depth: int) -> Predicate:
        if not isinstance(query, Mapping) or not query:
            raise self._error("expected a mapping such as {firewall.state: off}")
        if depth > _MAX_DEPTH:
            raise self._error("nested too deeply")
        parts = [self._entry(str(name), value, depth) for name, value in query.items()]
        return parts[0] if len(parts) == 1 else lambda document: all(p(document) for p in parts)

    def _entry(self, name: str, value: object, depth: int) -> Predicate:
        if name in ("$and", "$or", "$nor"):
            if not isinstance(value, list) or not value:
                raise self._error(f"{name}: expected a list of queries")
            parts = [self._object(item, depth + 1) for item in value]
            if name == "$and":
                return lambda document: all(part(document) for part in parts)
            if name == "$or":
                return lambda document: any(part(document) for part in parts)
            return lambda document: not any(part(document) for part in parts)
        if name.startswith("$"):
            raise self._error(f"{name}: not an operator here; expected a path or $and, $or, $nor")
        self._paths.add(name)
        path = name.split(".")
        test = self._test(value, depth)
        return lambda document: test(list(_find(document, path)))

    def _test(self, value: object, depth: int) -> Predicate:
        """A test of all the values that a path leads to (none: it is absent)."""
        if isinstance(value, Mapping) and any(str(name).startswith("$") for name in value):
            parts = [self._operator(str(name), item, depth) for name, item in value.items()]
            return lambda found: all(part(found) for part in parts)
        return lambda found: any(_equal(item, value) for item in found or [None])

    def _operator(self, name: str, value: object, depth: int) -> Predicate:
        if name == "$not":
            inner = self._test(value, depth + 1)
            return lambda found: not inner(found)
        if name == "$exists":
            return lambda found: bool(found) is bool(value)
        if name in ("$eq", "$ne"):
            equal = self._test({"$in": [value]}, depth)
            return equal if name == "$eq" else lambda found: not equal(found)
        if name in ("$in", "$nin"):
            if not isinstance(value, list):
                raise self._error(f"{name}: expected a list")
            wanted = list(value)
            if name == "$in":
                return lambda found: any(_equal(i, w) for i in found or [None] for w in wanted)
            return lambda found: not any(_equal(i, w) for i in found or [None] for w in wanted)
        if name == "$regex":
            pattern = self._pattern(value)
            return lambda found: any(isinstance(i, str) and pattern.search(i[:4096]) for i in found)
        orders = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
        if name not in orders:
            raise self._error(f"{name}: unknown operator")
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise self._error(f"{name}: expected a number or text")
        compare = orders[name]
        return lambda found: any(
            _comparable(item, value) and compare(item, value) for item in found
        )

    def _pattern(self, value: object) -> re.Pattern[str]:
        if not isinstance(value, str) or len(value) > 500:
            raise self._error("$regex: expected a pattern of at most 500 characters")
        if _NESTED_REPETITION.search(value):
            raise self._error("$regex: a repetition inside a repetition can take for ever")
        try:
            return re.compile(value)
        except re.error as error:
            raise self._error(f"$regex: {error}") from None


def _find(document: object, path: list[str]) -> Iterator[object]:
    """The values that a path leads to; a list stands for itself and for each of its elements."""
    if not path:
        yield document
        if isinstance(document, list):
            yield from document
        return
    if isinstance(document, Mapping):
        value = document.get(path[0], _ABSENT)
        if value is not _ABSENT:
            yield from _find(value, path[1:])
        # A value may have dots in its own names ("a.b"); MongoDB could not tell either.
    elif isinstance(document, list):
        if path[0].isdigit() and int(path[0]) < len(document):
            yield from _find(document[int(path[0])], path[1:])
        for item in document:
            if isinstance(item, Mapping):
                yield from _find(item, path)


def _equal(value: object, wanted: object) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return value == wanted


def _comparable(value: object, wanted: object) -> bool:
    if isinstance(value, bool):
        return False
    numbers = isinstance(value, (int, float)) and isinstance(wanted, (int, float))
    return numbers or (isinstance(value, str) and isinstance(wanted, str))
