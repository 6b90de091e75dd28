"""What everything in the contract is made of: JSON, names, states, and the unknown value."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

JSON: TypeAlias = Any
"""Anything that `json.dumps` accepts. (A recursive alias helps no reader of a plugin.)"""

State: TypeAlias = Literal["pass", "fail", "unknown"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
"""What a collector, check, notifier, adapter or settings section may be called."""


def unknown(reason: str, **evidence: JSON) -> dict[str, JSON]:
    """The value of a collector that could not find out, with the reason for a person.

    >>> unknown("nft needs root", ipv4="unknown")
    {'state': 'unknown', 'reason': 'nft needs root', 'ipv4': 'unknown'}
    """
    return {"state": "unknown", "reason": reason, **evidence}
