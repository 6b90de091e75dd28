"""One child process as its parent knows it, and what can happen to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from qlmdm_core.api import JSON
from qlmdm_core.client.cgroups import Group
from qlmdm_core.client.frames import Frame, FrameReader, encode

FIRST_BYTES, LAST_BYTES = 1024, 3072
"""How much of what a child printed is kept, of its beginning and of its end."""


class Event(NamedTuple):
    """Something that a child did, or that was found out about it."""

    kind: Literal["frame", "broken", "noisy", "overdue", "exceeded", "ended"]
    child: Child
    frame: Frame | None = None
    why: str = ""


class Child:
    """One child process, from fork to exit."""

    def __init__(self, name: str, channel: FrameReader, noise: int, timeout: float | None) -> None:
        self.name = name
        self.pid = 0
        self.timeout = timeout
        """Seconds that it may take, from its own start."""
        self.channel = channel
        self.noise = noise
        self.noise_bytes = 0
        self.first_words = b""
        self.last_words = b""
        self.group: Group | None = None
        self.started = 0.0
        self.status: int | None = None
        """As waitpid(2) gives it; None while it lives."""
        self.doomed = False
        """It was killed by us."""

    def hear(self, chunk: bytes) -> None:
        """It printed something; what is kept of it is bounded."""
        self.noise_bytes += len(chunk)
        room = FIRST_BYTES - len(self.first_words)
        self.first_words += chunk[:room]
        self.last_words = (self.last_words + chunk[room:])[-LAST_BYTES:]

    def send(self, header: dict[str, JSON]) -> bool:
        """Tell it something; False if it does not listen."""
        message = encode(header)
        try:
            return os.write(self.channel.fd, message) == len(message)
        except OSError:
            return False

    def evidence(self) -> str:
        """What it printed; without the middle, if it was much."""
        gap = b"" if self.noise_bytes <= FIRST_BYTES + LAST_BYTES else b"\n[...]\n"
        return (self.first_words + gap + self.last_words).decode("utf-8", "replace").strip()

    def seconds(self) -> float:
        """How long ago it started."""
        return time.monotonic() - self.started

    def ending(self) -> str:
        """How it ended, for a person."""
        if self.status is None:
            return "still runs"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            known = number in set(signal.Signals)
            how = signal.Signals(number).name if known else f"signal {number}"
            # One that closes its channel is killed, as it can say nothing more.
            hidden = number == signal.SIGKILL and not self.doomed
            return f"was killed by {how}" + (" (or closed its channel)" if hidden else "")
        return f"exited with status {os.WEXITSTATUS(self.status)}"


class Birth(NamedTuple):
    """A child that is about to be forked."""

    child: Child
    main: Callable[[int], None]
    channel: int
    """The child's end, as is `noise`."""
    noise: int
