"""What the readers of lock settings get and give: sessions, findings, and why they can't tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from qlmdm_core import JSON

LockState = Literal["enabled", "disabled", "unknown"]


class CannotTellError(Exception):
    """Settings could not be read; the message is the reason, for a person."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One graphical login of a person on this machine."""

    user: str
    uid: int | None = None
    id: str = ""
    """What logind calls it; empty if it was found by its processes."""
    type: str = ""
    """x11, wayland or mir; empty if not known."""
    desktop: str = ""
    """As logind says (XDG_SESSION_DESKTOP), not yet interpreted."""
    display: str = ""
    """The X display, such as `:0`; empty for Wayland, or if not known."""
    service: str = ""
    """The PAM service that opened it, such as gdm-password or lightdm-autologin."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one locker does in one session."""

    locker: str | None
    state: LockState
    delay: int | None = None
    """Seconds of idleness until a password is needed; only when enabled."""
    reason: str = ""
    """Why it does not lock, or why it can't be told."""
    verified: bool = True
    """False: something locks that is a site's own program, which we can't vouch for."""
    settings: Mapping[str, JSON] = field(default_factory=dict)
    """The evidence: each setting that decided, as its own program names it."""


def enabled(
    locker: str, delay: int, settings: Mapping[str, JSON], *, verified: bool = True
) -> Finding:
    """It locks after `delay` seconds."""
    return Finding(
        locker=locker, state="enabled", delay=delay, settings=settings, verified=verified
    )


def disabled(locker: str | None, reason: str, settings: Mapping[str, JSON]) -> Finding:
    """It does not lock by itself, and we know it."""
    return Finding(locker=locker, state="disabled", reason=reason, settings=settings)


def unsure(locker: str | None, reason: str, settings: Mapping[str, JSON] | None = None) -> Finding:
    """Nobody can say from what was seen."""
    return Finding(locker=locker, state="unknown", reason=reason, settings=settings or {})
