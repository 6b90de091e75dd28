"""What client and server say to each other, without sending it.

A request's `data` is ASCII JSON: `{"envelope": {…}, "report": …}`. The envelope says who
speaks, to which server and address, when, and how often before, so that a captured message
is worth nothing anywhere else. An answer is a signed text that names the request it answers.
Fields that this version doesn't know are kept: old programs meet new ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from qlmdm_core import signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing.interface import PublicKey, Verifier

VERSION = 2
"""Of the wire format. Version 1 is the original's, which is not spoken here."""

SUBMIT = "/qlmdm/v1/submit"
UPDATE = "/qlmdm/v1/update"
ENROLL = "/qlmdm/v1/enroll"
ACK = "/qlmdm/v1/acknowledge_patch"
REKEY = "/qlmdm/v1/rekey"
PAYLOAD = "/qlmdm/v1/payload"
BLOB = "/qlmdm/v1/blob/"
"""Followed by a SHA-256: releases, whose bytes are no secret."""
ENDPOINTS = {
    "submit": SUBMIT,
    "update": UPDATE,
    "enroll": ENROLL,
    "ack": ACK,
    "rekey": REKEY,
    "payload": PAYLOAD,
}
"""Where each type of message goes."""

MAX_ANSWER_BYTES = 4 << 20
MAX_SEQ = 2**53
LATEST = 2**32
"""OpenPGP knows no later time (RFC 9580, 3.5): seconds since 1970. Nobody could sign then."""
LIFETIME_SECONDS = 120
"""How long a message or an answer is meant to be good, `exp` - `iat`, unless set otherwise."""

_HEX32 = re.compile(r"[0-9a-f]{32}\Z")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")
_LABEL = re.compile(r"[A-Za-z0-9._:+/-]{1,200}\Z")


class EnvelopeError(TrustError):
    """The bytes are no message of ours: not strict JSON, or no proper envelope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """Who speaks, to whom, and when."""

    typ: str
    """"submit", "update", "enroll", …"""
    srv: str
    """The server's id, from the root document."""
    ep: str
    """The address it is sent to, such as "/qlmdm/v1/submit"."""
    kid: str
    """The fingerprint of the client's key."""
    mid: str
    """A hash that is the machine's own (machine-id and product UUID)."""
    boot: str
    """The id of this boot, or "unknown"."""
    nonce: str
    """128 random bits, 32 hex digits; the answer names it."""
    iat: int
    """When it was built: seconds since 1970, by the client's clock."""
    exp: int
    """When it is worth nothing any more."""
    cid: str | None = None
    """The client's id; None only while it enrols."""
    seq: int = 0
    """Grows with each message that the server is to store; 0 for others."""
    rid: str | None = None
    """The id of the spooled record; the same in each try."""
    v: int = VERSION
    extra: Mapping[str, JSON] = field(default_factory=dict)
    """Fields that this version doesn't know."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields, as they stand in the message."""
        known = {name: getattr(self, name) for name in _FIELDS}
        return {**known, **self.extra}


