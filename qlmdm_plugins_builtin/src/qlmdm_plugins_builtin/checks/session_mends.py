"""What a person should type so that a screen locks, or no guest gets in: by locker and manager."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qlmdm_core.api import JSON
from qlmdm_plugins_builtin.checks._values import plain_path

Session = Mapping[str, JSON]

DESKTOPS = {
    "budgie": "Budgie", "cinnamon": "Cinnamon", "cosmic": "COSMIC", "deepin": "Deepin",
    "gnome": "GNOME", "gnome-flashback": "GNOME Flashback", "hyprland": "Hyprland",
    "kde": "Plasma", "lxde": "LXDE", "lxqt": "LXQt", "mate": "MATE", "pantheon": "Pantheon",
    "sway": "Sway", "unity": "Unity", "xfce": "Xfce",
}  # fmt: skip
"""What people call them; the others are called by their own name."""

_NUMBER = re.compile(r"[0-9]{1,9}\Z")
USUAL_DELAY = 300
"""Seconds that are proposed, where more is not allowed than that or not set."""


@dataclass(frozen=True)
class _Schemas:
    """Where a desktop keeps its lock settings in GSettings, and the unit of its delays."""

    switches: tuple[tuple[str, bool], ...]
    """`schema key`, and what it must be."""
    idle: str
    lock: str
    unit: int
    """Seconds."""


_GNOME = _Schemas(
    (
        ("org.gnome.desktop.screensaver lock-enabled", True),
        ("org.gnome.desktop.screensaver idle-activation-enabled", True),
        ("org.gnome.desktop.lockdown disable-lock-screen", False),
    ),
    "org.gnome.desktop.session idle-delay",
    "org.gnome.desktop.screensaver lock-delay",
    1,
)
_SCHEMAS: Mapping[str, _Schemas] = {
    **dict.fromkeys(
        ("gnome-shell", "unity", "gnome-flashback", "gnome-screensaver", "budgie-screensaver"),
        _GNOME,
    ),
    "cinnamon-screensaver": _Schemas(
        (
            ("org.cinnamon.desktop.screensaver lock-enabled", True),
            ("org.cinnamon.desktop.lockdown disable-lock-screen", False),
        ),
        "org.cinnamon.desktop.session idle-delay",
        "org.cinnamon.desktop.screensaver lock-delay",
        1,
    ),
    "mate-screensaver": _Schemas(
        (
            ("org.mate.screensaver lock-enabled", True),
            ("org.mate.screensaver idle-activation-enabled", True),
            ("org.mate.lockdown disable-lock-screen", False),
        ),
        "org.mate.session idle-delay",
        "org.mate.screensaver lock-delay",
        60,
    ),
}


def mend_lock(session: Session, max_delay: float) -> str:
    """The command (or the setting) that makes this session lock in time; empty if not known."""
    locker = session.get("locker")
    settings = session.get("settings")
    known = settings if isinstance(settings, dict) else {}
    seconds = int(min(USUAL_DELAY, max_delay)) or 1
    name = locker if isinstance(locker, str) else ""
    if name in _SCHEMAS:
        return _gsettings(_SCHEMAS[name], known, session, seconds)
    mend = _MENDS.get(name)
    if mend is not None:
        return mend(known, seconds)
    return _bare(session, seconds)


def _gsettings(
    schemas: _Schemas, settings: Mapping[str, JSON], session: Session, seconds: int
) -> str:
    for name, wanted in schemas.switches:
        if settings.get(name) is (not wanted):
            return f"gsettings set {name} {'true' if wanted else 'false'}"
    reason = session.get("reason")
    if isinstance(reason, str) and "GDM" in reason:
        return "log in by GDM (sudo systemctl enable gdm), or run light-locker beside GNOME"
    if session.get("state") == "disabled" and isinstance(reason, str) and "does not run" in reason:
        return f"start {session.get('locker')}, and let it start with the desktop"
    idle, lock = settings.get(schemas.idle), settings.get(schemas.lock)
    commands = []
    if not isinstance(idle, int) or idle == 0 or idle * schemas.unit > seconds:
        commands.append(f"gsettings set {schemas.idle} {max(seconds // schemas.unit, 1)}")
    if isinstance(lock, int) and lock > 0:
        commands.append(f"gsettings set {schemas.lock} 0")
    return "; ".join(commands)


def _kde(settings: Mapping[str, JSON], seconds: int) -> str:
    def write(key: str, value: str) -> str:
        written = f"--file kscreenlockerrc --group Daemon --key {key} {value}"
        return f"kwriteconfig6 {written} (kwriteconfig5 in Plasma 5)"

    for key in ("Autolock", "RequirePassword", "Lock"):
        if str(settings.get(key, "true")).lower() in ("false", "no", "off", "0"):
            return write(key, "true")
    grace = str(settings.get("LockGrace", ""))
    if grace.startswith("-") or (_NUMBER.match(grace) and int(grace) > seconds):
        return write("LockGrace", "5")
    return write("Timeout", str(max(seconds // 60, 1)))


def _xfce(settings: Mapping[str, JSON], seconds: int) -> str:
    def write(name: str, kind: str, value: str) -> str:
        return f"xfconf-query -c xfce4-screensaver -p {name} -n -t {kind} -s {value}"

    if not settings:
        return "start xfce4-screensaver, and let it start with the desktop"
    for reported, value in settings.items():
        name = plain_path(reported, "")
        if name.endswith("/enabled") and str(value).lower() not in ("true", "1"):
            return write(name, "bool", "true")
    lock = str(settings.get("/lock/saver-activation/delay", "0"))
    commands = [write("/saver/idle-activation/delay", "int", str(max(seconds // 60, 1)))]
    if lock not in ("0", ""):
        commands.append(write("/lock/saver-activation/delay", "int", "0"))
    return "; ".join(commands)


def _light_locker(settings: Mapping[str, JSON], seconds: int) -> str:
    if settings.get("lock-after-screensaver") == 0:
        return "gsettings set apps.light-locker lock-after-screensaver 5"
    return f"xset s {max(seconds - 5, 1)}, at each login"


def _xscreensaver(settings: Mapping[str, JSON], seconds: int) -> str:
    if str(settings.get("mode", "")).lower() == "off":
        return "set mode: blank in ~/.xscreensaver (xscreensaver-settings)"
    if str(settings.get("lock", "")).lower() not in ("true", "yes", "on"):
        return "set lock: True in ~/.xscreensaver (xscreensaver-settings)"
    minutes, rest = divmod(seconds, 60)
    return f"set timeout: 0:{minutes:02}:{rest:02} and lockTimeout: 0:00:00 in ~/.xscreensaver"


def _xss_lock(settings: Mapping[str, JSON], seconds: int) -> str:
    if "xset s timeout" not in settings:
        return "run it with a locker: xss-lock -- i3lock -n"
    return f"xset s {seconds}, at each login"


def _swayidle(_settings: Mapping[str, JSON], seconds: int) -> str:
    return f"run swayidle -w timeout {seconds} 'swaylock -f' before-sleep 'swaylock -f'"


def _hypridle(settings: Mapping[str, JSON], seconds: int) -> str:
    where = plain_path(settings.get("config"), "~/.config/hypr/hypridle.conf")
    return (
        f"put into {where}: general {{ lock_cmd = pidof hyprlock || hyprlock }} "
        f"listener {{ timeout = {seconds}, on-timeout = loginctl lock-session }}"
    )


def _xautolock(_settings: Mapping[str, JSON], seconds: int) -> str:
    return f"run xautolock -time {max(seconds // 60, 1)} -locker slock"


_MENDS: Mapping[str, Callable[[Mapping[str, JSON], int], str]] = {
    "hypridle": _hypridle,
    "kscreenlocker": _kde,
    "light-locker": _light_locker,
    "swayidle": _swayidle,
    "xautolock": _xautolock,
    "xfce4-screensaver": _xfce,
    "xidlehook": lambda _settings, seconds: f"run xidlehook --timer {seconds} 'i3lock -n' ''",
    "xscreensaver": _xscreensaver,
    "xss-lock": _xss_lock,
}


def _bare(session: Session, seconds: int) -> str:
    """Nothing locks: what to start beside the window manager or compositor."""
    if session.get("desktop") == "hyprland":
        return _hypridle({}, seconds)
    if session.get("type") == "wayland":
        return _swayidle({}, seconds)
    if session.get("type") == "x11":
        return f"run at login: xset s {seconds}; xss-lock -- i3lock -n"
    return ""


# --- guests ---------------------------------------------------------------------------------


def mend_guest(value: Mapping[str, JSON]) -> str:
    """Why guests get in, and what keeps them out, in a sentence."""
    account = value.get("guest_account")
    if isinstance(account, str):
        return (
            f"anybody gets in as {account[:80]}, without a password (/etc/security/sepermit.conf). "
            "Type: sudo dnf remove xguest"
        )
    for seat, settings in _seats(value):
        for key in ("autologin-guest", "allow-guest"):
            said = settings.get(key)
            if isinstance(said, dict) and said.get("value") == "true":
                return _mend_file(seat, key, said.get("source"))
    return (
        "LightDM lets guests in, as it does unless told otherwise. Type: "
        f"{_write('[Seat:*]', 'allow-guest')}"
    )


def _write(section: str, key: str) -> str:
    """The command that turns a key off in a file of its own. The folder may not be there yet."""
    return (
        "sudo mkdir -p /etc/lightdm/lightdm.conf.d; "
        f"printf '{section}\\n{key}=false\\n' | "
        "sudo tee /etc/lightdm/lightdm.conf.d/90-no-guest.conf"
    )


def _seats(value: Mapping[str, JSON]) -> list[tuple[str, Mapping[str, JSON]]]:
    seats = value.get("seats")
    items = seats.items() if isinstance(seats, dict) else ()
    return [(str(seat), settings) for seat, settings in items if isinstance(settings, dict)]


def _mend_file(seat: str, key: str, source: JSON) -> str:
    where = plain_path(source, "/etc/lightdm/lightdm.conf")
    if where.startswith("/usr/") and re.match(r"seat[\w-]{0,40}\Z", seat, re.ASCII):
        # The next upgrade would write it anew.
        return (
            f"LightDM lets guests in at {seat}: {key}=true in {where}. Type: "
            f"{_write(f'[Seat:{seat}]', key)}"
        )
    return (
        f"LightDM lets guests in at {seat}: {key}=true in {where}. "
        f"Type: sudo sed -i 's/^{key} *=.*/{key}=false/' {where}"
    )
