"""A disk in memory that knows what of it was fsynced, and so what a power cut may leave of it.

Every file, folder and link is a `Node`. A folder has its names twice: as programs see them,
and as they are on disk; what is between the two are `Edit`s that wait. A file knows how many
of its bytes are on disk. `after_power_cut` makes from that a disk as it may be found when the
power is back; which of the many is chosen by a seed.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

SECTOR = 16
"""Bytes that reach the disk together or not at all; real ones have 512 or 4096, but files of
tests are small."""


@dataclass(eq=False)
class Node:
    """One file, folder or symbolic link, whatever its names are."""

    number: int
    kind: Literal["file", "dir", "link"]
    mode: int
    mtime_ns: int
    ctime_ns: int
    data: bytearray = field(default_factory=bytearray)
    """Of a file, as programs see it."""
    synced: int = 0
    """So many bytes of `data` were fsynced."""
    dropped: list[tuple[int, int]] = field(default_factory=list)
    """Parts of `data` that an fsync could not write: the kernel forgets that they are dirty, so
    that a later fsync says that all is well (fsync(2), "Errors")."""
    destination: str = ""
    """Of a link."""
    names: dict[str, Node] = field(default_factory=dict)
    """Of a folder, as programs see it."""
    kept: dict[str, Node] = field(default_factory=dict)
    """Of a folder, as it is on disk."""


@dataclass(frozen=True)
class Edit:
    """One name that came, changed or went, and is not on disk yet."""

    folder: Node
    name: str
    node: Node | None
    """What it means now; None: it is gone."""
    operation: int
    """Which call made it; both halves of a rename have the same."""


class Disk:
    """A tree of nodes below one root, and the edits that wait."""

    def __init__(self) -> None:
        self.ticks = 1_000_000_000
        """The disk's clock, in nanoseconds; each change is later than the one before."""
        self.edits: list[Edit] = []
        self._numbers = 1
        self.root = Node(self._numbers, "dir", 0o700, self.ticks, self.ticks)

    def tick(self) -> int:
        """The next moment."""
        self.ticks += 1_000_003
        return self.ticks

    def make(self, kind: Literal["file", "dir", "link"], mode: int) -> Node:
        """A node without a name."""
        self._numbers += 1
        now = self.tick()
        return Node(self._numbers, kind, mode, now, now)

    def edit(self, *changes: tuple[Node, str, Node | None]) -> None:
        """Change names at once, for programs; on disk they change some time later."""
        now = self.tick()
        for folder, name, node in changes:
            if node is None:
                del folder.names[name]
            else:
                folder.names[name] = node
                node.ctime_ns = now
            folder.mtime_ns = folder.ctime_ns = now
            self.edits.append(Edit(folder, name, node, now))

    def sync_names(self, folder: Node) -> None:
        """All that happened to the names in a folder is on disk."""
        for edit in self.edits:
            if edit.folder is folder:
                _apply(folder.kept, edit)
        self.edits = [edit for edit in self.edits if edit.folder is not folder]

    def sync_all(self) -> None:
        """Everything is on disk, as some time after the last change."""
        for node in walk(self.root):
            node.synced = len(node.data)
            self.sync_names(node)
        self.edits = []

    def after_power_cut(self, rng: random.Random) -> Disk:
        """A disk as it may be found when the power is back; this one is not changed."""
        chosen = _edits_that_happened(self.edits, rng)
        found = Disk()
        found.ticks, found._numbers = self.ticks, self._numbers
        copies: dict[int, Node] = {}

        def copy(node: Node) -> Node:
            if node.number in copies:
                return copies[node.number]
            new = copies[node.number] = Node(
                node.number, node.kind, node.mode, node.mtime_ns, node.ctime_ns
            )
            new.destination = node.destination
            if node.kind == "file":
                new.data = bytearray(_data_that_arrived(node, rng))
                new.synced = len(new.data)
            names = dict(node.kept)
            for edit in chosen:
                if edit.folder is node:
                    _apply(names, edit)
            entries = list(names.items())
            rng.shuffle(entries)
            for name, child in entries:
                # fsck(8) leaves a folder one name only.
                if child.kind != "dir" or child.number not in copies:
                    new.names[name] = copy(child)
            new.kept = dict(new.names)
            return new

        found.root = copy(self.root)
        return found


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.names.values():
        yield from walk(child)


def _apply(names: dict[str, Node], edit: Edit) -> None:
    if edit.node is None:
        names.pop(edit.name, None)
    else:
        names[edit.name] = edit.node


def _edits_that_happened(edits: list[Edit], rng: random.Random) -> list[Edit]:
    """Which changes of names got to the disk by themselves.

    As a journal does it: all up to some moment. Or in each folder by itself. Or any of them,
    each as a whole. Or any of them, a rename's halves apart: a file system without a journal
    may show the old name, the new one, both or none. One name never goes back in time.
    """
    way = rng.choice(("none", "all", "journal", "folders", "any", "any", "halves", "halves"))
    if way == "none":
        return []
    if way == "all":
        return list(edits)
    likely = rng.choice((0.2, 0.5, 0.8))
    operations = sorted({edit.operation for edit in edits})
    if way == "journal":
        count = rng.randint(0, len(operations))
        return [edit for edit in edits if edit.operation in operations[:count]]
    if way == "any":
        happened = {operation for operation in operations if rng.random() < likely}
        return [edit for edit in edits if edit.operation in happened]
    if way == "halves":
        return [edit for edit in edits if rng.random() < likely]
    until = {
        folder: rng.choice([0, *operations])
        for folder in dict.fromkeys(edit.folder for edit in edits)
    }
    return [edit for edit in edits if edit.operation <= until[edit.folder]]


def _data_that_arrived(node: Node, rng: random.Random) -> bytes:
    """A file's content: what was fsynced, and of the rest whatever got to the disk."""
    data = node.data
    tail = bytes(data[node.synced :])
    arrived = bytes(data[: node.synced]) + (_torn(tail, rng) if tail else b"")
    for start, end in node.dropped:
        if rng.random() < 0.5:
            lost = bytes(max(0, min(end, len(arrived)) - start))
            arrived = arrived[:start] + lost + arrived[start + len(lost) :]
    return arrived


def _torn(tail: bytes, rng: random.Random) -> bytes:
    way = rng.choice(("nothing", "all", "prefix", "size", "garbage", "sectors"))
    if way == "nothing":
        return b""
    if way == "all":
        return tail
    cut = rng.randrange(len(tail))
    if way == "prefix":
        return tail[:cut]
    if way == "size":  # the file has grown, its blocks were never written
        return tail[:cut] + bytes(len(tail) - cut)
    if way == "garbage":  # what the blocks held before
        return tail[:cut] + rng.randbytes(len(tail) - cut)
    sectors = [tail[at : at + SECTOR] for at in range(0, len(tail), SECTOR)]
    return b"".join(part if rng.random() < 0.5 else bytes(len(part)) for part in sectors)


def check_replace(node: Node, replaced: Node, target: str) -> None:
    """rename(2): what may take whose place."""
    if node.kind == "dir":
        if replaced.kind != "dir":
            raise error_of(errno.ENOTDIR, target)
        if replaced.names:
            raise error_of(errno.ENOTEMPTY, target)
    elif replaced.kind == "dir":
        raise error_of(errno.EISDIR, target)


def error_of(number: int, what: str) -> OSError:
    """The error that the system gives."""
    return OSError(number, os.strerror(number), what)
