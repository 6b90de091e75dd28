"""Reads file systems that hold several disks or encrypt by themselves: ZFS, btrfs, bcachefs.

They are no device-mapper stack, so that sysfs and lsblk don't show what they lie on, or
whether they encrypt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.api import Host

_PROPERTIES = ("encryption", "keystatus")
_GROUPS = re.compile(
    r"(mirror|raidz\d?|draid\S*|spare|replacing|indirect|root|logs?|cache|special|dedup|spares)"
    r"(-\d+)?"
)
_BTRFS_PATH = re.compile(r"\s*devid\s+\d+\s.*\spath\s+(?P<path>/\S.*)")
# Columns of `zfs list` that people ask for beside the name.
_LISTED = ("encryption", "encryption,keystatus", "encryption,keystatus,mountpoint")
_ZVOL_DEPTH = 6
_MOST_ASKED = 24


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What ZFS says of one data set."""

    encryption: str = ""
    """The cipher, "on", or "off"; empty: this ZFS has no encryption of its own."""
    problem: str = ""
    """Why it is not known."""


# --- ZFS ------------------------------------------------------------------------------------


def parse_zfs_get(text: str) -> dict[str, dict[str, str]]:
    """Properties by data set, from `zfs get` with or without `-H`, with two columns or more.

    With the columns name and value alone, the values are those of the properties asked for:
    encryption, then keystatus. `-` is ZFS's word for "has none".
    """
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) >= 3:
            name, prop, value = fields[:3]
        elif len(fields) == 2:
            name, value = fields
            asked = [p for p in _PROPERTIES if p not in found.get(name, {})]
            prop = asked[0] if asked else ""
        else:
            continue
        if (name, prop) != ("NAME", "PROPERTY"):
            found.setdefault(name, {}).setdefault(prop, value)
    return found


def parse_zfs_list(text: str, columns: str) -> dict[str, dict[str, str]]:
    """Properties by data set, from `zfs list` with these columns, with or without a heading."""
    names = columns.split(",")
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        fields = line.split("\t") if "\t" in line else line.split()
        if fields[:1] == ["NAME"]:
            names = [{"encrypt": "encryption"}.get(n.lower(), n.lower()) for n in fields]
        elif len(fields) >= len(names):
            cells = dict(zip(names, fields, strict=False))
            found.setdefault(cells.pop("name", ""), cells)
    return found


def read_datasets(host: Host, names: Sequence[str]) -> dict[str, Dataset]:
    """What ZFS says of these data sets. A pool's own property would be wrong both ways."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, Dataset] = {}
    problem = ""
    wide = "-o", "name,property,value"
    asked = wanted[:_MOST_ASKED]
    attempts: list[list[str]] = [
        ["zfs", "get", "-H", "-p", "-t", "filesystem,volume", *wide, ",".join(_PROPERTIES)]
    ]
    attempts += [
        ["zfs", "get", "-H", "-p", "-o", "name,value", ",".join(_PROPERTIES), name]
        for name in asked
    ]
    every = ",".join(_PROPERTIES)
    others = [
        ["zfs", "get", "-H", *columns, what, name]
        for what in ("all", "encryption", every)
        for columns in ((), ("-o", "name,value"), ("-o", "value"))
        for name in asked
        if not (what == "all" and columns)
    ]
    others += [["zfs", "get", "-H", what] for what in ("all", "encryption", every)]
    others += [["zfs", "list", "-o", f"name,{columns}"] for columns in _LISTED]
    for argv in [*attempts, *others]:
        if argv[-1] in found or all(name in found for name in wanted):
            continue
        if problem and argv in others:
            continue  # zfs answered, and that it can't: it would not to other words
        result = host.run(argv)
        if "bad property list" in result.stderr or "invalid property" in result.stderr:
            # ZFS before 0.8 knows no encryption.
            return {name: Dataset() for name in wanted}
        if not result.ok:
            problem = problem or (result.why if result.found else "")
            if result.timed_out:
                break
            continue
        if argv[1] == "list":
            answer = parse_zfs_list(result.stdout, argv[-1])
        elif argv[-3:-2] == ["value"]:
            words = result.stdout.removeprefix("VALUE").split()
            answer = {argv[-1]: {"encryption": words[0]}} if words else {}
        else:
            answer = parse_zfs_get(result.stdout)
        for name, properties in answer.items():
            value = properties.get("encryption", "-")
            found.setdefault(name, Dataset(encryption="" if value == "-" else value))
    missing = Dataset(problem=problem or "zfs says nothing of it")
    return {name: found.get(name, missing) for name in wanted}


def parse_zpool_status(text: str) -> dict[str, tuple[str, ...]]:
    """The paths (or names) of the disks of each pool, from `zpool status -LP`.

    Logs and caches hold data too; spares do not.
    """
    pools: dict[str, list[str]] = {}
    pool, inside, spares = "", False, False
    for line in text.splitlines():
        words = line.split()
        head = line.strip().partition(":")
        if head[0] == "pool" and head[1]:
            pool, inside = head[2].strip(), False
            pools.setdefault(pool, [])
        elif head[0] in ("config", "errors") and head[1]:
            inside, spares = head[0] == "config", False
        elif inside and pool and words and words[0] not in (pool, "NAME"):
            if _GROUPS.fullmatch(words[0]):
                spares = words[0] == "spares"
            elif not spares:
                pools[pool].append(words[0])
    return {name: tuple(disks) for name, disks in pools.items()}


def read_pools(host: Host) -> dict[str, tuple[str, ...]]:
    """The disks of each ZFS pool; empty when that can't be had."""
    result = host.run(["zpool", "status", "-LP"])
    return parse_zpool_status(result.stdout) if result.ok else {}