_FIELDS = [
    "v",
    "typ",
    "srv",
    "ep",
    "cid",
    "kid",
    "mid",
    "boot",
    "nonce",
    "seq",
    "iat",
    "exp",
    "rid",
]
_KNOWN = frozenset(_FIELDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A parsed request: the envelope and what came in it."""

    envelope: Envelope
    body: Mapping[str, JSON]
    """Everything beside the envelope, such as `report`."""


def build(envelope: Envelope, body: Mapping[str, JSON]) -> bytes:
    """The bytes to sign and send as `data`. Raises `JsonError` for what is no strict JSON."""
    if "envelope" in body:
        raise ValueError("a message has one envelope")
    value = {"envelope": envelope.to_dict(), **body}
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise strictjson.JsonError(str(error)[:200] or "nested too deep") from None
    return text.encode("ascii")


def parse(data: bytes, *, max_bytes: int) -> Message:
    """The message in `data`. Raises `EnvelopeError`. Nothing in it is verified."""
    try:
        return from_value(strictjson.parse(data, max_bytes=max_bytes))
    except strictjson.JsonError as error:
        raise EnvelopeError(str(error)) from None


def from_value(value: JSON) -> Message:
    """The message in a value that a strict parser gave. Raises `EnvelopeError`."""
    if not isinstance(value, dict):
        raise EnvelopeError("a message is a JSON object")
    fields = value.get("envelope")
    if not isinstance(fields, dict):
        raise EnvelopeError("a message has an envelope")
    body = {name: part for name, part in value.items() if name != "envelope"}
    return Message(envelope=_envelope(fields), body=body)


def _envelope(fields: Mapping[str, JSON]) -> Envelope:
    get = fields.get
    v, cid, rid = get("v"), get("cid"), get("rid")
    if type(v) is not int:
        _wrong("v")
    for name in ("typ", "srv", "ep", "mid", "boot"):
        part = get(name)
        if not isinstance(part, str) or not _LABEL.match(part):
            _wrong(name)
    for name, part in (("cid", cid), ("rid", rid)):
        if part is not None and (not isinstance(part, str) or not _LABEL.match(part)):
            _wrong(name)
    kid, nonce = get("kid"), get("nonce")
    if not isinstance(kid, str) or not _FINGERPRINT.match(kid):
        _wrong("kid")
    if not isinstance(nonce, str) or not _HEX32.match(nonce):
        _wrong("nonce")
    for name in ("seq", "iat", "exp"):
        part = get(name)
        if type(part) is not int or not 0 <= part <= MAX_SEQ:
            _wrong(name)
    if fields.keys() == _KNOWN:  # the usual case
        return Envelope(**fields)
    extra = {name: part for name, part in fields.items() if name not in _KNOWN}
    known = {name: part for name, part in fields.items() if name in _KNOWN}
    return Envelope(**known, extra=extra)


def _wrong(name: str) -> NoReturn:
    raise EnvelopeError(f"the envelope's {name} is missing or malformed")


# --- answers ------------------------------------------------------------------------------------

OK = "ok"
"""It was done; for a record: it is durable and may be deleted."""
REPEATED = "repeated"
"""The same record was accepted before; as good as "ok"."""
STALE = "stale"
"""The clocks differ too much; `at` is the server's time. Keep the record."""
BEHIND = "behind"
"""`seq` was used before; the last one accepted is `last_seq`. Go on from there."""
MALFORMED = "malformed"
"""This record will never be accepted, and why: `reason`. Put it aside."""
RETRY_AFTER = "retry_after"
"""Not now: try again after `retry_after` seconds. Keep the record."""
REFUSED = "refused"
"""This client, or this kind of message, is not welcome: `reason`. Keep the record."""
PENDING = "pending"
"""An administrator must approve first; ask again after `retry_after` seconds."""

_ANSWER_FIELDS = frozenset(
    {"v", "typ", "re", "srv", "status", "cid", "rid", "nonce", "sha256", "at", "exp"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the server says about one request."""

    re: str
    """The type of the request: "submit", …"""
    srv: str
    status: str
    """"ok", "repeated", "stale", "behind", "malformed", "retry_after", "refused", "pending";
    treat what you don't know as "retry_after"."""
    cid: str | None
    """The client it is for; after enrolling: its new id."""
    rid: str | None
    nonce: str
    sha256: str
    """Of the request's `data`, hex."""
    at: int
    """The server's time: seconds since 1970."""
    exp: int
    details: Mapping[str, JSON] = field(default_factory=dict)
    """What the status calls for: `last_seq`, `reason`, `retry_after` (seconds),
    `accepted_at`, `root` (the newest version), `roots`, …"""

    @property
    def is_receipt(self) -> bool:
        """Whether the record that was sent is safe with the server."""
        return self.re == "submit" and self.status in (OK, REPEATED)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, if the server asked for it."""
        seconds = self.details.get("retry_after")
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
            return float(seconds)
        return None

    @property
    def last_seq(self) -> int | None:
        """With "behind": the last sequence number that the server accepted."""
        seq = self.details.get("last_seq")
        return seq if type(seq) is int and 0 <= seq <= MAX_SEQ else None

    @property
    def reason(self) -> str:
        """Why, for a person or a log; may be empty."""
        return str(self.details.get("reason") or "")


def answer_to(
    request: Envelope,
    status: str,
    *,
    sha256: str,
    at: int,
    cid: str | None = None,
    **details: JSON,
) -> Answer:
    """The answer to a request; `cid` is the request's unless given."""
    return Answer(
        re=request.typ,
        srv=request.srv,
        status=status,
        cid=request.cid if cid is None else cid,
        rid=request.rid,
        nonce=request.nonce,
        sha256=sha256,
        at=at,
        exp=at + LIFETIME_SECONDS,
        details=details,
    )


def answer_dict(answer: Answer) -> dict[str, JSON]:
    """The fields of an answer, as they stand in the text that is signed."""
    return {
        "v": VERSION,
        "typ": "answer",
        "re": answer.re,
        "srv": answer.srv,
        "status": answer.status,
        "cid": answer.cid,
        "rid": answer.rid,
        "nonce": answer.nonce,
        "sha256": answer.sha256,
        "at": answer.at,
        "exp": answer.exp,
        **answer.details,
    }


def answer_text(answer: Answer) -> str:
    """The JSON text that the server signs."""
    return json.dumps(answer_dict(answer), separators=(",", ":"), allow_nan=False)


def open_answer(
    data: bytes,
    *,
    request: Envelope,
    sha256: str,
    online: Sequence[PublicKey],
    verifier: Verifier,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """The verified answer to our own `request`, whose `data` has that SHA-256.

    `online` are the keys of the root document's role. Raises `TrustError`: it is not signed
    by the server, or it answers something else.
    """
    signed = signedtext.unpack(data, max_bytes=max_bytes)
    if len(signed.sigs) != 1 or not signedtext.signers(signed, online, verifier):
        raise TrustError("the answer is not signed by the server's online key")
    answer = _answer(signed, max_bytes)
    wanted = {
        "re": request.typ,
        "srv": request.srv,
        "nonce": request.nonce,
        "rid": request.rid,
        "sha256": sha256,
    }
    if request.cid is not None:
        wanted["cid"] = request.cid
    for name, value in wanted.items():
        if getattr(answer, name) != value:
            raise TrustError(f"the answer is for another request: its {name} differs")
    return answer


def _answer(signed: SignedText, max_bytes: int) -> Answer:
    try:
        value = strictjson.parse(signed.text.encode("utf-8"), max_bytes=max_bytes)
    except strictjson.JsonError as error:
        raise TrustError(f"the answer is no strict JSON: {error}") from None
    if not isinstance(value, dict) or value.get("typ") != "answer" or value.get("v") != VERSION:
        raise TrustError("the server signed something that is no answer of this version")
    for name in ("re", "srv", "status", "nonce", "sha256"):
        if not isinstance(value.get(name), str):
            raise TrustError(f"the answer's {name} is missing or malformed")
    for name in ("cid", "rid"):
        if not isinstance(value.get(name), (str, type(None))):
            raise TrustError(f"the answer's {name} is malformed")
    for name in ("at", "exp"):
        if type(value.get(name)) is not int:
            raise TrustError(f"the answer's {name} is missing or malformed")
    if not 0 <= value["at"] < LATEST:
        raise TrustError("the server names a time that can't be")
    details = {name: part for name, part in value.items() if name not in _ANSWER_FIELDS}
    known: dict[str, Any] = {name: value.get(name) for name in _ANSWER_FIELDS - {"v", "typ"}}
    return Answer(**known, details=details)


def sha256_hex(data: bytes) -> str:
    """SHA-256, hex: how a request's `data` is named in its answer."""
    return hashlib.sha256(data).hexdigest()
