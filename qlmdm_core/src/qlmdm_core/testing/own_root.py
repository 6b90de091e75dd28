"""Runs a program in a throw-away root: `run(argv, folder)`; `why_not()` says where that can't be.

Its root is a tmpfs in new mount, PID, IPC, network and UTS namespaces. In sight of it are the
system's programs and our own, read-only, a read-only /proc of its own, and nothing else of the
machine: no disk, no home, no other process. It holds no capability by which that could be
changed. `client.wipe.own_root` proves all of this from inside before anything is destroyed.

This module runs twice: here, and as process 1 of the new root (`python -m … NONCE`), which
builds the root, gives up what it needed for that, and becomes the parent of the program.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from qlmdm_core.client.wipe import own_root
from qlmdm_core.client.wipe.own_root import FORBIDDEN_CAPABILITIES, MARKER, NAMESPACES, SOURCE

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu")
ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
FOLDERS = ("dev", "etc", "home", "proc", "root", "run", "srv", "tmp", "var/mail", "var/tmp")
DEVICES = ("null", "zero", "urandom", "random")
_UNSHARE = ("--mount", "--pid", "--ipc", "--net", "--uts", "--fork", "--kill-child")
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
"""prctl(2)."""
_MS_RDONLY, _MS_NOSUID, _MS_REMOUNT, _MS_BIND = 1, 2, 32, 4096
"""mount(2)."""
_MNT_DETACH = 2
_LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"


def why_not() -> str:
    """Why no throw-away root can be made here; empty: it can."""
    if os.geteuid() != 0:
        return "a throw-away root needs root"
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    if not os.path.exists("/proc/self/ns/pid"):
        return "this kernel has no namespaces"
    tried = subprocess.run(
        ["unshare", *_UNSHARE, "mount", "-t", "tmpfs", "none", "/tmp"],  # noqa: S108 - a new one
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        return f"namespaces can't be made here: {tried.stderr.decode(errors='replace').strip()}"
    return ""


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    sources: Iterable[str | Path] = (),
    mounts: Iterable[tuple[str, str]] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program in a new throw-away root; `sources` are seen there, read-only.

    `mounts` are more mounts within it, as nobody can make any later: pairs of a folder of the
    new root (or "", for an empty file system) and where it is mounted. Raises
    `subprocess.TimeoutExpired`; all that ran in it is dead then.
    """
    nonce = secrets.token_hex(16)
    root = os.stat("/")
    order = {
        "argv": list(argv),
        "mounts": list(mounts),
        "sources": [str(path) for path in (*_own_sources(), *sources)],
        "marker": {
            "nonce": nonce,
            "outside": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
            "root": [root.st_dev, root.st_ino],
        },
    }
    init = [sys.executable, "-m", __name__, nonce]
    return subprocess.run(
        ["unshare", *_UNSHARE, "--propagation", "private", *init],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        cwd="/",
    )


def _own_sources() -> list[str]:
    """Where this interpreter and all that it can import are."""
    places = {sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    places |= {path for path in sys.path if os.path.isdir(path)}
    places |= set(sysconfig.get_paths().values())
    return sorted(place for place in places if place not in ("", "/") and os.path.isdir(place))


# --- in the new root ---------------------------------------------------------------------------


def main() -> int:
    """Process 1: build the root, run the program, and be its parent until it ends."""
    order = json.load(sys.stdin)
    if order["marker"]["nonce"] != sys.argv[1] or os.getpid() != 1:
        raise SystemExit("not process 1 of a new namespace")
    for name, outside in order["marker"]["outside"].items():
        if os.readlink(f"/proc/self/ns/{name}") == outside:
            raise SystemExit(f"still in the {name} namespace outside")
    build(order["sources"], order["marker"], order["mounts"])
    give_up_capabilities()
    own_root.prove()
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/root"}
    child = subprocess.Popen(order["argv"], stdin=subprocess.DEVNULL, env=environ, cwd="/")
    while True:  # as process 1, also of what others leave behind
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode


def build(
    sources: Iterable[str], marker: dict[str, object], mounts: Iterable[tuple[str, str]]
) -> None:
    """Make a tmpfs with what is needed in it, and make it the root. `OSError`."""
    source = f"{SOURCE}{marker['nonce']}"
    new = "/tmp"  # noqa: S108 - of this mount namespace; what is below comes out of sight
    _bind(sources, new, source)
    for folder in FOLDERS:
        os.makedirs(f"{new}/{folder}", exist_ok=True)
    os.chmod(f"{new}/tmp", 0o1777)  # noqa: S103, S108 - as any /tmp
    for name in DEVICES:
        # Made, not bound: what is bound could be written to.
        info = os.stat(f"/dev/{name}")
        os.mknod(f"{new}/dev/{name}", info.st_mode, info.st_rdev)
    os.symlink("/proc/self/fd", f"{new}/dev/fd")
    _mount("proc", f"{new}/proc", "proc", _MS_RDONLY | _MS_NOSUID)
    Path(f"{new}/etc/passwd").write_text(ACCOUNTS)
    Path(f"{new}/etc/group").write_text(GROUP)
    if os.path.exists("/etc/ld.so.cache"):
        shutil.copy("/etc/ld.so.cache", f"{new}/etc/ld.so.cache")
    for folder, target in mounts:
        os.makedirs(f"{new}{target}", exist_ok=True)
        if folder:
            os.makedirs(f"{new}{folder}", exist_ok=True)
            _mount(f"{new}{folder}", f"{new}{target}", None, _MS_BIND)
        else:
            _mount(source, f"{new}{target}", "tmpfs", _MS_NOSUID)
    Path(new + MARKER).write_text(json.dumps(marker))
    os.chdir(new)
    libc = ctypes.CDLL(None, use_errno=True)
    # pivot_root(2): with "." twice, the old root lies over the new one until it is let go.
    if libc.pivot_root(b".", b".") or libc.umount2(b".", _MNT_DETACH):
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")


def _bind(sources: Iterable[str], new: str, source: str) -> None:
    """Mount the tmpfs, and in it, read-only, what the program needs of the machine."""
    wanted = [path for path in SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    wanted += [os.path.realpath(path) for path in sources]
    held = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in dict.fromkeys(wanted)}
    links = {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}
    _mount(source, new, "tmpfs", _MS_NOSUID, "mode=755")
    for path, target in links.items():
        os.symlink(target, f"{new}{path}")
    for path, fd in sorted(held.items()):
        if any(path.startswith(f"{other}/") for other in held):
            continue
        os.makedirs(f"{new}{path}", exist_ok=True)
        _mount(f"/proc/self/fd/{fd}", f"{new}{path}", None, _MS_BIND)
        _mount(None, f"{new}{path}", None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID)
    for fd in held.values():
        os.close(fd)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: mount {source} at {target}")


def give_up_capabilities() -> None:
    """Let go of everything by which the root could be left or the machine be changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in FORBIDDEN_CAPABILITIES.values():
        if libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # capset(2), version 3: 64 capabilities in two halves of effective, permitted, inheritable.
    kept = (1 << _last_capability() + 1) - 1
    for number in FORBIDDEN_CAPABILITIES.values():
        kept &= ~(1 << number)
    kept &= _held()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def _last_capability() -> int:
    return int(Path(_LAST_CAPABILITY).read_text())


def _held() -> int:
    for line in Path("/proc/self/status").read_text().split("\n"):
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


if __name__ == "__main__":
    sys.exit(main())
