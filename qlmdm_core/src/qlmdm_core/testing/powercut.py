"""A file system in memory in which each call that writes can fail, or be the last one.

`ModelFiles` is a `client.release.files.Files`: what the installer does to the real disk it does
to this one. It counts the calls that write, and lets a `Fault` happen at one of them: the
process is killed there, the power fails, the disk is full or broken, a write is cut in two.
`restart` is the machine coming up again; after a power cut what had not been fsynced is lost,
or half there, as `powercut_disk` tells.

    model = ModelFiles(fault=Fault("power cut", call=17))
    with contextlib.suppress(Stopped):
        install(model)
    model.restart(seed=3)
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from qlmdm_core.client.release.files import Stat
from qlmdm_core.testing.powercut_disk import Disk, Node, check_replace, error_of

Kind: TypeAlias = Literal["kill", "power cut", "torn write", "disk full", "I/O error"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Stopped(BaseException):
    """The process has ended here. No `Exception`, as nothing may catch it and go on."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, at which of the calls that write.

    - "kill": the process ends before the call; the machine runs on, nothing is lost.
    - "power cut": the machine stops right after the call, which counts as not fsynced.
    - "torn write": as a power cut, in the middle of a write.
    - "disk full": that call and all that need room from then on fail with ENOSPC; of a write, a
      part was done. The process goes on, and must say so.
    - "I/O error": that call alone fails with EIO; of a write, a part was done, and what an
      fsync did not write is lost for ever, though the next fsync says that all is well.
    """

    kind: Kind
    call: int
    """From 1."""


class ModelFiles:
    """The file system: a `Files` with faults. It lives on through restarts."""

    def __init__(self, disk: Disk | None = None, *, fault: Fault | None = None) -> None:
        self.disk = disk or Disk()
        self.fault = fault
        self.root = ""
        """As `RealFiles` has it: where the tree lies."""
        self.log: list[str] = []
        """The calls that wrote since the last restart, to be read by people."""
        self.happened = False
        """Whether the fault has come to pass."""
        self.after_call: Callable[[], object] = lambda: None
        """Called after each call that wrote; the process is not aware of it."""
        self._handles: dict[int, Node] = {}
        self._next_handle = 3
        self._stopped = False

    @property
    def calls(self) -> int:
        """How many calls have written since the last restart."""
        return len(self.log)

    def restart(self, *, seed: int | None = None, fault: Fault | None = None) -> None:
        """A new process begins, with another fault or none.

        With a seed the power had failed, and what was not on disk is lost as it chooses.
        Without one the machine ran on; what was not fsynced still waits for the disk.
        """
        if seed is not None:
            self.disk = self.disk.after_power_cut(random.Random(seed))  # noqa: S311 - a test
        self.fault, self.happened, self._stopped = fault, False, False
        self.log, self._handles = [], {}

    # --- reading --------------------------------------------------------------------------

    def read(self, path: str, max_bytes: int) -> bytes:
        """A regular file, whole. `OSError` (EFBIG) if it is longer."""
        self._alive()
        node = self._entry(path)
        if node.kind == "link":
            raise error_of(errno.ELOOP, path)
        if node.kind == "dir":
            raise error_of(errno.EINVAL, path)
        if len(node.data) > max_bytes:
            raise error_of(errno.EFBIG, path)
        return bytes(node.data)

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted."""
        self._alive()
        return sorted(self._folder(path).names)

    def stat(self, path: str) -> Stat | None:
        """What is there; None: nothing."""
        self._alive()
        try:
            node = self._entry(path)
        except FileNotFoundError:
            return None
        size = len(node.destination) if node.kind == "link" else len(node.data)
        mode = 0o777 if node.kind == "link" else node.mode
        return Stat(node.kind, size, mode, node.number, node.mtime_ns, node.ctime_ns)

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads."""
        self._alive()
        node = self._entry(path)
        if node.kind != "link":
            raise error_of(errno.EINVAL, path)
        return node.destination

    # --- writing --------------------------------------------------------------------------

    def mkdir(self, path: str) -> None:
        """A new folder, mode 0700."""
        self._call(f"mkdir {path}", lambda: self._make(path, "dir", 0o700), needs_room=True)

    def create(self, path: str, mode: int) -> int:
        """A new, empty file; its handle. `FileExistsError`."""

        def act() -> None:
            self._handles[self._next_handle] = self._make(path, "file", mode)

        self._next_handle += 1
        handle = self._next_handle
        self._call(f"create {path}", act, needs_room=True)
        return handle

    def write(self, handle: int, data: bytes) -> None:
        """Append all of `data`; what was written before an `OSError` is there."""
        node = self._open(handle)

        def act(part: bytes = data) -> None:
            node.data += part
            node.mtime_ns = node.ctime_ns = self.disk.tick()

        half = data[: len(data) // 2]
        self._call(f"write {len(data)} bytes", act, partly=lambda: act(half), needs_room=bool(data))

    def fsync(self, handle: int) -> None:
        """Make the file's data and size durable."""
        node = self._open(handle)

        def act() -> None:
            node.synced = len(node.data)

        def lose() -> None:
            node.dropped.append((node.synced, len(node.data)))

        self._call("fsync", act, partly=lose)

    def close(self, handle: int) -> None:
        """Let go of a handle; writes nothing."""
        self._alive()
        self._open(handle)
        del self._handles[handle]

    def rename(self, source: str, target: str) -> None:
        """Move a file, link or folder over what is at `target`, atomically."""

        def act() -> None:
            old_folder, old = self._place(source)
            new_folder, new = self._place(target)
            node = self._entry(source)
            replaced = new_folder.names.get(new)
            if replaced is node:
                return
            if source.startswith(target + "/"):
                raise error_of(errno.ENOTEMPTY, target)
            if node.kind == "dir" and (target + "/").startswith(source + "/"):
                raise error_of(errno.EINVAL, target)
            if replaced is not None:
                check_replace(node, replaced, target)
            self.disk.edit((old_folder, old, None), (new_folder, new, node))

        self._call(f"rename {source} {target}", act, needs_room=True)

    def symlink(self, destination: str, path: str) -> None:
        """A new symbolic link at `path`."""

        def act() -> None:
            self._place(path)
            if not destination:
                raise error_of(errno.ENOENT, path)
            self._make(path, "link", 0o777, destination)

        self._call(f"symlink {destination} {path}", act, needs_room=True)

    def unlink(self, path: str) -> None:
        """Take a file or link away."""

        def act() -> None:
            if self._entry(path).kind == "dir":
                raise error_of(errno.EISDIR, path)
            self.disk.edit((*self._place(path), None))

        self._call(f"unlink {path}", act)

    def rmdir(self, path: str) -> None:
        """Take an empty folder away."""

        def act() -> None:
            node = self._entry(path)
            if node.kind != "dir":
                raise error_of(errno.ENOTDIR, path)
            if node.names:
                raise error_of(errno.ENOTEMPTY, path)
            self.disk.edit((*self._place(path), None))

        self._call(f"rmdir {path}", act)

    def fsync_dir(self, path: str) -> None:
        """Make the names in a folder durable ("" is the root)."""
        # What could not be written stays dirty here: the names were in the journal.
        self._call(f"fsync_dir {path}", lambda: self.disk.sync_names(self._folder(path)))

    # --- faults ---------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._stopped:
            raise Stopped

    def _call(
        self,
        what: str,
        act: Callable[[], object],
        *,
        partly: Callable[[], object] | None = None,
        needs_room: bool = False,
    ) -> None:
        self._alive()
        self.log.append(what)
        self._act(what, act, partly, needs_room)
        self.after_call()

    def _act(
        self,
        what: str,
        act: Callable[[], object],
        partly: Callable[[], object] | None,
        needs_room: bool,
    ) -> None:
        fault = self.fault
        if fault is None or self.calls < fault.call:
            act()
            return
        if fault.kind == "disk full":
            if not needs_room:
                act()
                return
            if not self.happened and partly is not None:
                partly()
            self.happened = True
            raise error_of(errno.ENOSPC, what)
        if self.calls > fault.call:
            act()
            return
        self._happen(fault, what, act, partly)

    def _happen(
        self,
        fault: Fault,
        what: str,
        act: Callable[[], object],
        partly: Callable[[], object] | None,
    ) -> None:
        if fault.kind == "torn write" and not what.startswith("write "):
            act()  # nothing else can be torn
            return
        self.happened = True
        if fault.kind == "I/O error":
            if partly is not None:
                partly()
            raise error_of(errno.EIO, what)
        if fault.kind == "torn write" and partly is not None:
            partly()
        elif fault.kind == "power cut" and not what.startswith("fsync"):
            act()
        self._stopped = True
        raise Stopped

    # --- the tree -------------------------------------------------------------------------

    def _open(self, handle: int) -> Node:
        self._alive()
        try:
            return self._handles[handle]
        except KeyError:
            raise error_of(errno.EBADF, f"handle {handle}") from None

    def _find(self, path: str) -> Node:
        node = self.disk.root
        for part in _parts(path):
            if node.kind != "dir":
                raise error_of(errno.ENOTDIR, path)
            try:
                node = node.names[part]
            except KeyError:
                raise error_of(errno.ENOENT, path) from None
        return node

    def _entry(self, path: str) -> Node:
        folder, name = self._place(path)
        if name not in folder.names:
            raise error_of(errno.ENOENT, path)
        return folder.names[name]

    def _folder(self, path: str) -> Node:
        node = self._find(path)
        if node.kind != "dir":
            raise error_of(errno.ENOTDIR, path)
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        if not _parts(path):
            raise error_of(errno.EINVAL, "the root itself")
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name

    def _make(
        self, path: str, kind: Literal["file", "dir", "link"], mode: int, destination: str = ""
    ) -> Node:
        folder, name = self._place(path)
        if name in folder.names:
            raise error_of(errno.EEXIST, path)
        node = self.disk.make(kind, mode)
        node.destination = destination
        self.disk.edit((folder, name, node))
        return node


def _parts(path: str) -> list[str]:
    parts = path.split("/") if path else []
    if {"", ".", ".."} & set(parts) or "\0" in path:
        raise error_of(errno.EINVAL, path)
    return parts
