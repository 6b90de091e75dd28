"""Says what this machine is and has, as a wipe must know it: `read(host)`.

The same is collected every day, so that the administrator sees it before signing, and read anew
when a wipe is to be carried out. It only looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from qlmdm_core.api import JSON, Host
from qlmdm_core.client.wipe import blockdevices, mounts, people
from qlmdm_core.client.wipe.blockdevices import LUKS, Node, UnreadableError
from qlmdm_core.client.wipe.people import Account
from qlmdm_core.commanddoc import Method, WipeOrder

_MACHINE_ID = re.compile(r"[0-9a-f]{32}\Z")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk that is built in."""

    device: str
    serial: str
    size_bytes: int
    model: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """A LUKS header on such a disk, in whatever layer."""

    uuid: str
    device: str
    disks: tuple[str, ...]
    """The devices of the disks that it lies on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the machine is and has. What can't be read is in `unknown`, with the reason."""

    machine_id: str = ""
    disks: tuple[Disk, ...] = ()
    left_alone: tuple[str, ...] = ()
    """Disks that can be pulled out, or are elsewhere: nothing is done to them."""
    luks: tuple[Header, ...] = ()
    not_encrypted: tuple[str, ...] = ()
    """What lies on built-in disks outside of all LUKS headers: `erase` leaves it readable."""
    accounts: tuple[Account, ...] = ()
    other_homes: tuple[str, ...] = ()
    """Homes whose owners are not in passwd(5)."""
    network_homes: tuple[str, ...] = ()
    """File systems of a network, at, above or in homes: nobody goes into them."""
    unknown: Mapping[str, str]

    def order(self, method: Method) -> WipeOrder:
        """What an operator signs to have just this machine wiped."""
        return WipeOrder(
            method=method,
            machine_id=self.machine_id,
            disk_serials=self.disk_serials,
            luks_uuids=self.luks_uuids,
        )

    @property
    def disk_serials(self) -> tuple[str, ...]:
        """Each once: one disk can be reached by several paths."""
        return tuple(sorted({disk.serial for disk in self.disks}))

    @property
    def luks_uuids(self) -> tuple[str, ...]:
        """Each once, sorted."""
        return tuple(sorted({header.uuid for header in self.luks}))


def read(host: Host) -> Plan:
    """Look at the machine."""
    unknown: dict[str, str] = {}

    def known(what: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except UnreadableError as error:
            unknown[what] = str(error)
            return otherwise

    if not host.is_root:
        unknown["luks"] = "only root sees what is on the disks"
    storage = known("disks", lambda: _storage(host, unknown), _Storage())
    nobody: tuple[Account, ...] = ()
    nothing: tuple[str, ...] = ()
    accounts = known("accounts", lambda: people.read(host), nobody)
    others = people.homes_without_account(host, accounts)
    homes = (*(account.home for account in accounts), *others)
    return Plan(
        machine_id=known("machine_id", lambda: _machine_id(host), ""),
        disks=storage.disks,
        left_alone=storage.left_alone,
        luks=storage.luks,
        not_encrypted=storage.not_encrypted,
        accounts=accounts,
        other_homes=others,
        network_homes=known("mounts", lambda: mounts.network_mounts(host, homes), nothing),
        unknown=unknown,
    )


def _machine_id(host: Host) -> str:
    try:
        text = host.read("/etc/machine-id").strip()
    except OSError as error:
        raise UnreadableError(f"/etc/machine-id: {error.strerror or error}") from None
    if not _MACHINE_ID.match(text):
        raise UnreadableError("/etc/machine-id: not 32 hex digits")
    return text


@dataclass(frozen=True, kw_only=True)
class _Storage:
    disks: tuple[Disk, ...] = ()
    left_alone: tuple[str, ...] = ()
    luks: tuple[Header, ...] = ()
    not_encrypted: tuple[str, ...] = ()


def _storage(host: Host, unknown: dict[str, str]) -> _Storage:
    """What the disks are and hold. What can't be read of one does not hide the others."""
    disks: list[Disk] = []
    left_alone: list[str] = []
    headers: dict[str, Header] = {}
    plain: dict[str, None] = {}
    for root in filter(blockdevices.is_disk, blockdevices.read(host)):
        try:
            if not blockdevices.is_internal(host, root):
                left_alone.append(root.path)
                continue
            name = blockdevices.serial(host, root)
        except UnreadableError as error:
            unknown["disks"] = str(error)
            name = ""
        disks.append(
            Disk(
                device=root.path,
                serial=name,
                size_bytes=blockdevices.size_bytes(host, root),
                model=blockdevices.model(host, root),
            )
        )
        for node in root.walk():
            if node.fstype == LUKS:
                _add_header(headers, node, root)
        plain.update(dict.fromkeys(_plain(root)))
    if not disks:
        raise UnreadableError("no built-in disk was found")
    return _Storage(
        disks=tuple(disks),
        left_alone=tuple(left_alone),
        luks=tuple(headers.values()),
        not_encrypted=tuple(plain),
    )


def _add_header(headers: dict[str, Header], node: Node, disk: Node) -> None:
    if not node.uuid:
        raise UnreadableError(f"{node.path}: a LUKS header whose UUID can't be read")
    known = headers.get(node.path)
    disks = dict.fromkeys((*(known.disks if known else ()), disk.path))
    headers[node.path] = Header(uuid=node.uuid.lower(), device=node.path, disks=tuple(disks))


def _plain(node: Node) -> list[str]:
    """What holds data at or on a device, outside of LUKS; nothing below a header counts."""
    if node.fstype == LUKS:
        return []
    if node.children:
        return [text for child in node.children for text in _plain(child)]
    where = f" on {node.mountpoint}" if node.mountpoint else ""
    return [f"{node.path} ({node.fstype}){where}"] if node.fstype else []


# --- as JSON, in a report and in the database ------------------------------------------------


def to_json(plan: Plan) -> dict[str, JSON]:
    """As a collector reports it."""
    value: dict[str, Any] = asdict(plan)
    value["unknown"] = dict(plan.unknown)
    for name in ("disks", "luks", "accounts"):
        value[name] = [
            {key: list(v) if isinstance(v, tuple) else v for key, v in entry.items()}
            for entry in value[name]
        ]
    return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}


def from_json(value: JSON) -> Plan:
    """What a report says. Raises `UnreadableError` if it is not a plan."""
    try:
        return Plan(
            machine_id=_text(value["machine_id"]),
            disks=tuple(
                Disk(
                    device=_text(d["device"]),
                    serial=_text(d["serial"]),
                    size_bytes=int(d["size_bytes"]),
                    model=_text(d["model"]),
                )
                for d in value["disks"]
            ),
            left_alone=_texts(value["left_alone"]),
            luks=tuple(
                Header(uuid=_text(h["uuid"]), device=_text(h["device"]), disks=_texts(h["disks"]))
                for h in value["luks"]
            ),
            not_encrypted=_texts(value["not_encrypted"]),
            accounts=tuple(
                Account(name=_text(a["name"]), uid=int(a["uid"]), home=_text(a["home"]))
                for a in value["accounts"]
            ),
            other_homes=_texts(value["other_homes"]),
            network_homes=_texts(value["network_homes"]),
            unknown={_text(k): _text(v) for k, v in dict(value["unknown"]).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(f"not a wipe's plan: {type(error).__name__}: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError("expected a list")
    return tuple(_text(value) for value in values)
