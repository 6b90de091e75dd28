"""Notices what a collector does behind its host's back, by Python's audit hooks.

Only what Python does in this process is seen (open, socket.connect, subprocess.Popen, …; see
"Audit events table" of the Python documentation), and that is what a collector must leave to its
host: a machine can be recorded only if nothing is asked past it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
_CALLS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_READS = ("open", "os.listdir", "os.scandir")
_CHANGES = (
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link"),
    *("os.symlink", "os.truncate", "os.utime", "os.setxattr", "os.removexattr"),
)
_SHOWN = {
    **dict.fromkeys(_STARTS, "starts a program"),
    **dict.fromkeys(_CALLS, "reaches for the network"),
    **dict.fromkeys(_READS, "reads"),
    **dict.fromkeys(_CHANGES, "changes"),
}
_LIBRARY = ("/usr/share/zoneinfo", "/dev/null", "/dev/urandom")
"""What Python's own library reads on its own account."""


class Watch:
    """Watches this interpreter from its construction on; audit hooks can't be taken off."""

    def __init__(self, own: Sequence[str]) -> None:
        """`own` are folders that may be read: those of recorded machines."""
        folders = [*own, *sys.path, sys.prefix, sys.base_prefix, *_LIBRARY]
        self._free = {os.path.realpath(folder) for folder in folders if folder}
        self._found: list[str] | None = None
        sys.addaudithook(self._notice)

    def allow(self, module: str) -> None:
        """What lies beside a module may be read: its data, and what is yet to be imported."""
        file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
        if file and os.path.basename(file) == "__init__.py":
            self._free.add(os.path.dirname(os.path.realpath(file)))

    def during(self, function: Callable[[], object]) -> list[str]:
        """Call it; what it did that a host should have done for it, each once."""
        self._found = []
        try:
            function()
        finally:
            found, self._found = self._found, None
        return list(dict.fromkeys(found))

    def _notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        found = self._found
        if found is None or event not in _SHOWN:
            return
        self._found = None  # what is done to find out is not the collector's
        try:
            what = self._describe(event, arguments)
            if what:
                found.append(what)
        finally:
            self._found = found

    def _describe(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event in _READS or event in _CHANGES:
            path = arguments[0] if arguments else None
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if not isinstance(path, (str, os.PathLike)):
                return ""  # a descriptor, or the present folder
            path = os.path.realpath(path)
            if event in _READS and self._is_free(path):
                return ""
            return f"{_SHOWN[event]} {path}"
        detail = arguments[1] if event.startswith("socket.") and len(arguments) > 1 else arguments
        first = detail[0] if isinstance(detail, tuple) and detail else detail
        return f"{_SHOWN[event]} ({event}: {str(first)[:80]})"

    def _is_free(self, path: str) -> bool:
        return any(path == free or path.startswith(f"{free}/") for free in self._free)
