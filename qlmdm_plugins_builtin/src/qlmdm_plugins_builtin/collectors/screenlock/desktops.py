"""Which desktop a session runs: by its processes, else by what logind and the environment say."""

from __future__ import annotations

from collections.abc import Sequence

from .place import Place
from .processes import is_named

# The most telling first: Xfce may run on labwc, LXQt on kwin, MATE with compiz.
PROCESSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cinnamon", ("cinnamon", "cinnamon-session", "cinnamon-session-binary")),
    ("mate", ("mate-session", "mate-panel", "marco")),
    ("xfce", ("xfce4-session", "xfce4-panel", "xfdesktop", "xfwm4")),
    ("budgie", ("budgie-panel", "budgie-wm", "budgie-daemon", "budgie-desktop")),
    ("unity", ("unity-panel-service", "unity-settings-daemon", "unity7")),
    ("gnome-flashback", ("gnome-flashback",)),
    ("pantheon", ("io.elementary.wingpanel", "io.elementary.dock", "gala")),
    ("deepin", ("startdde", "dde-session", "dde-session-daemon", "dde-desktop", "dde-shell")),
    ("ukui", ("ukui-session", "ukui-panel", "ukui-kwin_x11")),
    ("cosmic", ("cosmic-session", "cosmic-comp")),
    ("lxqt", ("lxqt-session", "lxqt-panel")),
    ("lxde", ("lxsession", "lxpanel")),
    ("enlightenment", ("enlightenment", "enlightenment_start")),
    ("phosh", ("phosh", "phoc")),
    ("gnome", ("gnome-shell",)),
    ("kde", ("plasmashell", "ksmserver", "startplasma-wayland", "startplasma-x11")),
    ("hyprland", ("Hyprland", "hyprland")),
    ("sway", ("sway", "swayfx")),
    ("niri", ("niri",)),
    ("river", ("river",)),
    ("labwc", ("labwc",)),
    ("wayfire", ("wayfire",)),
    ("dwl", ("dwl",)),
    ("mango", ("mango",)),
    ("weston", ("weston",)),
    ("kde", ("kwin_wayland", "kwin_x11")),
    ("i3", ("i3",)),
    ("bspwm", ("bspwm",)),
    ("awesome", ("awesome",)),
    ("qtile", ("qtile",)),
    ("xmonad", ("xmonad", "xmonad-x86_64-linux")),
    ("dwm", ("dwm",)),
    ("herbstluftwm", ("herbstluftwm",)),
    ("icewm", ("icewm", "icewm-session")),
    ("fluxbox", ("fluxbox",)),
    ("jwm", ("jwm",)),
    ("fvwm", ("fvwm", "fvwm2", "fvwm3")),
    ("windowmaker", ("wmaker",)),
    ("spectrwm", ("spectrwm",)),
    ("openbox", ("openbox",)),
)

NAMES = {
    "budgie": "budgie", "budgie-desktop": "budgie",
    "cinnamon": "cinnamon", "x-cinnamon": "cinnamon", "cinnamon2d": "cinnamon",
    "cinnamon-wayland": "cinnamon",
    "mate": "mate", "ubuntu-mate": "mate",
    "xfce": "xfce", "xfce4": "xfce", "xubuntu": "xfce", "xfce-wayland": "xfce",
    "unity": "unity", "unity7": "unity",
    "gnome-flashback": "gnome-flashback", "gnome-flashback-metacity": "gnome-flashback",
    "gnome": "gnome", "ubuntu": "gnome", "ubuntu-xorg": "gnome", "ubuntu-wayland": "gnome",
    "gnome-classic": "gnome", "gnome-xorg": "gnome", "gnome-wayland": "gnome",
    "gnome-classic-xorg": "gnome", "gnome-classic-wayland": "gnome", "zorin": "gnome",
    "pop": "gnome", "pop-wayland": "gnome", "endless": "gnome",
    "kde": "kde", "plasma": "kde", "plasmax11": "kde", "plasmawayland": "kde", "kde-plasma": "kde",
    "plasma-wayland": "kde", "plasma5": "kde", "plasma6": "kde", "kubuntu": "kde",
    "hyprland": "hyprland", "hyprland-uwsm": "hyprland", "omarchy": "hyprland",
    "sway": "sway", "swayfx": "sway", "niri": "niri", "river": "river", "labwc": "labwc",
    "wayfire": "wayfire", "dwl": "dwl", "weston": "weston",
    "i3": "i3", "i3-with-shmlog": "i3", "bspwm": "bspwm", "awesome": "awesome", "qtile": "qtile",
    "xmonad": "xmonad", "dwm": "dwm", "herbstluftwm": "herbstluftwm", "icewm": "icewm",
    "icewm-session": "icewm", "fluxbox": "fluxbox", "jwm": "jwm", "fvwm": "fvwm", "fvwm3": "fvwm",
    "wmaker": "windowmaker", "windowmaker": "windowmaker", "spectrwm": "spectrwm",
    "openbox": "openbox", "lxde": "lxde", "lxqt": "lxqt", "lubuntu": "lxqt",
    "pantheon": "pantheon", "deepin": "deepin", "dde": "deepin", "ukui": "ukui",
    "cosmic": "cosmic", "pop-cosmic": "cosmic", "enlightenment": "enlightenment",
    "phosh": "phosh", "mango": "mango", "mangowc": "mango",
    # Raspberry Pi OS
    "lxde-pi": "lxde", "lxde-pi-x": "lxde", "rpd-x": "lxde", "lxde-pi-labwc": "labwc",
    "rpd-labwc": "labwc", "lxde-pi-wayfire": "wayfire", "rpd-wayfire": "wayfire",
}  # fmt: skip
"""What XDG_CURRENT_DESKTOP, XDG_SESSION_DESKTOP and the files of sessions call them."""

