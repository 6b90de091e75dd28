"""Durations and sizes as people write them: `90`, `5m`, `2 days`, `1.5 GB`."""

from __future__ import annotations

import re
from typing import NewType

Duration = NewType("Duration", float)
"""Seconds. In settings: a number with a unit (s, m, h, d, w, or spelt out)."""

Size = NewType("Size", int)
"""Bytes. In settings: a number with a unit (B, kB, MB, GB: powers of 1000; KiB, MiB, GiB)."""

_WORDS = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z")
_SECONDS = {
    1.0: "s sec secs second seconds",
    60.0: "m min mins minute minutes",
    3600.0: "h hour hours",
    86400.0: "d day days",
    604800.0: "w week weeks",
}
_BYTES = {1: "b", 10**3: "kb", 10**6: "mb", 10**9: "gb", 2**10: "kib", 2**20: "mib", 2**30: "gib"}
_LONGEST = 100 * 365 * 86400.0


def parse_duration(text: str) -> Duration:
    """Seconds; a plain `0` needs no unit. Raises `ValueError` that says what is expected.

    >>> parse_duration("5m"), parse_duration("2 days"), parse_duration("0")
    (300.0, 172800.0, 0.0)
    """
    expected = "expected a number with a unit, such as 30s, 5m, 12h or 2 days"
    found = _WORDS.match(text)
    if found is None:
        raise ValueError(f"{expected}; got {text!r}")
    number, unit = float(found.group(1)), found.group(2).lower()
    if not unit and number == 0:
        return Duration(0.0)
    for seconds, names in _SECONDS.items():
        if unit in names.split():
            if number * seconds > _LONGEST:
                raise ValueError(f"expected at most 100 years; got {text!r}")
            return Duration(number * seconds)
    raise ValueError(f"{expected}; got {text!r}")


def parse_size(text: str) -> Size:
    """Bytes; a plain `0` needs no unit. Raises `ValueError` that says what is expected.

    >>> parse_size("50 MB"), parse_size("1KiB")
    (50000000, 1024)
    """
    expected = "expected a number with a unit, such as 500 kB, 50 MB or 1 GiB"
    found = _WORDS.match(text)
    if found is None:
        raise ValueError(f"{expected}; got {text!r}")
    number, unit = float(found.group(1)), found.group(2).lower()
    if not unit and number == 0:
        return Size(0)
    for factor, name in _BYTES.items():
        if unit == name:
            if number * factor > 2**60:
                raise ValueError(f"expected at most 2^60 bytes; got {text!r}")
            return Size(int(number * factor))
    raise ValueError(f"{expected}; got {text!r}")


def write_duration(seconds: float) -> str:
    """A duration as one would write it in settings, exactly; a whole number of a unit.

    >>> write_duration(3600), write_duration(90), write_duration(86400 * 2)
    ('1h', '90s', '2 days')
    """
    for unit, length in ((" days", 86400), ("h", 3600), ("m", 60)):
        if seconds == length == 86400:
            return "1 day"
        if seconds and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:.3f}s"


def write_size(size: int) -> str:
    """A size as one would write it in settings, exactly.

    >>> write_size(50_000_000), write_size(1024), write_size(7)
    ('50 MB', '1 KiB', '7 B')
    """
    units = (("GB", 10**9), ("GiB", 2**30), ("MB", 10**6), ("MiB", 2**20), ("kB", 1000))
    for unit, factor in (*units, ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def say_duration(seconds: float) -> str:
    """A duration for a person, in its largest fitting unit, rounded down.

    >>> say_duration(59), say_duration(3 * 86400 + 5), say_duration(3600)
    ('59 seconds', '3 days', '1 hour')
    """
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length or length == 1:
            number = int(seconds // length)
            return f"{number} {name}" + ("" if number == 1 else "s")
    raise AssertionError("unreachable")
