"""Finds device-mapper devices by what dmsetup and udev list, where sysfs does not show them.

On a live machine sysfs shows all of them; this is for what somebody wrote down of a machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qlmdm_core.api import Host

from .block import Device, kind_by_dm_uuid
from .mapper import Segment, parse_table
from .mounts import unescape_udev

# The second is how openSUSE's installer asks.
_INFO = (
    ("dmsetup", "info", "-c", "--noheadings", "--separator=/", "-oname,major,minor,uuid"),
    (
        "dmsetup",
        "--columns",
        "--separator",
        "/",
        "--noheadings",
        "-o",
        "name,major,minor,segments,subsystem,uuid",
        "info",
    ),
)
_MOST_ASKED = 24
"""More mappings than this are not asked for one by one."""
_LISTED = re.compile(r"(?P<name>\S.*?)\s+\((?P<major>\d+)(?::|, ?)(?P<minor>\d+)\)\s*")
_TREE = " │├└─|`-+"
_COLUMNS = ("Name", "Maj", "Min")


def read(host: Host, sources: Iterable[str]) -> list[Device]:
    """The mappings that dmsetup lists; else those among these paths that udev knows."""
    for argv in _INFO:
        result = host.run(argv)
        if result.ok and (devices := parse_info(result.stdout)):
            return devices
    result = host.run(["dmsetup", "ls"])
    if result.ok and (devices := parse_ls(result.stdout)):
        return devices
    found = []
    for path in list(dict.fromkeys(sources))[:_MOST_ASKED]:
        result = host.run(["udevadm", "info", path])
        if result.ok:
            found += parse_udevadm(result.stdout)
    return found


def read_tables(host: Host) -> dict[str, list[Segment]] | None:
    """The mappings' tables by their names, without keys; None when they can't be had.

    That needs root and dmsetup. Where only those that encrypt were written down, it is these.
    """
    result = host.run(["dmsetup", "table"])
    if not result.found:
        result = host.run(["dmsetup", "table", "--target", "crypt"])
    if result.ok:
        return parse_table(result.stdout)
    if not result.found:
        result = host.run(["dmsetup", "ls", "--target", "crypt"])
        if result.ok:
            crypt = [Segment(target="crypt")]
            return {device.label: crypt for device in parse_ls(result.stdout)}
    return None


def parse_info(text: str) -> list[Device]:
    """Devices by `dmsetup info`: with columns and a separator, with a heading, or in blocks."""
    rows = [*_separated(text), *_columns(text), *_blocks(text)]
    return [device for row in rows if (device := _device(*row)) is not None]


def parse_ls(text: str) -> list[Device]:
    """Devices by `dmsetup ls`: "luks-7<TAB>(253:0)", once "(253, 0)"; or by its tree."""
    matches = (_LISTED.fullmatch(line.lstrip(_TREE)) for line in text.splitlines())
    rows = [(m["name"], m["major"], m["minor"], "") for m in matches if m is not None]
    found = {device.name: device for row in rows if (device := _device(*row)) is not None}
    return list(found.values())


def parse_udevadm(text: str) -> list[Device]:
    """The mappings among the devices that `udevadm info` prints the properties of."""
    found = []
    for block in text.split("\n\n"):
        cells = {}
        for line in block.splitlines():
            name, equals, value = line.removeprefix("E: ").partition("=")
            if equals:
                cells[name] = value.strip("'")
        label = cells.get("DM_NAME", "")
        device = _device(
            label, cells.get("MAJOR", ""), cells.get("MINOR", ""), cells.get("DM_UUID", "")
        )
        if device is not None:
            found.append(device)
    return found


def hidden(
    names: Iterable[str],
    tables: Mapping[str, Sequence[Segment]],
    known: Iterable[Device],
    sources: Iterable[str],
) -> tuple[set[str], list[str]]:
    """The mappings that are in no list yet, by name; and the paths udev may know them by.

    `names` are those that something is mounted from, `sources` the paths of all mounts.
    """
    seen = {unescape_udev(device.label or device.name) for device in known}
    missing = {unescape_udev(name) for name in [*names, *tables]} - seen
    kernel = [path for path in sources if re.fullmatch(r"/dev/dm-\d+", path)]
    nameless = [path for path in kernel if path.removeprefix("/dev/") not in seen]
    return missing, [*(f"/dev/mapper/{name}" for name in sorted(missing)), *nameless]


def _separated(text: str) -> Iterator[tuple[str, str, str, str]]:
    for line in text.splitlines():
        fields = line.strip().split("/")
        if len(fields) in (4, 6):
            yield fields[0], fields[1], fields[2], fields[-1]


def _columns(text: str) -> Iterator[tuple[str, str, str, str]]:
    lines = text.splitlines()
    at = next((i for i, line in enumerate(lines) if line.split()[:3] == list(_COLUMNS)), None)
    if at is None:
        return
    heading = lines[at].split()
    for line in lines[at + 1 :]:
        words = line.split()
        if len(words) >= len(_COLUMNS):
            last = words[-1] if heading[-1] == "UUID" and len(words) == len(heading) else ""
            yield words[0], words[1], words[2], last


def _blocks(text: str) -> Iterator[tuple[str, str, str, str]]:
    for block in text.split("\n\n"):
        cells = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            cells[name.strip()] = value.strip()
        if "Name" in cells:
            major, _, minor = cells.get("Major, minor", "").partition(", ")
            yield cells["Name"], major, minor, cells.get("UUID", "")


def _device(label: str, major: str, minor: str, uuid: str) -> Device | None:
    if not label or not (major + minor).isascii() or not (major.isdigit() and minor.isdigit()):
        return None
    return Device(
        name=f"dm-{minor}",
        label=label,
        number=f"{major}:{minor}",
        kind=kind_by_dm_uuid(uuid),
        dm_uuid=uuid,
    )
