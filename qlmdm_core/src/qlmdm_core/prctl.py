"""prctl(2): who gets orphans, who dies with whom, and what `ps` shows."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


class Prctl:
    """prctl(2), which the standard library doesn't have. Load it once, before forking."""

    def __init__(self) -> None:
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        self._prctl.restype = ctypes.c_int

    def become_subreaper(self) -> None:
        """Whatever my descendants leave behind becomes my child, not init's."""
        self._call(_PR_SET_CHILD_SUBREAPER, 1)

    def die_with_parent(self, parent: int) -> None:
        """Be killed when the parent ends; at once, if it has ended already."""
        self._call(_PR_SET_PDEATHSIG, 9)
        if os.getppid() != parent:
            os._exit(1)

    def name_process(self, name: str) -> None:
        """Show in `ps` what this process is for."""
        self._prctl(_PR_SET_NAME, name.encode("ascii", "replace")[:15], 0, 0, 0)

    def _call(self, option: int, argument: int) -> None:
        if self._prctl(option, argument, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
