"""Asks a provider where a set of access points is (Google's Geolocation API, and its like)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from qlmdm_core import JSON, Host
from qlmdm_plugins_builtin.collectors.geolocation.points import AccessPoint

TOO_COARSE_METERS = 20_000
"""An answer this wide goes by the network address, whatever was asked."""

_ERROR = re.compile(r"[A-Za-z ]{1,60}\Z")


@dataclass(frozen=True)
class Place:
    """Where the machine is, or why the provider did not say."""

    latitude: float = 0.0
    longitude: float = 0.0
    accuracy_meters: float = 0.0
    why: str = ""
    """Empty when the place is known."""


def ask(host: Host, url: str, key: str, points: Sequence[AccessPoint]) -> Place:
    """Send the access points, and nothing else. The key never shows up in a reason."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return Place(why="the provider's address must begin with https://")
    if key:
        url += ("&" if parts.query else "?") + urlencode({"key": key})
    answer = host.http("POST", url, json=request(points), timeout=10.0)
    if answer.status == 0:
        why = answer.error.replace(url, parts.hostname)
        return Place(why=f"{parts.hostname}: {why.replace(key, '…') if key else why}"[:300])
    if answer.status == 404:
        return Place(why="the provider knows none of the access points")
    if answer.status != 200:
        reason = _reason(answer.body)
        return Place(
            why=f"the provider answered {answer.status}" + (f": {reason}" if reason else "")
        )
    return parse(answer.body)


def request(points: Sequence[AccessPoint]) -> JSON:
    """The question: by access points only, never by the network address."""
    return {"considerIp": False, "wifiAccessPoints": [_described(point) for point in points]}


def _described(point: AccessPoint) -> JSON:
    known = {"age": point.age_ms, "channel": point.channel}
    return {
        "macAddress": point.bssid,
        "signalStrength": point.signal_dbm,
        **{name: value for name, value in known.items() if value is not None},
    }


def parse(text: str) -> Place:
    """The place in the provider's answer. Never raises."""
    try:
        document = json.loads(text)
        location = document["location"]
        values = (location["lat"], location["lng"], document["accuracy"])
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
            raise TypeError
        latitude, longitude, accuracy = (float(value) for value in values)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Place(why="the provider's answer is not understood")
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and math.isfinite(accuracy)):
        return Place(why="the provider's answer is no place on earth")
    if not 0 < accuracy < TOO_COARSE_METERS:
        return Place(why=f"the provider's answer is too coarse: {accuracy:.0f} metres")
    return Place(latitude, longitude, accuracy)


def _reason(text: str) -> str:
    """The provider's own word for what went wrong, such as dailyLimitExceeded."""
    try:
        error = json.loads(text)["error"]
        found = error["errors"][0]["reason"] if error.get("errors") else error.get("message")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return ""
    return found if isinstance(found, str) and _ERROR.match(found) else ""
