"""A one-time command: what an operator signed, for which clients, and until when.

Everything that a client obeys is in the signed text: the clients by their ids, the kind, the
hash of what is to be run or put, the path, the limits, the date. So a command can't be moved
to another machine, another day, or another purpose. A command for many clients is signed in
parts of at most `MAX_HOSTS`, which share one id; a client is named in one of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, get_args

from qlmdm_core import rootdoc, signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier

Kind: TypeAlias = Literal["script", "file", "remove", "wipe", "cancel"]
Method: TypeAlias = Literal["accounts", "erase"]

MAX_BYTES = 64 << 10
"""Of one signed part."""
MAX_HOSTS = 256
MAX_LIFETIME = timedelta(days=30)
MAX_PAYLOAD_BYTES = 256 << 20
MAX_TIMEOUT_SECONDS = 86400
MAX_OUTPUT_BYTES = 1 << 20

_ID = re.compile(r"[0-9a-f]{32}\Z")
_CID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_PATH = re.compile(r"[A-Za-z0-9_.+@=,-]{1,100}(?:/[A-Za-z0-9_.+@=,-]{1,100}){0,8}\Z")
_INTERPRETER = re.compile(r"/[A-Za-z0-9_./+-]{1,200}\Z")


class NotYetError(TrustError):
    """The command is sound and for us, but can't be carried out now; it may be later."""


class TooLateError(TrustError):
    """The command is sound and for us, but its time has passed."""


@dataclass(frozen=True, kw_only=True)
class WipeOrder:
    """Which machine is to be wiped, so exactly that no other one can be meant, and how."""

    method: Method
    machine_id: str
    """machine-id(5)."""
    disk_serials: tuple[str, ...]
    """Of the internal disks, sorted."""
    luks_uuids: tuple[str, ...]
    """Of the LUKS headers on them, sorted."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One part of a command."""

    server_id: str
    id: str
    """32 hex digits; the same in all parts. A client carries out an id once, ever."""
    part: int
    """From 1."""
    kind: Kind
    hosts: tuple[str, ...]
    """The ids (`cid`) of the clients it is for, sorted."""
    issued_at: datetime
    expires_at: datetime
    not_before: datetime
    """`issued_at`, or later: the end of a wipe's cancel window."""
    requested_by: str
    """Who asked for it, as the operator typed it."""
    payload_sha256: str | None = None
    """Of the script, or of the file to put."""
    payload_size: int = 0
    path: str | None = None
    """For "file" and "remove": below the client's own `files/`; never absolute or upward."""
    mode: int = 0o600
    """Of the file put."""
    interpreter: str = "/bin/sh"
    """Runs the script: an absolute path."""
    timeout_seconds: int = 3600
    output_max_bytes: int = 64 << 10
    """So much of stdout and stderr together comes back."""
    cancels: str | None = None
    """For "cancel": the id of the command that is not to be carried out any more."""
    wipe: WipeOrder | None = None


