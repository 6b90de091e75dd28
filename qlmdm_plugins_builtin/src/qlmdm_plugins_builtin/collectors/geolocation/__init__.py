"""Finds out where the machine is, by the wireless access points around it, if the site asks.

Off unless settings turn it on. The collector is registered as private: the agent runs it only
if there are secret-keepers to encrypt the answer to, so that the place of a person is never
sent or kept in the clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlmdm_core import JSON, Host, unknown
from qlmdm_plugins_builtin.collectors.geolocation.settings import GeolocationSettings

if TYPE_CHECKING:
    from qlmdm_plugins_builtin.collectors.geolocation.provider import Place

__all__ = ["GeolocationSettings", "collect"]

_METERS_PER_DEGREE = 111_000
_NOWHERE: dict[str, JSON] = {
    "latitude": None,
    "longitude": None,
    "accuracy_meters": None,
    "source": None,
}


def collect(host: Host, config: GeolocationSettings) -> JSON:
    """`state` located, off or unknown, with coordinates, accuracy and source."""
    if not config.enabled:
        return _off("geolocation is not turned on in the settings")
    # Loaded on use: the settings of this package are read in every cycle, also while it is off.
    from qlmdm_plugins_builtin.collectors.geolocation import provider
    from qlmdm_plugins_builtin.collectors.geolocation.scan import hear

    heard = hear(host, config)
    if heard.why:
        return unknown(heard.why, **_NOWHERE)
    bssids = tuple(point.bssid for point in heard.points)
    known = _recall(host, bssids, config)
    if known is not None:
        return known
    try:
        key = _key(host, config.api_key_file)
    except OSError:
        return unknown("the file with the provider's key can't be read", **_NOWHERE)
    place = provider.ask(host, config.provider_url, key, heard.points)
    if place.why:
        return unknown(place.why, **_NOWHERE)
    value = _located(place, config.decimals, f"wireless access points, by {heard.tool}")
    host.remember(
        {"bssids": list(bssids), "value": value, "at": host.now().timestamp(), "of": _of(config)}
    )
    return value


def _recall(host: Host, bssids: tuple[str, ...], config: GeolocationSettings) -> JSON | None:
    """The last place, while much the same is heard as then: the provider counts what it is asked,
    and learns each time where somebody is."""
    from qlmdm_plugins_builtin.collectors.geolocation.points import same_place

    try:
        kept = host.recall()
        value, before = kept["value"], [str(bssid) for bssid in kept["bssids"]]
        age = host.now().timestamp() - float(kept["at"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return None  # nothing was remembered, or nothing of ours
    fresh = 0 <= age < config.remember_for and kept.get("of") == _of(config)
    return value if fresh and same_place(before, bssids) else None


def _of(config: GeolocationSettings) -> JSON:
    """What an answer depends on beside the access points."""
    return [config.provider_url, config.decimals]


def _off(reason: str) -> JSON:
    return {"state": "off", "reason": reason, **_NOWHERE}


def _located(place: Place, decimals: int, source: str) -> JSON:
    """The value, no finer than the site wants to know."""
    rounding = _METERS_PER_DEGREE / 10**decimals / 2
    return {
        "state": "located",
        "latitude": round(place.latitude, decimals) + 0.0,  # not -0.0
        "longitude": round(place.longitude, decimals) + 0.0,
        "accuracy_meters": round(max(place.accuracy_meters, rounding)),
        "source": source,
    }


def _key(host: Host, path: str) -> str:
    """The provider's key: `api_key=…`, or the file's only word. Raises `OSError`."""
    if not path:
        return ""
    lines = [line.strip() for line in host.read(path).splitlines()]
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.strip().lower() in ("api_key", "key"):
            return value.strip().strip("\"'")
    words = [line for line in lines if line and not line.startswith("#")]
    if len(words) != 1:
        raise OSError("no key in this file")
    return words[0]
