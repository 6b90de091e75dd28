"""The client's state directory: where it is, what is in it, and who may change it.

| name             | holds                                             | written by            |
|------------------|---------------------------------------------------|-----------------------|
| `lock`           | held (flock) while a cycle runs                   | whoever runs a cycle  |
| `collected.json` | when each collector ran last                      | `collect`             |
| `private.key`    | key of the hashes of private values; never leaves | `collect`             |
| `sealed.json`    | what was encrypted to the secret-keepers last     | `collect`             |
| `memory/`        | what collectors remember; may be deleted          | collectors            |
| `spool/`         | records that wait for the server                  | `collect`, `submit`   |

It is /var/lib/qlmdm/client, or what `QLMDM_STATE_DIR` names; mode 0700. Whatever changes
anything in it holds the lock. Like `disk`, this is loaded every minute and must stay cheap.
"""

from __future__ import annotations

import fcntl
import os

from qlmdm_core.client.disk import Directory
from qlmdm_core.errors import BusyError, SpoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qlmdm_core.api import JSON

DEFAULT = "/var/lib/qlmdm/client"
LOCK = "lock"
COLLECTED = "collected.json"
PRIVATE_KEY = "private.key"
SEALED_BEFORE = "sealed.json"
MEMORY = "memory"
SPOOL = "spool"
MAX_BYTES = 4 << 20
"""The most that one of the small files may hold."""


def state_path(environ: Mapping[str, str]) -> str:
    """Where the state directory is, absolute: `QLMDM_STATE_DIR`, or the installed place."""
    return os.path.abspath(environ.get("QLMDM_STATE_DIR") or DEFAULT)


class State:
    """The open state directory. Use it in a `with` statement, or call `close`.

    Raises `SpoolError` when the directory can't be made, is somebody else's, is a link, or
    can be written by others.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.directory = Directory(path, create=create)
        self.path = path

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None, *, create: bool = True) -> State:
        """The state directory that the environment names."""
        return cls(state_path(os.environ if environ is None else environ), create=create)

    def close(self) -> None:
        """Let go of the directory."""
        self.directory.close()

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spool_path(self) -> str:
        """The directory for `Spool`."""
        return os.path.join(self.path, SPOOL)

    def memory_folder(self) -> str:
        """Where collectors keep what they remember; made if it is not there."""
        path = os.path.join(self.path, MEMORY)
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from None
        return path

    def lock(self) -> CycleLock:
        """The lock that a cycle holds: `with state.lock(): …`; raises `BusyError` if held."""
        return CycleLock(os.path.join(self.path, LOCK))

    def read(self, name: str) -> bytes | None:
        """A small file, whole; None if there is none. Raises `SpoolError` if it can't be read."""
        try:
            return self.directory.read(name, MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolError(f"{self.path}/{name}: {error.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file durably: after a crash it holds the old content or the new."""
        try:
            self.directory.write(name, data)
        except OSError as error:
            raise SpoolError(f"{self.path}/{name}: {error.strerror}") from None

    def remove(self, name: str) -> None:
        """Take a file away durably; no error if it is not there."""
        try:
            self.directory.remove(name)
        except OSError as error:
            raise SpoolError(f"{self.path}/{name}: {error.strerror}") from None

    def read_json(self, name: str) -> dict[str, JSON] | None:
        """A small JSON object; None if there is none; `SpoolError` if it is damaged."""
        data = self.read(name)
        if data is None:
            return None
        import json  # not needed by a cycle that only looks at the lock

        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise SpoolError(
                f"{self.path}/{name} is damaged; if it can't be restored, delete it and run again"
            )
        return value

    def write_json(self, name: str, value: Mapping[str, JSON]) -> None:
        """Replace a small JSON object durably."""
        import json

        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
        self.write(name, text.encode("ascii") + b"\n")

    def secret(self, name: str, length: int = 32) -> bytes:
        """A random key that stays on this machine: made on first use, then always the same."""
        key = self.read(name)
        if key is None or len(key) != length:
            key = os.urandom(length)
            self.write(name, key)
        return key


class CycleLock:
    """Held by the one cycle that may change the state directory; the system frees it at exit.

    The file says who holds it, for the message of the one who has to give way.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> CycleLock:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise SpoolError(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise BusyError(
                "another qlmdm command is at work here"
                + (f" (pid {holder})" if holder.isdigit() else "")
                + "; nothing was done"
            ) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # the disk is full: the lock holds all the same, it just has no name on it
        self._fd = fd
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._fd = -1
