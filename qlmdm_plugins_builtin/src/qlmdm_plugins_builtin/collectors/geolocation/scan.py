"""Asks the machine which wireless access points it hears."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qlmdm_core import Host
from qlmdm_plugins_builtin.collectors.geolocation.points import (
    AccessPoint,
    parse_iw,
    parse_iwlist,
    parse_nmcli,
    parse_wpa,
    usable,
)
from qlmdm_plugins_builtin.collectors.geolocation.settings import GeolocationSettings

ENOUGH = 2
"""With less, a provider could only go by the network address."""

Parser = Callable[[str], list[AccessPoint]]


@dataclass(frozen=True)
class Scan:
    """The usable access points, and which tool told them; or why there are too few."""

    points: tuple[AccessPoint, ...] = ()
    tool: str = ""
    why: str = ""


def hear(host: Host, config: GeolocationSettings) -> Scan:
    """Ask one tool after the other, until one hears enough."""
    cards = wireless_cards(host)
    if cards == []:
        return Scan(why="the machine has no wireless network card")
    if radio_is_off(host):
        return Scan(why="wireless is switched off")
    reasons: list[str] = []
    best: tuple[AccessPoint, ...] = ()
    for argv, parse in _questions(host, cards or []):
        if host.which(argv[0]) is None:
            continue
        answer = host.run(argv, timeout=15.0)
        if not answer.ok:
            reasons.append(answer.why)
            continue
        found = usable(
            parse(answer.stdout),
            max_age_ms=config.max_age * 1000,
            limit=config.max_access_points,
        )
        if len(found) >= ENOUGH:
            return Scan(tuple(found), argv[0])
        best = max(best, tuple(found), key=len)
    why = f"only {len(best)} usable access points in sight" if best or not reasons else ""
    return Scan(best, why="; ".join(dict.fromkeys(filter(None, [why, *reasons])))[:500])


def wireless_cards(host: Host) -> list[str] | None:
    """The names of the wireless network devices; None if they can't be listed."""
    try:
        names = host.listdir("/sys/class/net")
    except OSError:
        return None
    marks = ("phy80211", "wireless")
    return [n for n in names if any(host.exists(f"/sys/class/net/{n}/{mark}") for mark in marks)]


def radio_is_off(host: Host) -> bool:
    """Whether all wireless radios are blocked, by a switch or by software (rfkill(8))."""
    blocked = [
        "1" in (_word(host, f"{folder}/soft"), _word(host, f"{folder}/hard"))
        for folder in host.glob("/sys/class/rfkill/rfkill*")
        if _word(host, f"{folder}/type") == "wlan"
    ]
    return bool(blocked) and all(blocked)


def _word(host: Host, path: str) -> str:
    try:
        return host.read(path).strip()
    except OSError:
        return ""


def _questions(host: Host, cards: Sequence[str]) -> Iterator[tuple[list[str], Parser]]:
    for card in cards:
        if host.is_root:  # a scan of its own needs root; what is known already, only sometimes
            yield ["iw", "dev", card, "scan"], parse_iw
        yield ["iw", "dev", card, "scan", "dump"], parse_iw
    # The name stands last: it may hold anything, even a colon.
    fields = ["-t", "-f", "BSSID,SIGNAL,FREQ,SSID", "dev", "wifi", "list"]
    yield ["nmcli", *fields, "--rescan", "auto"], parse_nmcli
    yield ["nmcli", "device", "wifi", "list"], parse_nmcli
    for card in cards:
        yield ["wpa_cli", "-i", card, "scan_results"], parse_wpa
        yield ["iwlist", card, "scan"], parse_iwlist
