"""What cron starts each minute: is anything due, is it what was signed, and then it runs it.

    python3 -I -S launcher/launcher.py COMMAND ARGS…       COMMAND as in "qlmdm-client-cron"

This file is copied out of a release and replaced seldom, so it does little. Whether anything
is due is in one small file. Whether the release that runs is still the one that was verified
today is told by what the system says of its files, without reading them. Whatever is not
plain (no stamps of today, a difference, a trial) is for `supervise`, from `lib` beside this
file. It imports nothing but `os`, `sys` and `time`.
"""

import os
import sys
import time

UNTIL_NEXT_START = 58.0
"""Seconds; what is due later than this is left to the next minute's start."""
LONGEST_PAUSE = 2 * 86400.0
"""Seconds; a release that asked to be left alone for longer has lost its mind."""
DAY = 86400.0
STAMPS_HEAD = "qlmdm-stamps-1"


def main() -> int:
    """The command; see above. `--run SLOT` comes from `supervise`, which has looked at it."""
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(here)
    if os.path.basename(root) == "launchers":
        root = os.path.dirname(root)
    os.umask(0o077)
    # Code comes from the slot and from Python itself; what else is installed on this machine
    # was signed by nobody. (-S does this, too; somebody may have left it out.)
    sys.path[:] = [
        path for path in sys.path if not path.endswith(("site-packages", "dist-packages"))
    ]
    argv, slot = sys.argv[1:], None
    if argv[:1] == ["--run"]:
        slot, argv = argv[1], argv[2:]
    if not argv:
        sys.stderr.write("usage: launcher.py COMMAND ARGS…, as in: launcher.py qlmdm-client-cron\n")
        return 2
    os.environ["QLMDM_STATE_DIR"] = os.environ.get("QLMDM_STATE_DIR") or root
    if slot is None and argv == ["qlmdm-client-cron"]:
        wait = pause(os.path.join(os.environ["QLMDM_STATE_DIR"], "due"), time.time())
        if wait is None:
            return 0
        time.sleep(wait)
    slot = slot or settled(root, time.time())
    if slot is not None:
        return run(root, slot, argv)
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(here, "lib"))
    from qlmdm_core.client.release.supervise import supervise

    return supervise(root, here, argv)


def pause(path: str, now: float) -> "float | None":
    """Seconds until something is due, or None if that is left to a later start."""
    try:
        with open(path, encoding="utf-8") as file:
            written_at, due_at = map(float, file.read(100).split())
    except (OSError, ValueError):
        return 0.0
    if now < written_at or not due_at - written_at < LONGEST_PAUSE:
        return 0.0  # the clock was set back
    wait = max(0.0, due_at - now)
    return wait if wait <= UNTIL_NEXT_START else None


def settled(root: str, now: float) -> "str | None":
    """The slot to run, if it is committed, and looks as it did when it was verified today."""
    try:
        if os.path.lexists(f"{root}/trial.json") or os.path.lexists(f"{root}/launcher_trial.json"):
            return None
        slot = os.readlink(f"{root}/current").removeprefix("slots/")
        with open(f"{root}/stamps/{slot}", encoding="utf-8") as file:
            head, *lines = file.read().splitlines()
        word, at, count = head.split()
        if word != STAMPS_HEAD or not lines or len(lines) != int(count):
            return None
        if not 0 <= now - float(at) < DAY:
            return None
        for line in lines:
            path = line.split(" ", 4)[4]
            is_now = os.lstat(f"{root}/slots/{slot}/{path}")
            stamp = f"{is_now.st_ino} {is_now.st_size} {is_now.st_mtime_ns} {is_now.st_ctime_ns}"
            if f"{stamp} {path}" != line:
                return None
    except (OSError, ValueError, IndexError):
        return None
    return slot


def run(root: str, slot: str, argv: "list[str]") -> int:
    """Become the command of this slot."""
    lib, settings = f"{root}/slots/{slot}/lib", f"{root}/slots/{slot}/settings.yml"
    module, function = console_script(lib, argv[0])
    if not module:
        sys.stderr.write(f"{argv[0]}: there is no such command in release {slot}\n")
        return 2
    sys.pycache_prefix = f"{root}/pycache/{slot}"
    sys.path.insert(0, lib)
    os.environ["QLMDM_SLOT"] = slot
    if os.path.exists(settings) and not os.environ.get("QLMDM_SETTINGS"):
        os.environ["QLMDM_SETTINGS"] = settings
    sys.argv = argv
    __import__(module)
    status: int = getattr(sys.modules[module], function)()
    return status


def console_script(lib: str, command: str) -> "tuple[str, str]":
    """The module and function of one command of a slot; two empty texts if there is none."""
    for name, target in console_scripts(lib):
        if name == command:
            module, _, function = target.partition(":")
            return module, function
    return "", ""


def console_scripts(lib: str) -> "list[tuple[str, str]]":
    """All commands of our distributions in a slot: the metadata's entry points, read by hand."""
    found = []
    for name in sorted(os.listdir(lib)):
        if not (name.startswith("qlmdm") and name.endswith(".dist-info")):
            continue
        try:
            with open(f"{lib}/{name}/entry_points.txt", encoding="utf-8") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            continue
        group = ""
        for line in lines:
            if line.startswith("["):
                group = line.strip()
            key, equals, value = line.partition("=")
            if group == "[console_scripts]" and equals:
                found.append((key.strip(), value.strip()))
    return found


if __name__ == "__main__":
    sys.exit(main())