def read_zvols(host: Host) -> dict[str, str]:
    """The ZFS volume behind each block device: "zd0" to "rpool/swap"."""
    volumes = {}
    for depth in range(2, _ZVOL_DEPTH):
        for path in host.glob("/dev/zvol" + "/*" * depth):
            try:
                target = host.readlink(path)
            except OSError:
                continue
            volumes[target.rsplit("/", 1)[-1]] = path.removeprefix("/dev/zvol/")
    return volumes


# --- btrfs ----------------------------------------------------------------------------------


def parse_btrfs_show(text: str) -> list[tuple[str, ...]]:
    """The paths of each file system's devices, from `btrfs filesystem show`."""
    systems: list[list[str]] = []
    for line in text.splitlines():
        if "uuid:" in line:
            systems.append([])
        elif systems and (match := _BTRFS_PATH.fullmatch(line)):
            systems[-1].append(match["path"].strip())
        elif systems and "missing" in line.lower():
            systems[-1].append("a missing device")
    return [tuple(paths) for paths in systems if paths]


def read_btrfs(host: Host) -> list[tuple[str, ...]]:
    """The devices (names or paths) of each btrfs in use, by sysfs or else by `btrfs`."""
    systems = []
    for folder in host.glob("/sys/fs/btrfs/*/devices"):
        try:
            systems.append(tuple(name.replace("!", "/") for name in host.listdir(folder)))
        except OSError:
            continue
    if systems:
        return [members for members in systems if members]
    result = host.run(["btrfs", "filesystem", "show", "--raw"])
    return parse_btrfs_show(result.stdout) if result.ok else []


# --- bcachefs -------------------------------------------------------------------------------


def parse_bcachefs(text: str) -> bool | None:
    """Whether a file system is encrypted, from `bcachefs show-super`; None: it doesn't say."""
    sections: list[str] | None = None
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip().lower()
        if not colon:
            continue
        if name in ("encrypted", "encryption", "encryption type", "encryption_type"):
            chosen = re.search(r"\[(\S+)\]", value)
            word = chosen.group(1) if chosen else value.partition(" ")[0]
            return None if not word else word not in ("no", "none", "0", "false", "n")
        if name == "sections":
            sections = value.split(",")
    # The superblock of an encrypted file system has a section for its key; it is there as
    # well when the key lies in it in plain, so that having it proves nothing.
    return False if sections is not None and "crypt" not in sections else None


def read_bcachefs(host: Host, sources: Iterable[str]) -> Mapping[str, bool | None]:
    """Whether the bcachefs file systems mounted from these sources are encrypted."""
    found: dict[str, bool | None] = {}
    for source in dict.fromkeys(sources):
        result = host.run(["bcachefs", "show-super", source.split(":")[0]])
        found[source] = parse_bcachefs(result.stdout) if result.ok else None
    return found
