"""Finds who is logged in graphically: from logind, and from processes where it can't be asked."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from qlmdm_core import JSON, Host, Process

from .desktops import LOCKER_PROGRAMS, WAYLAND_PROGRAMS, X_SERVERS, all_process_names
from .model import Session
from .patience import Patience
from .processes import all_in_sight, is_named

PROPERTIES = (
    "Id", "User", "Name", "Type", "Class", "Seat", "State", "Active", "Remote", "Desktop",
    "Display", "Service", "Leader", "LockedHint",
)  # fmt: skip
LISTS = (
    ("list-sessions", "--no-legend", "--no-pager"),
    # A recording may hold the other forms: systemd has that of JSON up to 255.
    ("list-sessions", "-o", "json"),
    ("--no-legend", "--no-pager"),
)
GRAPHICAL = frozenset({"x11", "wayland", "mir"})
PERSONS = frozenset({"user", "user-early", "user-light", "user-incomplete"})
"""Classes of sessions that a person sits in (org.freedesktop.login1(5)); the others are the
login screen, lock screens, services, and since systemd 256 the users' managers."""
GREETERS = frozenset(
    {"gdm", "Debian-gdm", "gdm-greeter", "sddm", "lightdm", "lxdm", "greetd", "greeter", "slim",
     "cosmic-greeter", "gnome-initial-setup", "plasmalogin", "_greetd"}
)  # fmt: skip
"""Users that login screens run as."""

_SESSION_ID = re.compile(r"[A-Za-z]{0,8}\d{1,20}\Z")


