"""Who is logged in, in which desktop, and how its screen locks.

Formats: loginctl(1), gsettings(1), kreadconfig6 and xfconf-query by their own help, and the
manuals of swayidle(1), hypridle, xss-lock(1), xautolock(1), xset(1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from machine import Machine

PROPERTIES = (
    "Id", "User", "Name", "Type", "Class", "Seat", "State", "Active", "Remote", "Desktop",
    "Display", "Service", "Leader", "LockedHint",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session that logind knows, or would know."""

    id: str
    user: str
    uid: int
    type: str = "wayland"
    desktop: str = ""
    """XDG_SESSION_DESKTOP, which logind shows."""
    current: str = ""
    """XDG_CURRENT_DESKTOP."""
    service: str = "gdm-password"
    kind: str = "user"
    state: str = "active"
    seat: str = "seat0"
    tty: str = "tty2"
    remote: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What its processes have."""
        shown = {"DISPLAY": ":0"} if self.type == "x11" else {"WAYLAND_DISPLAY": "wayland-0"}
        return {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{self.uid}/bus",
            "HOME": f"/home/{self.user}",
            "XDG_CURRENT_DESKTOP": self.current or self.desktop,
            "XDG_RUNTIME_DIR": f"/run/user/{self.uid}",
            "XDG_SESSION_ID": self.id,
            "XDG_SESSION_TYPE": self.type,
            **shown,
            **self.environ,
        }


def greeter(user: str, service: str, current: str = "") -> Session:
    """The session of a login screen."""
    return Session(
        id="c1", user=user, uid=120, kind="greeter", tty="tty1", service=service, current=current
    )


def sessions(machine: Machine, *listed: Session, new: bool = True) -> None:
    """What loginctl says; `new`: with the columns of systemd 256 and later (LEADER, CLASS)."""
    rows = []
    for session in listed:
        leader = machine.pid()
        if new:
            place = f"{session.seat or '-':<6} {leader} {session.kind:<7} {session.tty or '-':<5}"
        else:
            place = f"{session.seat:<6} {session.tty}"
        rows.append(f"{session.id:>7} {session.uid} {session.user:<8} {place} no -".rstrip())
        values = {
            "Id": session.id,
            "User": str(session.uid),
            "Name": session.user,
            "Type": session.type,
            "Class": session.kind,
            "Seat": session.seat,
            "State": session.state,
            "Active": "yes" if session.state == "active" else "no",
            "Remote": "yes" if session.remote else "no",
            "Desktop": session.desktop,
            "Display": ":0" if session.type == "x11" else "",
            "Service": session.service,
            "Leader": str(leader),
            "LockedHint": "no",
        }
        words = [word for name in PROPERTIES for word in ("-p", name)]
        shown = "".join(f"{name}={values[name]}\n" for name in PROPERTIES)
        machine.command(("loginctl", "show-session", session.id, *words), shown)
    list_sessions = ("loginctl", "list-sessions", "--no-legend", "--no-pager")
    machine.command(list_sessions, "".join(row + "\n" for row in rows))
    machine.command(("loginctl", "list-seats", "--no-legend", "--no-pager"), "seat0\n")


def run(
    machine: Machine, session: Session, path: str, *words: str, environ: bool = True, comm: str = ""
) -> None:
    """A program of a session. What the user's systemd started has no session's id."""
    seen = machine.root
    machine.process(
        pid=machine.pid(),
        ppid=1,
        uid=session.uid,
        user=session.user,
        comm=(comm or path.rsplit("/", 1)[-1])[:15],
        argv=[path, *words],
        exe=path if seen else None,
        environ=session.environment() if environ and seen else None,
    )


def gsettings(
    machine: Machine, session: Session, values: Mapping[str, str], *, stderr: str = ""
) -> None:
    """Effective settings, by "schema key"; a value of None is a key that does not exist."""
    for name, text in values.items():
        schema, key = name.split(" ")
        argv = ("gsettings", "get", schema, key)
        machine.command(argv, text + "\n", stderr=stderr, user=session.user)


# --- GNOME and its relatives ------------------------------------------------------------------


def gnome_settings(
    *, lock: bool = True, idle: int = 300, delay: int = 0, lockdown: bool = False
) -> dict[str, str]:
    """The four keys that decide (gsettings-desktop-schemas)."""
    return {
        "org.gnome.desktop.screensaver lock-enabled": str(lock).lower(),
        "org.gnome.desktop.screensaver lock-delay": f"uint32 {delay}",
        "org.gnome.desktop.session idle-delay": f"uint32 {idle}",
        "org.gnome.desktop.lockdown disable-lock-screen": str(lockdown).lower(),
    }


def gnome(machine: Machine, session: Session, **settings: bool | int) -> None:
    """GNOME Shell."""
    run(machine, session, "/usr/bin/gnome-shell")
    gsettings(machine, session, gnome_settings(**settings))  # type: ignore[arg-type]


def cinnamon(machine: Machine, session: Session, *, lock: bool = True, idle: int = 900) -> None:
    """Cinnamon with its own screen saver."""
    run(machine, session, "/usr/bin/cinnamon", "--replace")
    run(machine, session, "/usr/bin/cinnamon-screensaver")
    group = "org.cinnamon.desktop"
    settings = {
        f"{group}.screensaver lock-enabled": str(lock).lower(),
        f"{group}.screensaver lock-delay": "uint32 2",
        f"{group}.session idle-delay": f"uint32 {idle}",
        f"{group}.lockdown disable-lock-screen": "false",
        f"{group}.screensaver custom-screensaver-command": "''",
    }
    gsettings(machine, session, settings)


def mate(machine: Machine, session: Session, *, idle: int = 5, lock_delay: int = 1) -> None:
    """MATE; its times are minutes."""
    run(machine, session, "/usr/bin/mate-session")
    run(machine, session, "/usr/bin/mate-screensaver")
    settings = {
        "org.mate.screensaver lock-enabled": "true",
        "org.mate.screensaver idle-activation-enabled": "true",
        "org.mate.session idle-delay": str(idle),
        "org.mate.screensaver lock-delay": str(lock_delay),
        "org.mate.lockdown disable-lock-screen": "false",
    }
    gsettings(machine, session, settings)


# --- KDE --------------------------------------------------------------------------------------


def plasma(machine: Machine, session: Session, version: int, **values: str) -> None:
    """KDE Plasma 5 or 6, whose kreadconfig says these values, and defaults for the rest."""
    run(machine, session, "/usr/bin/plasmashell", "--no-respawn")
    run(machine, session, "/usr/bin/kwin_wayland" if version == 6 else "/usr/bin/kwin_x11")
    defaults = {
        "Autolock": "true", "Timeout": "5", "Lock": "true", "LockGrace": "5",
        "RequirePassword": "true",
    }  # fmt: skip
    for key, default in defaults.items():
        group = ("--file", "kscreenlockerrc", "--group", "Daemon", "--key", key)
        argv = (f"kreadconfig{version}", *group, "--default", default)
        machine.command(argv, values.get(key, default) + "\n", user=session.user)


# --- XFCE, X11 tools, Wayland compositors -----------------------------------------------------


def xfce(machine: Machine, session: Session, values: Mapping[str, str] | None) -> None:
    """XFCE with xfce4-screensaver, and the properties that are set; None: without it."""
    run(machine, session, "/usr/bin/xfce4-session")
    run(machine, session, "/usr/bin/xfwm4")
    if values is not None:
        run(machine, session, "/usr/bin/xfce4-screensaver")
        listed = "".join(f"{name:<40}  {text}\n" for name, text in values.items())
        argv = ("xfconf-query", "-c", "xfce4-screensaver", "-l", "-v")
        machine.command(argv, listed, user=session.user)


def xset(machine: Machine, session: Session, timeout: int, cycle: int) -> None:
    """The X server's screen saver (xset(1))."""
    said = (
        "Screen Saver:\n  prefer blanking:  yes    allow exposures:  yes\n"
        f"  timeout:  {timeout}    cycle:  {cycle}\n"
    )
    machine.command(("xset", "q"), said, user=session.user)


def window_manager(machine: Machine, session: Session, path: str, *programs: Sequence[str]) -> None:
    """A window manager or compositor, and the programs beside it."""
    run(machine, session, path)
    for words in programs:
        run(machine, session, *words)


# --- display managers -------------------------------------------------------------------------


def display_manager(machine: Machine, unit: str, path: str, *, configuration: str = "") -> None:
    """The service behind display-manager.service, and its process."""
    machine.daemon(path)
    if machine.systemd:
        argv = ("systemctl", "show", "-p", "Id", "--value", "display-manager.service")
        machine.command(argv, f"{unit}.service\n")
        where = f"/usr/lib/systemd/system/{unit}.service"
        machine.link("/etc/systemd/system/display-manager.service", where)
    if configuration:
        machine.file(f"/etc/{unit}/custom.conf", configuration)


def no_display_manager(machine: Machine) -> None:
    """A machine that is set to start none: the alias leads nowhere."""
    argv = ("systemctl", "show", "-p", "Id", "--value", "display-manager.service")
    machine.command(argv, "display-manager.service\n")


def daemons(machine: Machine, *paths: str) -> None:
    """Programs of the system that run, where no systemd knows of them."""
    for path in paths:
        machine.daemon(path)
