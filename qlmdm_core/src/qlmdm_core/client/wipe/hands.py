"""The one module by which the client reaches outside its own tree to destroy something.

Each method shows the power again before it does anything, does one thing, and says what came of
it. With `dry_run` it says what it would do, and does nothing. What is to be done, and in which
order, is for `methods`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from qlmdm_core.client.wipe import mounts, trees
from qlmdm_core.client.wipe.blockdevices import UnreadableError
from qlmdm_core.client.wipe.power import Power
from qlmdm_core.client.wipe.trees import Removed
from qlmdm_core.searchpath import SEARCH_PATH

SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run")
SYSTEM_TOO = ("sbin", "sys", "usr")
HOMES = "/home"
COMMAND_SECONDS = 120.0
_POWER_OFF = 0x4321FEDC
"""LINUX_REBOOT_CMD_POWER_OFF of linux/reboot.h."""
_ROUNDS = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a program."""

    status: int | None
    """None: it could not be started, or took too long."""
    output: str


class Hands:
    """What a wipe can do to the machine."""

    def __init__(self, power: Power, *, dry_run: bool = False) -> None:
        self._power = power
        self._dry_run = dry_run
        power.prove()

    # --- processes ------------------------------------------------------------------------

    def kill_processes(self, uids: Collection[int]) -> int:
        """Kill all processes that run as one of these; how many were told to end.

        All are stopped before any is killed, so that none can start another; that is repeated
        until none is left.
        """
        killed: set[int] = set()
        for _ in range(_ROUNDS):
            found = [pid for pid in _processes(uids) if pid not in (1, os.getpid())]
            if not found:
                break
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in found:
                    self._signal(pid, uids, number)
            killed.update(found)
            if self._dry_run:
                break
        return len(killed)

    def _signal(self, pid: int, uids: Collection[int], number: signal.Signals) -> None:
        """Signal a process, if it (not another with its number by now) is theirs."""
        self._power.prove()
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return  # it is gone
        try:
            if not self._dry_run and _runs_as(pid, uids):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)

    # --- files ----------------------------------------------------------------------------

    def remove_home(self, path: str, uid: int | None) -> Removed:
        """Take a home away with all that is in it, on its own mount only.

        It must belong to `uid`, or lie directly in /home; never is it a folder of the system.
        """
        done = Removed()
        where, why = _resolve(path, uid)
        if why:
            done.leave(path, why)
            return done
        try:
            mounted = mounts.parse(_read(mounts.MOUNTINFO))
        except (OSError, UnreadableError) as error:
            done.leave(where, f"what is mounted can't be read: {error}")
            return done
        holder = mounts.holding(mounted, where)
        if holder is None or not mounts.is_local(holder.fstype):
            done.leave(where, f"it is on {holder.fstype if holder else 'an unknown mount'}")
            return done
        in_homes = os.path.dirname(where) == HOMES

        def may(info: os.stat_result) -> bool:
            return in_homes or (uid is not None and info.st_uid == uid)

        targets = {mount.target for mount in mounted}
        return self._remove(os.path.dirname(where), os.path.basename(where), targets, may)

    def remove_owned(self, folder: str, uids: Collection[int]) -> Removed:
        """Take away what in a folder belongs to one of these."""
        done = Removed()
        try:
            names = os.listdir(folder)
        except OSError:
            return done  # this system has no such folder
        try:
            targets = {mount.target for mount in mounts.parse(_read(mounts.MOUNTINFO))}
        except (OSError, UnreadableError) as error:
            done.leave(folder, f"what is mounted can't be read: {error}")
            return done
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(os.path.join(folder, name)).st_uid in uids:
                    part = self._remove(folder, name, targets, lambda info: info.st_uid in uids)
                    _add(done, part)
        return done

    def remove_file(self, path: str) -> bool:
        """Take a file (or link) away; whether it was there."""
        self._power.prove()
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                return False
            if not self._dry_run:
                os.unlink(path)
        except OSError:
            return False
        return True

    def replace_file(self, path: str, text: str) -> None:
        """Write a file of the system anew, with its owner and mode; whole or not at all."""
        self._power.prove()
        if self._dry_run:
            return
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(f"{path} is no regular file")
        new = f"{path}.qlmdm"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fchown(fd, info.st_uid, info.st_gid)
            os.fchmod(fd, stat.S_IMODE(info.st_mode))
            os.fsync(fd)
        os.rename(new, path)
        folder = os.open(os.path.dirname(path), _FOLDER)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self, folder: str, name: str, mounted: Collection[str], may: trees.May) -> Removed:
        self._power.prove()
        where = os.path.join(folder, name)
        if self._dry_run:
            return Removed()
        try:
            parent = _open_folder(folder)
        except OSError as error:
            done = Removed()
            done.leave(where, error.strerror or str(error))
            return done
        try:
            return trees.remove_tree(parent, name, where, mounted=mounted, may=may)
        finally:
            os.close(parent)

    # --- disks, and the end ------------------------------------------------------------------

    def look(self, argv: Sequence[str]) -> Ran:
        """Run a program that only looks."""
        return self._run(argv)

    def change(self, argv: Sequence[str]) -> Ran:
        """Run a program that changes the machine."""
        if self._dry_run:
            return Ran(status=0, output="")
        return self._run(argv)

    def _run(self, argv: Sequence[str]) -> Ran:
        self._power.prove()
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": ":".join(SEARCH_PATH), "LC_ALL": "C"},
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Ran(status=None, output=str(error)[:500])
        return Ran(status=done.returncode, output=done.stdout.decode("utf-8", "replace")[:65536])

    def beginning(self, device: str) -> bytes:
        """The first bytes of a device. Raises `OSError`."""
        self._power.prove()
        with open(device, "rb") as file:
            return file.read(4096)

    def overwrite(self, device: str, size_bytes: int) -> None:
        """Write random bytes over the beginning of a device, and wait until it has them."""
        self._power.prove()
        if self._dry_run:
            return
        fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        try:
            left = min(size_bytes, os.lseek(fd, 0, os.SEEK_END))
            os.lseek(fd, 0, os.SEEK_SET)
            while left > 0:
                left -= os.write(fd, os.urandom(min(left, 1 << 20)))
            os.fsync(fd)
        finally:
            os.close(fd)

    def switch_off(self) -> None:
        """Switch the machine off at once, without stopping anything in order.

        Keys of open containers are in memory: a restart might leave them there. In a
        throw-away root it only says so, in a file: the kernel there is everybody's.
        """
        self._power.prove()
        if self._dry_run:
            return
        if self._power.kind != "machine":
            with open("/switched-off", "w", encoding="ascii") as file:
                file.write("off\n")
            return
        with contextlib.suppress(OSError), open("/proc/sysrq-trigger", "w") as file:
            file.write("o")  # admin-guide/sysrq.rst; root may always, whatever kernel.sysrq says
        ctypes.CDLL(None, use_errno=True).reboot(_POWER_OFF)


