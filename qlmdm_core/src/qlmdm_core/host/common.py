"""What every kind of host shares: patterns of file names, the adapter."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Callable
from typing import TypeAlias, cast

from qlmdm_core.api import DistroAdapter

DistroSource: TypeAlias = "DistroAdapter | Callable[[], DistroAdapter | None] | None"
"""An adapter, or a function that finds it when a collector first asks."""

_MAGIC = re.compile(r"[*?\[]")


class DistroHolder:
    """Holds a host's distro adapter, and finds it at the first question, once."""

    def __init__(self, source: DistroSource) -> None:
        self._source = source
        self._adapter: DistroAdapter | None = None

    def get(self) -> DistroAdapter | None:
        """The adapter. If the function that finds it raises, it is asked again next time."""
        if self._source is not None:
            found = self._source if hasattr(self._source, "match") else self._source()
            self._adapter = cast("DistroAdapter | None", found)
            self._source = None
        return self._adapter


def absolute(path: str) -> str:
    """The path, seen from `/`, where collectors run. Raises `OSError` if no path can be so."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "not a file name", path) from None
    if b"\0" in encoded:
        raise OSError(errno.EINVAL, "a file name can't hold a NUL", path)
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return path if path.startswith("/") else "/" + path


def glob_paths(
    pattern: str, listdir: Callable[[str], list[str]], lexists: Callable[[str], bool]
) -> list[str]:
    """The absolute paths that match, sorted, as the shell does it: `*` finds no `.hidden`."""
    try:
        pattern = absolute(pattern)
    except OSError:
        return []
    found = [""]
    for part in pattern.split("/"):
        if not part:
            continue
        if _MAGIC.search(part) is None:
            found = [f"{parent}/{part}" for parent in found]
            continue
        matches = re.compile(fnmatch.translate(part)).match
        wider: list[str] = []
        for parent in found:
            try:
                names = listdir(parent or "/")
            except OSError:
                continue
            wider += [
                f"{parent}/{name}"
                for name in names
                if matches(name) and (part.startswith(".") or not name.startswith("."))
            ]
        found = wider
    return sorted(path or "/" for path in found if lexists(path or "/"))
