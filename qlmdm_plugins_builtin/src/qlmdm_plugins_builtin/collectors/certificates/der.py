"""Reads the few fields of a certificate that an administrator asks for: who, by whom, how long.

A reader of DER (X.690) for the outer structure of RFC 5280, section 4.1. It verifies nothing:
whether a certificate is to be trusted is not its question. Every length is checked against the
bytes that are there, and nothing recurses, so that no input costs more than its own length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

LONGEST_NAME = 500
"""Characters of a subject or issuer that are kept."""
MOST_NAMES = 20
"""Alternative names that are kept."""

_SEQUENCE, _SET, _INTEGER, _OID, _OCTETS = 0x30, 0x31, 0x02, 0x06, 0x04
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS, _DNS_NAME = 0xA0, 0xA3, 0x82
_ALTERNATIVE_NAME = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17
_ENCODINGS = {
    0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii",
    0x1C: "utf-32-be", 0x1E: "utf-16-be",
}  # fmt: skip
"""How the types of text are written: UTF8, Numeric, Printable, T61, IA5, Visible, …"""
_KINDS = {
    bytes((0x55, 0x04, 3)): "CN",
    bytes((0x55, 0x04, 4)): "SN",
    bytes((0x55, 0x04, 5)): "serialNumber",
    bytes((0x55, 0x04, 6)): "C",
    bytes((0x55, 0x04, 7)): "L",
    bytes((0x55, 0x04, 8)): "ST",
    bytes((0x55, 0x04, 9)): "street",
    bytes((0x55, 0x04, 10)): "O",
    bytes((0x55, 0x04, 11)): "OU",
    bytes((0x55, 0x04, 12)): "title",
    bytes((0x55, 0x04, 42)): "GN",
    bytes((0x55, 0x04, 97)): "organizationIdentifier",
    bytes.fromhex("0992268993f22c640101"): "UID",
    bytes.fromhex("0992268993f22c640119"): "DC",
    bytes.fromhex("2a864886f70d010901"): "emailAddress",
}
"""The attributes of a name by their object identifiers; others are told by the numbers."""


class DerError(ValueError):
    """These bytes are no certificate, or one that is not understood: the message says why."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is reported of a certificate."""

    subject: str
    issuer: str
    serial: str
    """Hexadecimal, as `openssl x509 -serial` prints it."""
    not_before_at: datetime
    not_after_at: datetime
    names: tuple[str, ...] = ()
    """The host names of the extension subjectAltName."""


def read_certificate(data: bytes) -> Certificate:
    """Read the first certificate in these bytes. Raises `DerError`."""
    outer = _expect(_elements(data), _SEQUENCE)
    fields = _elements(_expect(_elements(outer), _SEQUENCE))
    tag, content = _next(fields)
    if tag == _VERSION:
        tag, content = _next(fields)
    if tag != _INTEGER or not content:
        raise DerError("it has no serial number")
    serial = content
    _expect(fields, _SEQUENCE)  # the algorithm of the signature
    issuer = _name(_expect(fields, _SEQUENCE))
    validity = _elements(_expect(fields, _SEQUENCE))
    not_before, not_after = _time(*_next(validity)), _time(*_next(validity))
    subject = _name(_expect(fields, _SEQUENCE))
    return Certificate(
        subject=subject,
        issuer=issuer,
        serial=(serial.lstrip(b"\0") or b"\0").hex().upper(),
        not_before_at=not_before,
        not_after_at=not_after,
        names=_alternative_names(fields),
    )


# --- structure --------------------------------------------------------------------------------

Element = tuple[int, bytes]


def _elements(data: bytes) -> Iterator[Element]:
    """The elements that these bytes are made of, one after the other: tag and content."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise DerError("it ends too early")
        tag, length, at = data[at], data[at + 1], at + 2
        if tag & 0x1F == 0x1F:
            raise DerError("it has a tag that no certificate has")
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):  # 0: of no stated length, not DER
                raise DerError("it has a length that is not understood")
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        if length > len(data) - at:
            raise DerError("it ends too early")
        yield tag, data[at : at + length]
        at += length


def _next(elements: Iterator[Element]) -> Element:
    try:
        return next(elements)
    except StopIteration:
        raise DerError("it ends too early") from None


def _expect(elements: Iterator[Element], wanted: int) -> bytes:
    tag, content = _next(elements)
    if tag != wanted:
        raise DerError("it is not made as a certificate is")
    return content


# --- values -----------------------------------------------------------------------------------


def _time(tag: int, content: bytes) -> datetime:
    """RFC 5280, section 4.1.2.5: UTCTime is of 1950 to 2049, both end in Z."""
    text = content.decode("ascii", "replace")
    if tag == _UTC_TIME and len(text) == 13:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME or len(text) != 15:
        raise DerError("it has a time that is not understood")
    digits = text[:-1]
    if text[-1] != "Z" or not (digits.isascii() and digits.isdigit()):
        raise DerError("it has a time that is not understood")
    parts = [int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))]
    try:
        return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]
    except ValueError:
        raise DerError("it has a time that is not understood") from None


def _name(content: bytes) -> str:
    """A distinguished name as people write it: `C=DE, O=Example, CN=www.example.com`."""
    parts = []
    for tag, relative in _elements(content):
        if tag != _SET:
            raise DerError("it has a name that is not understood")
        for _, attribute in _elements(relative):
            pieces = _elements(attribute)
            kind = _expect(pieces, _OID)
            parts.append(f"{_KINDS.get(kind) or _dotted(kind)}={_text(*_next(pieces))}")
    return ", ".join(parts)[:LONGEST_NAME]


def _text(tag: int, content: bytes) -> str:
    text = content.decode(_ENCODINGS.get(tag, "latin-1"), "replace")
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_NAME])
    return plain.replace("\\", "\\\\").replace(",", "\\,")


def _dotted(content: bytes) -> str:
    """An object identifier by its numbers; X.690, section 8.19."""
    numbers, value = [], 0
    for byte in content[:32]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        return "?"
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _alternative_names(fields: Iterator[Element]) -> tuple[str, ...]:
    """The host names beside the subject; none if the rest of the certificate is odd.

    They only help to recognise the certificate: what is wrong here is no reason to say nothing
    about its dates.
    """
    try:
        for tag, content in fields:
            if tag == _EXTENSIONS:
                return _host_names(_expect(_elements(content), _SEQUENCE))
    except DerError:
        pass
    return ()


def _host_names(extensions: bytes) -> tuple[str, ...]:
    for _, extension in _elements(extensions):
        pieces = _elements(extension)
        if _expect(pieces, _OID) != _ALTERNATIVE_NAME:
            continue
        for tag, content in pieces:
            if tag == _OCTETS:
                names = _elements(_expect(_elements(content), _SEQUENCE))
                hosts = [_text(0x16, name)[:255] for kind, name in names if kind == _DNS_NAME]
                return tuple(hosts[:MOST_NAMES])
    return ()
