"""A session's place on the machine: its processes, its environment, its user's home.

Settings are those of the user, in the session: the same program asked as root, or without
the session's environment, tells other ones (gsettings then prints the schema's defaults).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from os.path import isabs, join, normpath

from qlmdm_core import CommandResult, Host, Process

from ..whole import read_whole
from .model import CannotTellError, Session
from .patience import Patience
from .processes import all_in_sight, is_named, of_session

PASSED_ON = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS", "DCONF_PROFILE", "DESKTOP_SESSION", "DISPLAY",
        "GSETTINGS_BACKEND", "GSETTINGS_SCHEMA_DIR", "KDE_SESSION_VERSION", "WAYLAND_DISPLAY",
        "XAUTHORITY", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_CURRENT_DESKTOP",
        "XDG_DATA_DIRS", "XDG_RUNTIME_DIR", "XDG_SESSION_DESKTOP", "XDG_SESSION_TYPE",
        "XENVIRONMENT",
    }
)  # fmt: skip
"""What decides where settings are read from; never PATH or a loader's variables."""

TELLING = ("DBUS_SESSION_BUS_ADDRESS", "XDG_CURRENT_DESKTOP", "DISPLAY", "WAYLAND_DISPLAY")


class Place:
    """One session on one machine, to ask questions of."""

    def __init__(
        self,
        host: Host,
        session: Session,
        processes: Sequence[Process],
        *,
        first: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        """`processes` are the machine's; `first` names the programs whose environment counts
        most (the desktop's own, such as gnome-shell)."""
        self.host, self.session = host, session
        self._patience = patience or Patience(host)
        self.processes = of_session(processes, session)
        self.all_in_sight = all_in_sight(processes)
        self._machine = processes
        self._first = first

    # --- processes -----------------------------------------------------------------------

    def running(self, *wanted: str) -> list[Process]:
        """The session's processes of these names."""
        return [process for process in self.processes if is_named(process, wanted)]

    def running_anywhere(self, *wanted: str) -> bool:
        """Whether a process of these names runs on the machine, whoever owns it."""
        return any(is_named(process, wanted) for process in self._machine)

    @property
    def hides_processes(self) -> bool:
        """Whether the session's processes are kept from us, and others are not (hidepid)."""
        return bool(self._machine) and not self.processes and not self.all_in_sight

    # --- environment ---------------------------------------------------------------------

    @cached_property
    def environ(self) -> dict[str, str]:
        """The session's environment, as far as its processes show it, else as it usually is."""
        uid = self.session.uid
        usual: dict[str, str] = {}
        if uid is not None:
            usual["XDG_RUNTIME_DIR"] = f"/run/user/{uid}"
            usual["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path=/run/user/{uid}/bus"
        if self.session.display:
            usual["DISPLAY"] = self.session.display
        return {**usual, **{k: v for k, v in self._seen.items() if k in PASSED_ON}}

    @cached_property
    def _seen(self) -> dict[str, str]:
        """The environment of the desktop's own process; what it lacks, from programs in it."""
        first = [process.environ for process in self.running(*self._first) if process.environ]
        others = sorted(
            (process.environ for process in self.processes if process.environ),
            key=lambda environ: -sum(name in environ for name in TELLING),
        )
        merged: dict[str, str] = {}
        for environ in reversed([*first, *others[:3]]):
            merged.update(environ)
        return merged

    @cached_property
    def home(self) -> str:
        """The user's home directory. Raises `CannotTellError`."""
        seen = self._seen.get("HOME", "")
        if isabs(seen):
            return normpath(seen)
        found = _home_of(self.host, self._patience, self.session.user)
        if found is None:
            raise CannotTellError("the user's home directory is not known")
        return found

    @property
    def config_home(self) -> str:
        """Where the user's configuration is (XDG base directories)."""
        named = self.environ.get("XDG_CONFIG_HOME", "")
        return named if isabs(named) else join(self.home, ".config")

    @property
    def config_dirs(self) -> list[str]:
        """The system's directories of configuration, the most important first."""
        named = self.environ.get("XDG_CONFIG_DIRS", "")
        # openSUSE names the second in everybody's environment.
        return [path for path in named.split(":") if isabs(path)] or ["/etc/xdg", "/usr/etc/xdg"]

    def expand(self, path: str, *, base: str | None = None) -> str:
        """A path as the user's programs would take it: `~`, `$HOME`, relative to `base`."""
        for name in ("~", "$HOME", "${HOME}"):
            if path == name or path.startswith(name + "/"):
                return self.home + path[len(name) :]
        for name in ("$XDG_CONFIG_HOME", "${XDG_CONFIG_HOME}"):
            if path.startswith(name + "/"):
                return self.config_home + path[len(name) :]
        return path if isabs(path) else normpath(join(base or self.home, path))

    # --- questions -----------------------------------------------------------------------

    def ask(self, *argv: str) -> CommandResult:
        """Run a program as the session's user, in the session's environment."""
        return self._patience.run(argv, user=self.session.user, env=self.environ)

    def text(self, path: str) -> str | None:
        """A file's text; None if there is no such file. Raises `CannotTellError`."""
        try:
            return read_whole(self.host, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CannotTellError(f"{path}: {error.strerror or error}") from None

    def script(self, program: str) -> str | None:
        """The text of a program that is a script; None for a binary, or what can't be read."""
        try:
            if "/" in program:
                path: str | None = self.expand(program)
            else:
                own = (join(self.home, directory, program) for directory in (".local/bin", "bin"))
                path = next((path for path in own if self.host.exists(path)), None)
                path = path or self.host.which(program)
            text = self.host.read(path, max_bytes=64 << 10) if path is not None else ""
        except (OSError, CannotTellError):
            return None
        return text if text.startswith("#!") and "\0" not in text else None


def _home_of(host: Host, patience: Patience, user: str) -> str | None:
    """From passwd(5), or the name service, which also knows the users of a directory server.

    Where there is no passwd at all, which is to say in a recording that lacks it, the home is
    where it usually is.
    """
    sources: tuple[Callable[[], str], ...] = (
        lambda: read_whole(host, "/etc/passwd", max_bytes=8 << 20),
        lambda: patience.run(["getent", "passwd", user]).stdout,
    )
    for source in sources:
        try:
            text = source()
        except OSError:
            continue
        for line in text.splitlines():
            fields = line.split(":")
            if len(fields) >= 6 and fields[0] == user and isabs(fields[5]):
                return normpath(fields[5])
    usual = "/root" if user == "root" else f"/home/{user}"
    if "/" in user or user in ("", ".", ".."):
        return None
    return usual if host.exists(usual) or not host.exists("/etc/passwd") else None