def _processes(uids: Collection[int]) -> Iterable[int]:
    return [int(n) for n in os.listdir("/proc") if n.isdecimal() and _runs_as(int(n), uids)]


def _runs_as(pid: int, uids: Collection[int]) -> bool:
    """Whether a process has one of these among its real, effective, saved and file uids.

    One that ended and only waits for its parent to ask for its status runs as nobody.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("State:") and line.split()[1] in "ZX":
                    return False
                if line.startswith("Uid:"):
                    return any(int(word) in uids for word in line.split()[1:])
    except OSError:
        pass  # it is gone
    return False


def _resolve(path: str, uid: int | None) -> tuple[str, str]:
    """Where a home really is, or why it is none that may be removed."""
    if not path.startswith("/") or "\0" in path or "/../" in f"{path}/":
        return path, "no absolute path"
    try:
        info = os.lstat(path.rstrip("/") or "/")
        if stat.S_ISLNK(info.st_mode) and info.st_uid != 0:
            return path, "a link that somebody else than root made"
        where = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return path, "not there"
    except OSError as error:
        return path, error.strerror or str(error)
    parts = where.split("/")[1:]
    if len(parts) < 2 or parts[0] in SYSTEM or parts[0] in SYSTEM_TOO:
        return where, "a folder of the system"
    if os.path.dirname(where) != HOMES and uid is None:
        return where, "nobody's home"
    return where, ""


def _open_folder(path: str) -> int:
    """Open a folder whose path has no link in it, from the root down. Raises `OSError`."""
    fd = os.open("/", _FOLDER)
    try:
        for name in path.split("/"):
            if name:
                below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _add(total: Removed, part: Removed) -> None:
    total.files += part.files
    total.folders += part.folders
    total.more_left += part.more_left
    for line in part.left:
        total.leave(*line.split(": ", 1))
