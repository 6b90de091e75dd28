"""Judges what something lies on, down to the disks: every leg must be encrypted.

This is the one place that says "encrypted". It knows no command and no file: it gets a
graph, in which whatever could not be found out is a node that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["encrypted", "not_encrypted", "unknown", "exempt"]
Role: TypeAlias = Literal["encrypts", "passes", "disk", "memory", "image", "network", "opaque"]

# Of several legs the worst counts; one that needs no encryption counts if all are so.
_WORST: tuple[State, ...] = ("not_encrypted", "unknown", "encrypted", "exempt")
_DEEPEST = 100


@dataclass(frozen=True, kw_only=True)
class Node:
    """A device, a data set, or a file system: something that blocks pass through."""

    role: Role
    """encrypts: what is below sees ciphertext only. passes: it is as what is below. disk:
    the end, in plain. memory: nothing stays when the power is off. image: read-only, holds
    no data of users. network: somebody else's disk. opaque: it can't be seen what it does."""
    parents: tuple[str, ...] = ()
    """The nodes it lies on; all of them count."""
    label: str = ""
    """How the chain shows it: "cr_home (crypt LUKS2)"; empty: not at all."""
    reason: str = ""
    """Why, for a person, where the role needs explaining."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came out for one node."""

    state: State
    chain: tuple[str, ...] = ()
    """The labels of all that it lies on, from above to below."""
    reason: str = ""
    ends: tuple[str, ...] = ()
    """The nodes at the bottom."""


def walk(nodes: Mapping[str, Node], start: str, *, doubt: bool = True) -> Finding:
    """Judge what `start` lies on.

    Without `doubt` nothing on the machine encrypts, so that a device is in plain even when
    it can't be seen what it lies on.
    """
    chain: dict[str, None] = {}
    ends: dict[str, None] = {}
    done: dict[str, tuple[State, str]] = {}

    def visit(name: str, above: tuple[str, ...]) -> tuple[State, str]:
        if name in above or len(above) > _DEEPEST:
            return "unknown", f"{name} lies on itself"
        if name in done:
            return done[name]
        node = nodes.get(name)
        if node is None:
            ends[name] = None
            return "unknown", f"nothing is known of {name}"
        if node.label:
            chain[node.label] = None
        if not node.parents:
            ends[name] = None
        below = [visit(parent, (*above, name)) for parent in node.parents]
        done[name] = _judge(name, node, below, doubt)
        return done[name]

    state, reason = visit(start, ())
    if any(nodes[end].role == "network" for end in ends if end in nodes):
        state, reason = "unknown", "it lies on a network disk"
    return Finding(state=state, chain=tuple(chain), reason=reason, ends=tuple(ends))


def _judge(name: str, node: Node, below: list[tuple[State, str]], doubt: bool) -> tuple[State, str]:
    """A node's state, given those of what it lies on."""
    if node.role == "encrypts":
        return "encrypted", ""
    if node.role in ("memory", "image"):
        return "exempt", node.reason
    if node.role == "network":
        return "unknown", node.reason or "it lies on a network disk"
    if node.role == "disk" and not below:
        return "not_encrypted", node.reason
    worst = min(below, key=lambda pair: _WORST.index(pair[0]), default=None)
    if node.role == "opaque":
        if worst is not None and worst[0] == "encrypted":
            return worst
        return "unknown", node.reason or f"what {name} does can't be seen"
    if worst is not None:
        return worst[0], worst[1] or node.reason
    if not doubt:
        return "not_encrypted", "no device of this machine encrypts"
    return "unknown", node.reason or f"what {node.label or name} lies on can't be seen"


def worst_of(states: list[State]) -> State:
    """The overall state of several volumes; unknown when there is none to judge."""
    judged = [state for state in states if state != "exempt"]
    return min(judged, key=_WORST.index, default="unknown")