@dataclass(frozen=True)
class Found:
    """The graphical sessions, or why they can't be told (`reason`; then there are none here)."""

    sessions: tuple[Session, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One line of `loginctl list-sessions`; what it does not say is None."""

    id: str
    uid: int | None = None
    user: str | None = None
    seat: str | None = None
    kind: str | None = None
    """The session's class."""


def parse_list(text: str) -> list[Row]:
    """The sessions in the output of `loginctl list-sessions`, as a table or as JSON.

    Columns shift where SEAT or TTY is empty, so only the first three are taken by their place.
    """
    if text.lstrip().startswith("["):
        return _parse_json(text)
    rows = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or not _SESSION_ID.match(words[0]) or not _is_uid(words[1]):
            continue
        rest = words[3:]
        seat = next((word for word in rest if word.startswith("seat")), None)
        kind = next((word for word in rest if word in PERSONS | {"greeter", "manager"}), None)
        rows.append(Row(words[0], int(words[1]), words[2], seat, kind))
    return rows


def _says_none(text: str) -> bool:
    """Whether a list without rows is an empty one: nothing, a header, or a count of zero."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return all(
        words[0] in ("SESSION", "No")
        or words[:3] == ["0", "sessions", "listed."]
        or words == ["[]"]
        for words in lines
    )


def _is_uid(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 10


def _parse_json(text: str) -> list[Row]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = []
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and _SESSION_ID.match(str(entry.get("session", ""))):
            rows.append(
                Row(
                    str(entry["session"]),
                    _integer(entry.get("uid")),
                    *(_string(entry.get(name)) for name in ("user", "seat", "class")),
                )
            )
    return rows


def _integer(value: JSON) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(value: JSON) -> str | None:
    return value if isinstance(value, str) and value else None


def parse_properties(text: str) -> dict[str, str]:
    """The `KEY=VALUE` lines of `loginctl show-session`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


# --- asking ---------------------------------------------------------------------------------


def find_sessions(host: Host, processes: Sequence[Process], patience: Patience) -> Found:
    """Everybody's graphical sessions on this machine, those switched away included."""
    for form in LISTS:
        listed = patience.run(["loginctl", *form])
        if listed.found:
            break
    if not listed.ok:
        return _without_logind(host, processes, listed.why)
    rows = parse_list(listed.stdout)
    if not rows and not _says_none(listed.stdout):
        return _without_logind(host, processes, "loginctl answered in a form that is not known")
    graphical: list[Session] = []
    consoles: list[Session] = []
    for row in rows:
        session, is_graphical = _session(row, _show(patience, row.id))
        if session is not None:
            (graphical if is_graphical else consoles).append(session)
    graphical += _started_by_hand(consoles, graphical, processes)
    if graphical:
        return Found(tuple(graphical))
    if consoles and processes and not (all_in_sight(processes) or host.is_root):
        return Found(reason="not root: can't see whether a console login has started a desktop")
    if _unknown_to_logind(host, processes, {row.user for row in rows}):
        return Found(reason="somebody runs a desktop in a session that logind does not know")
    return Found()


def _show(patience: Patience, identity: str) -> dict[str, str]:
    wanted = [word for name in PROPERTIES for word in ("-p", name)]
    result = patience.run(["loginctl", "show-session", identity, *wanted])
    if not result.found:
        result = patience.run(["loginctl", "show-session", identity])
    if result.found:
        return parse_properties(result.stdout) if result.ok else {}
    shown: dict[str, str] = {}
    for name in PROPERTIES:  # a recording may hold them one by one
        one = patience.run(["loginctl", "show-session", identity, "-p", name])
        lines = one.stdout.split("\n") if one.ok else []
        if len(lines) <= 2 and lines and "=" not in lines[0]:
            shown[name] = lines[0].strip()  # by --value
        else:
            shown.update(parse_properties(one.stdout) if one.ok else {})
    return shown


def _is_greeter(user: str) -> bool:
    # GDM 49 makes users as it needs them: gdm-greeter, gdm-greeter-2.
    return user in GREETERS or user.startswith("gdm-greeter")


def _session(row: Row, shown: dict[str, str]) -> tuple[Session | None, bool]:
    """The session, if a person sits in it here, and whether it is known to be graphical.

    A session whose type nobody tells counts as graphical if it has a seat: what is missed
    here would pass unseen.
    """
    user = shown.get("Name") or row.user or ""
    uid = int(shown["User"]) if _is_uid(shown.get("User", "")) else row.uid
    kind = shown.get("Class") or row.kind
    seat = shown.get("Seat", row.seat) or ""
    if kind not in PERSONS and (kind is not None or _is_greeter(user)):
        return None, False
    if shown.get("Remote") == "yes" or shown.get("State") == "closing" or not user:
        return None, False
    type_ = shown.get("Type", "")
    session = Session(
        user=user,
        uid=uid,
        id=row.id,
        type=type_ if type_ in GRAPHICAL else "",
        desktop=shown.get("Desktop", ""),
        display=shown.get("Display", ""),
        service=shown.get("Service", ""),
    )
    if type_ in GRAPHICAL or (not type_ and seat):
        return session, True
    return (session, False) if seat else (None, False)


def _started_by_hand(
    consoles: Sequence[Session], graphical: Sequence[Session], processes: Sequence[Process]
) -> list[Session]:
    """Console logins from which a desktop was started (`startx`, `sway`): logind calls them tty."""
    found = []
    taken = {session.user for session in graphical}
    for session in consoles:
        shows = [p for p in _showing(processes) if _owned_by(p, session)]
        named = [p for p in shows if _session_id(p) == session.id]
        anybody = [p for p in shows if not _session_id(p)] if session.user not in taken else []
        evidence = (named or anybody)[:1]
        if evidence:
            taken.add(session.user)
            found.append(_with_environ(session, evidence[0]))
    return found


def _unknown_to_logind(
    host: Host, processes: Sequence[Process], known: Collection[str | None]
) -> bool:
    """Whether somebody runs a desktop and has no session at all, as in a kiosk."""
    shown = (process.user or _user_name(host, process.uid) for process in _showing(processes))
    return any(
        user is not None and user not in known and not _is_greeter(user) and user != "root"
        for user in shown
    )


def _session_id(process: Process) -> str:
    return (process.environ or {}).get("XDG_SESSION_ID", "")


def _owned_by(process: Process, session: Session) -> bool:
    if process.uid is not None and session.uid is not None:
        return process.uid == session.uid
    return process.user is not None and process.user == session.user


def _showing(processes: Sequence[Process]) -> list[Process]:
    """Processes that show a graphical session: a desktop, or an X server that a user started."""
    wanted = all_process_names()
    return [
        process
        for process in processes
        if is_named(process, wanted)
        or (process.uid not in (0, None) and is_named(process, X_SERVERS))
    ]


def _with_environ(session: Session, process: Process) -> Session:
    environ = process.environ or {}
    type_ = environ.get("XDG_SESSION_TYPE", "")
    if type_ not in GRAPHICAL:
        # A compositor sets WAYLAND_DISPLAY for its children, not for itself.
        waylands = environ.get("WAYLAND_DISPLAY") or is_named(process, WAYLAND_PROGRAMS)
        type_ = "wayland" if waylands else "x11"
    return replace(
        session,
        type=type_,
        desktop=environ.get("XDG_CURRENT_DESKTOP", session.desktop),
        display=environ.get("DISPLAY", session.display),
    )


@dataclass
class _Owners:
    """One session for each user seen."""

    by_user: dict[str, Session] = field(default_factory=dict)

    def add(self, process: Process, user: str) -> None:
        if user not in self.by_user:
            self.by_user[user] = _with_environ(Session(user=user, uid=process.uid), process)


def _without_logind(host: Host, processes: Sequence[Process], why: str) -> Found:
    """By processes alone, as in a container, or on a system with another login manager."""
    owners = _Owners()
    nobodys = False
    # Desktops first: they tell more of the session than a locker that runs in it.
    lockers = [process for process in processes if is_named(process, LOCKER_PROGRAMS)]
    for process in [*_showing(processes), *lockers]:
        user = process.user or _user_name(host, process.uid)
        nobodys = nobodys or user is None
        if user and not _is_greeter(user):
            owners.add(process, user)
    if owners.by_user:
        return Found(tuple(owners.by_user.values()))
    if nobodys:
        return Found(reason="a desktop is shown, and it is not known to whom")
    if all_in_sight(processes) and not any(_uses_a_display(process) for process in processes):
        return Found()
    return Found(reason=f"who is logged in can't be told: {why}")


def _uses_a_display(process: Process) -> bool:
    environ = process.environ or {}
    return is_named(process, X_SERVERS) or "WAYLAND_DISPLAY" in environ or "DISPLAY" in environ


def _user_name(host: Host, uid: int | None) -> str | None:
    if uid is None:
        return None
    try:
        text = host.read("/etc/passwd")
    except OSError:
        return f"uid {uid}"
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return f"uid {uid}"
