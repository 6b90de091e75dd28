"""What a site can set about finding out where a machine is: `plugins: {geolocation: …}`."""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting
from qlmdm_core.units import Duration

SECTION = "geolocation"


@dataclass(frozen=True, kw_only=True)
class GeolocationSettings:
    """Whether and how a machine finds out where it is. Off, unless a site turns it on."""

    enabled: bool = setting(
        False,
        "Find out where the machine is. The addresses of the wireless access points around it "
        "are sent to the provider; check what the law says about people's consent first.",
    )
    provider_url: str = setting(
        "https://www.googleapis.com/geolocation/v1/geolocate",
        "Who is asked: Google, or a service with the same interface, such as "
        "https://api.beacondb.net/v1/geolocate.",
    )
    api_key_file: str = setting(
        "",
        "A file with the provider's key, as one line `api_key=…`, readable by root only. Empty: "
        "the provider needs none.",
    )
    max_age: Duration = setting(
        Duration(60.0),
        "Access points that were last heard longer ago than this are left out.",
        minimum=1.0,
    )
    max_access_points: int = setting(
        20, "So many access points are sent at most: the strongest.", minimum=2, maximum=100
    )
    remember_for: Duration = setting(
        Duration(86400.0),
        "So long the provider isn't asked again while much the same access points are heard: its "
        "answers are counted, and are dear.",
        minimum=0.0,
    )
    decimals: int = setting(
        3,
        "Digits after the point that are kept of a coordinate; 3 are about 100 metres.",
        minimum=0,
        maximum=6,
    )
