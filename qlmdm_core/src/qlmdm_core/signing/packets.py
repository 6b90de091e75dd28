"""Reads OpenPGP signatures and certificates as far as needed to refuse what is ambiguous.

No cryptography happens here. Programs that verify are lenient: some take the first of two
signatures, some ignore what follows, some any block of a text. So this module takes the
armour off, insists on exactly one packet that fills the whole block, and hands on those very
bytes: what was looked at is what gets verified. Sources: RFC 4880 and RFC 9580.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from qlmdm_core.errors import SignatureError

MAX_SIGNATURE_BYTES = 4096
MAX_CERTIFICATE_BYTES = 64 << 10

TAG_SIGNATURE, TAG_PUBLIC_KEY, TAG_USER_ID, TAG_PUBLIC_SUBKEY = 2, 6, 13, 14
# RFC 9580 section 9.5
HASHES = {8: "SHA256", 9: "SHA384", 10: "SHA512"}
# RFC 9580 section 5.2.3.7
_SUB_CREATED, _SUB_SIGNATURE_EXPIRES, _SUB_ISSUER_FINGERPRINT = 2, 3, 33
# RFC 9580 section 9.1: EdDSALegacy (what GnuPG 2 writes) and Ed25519
ED25519_ALGORITHMS = frozenset({22, 27})

# RFC 9580 section 6.2. Headers ("Version: …") are allowed and ignored, as is the checksum:
# whether the bytes are intact is what the signature itself shows.
_ARMOUR = re.compile(
    rb"\s*-----BEGIN PGP (SIGNATURE|PUBLIC KEY BLOCK)-----[ \t]*\r?\n"
    rb"(?:[A-Za-z]{1,32}: [^\r\n]{0,200}\r?\n){0,8}"
    rb"[ \t]*\r?\n"
    rb"((?:[A-Za-z0-9+/][A-Za-z0-9+/=]{0,75}\r?\n)+)"
    rb"(?:=[A-Za-z0-9+/]{4}[ \t]*\r?\n)?"
    rb"-----END PGP \1-----\s*\Z"
)


@dataclass(frozen=True)
class Packet:
    """One OpenPGP packet: its type and its content."""

    tag: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class SignatureFacts:
    """What one detached signature claims about itself. Nothing of it is verified."""

    raw: bytes
    """The packet, without armour: verify these bytes."""
    issuer: str
    """The fingerprint of the key that is said to have made it, 40 upper-case hex digits."""
    created_at: datetime
    hash: str


def dearmour(text: str | bytes, kind: str) -> bytes:
    """The bytes in an ASCII-armoured block of that kind ("SIGNATURE", "PUBLIC KEY BLOCK").

    Raises `SignatureError` unless the text is exactly one such block.
    """
    limit = MAX_SIGNATURE_BYTES if kind == "SIGNATURE" else MAX_CERTIFICATE_BYTES
    if len(text) > limit:
        raise SignatureError(f"a {kind.lower()} of {len(text)} bytes is too large")
    try:
        data = text.encode("ascii") if isinstance(text, str) else text
        found = _ARMOUR.match(data)
        if found is None or found.group(1) != kind.encode("ascii"):
            raise SignatureError(f"not exactly one ASCII-armoured PGP {kind}")
        base64 = found.group(2).translate(None, b"\r\n")
        # b2a/a2b: a text that decodes but is not how the bytes are written has a second
        # block, or padding in its middle, which other readers may take for the end.
        raw = binascii.a2b_base64(base64)
        if binascii.b2a_base64(raw, newline=False) != base64:
            raise SignatureError(f"the base64 of the PGP {kind} is not regular")
    except (UnicodeEncodeError, binascii.Error):
        raise SignatureError(f"the base64 of the PGP {kind} is broken") from None
    return raw


def split(data: bytes) -> Iterator[Packet]:
    """The packets of a block. Raises `SignatureError` for anything irregular.

    Lengths of unknown extent (partial, indeterminate) are refused: they are for streams.
    """
    at = 0
    while at < len(data):
        tag, start, length = _header(data, at)
        end = start + length
        if end > len(data):
            raise SignatureError("an OpenPGP packet is longer than the data")
        yield Packet(tag, data[start:end])
        at = end


def facts_of(signature: str | bytes | SignatureFacts) -> SignatureFacts:
    """The facts of a signature, which may have been read before. Raises `SignatureError`."""
    return signature if isinstance(signature, SignatureFacts) else read_signature(signature)


def read_signature(text: str | bytes) -> SignatureFacts:
    """What the one signature in an armoured block claims. Raises `SignatureError`.

    Its class, hash and the absence of an own expiry are checked here, alike for all verifiers.
    """
    raw = dearmour(text, "SIGNATURE")
    packets = list(split(raw))
    if len(packets) != 1:
        raise SignatureError(f"expected exactly one signature, found {len(packets)} packets")
    if packets[0].tag != TAG_SIGNATURE:
        raise SignatureError(f"expected a signature packet, found one with tag {packets[0].tag}")
    body = packets[0].body
    # RFC 9580 section 5.2.3: version, class, key algorithm, hash algorithm, hashed subpackets
    if len(body) < 6 or body[0] != 4:
        raise SignatureError("not a version 4 signature")
    if body[1] != 0x00:
        raise SignatureError(f"signature class 0x{body[1]:02x}, expected 0x00 (binary document)")
    name = HASHES.get(body[3])
    if name is None:
        raise SignatureError(f"hash algorithm {body[3]} is too weak or not known")
    hashed_length = int.from_bytes(body[4:6], "big")
    if len(body) < 6 + hashed_length:
        raise SignatureError("the signature packet is cut off")
    created: datetime | None = None
    issuer: str | None = None
    for kind, value in _subpackets(body[6 : 6 + hashed_length]):
        if kind == _SUB_CREATED and len(value) == 4 and created is None:
            created = datetime.fromtimestamp(int.from_bytes(value, "big"), timezone.utc)
        elif kind == _SUB_ISSUER_FINGERPRINT and issuer is None:
            if len(value) != 21 or value[0] != 4:
                raise SignatureError("the issuer is not a version 4 key")
            issuer = value[1:].hex().upper()
        elif kind in (_SUB_CREATED, _SUB_ISSUER_FINGERPRINT):
            raise SignatureError("the signature names its time or issuer twice")
        elif kind == _SUB_SIGNATURE_EXPIRES:
            raise SignatureError("the signature carries an expiry of its own")
    if created is None or issuer is None:
        raise SignatureError("the signature does not name its time and its issuer's fingerprint")
    return SignatureFacts(raw=raw, issuer=issuer, created_at=created, hash=name)


def primary_fingerprint(certificate: bytes) -> str:
    """The fingerprint of the primary key of one certificate (without armour).

    Raises `SignatureError` unless it starts with a version 4 public key and has no second.
    """
    packets = list(split(certificate))
    if not packets or packets[0].tag != TAG_PUBLIC_KEY:
        raise SignatureError("not a public key")
    if sum(packet.tag == TAG_PUBLIC_KEY for packet in packets) != 1:
        raise SignatureError("more than one public key")
    body = packets[0].body
    if not body or body[0] != 4:
        raise SignatureError("not a version 4 public key")
    # RFC 9580 section 5.5.4.2; SHA-1 is what a version 4 fingerprint is made of
    framed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()


def key_created_at(certificate: bytes) -> datetime:
    """When the primary key of a certificate (without armour) says it was made."""
    first = next(split(certificate), None)
    if first is None or len(first.body) < 5:
        raise SignatureError("a public key packet is cut off")
    body = first.body
    return datetime.fromtimestamp(int.from_bytes(body[1:5], "big"), timezone.utc)


def check_client_certificate(armoured: str | bytes) -> str:
    """The fingerprint of a key that a client may enrol with. Raises `SignatureError`.

    An Ed25519 primary key with user IDs and their signatures, and nothing else: no subkeys
    that could sign in its place, no secret parts, no photographs.
    """
    certificate = dearmour(armoured, "PUBLIC KEY BLOCK")
    packets = list(split(certificate))
    odd = {packet.tag for packet in packets} - {TAG_PUBLIC_KEY, TAG_USER_ID, TAG_SIGNATURE}
    if odd:
        raise SignatureError(f"a client's key may not hold packets with tags {sorted(odd)}")
    fingerprint = primary_fingerprint(certificate)
    body = packets[0].body
    if len(body) < 6 or body[5] not in ED25519_ALGORITHMS:
        raise SignatureError("not an Ed25519 key")
    return fingerprint


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content, length of the content of the packet at `at`."""
    # RFC 9580 section 4.2
    first = data[at]
    if not first & 0x80:
        raise SignatureError("not an OpenPGP packet")
    if first & 0x40:
        start, length = _length(data, at + 1, "packet")
        return first & 0x3F, start, length
    if first & 0x03 == 3:
        raise SignatureError("an OpenPGP packet of indeterminate length")
    size = 1 << (first & 0x03)
    start = at + 1 + size
    if start > len(data):
        raise SignatureError("an OpenPGP packet is cut off")
    return (first >> 2) & 0x0F, start, int.from_bytes(data[at + 1 : start], "big")


def _length(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Where the content starts and how long it is, by a new-format length at `at`."""
    # RFC 9580 sections 4.2.1 and 5.2.3.7; 224 to 254 differ: partial lengths of packets
    if at >= len(data):
        raise SignatureError(f"an OpenPGP {what} is cut off")
    first = data[at]
    if first < 192:
        return at + 1, first
    if first == 255:
        if at + 5 > len(data):
            raise SignatureError(f"an OpenPGP {what} is cut off")
        return at + 5, int.from_bytes(data[at + 1 : at + 5], "big")
    if what == "packet" and first >= 224:
        raise SignatureError("an OpenPGP packet of partial length")
    if at + 2 > len(data):
        raise SignatureError(f"an OpenPGP {what} is cut off")
    return at + 2, ((first - 192) << 8) + data[at + 1] + 192


def _subpackets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        start, length = _length(data, at, "subpacket")
        end = start + length
        if length < 1 or end > len(data):
            raise SignatureError("a signature subpacket is cut off")
        yield data[start] & 0x7F, data[start + 1 : end]
        at = end
