"""Reads the one kind of form that clients send: the fields `data` and `signature`, once each.

Both usual encodings are taken. The form is read by us and not by a general parser, because a
general one is lenient where two readers could differ: it takes the last of two equal fields,
believes a part's own idea of its encoding or length, and starts to parse before it knows how
much there is. What is not plainly those two fields is refused.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple, Protocol

import falcon
from falcon import uri

from qlmdm_core.server.refusals import Forbidden

MAX_SIGNATURE_BYTES = 4096
_OVERHEAD = 2048  # what two fields cost beside their content, in multipart
BODY_SECONDS = 60.0
"""The longest that reading one request may take: a thread waits for it."""

_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;\s*boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1\s*\Z"""
)
# RFC 7578 section 4.2. A file name is what curl and browsers add; it means nothing here.
_DISPOSITION = re.compile(
    rb'Content-Disposition:[ \t]*form-data;[ \t]*name="([a-z]{1,20})"'
    rb'(?:;[ \t]*filename="[^"\r\n]{0,200}")?[ \t]*\Z',
    re.IGNORECASE,
)
_CONTENT_TYPE = re.compile(rb"Content-Type:[^\r\n]{0,200}\Z", re.IGNORECASE)


class Form(NamedTuple):
    """The two fields, byte for byte as they were sent."""

    data: bytes
    signature: bytes


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_form(req: falcon.Request, max_bytes: int) -> Form:
    """Steps 1 and 2: the form of a request whose `data` is at most `max_bytes`.

    Raises `Forbidden`. The size is judged by the announced length, before anything is read.
    """
    content_type = req.content_type or ""
    urlencoded = content_type.partition(";")[0].strip().lower() == falcon.MEDIA_URLENCODED
    # Each byte of JSON may take three when it is urlencoded.
    limit = (max_bytes + MAX_SIGNATURE_BYTES) * (3 if urlencoded else 1) + _OVERHEAD
    body = _read(req.bounded_stream, req.content_length, limit)
    if urlencoded:
        form = parse_urlencoded(body)
    else:
        found = _BOUNDARY.match(content_type)
        if found is None:
            raise Forbidden(f"content type {content_type[:80]!r}")
        form = parse_multipart(body, found.group(2).encode("ascii"))
    if len(form.data) > max_bytes or len(form.signature) > MAX_SIGNATURE_BYTES:
        raise Forbidden("a field is too large")
    return form


def parse_urlencoded(body: bytes) -> Form:
    """The form in an urlencoded body. Raises `Forbidden`."""
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise Forbidden("an urlencoded form that is not ASCII") from None
    fields: list[tuple[str, bytes]] = []
    for field in text.split("&", 3):
        name, _, value = field.partition("=")
        # Bytes that are not UTF-8 become others here, and then fail the signature.
        fields.append((name, uri.decode(value).encode("utf-8", "replace")))
    return _exactly_two(fields)


def parse_multipart(body: bytes, boundary: bytes) -> Form:
    """The form in a multipart body. Raises `Forbidden`."""
    delimiter = b"\r\n--" + boundary
    # The first delimiter has no line before it; four pieces at most are of interest.
    pieces = (b"\r\n" + body).split(delimiter, 4)
    if pieces[0] or pieces[-1].strip(b" \t\r\n") != b"--":
        raise Forbidden("a multipart form that does not begin or end as it should")
    fields = []
    for piece in pieces[1:-1]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if not found or not head.startswith(b"\r\n"):
            raise Forbidden("a part of the form without headers")
        fields.append((_name(head[2:].split(b"\r\n")), content))
    return _exactly_two(fields)


def _name(headers: list[bytes]) -> str:
    """The field's name, if its headers say nothing that a reader could act upon."""
    name = None
    for header in headers:
        found = _DISPOSITION.match(header)
        if found is not None and name is None:
            name = found.group(1).decode("ascii")
        elif not _CONTENT_TYPE.match(header):
            # A second name, a transfer encoding, a length of its own
            raise Forbidden(f"a part of the form with the header {header[:60]!r}")
    if name is None:
        raise Forbidden("a part of the form without a name")
    return name


def _exactly_two(fields: list[tuple[str, bytes]]) -> Form:
    if sorted(name for name, _ in fields) != ["data", "signature"]:
        raise Forbidden("expected exactly one data and one signature")
    values = dict(fields)
    return Form(values["data"], values["signature"])


def _read(stream: _Stream, length: int | None, limit: int) -> bytes:
    if length is None:
        raise Forbidden("a body without a length")
    if length > limit:
        raise Forbidden(f"a body of {length} bytes, more than {limit}")
    deadline = time.monotonic() + BODY_SECONDS
    chunks = []
    missing = length
    while missing:
        try:
            chunk = stream.read(min(missing, 1 << 16))
        except OSError as error:  # the other side stopped sending
            raise Forbidden(f"the body could not be read: {error}") from None
        if not chunk:
            raise Forbidden("a body that is shorter than announced")
        if time.monotonic() > deadline:
            raise Forbidden("a body that took too long")
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