BARE = frozenset(
    {
        "awesome", "bspwm", "dwl", "dwm", "fluxbox", "fvwm", "herbstluftwm", "hyprland", "i3",
        "icewm", "jwm", "labwc", "lxde", "mango", "niri", "openbox", "qtile", "river", "spectrwm",
        "sway", "wayfire", "windowmaker", "xmonad",
    }
)  # fmt: skip
"""Those that never lock by themselves: a program beside them has to."""

WAYLAND_COMPOSITORS = (
    "cosmic-comp", "dwl", "Hyprland", "hyprland", "kwin_wayland", "labwc", "mango", "niri", "phoc",
    "river", "sway", "swayfx", "wayfire", "weston",
)  # fmt: skip

LOCKER_PROGRAMS = (
    "budgie-screensaver", "cinnamon-screensaver", "gnome-screensaver", "hypridle", "light-locker",
    "mate-screensaver", "swayidle", "xautolock", "xfce4-screensaver", "xidlehook", "xscreensaver",
    "xss-lock",
)  # fmt: skip
"""Programs that wait for idleness in a graphical session, so there is one."""

WAYLAND_PROGRAMS = (*WAYLAND_COMPOSITORS, "hypridle", "swayidle")

X_SERVERS = ("Xorg", "X", "Xorg.bin", "Xephyr", "Xwayland")


SESSION_PROGRAMS = (
    "compiz", "gnome-session", "gnome-session-binary", "gnome-session-service", "kwin", "metacity",
    "mutter",
)  # fmt: skip
"""Programs of a graphical session that several desktops have in common."""


def all_process_names() -> list[str]:
    """Every program that shows that somebody sits in a graphical session."""
    return [*(name for _, names in PROCESSES for name in names), *SESSION_PROGRAMS]


def by_processes(place: Place) -> str | None:
    """The desktop whose programs run in the session."""
    for desktop, wanted in PROCESSES:
        if any(is_named(process, wanted) for process in place.processes):
            return desktop
    return None


def by_names(values: Sequence[str]) -> str | None:
    """The first desktop that is named: `Budgie:GNOME` is Budgie, `ubuntu:GNOME` is GNOME."""
    for value in values:
        for word in value.lower().replace(";", ":").split(":"):
            # Some say the file of the session, and who manages it.
            name = word.strip().rsplit("/", 1)[-1].removesuffix(".desktop").removesuffix("-uwsm")
            known = NAMES.get(name)
            if known is not None:
                return known
    return None


def desktop_of(place: Place) -> str | None:
    """The desktop's name as used here; that of logind if it is a stranger; None if not known."""
    environ = place.environ
    said = [
        place.session.desktop,
        environ.get("XDG_CURRENT_DESKTOP", ""),
        environ.get("XDG_SESSION_DESKTOP", ""),
        environ.get("DESKTOP_SESSION", "").rsplit("/", 1)[-1],
    ]
    named = by_names(said)
    # A process decides, but that of a window manager says less than the name of a desktop.
    running = by_processes(place)
    if running is not None and not (running in BARE and named is not None and named not in BARE):
        return running
    strange = next((text.lower() for text in said if text), None)
    return named or running or strange
