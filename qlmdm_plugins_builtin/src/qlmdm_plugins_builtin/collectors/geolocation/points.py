"""Wireless access points: how the tools that scan print them, and which of them tell a place.

Every parser takes any text and gives the access points that it finds in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_MAC = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
_BSS = re.compile(rf"BSS ({_MAC})\s?\(on ")
_IW_SIGNAL = re.compile(r"\s*signal: (-?\d+(?:\.\d+)?) dBm")
_IW_SEEN = re.compile(r"\s*last seen: (\d+) ms ago")
_IW_FREQUENCY = re.compile(r"\s*freq: (\d+)")
_IW_NAME = re.compile(r"\s*SSID: ?(.*)")
_TERSE = re.compile(r"((?:\\.|[^\\:])*)(?::|$)")
_TABLE = re.compile(
    rf"({_MAC})\s+(.*?)\s+(?:Infra|Ad-Hoc|Mesh|N/A)\s+\d+\s+.*?bit/s\s+(\d{{1,3}})\s"
)
_CELL = re.compile(rf"Cell \d+ - Address: ({_MAC})")
_LIST_SIGNAL = re.compile(r"Signal level[=:]\s*(-?\d+)(?:/(\d+)| dBm)")
_LIST_NAME = re.compile(r'ESSID:"(.*)"')
_LIST_FREQUENCY = re.compile(r"Frequency:(\d+(?:\.\d+)?) GHz")
_WEAKEST = -120
_LONGEST_LINE = 2000
"""A row about one access point is far shorter; the patterns for it look back."""
_RESERVED = ("00:00:5e", "00:00:00")
"""Addresses of protocols (RFC 9542), and none at all."""


@dataclass(frozen=True)
class AccessPoint:
    """One access point that was heard."""

    bssid: str
    """Its address, in lower case."""
    signal_dbm: int
    name: str = ""
    frequency_mhz: int | None = None
    age_ms: int | None = None
    """How long ago it was heard; None if the tool does not say."""

    @property
    def channel(self) -> int | None:
        """The channel of its frequency (IEEE 802.11)."""
        mhz = self.frequency_mhz or 0
        if mhz == 2484:
            return 14
        for first, last, base in ((2412, 2472, 2407), (5160, 5885, 5000), (5955, 7115, 5950)):
            if first <= mhz <= last:
                return (mhz - base) // 5
        return None


def usable(points: Iterable[AccessPoint], *, max_age_ms: float, limit: int) -> list[AccessPoint]:
    """The access points that tell a place: the strongest, in the order of their addresses.

    Left out are those whose owner objects (`_nomap`, `_optout`), addresses that are made up
    (locally administered: phones, guest networks), and what was heard too long ago.
    """
    kept: dict[str, AccessPoint] = {}
    for point in points:
        first = int(point.bssid[:2], 16)
        if first & 0b11 or point.bssid.startswith(_RESERVED):
            continue
        if point.name.endswith("_nomap") or "_optout" in point.name:
            continue
        if not _WEAKEST <= point.signal_dbm < 0:
            continue
        if point.age_ms is not None and point.age_ms > max_age_ms:
            continue
        known = kept.get(point.bssid)
        if known is None or point.signal_dbm > known.signal_dbm:
            kept[point.bssid] = point
    strongest = sorted(kept.values(), key=lambda point: (-point.signal_dbm, point.bssid))[:limit]
    return sorted(strongest, key=lambda point: point.bssid)


def same_place(before: Iterable[str], now: Iterable[str]) -> bool:
    """Whether two sets of addresses share half of the smaller: nobody need be asked again."""
    first, second = set(before), set(now)
    return bool(first and second) and len(first & second) * 2 >= min(len(first), len(second))


def _from_percent(percent: int) -> int:
    """NetworkManager shows quality; this is its own formula, backwards (nm-platform)."""
    return int(min(percent, 100) / 2 - 100)


def parse_iw(text: str) -> list[AccessPoint]:
    """What `iw dev IF scan` and its `scan dump` print."""
    found: list[AccessPoint] = []
    bssid = ""
    fields: dict[str, str] = {}
    for line in [*text.splitlines(), "BSS 00:00:00:00:00:00(on "]:
        if start := _BSS.match(line):
            if bssid and "signal" in fields:
                found.append(_point_of_iw(bssid, fields))
            bssid, fields = start[1].lower(), {}
        for name, pattern in (
            ("signal", _IW_SIGNAL),
            ("seen", _IW_SEEN),
            ("frequency", _IW_FREQUENCY),
            ("name", _IW_NAME),
        ):
            # The first counts: details further down repeat some of the words.
            if (value := pattern.match(line)) and name not in fields:
                fields[name] = value[1]
    return found


def _point_of_iw(bssid: str, fields: dict[str, str]) -> AccessPoint:
    name = fields.get("name", "")
    return AccessPoint(
        bssid,
        round(float(fields["signal"])),
        "" if set(name.split("\\x00")) == {""} else name,
        _small(fields.get("frequency")),
        _small(fields.get("seen")),
    )


def _small(text: str | None) -> int | None:
    return int(text) if text and len(text) < 12 else None


def parse_nmcli(text: str) -> list[AccessPoint]:
    """What `nmcli -t -f BSSID,SIGNAL,FREQ,SSID dev wifi list` prints, or the table without -t."""
    found: list[AccessPoint] = []
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE:
            continue
        fields = [re.sub(r"\\(.)", r"\1", field) for field in _TERSE.findall(line)]
        if (
            len(fields) > 3
            and re.fullmatch(_MAC, fields[0])
            and re.fullmatch(r"\d{1,3}", fields[1])
        ):
            mhz = re.match(r"\d{1,6}", fields[2])
            found.append(
                AccessPoint(
                    fields[0].lower(),
                    _from_percent(int(fields[1])),
                    fields[3],
                    int(mhz[0]) if mhz else None,
                )
            )
        elif row := _TABLE.search(line):
            found.append(AccessPoint(row[1].lower(), _from_percent(int(row[3])), row[2]))
    return found


def parse_wpa(text: str) -> list[AccessPoint]:
    """What `wpa_cli scan_results` prints: address, frequency, signal, flags, name."""
    found: list[AccessPoint] = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) < 4 or not re.fullmatch(_MAC, fields[0]):
            continue
        if re.fullmatch(r"-?\d{1,4}", fields[2]) and re.fullmatch(r"\d{1,6}", fields[1]):
            name = fields[4] if len(fields) > 4 else ""
            found.append(AccessPoint(fields[0].lower(), int(fields[2]), name, int(fields[1])))
    return found


def parse_iwlist(text: str) -> list[AccessPoint]:
    """What `iwlist IF scan` prints; the signal is in dBm or a part of something."""
    found: list[AccessPoint] = []
    for cell in _CELL.split(text)[1:]:
        if re.fullmatch(_MAC, cell):
            bssid = cell
            continue
        signal, name, ghz = _LIST_SIGNAL.search(cell), _LIST_NAME.search(cell), None
        if signal is None or len(signal[1]) > 4 or len(signal[2] or "") > 4:
            continue
        dbm = int(signal[1])
        if signal[2]:
            dbm = _from_percent(100 * dbm // int(signal[2])) if int(signal[2]) else 0
        ghz = _LIST_FREQUENCY.search(cell)
        mhz = round(float(ghz[1]) * 1000) if ghz and len(ghz[1]) < 9 else None
        found.append(AccessPoint(bssid.lower(), dbm, name[1] if name else "", mhz))
    return found