def build(command: Command) -> str:
    """The JSON text to be signed. Raises `TrustError` if clients would refuse it."""
    value = {
        **asdict(command),
        "v": 1,
        "typ": "command",
        "issued_at": rootdoc.write_time(command.issued_at),
        "expires_at": rootdoc.write_time(command.expires_at),
        "not_before": rootdoc.write_time(command.not_before),
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    parse(text)
    return text


def parse(text: str) -> Command:
    """The command in a signed text; its signatures are not looked at. Raises `TrustError`."""
    try:
        value = strictjson.parse(text.encode("utf-8"), max_bytes=MAX_BYTES)
        command = _command(value)
        _check(command)
    except (strictjson.JsonError, UnicodeEncodeError) as error:
        raise TrustError(f"not a command: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TrustError(f"not a command: {type(error).__name__}: {error}") from None
    return command


def verify(document: bytes, root: Root, verifier: Verifier) -> Command:
    """The command in a signed document, if enough operators of `root` vouch for it.

    A wipe needs `root.wipe_threshold` of them. Signatures and whose it is; whether this client
    may carry it out now is `check_acceptable`'s to say. Raises `TrustError`.
    """
    signed = signedtext.unpack(document, max_bytes=2 * MAX_BYTES)
    rootdoc.require(signed, root, "operator", verifier)
    command = parse(signed.text)
    if command.server_id != root.server_id:
        raise TrustError("the command is another server's")
    if command.kind == "wipe":
        rootdoc.require(signed, root, "operator", verifier, threshold=root.wipe_threshold)
    return command


def check_acceptable(command: Command, root: Root, *, cid: str, now: datetime) -> None:
    """Raise `TrustError` unless client `cid` may carry it out at `now`.

    It is a `TooLateError` once it has expired, and a `NotYetError` if waiting may help: its time
    has not come, or the root document has expired and its successor must be fetched first.
    """
    if cid not in command.hosts:
        raise TrustError("the command is for other clients")
    if command.kind == "wipe" and cid in root.never_wipe:
        raise TrustError("the root document names this client among those never to be wiped")
    if now >= command.expires_at:
        raise TooLateError(f"the command expired at {rootdoc.write_time(command.expires_at)}")
    if root.is_expired(now):
        raise NotYetError(f"root document {root.version} has expired; no command is carried out")
    if now < command.not_before:
        raise NotYetError(f"not before {rootdoc.write_time(command.not_before)}")


def is_safe_path(path: str) -> bool:
    """Whether `path` stays below the client's own folder for files."""
    return bool(_PATH.match(path)) and not {".", ".."} & set(path.split("/"))


def _command(value: JSON) -> Command:
    if value["typ"] != "command" or value["v"] != 1:
        raise TrustError("not a command of this format")
    fields = {name: value[name] for name in Command.__dataclass_fields__}
    for name in ("issued_at", "expires_at", "not_before"):
        fields[name] = rootdoc.read_time(value[name])
    fields["hosts"] = tuple(value["hosts"])
    if value["wipe"] is not None:
        order = value["wipe"]
        fields["wipe"] = WipeOrder(
            method=order["method"],
            machine_id=order["machine_id"],
            disk_serials=tuple(order["disk_serials"]),
            luks_uuids=tuple(order["luks_uuids"]),
        )
    return Command(**fields)


def _check(command: Command) -> None:
    def right(condition: object, what: str) -> None:
        if not condition:
            raise TrustError(f"not a command: {what}")

    texts = (command.server_id, command.requested_by, command.interpreter, *command.hosts)
    right(all(isinstance(text, str) for text in texts), "a text is missing")
    numbers = (command.part, command.mode, command.timeout_seconds, command.output_max_bytes)
    right(all(type(n) is int for n in (*numbers, command.payload_size)), "a number is missing")
    right(_ID.match(command.id), "its id is 32 hex digits")
    right(command.kind in get_args(Kind), f"its kind is one of {', '.join(get_args(Kind))}")
    right(0 < len(command.hosts) <= MAX_HOSTS, f"it is for 1 to {MAX_HOSTS} clients a part")
    right(list(command.hosts) == sorted(set(command.hosts)), "clients are named once, in order")
    right(all(_CID.match(cid) for cid in command.hosts), "clients are named by their ids")
    right(len(command.requested_by) <= 200, "the name of who asked is too long")
    right(command.part >= 1, "parts count from 1")
    right(
        command.issued_at <= command.not_before < command.expires_at
        and command.expires_at - command.issued_at <= MAX_LIFETIME,
        f"it is good for {MAX_LIFETIME.days} days at most",
    )
    right(1 <= command.timeout_seconds <= MAX_TIMEOUT_SECONDS, "its timeout is a day at most")
    right(0 <= command.output_max_bytes <= MAX_OUTPUT_BYTES, "too much output is asked for")
    right(_INTERPRETER.match(command.interpreter), "its interpreter is an absolute path")
    right(command.mode in (0o600, 0o700, 0o644, 0o755), f"mode {command.mode:o} can't be asked for")
    payload = command.payload_sha256
    right((payload is not None) == (command.kind in ("script", "file")), "payload and kind differ")
    right(payload is None or _HASH.match(payload), "its payload's hash can't be right")
    right(0 <= command.payload_size <= MAX_PAYLOAD_BYTES, "its payload is too large")
    right(
        (command.path is not None) == (command.kind in ("file", "remove")), "path and kind differ"
    )
    right(command.path is None or is_safe_path(command.path), "its path leads elsewhere")
    right((command.cancels is not None) == (command.kind == "cancel"), "cancels and kind differ")
    right(command.cancels is None or _ID.match(command.cancels), "it cancels no command's id")
    right((command.wipe is not None) == (command.kind == "wipe"), "wipe and kind differ")
    if command.wipe is not None:
        order = command.wipe
        names = (order.machine_id, *order.disk_serials, *order.luks_uuids)
        right(all(isinstance(name, str) and name for name in names), "a machine has names")
        right(order.method in get_args(Method), f"methods are {', '.join(get_args(Method))}")
        right(len(command.hosts) == 1, "a wipe is for one machine")
        # Without an encrypted disk there is nothing that `erase` could do.
        right(order.method != "erase" or order.luks_uuids, "erase needs LUKS headers")
