"""The client's side of HTTP: one signed form at a time, bounded in size and in time.

`urllib.request` and not requests: this runs every minute on every machine, and importing
requests alone costs more than a whole poll (docs/adr/0040). Proxies come from the environment
(`https_proxy`, `no_proxy`), certificates are always checked, redirects are never followed.
"""

from __future__ import annotations

import secrets
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from qlmdm_core._version import __version__
from qlmdm_core.errors import SettingsError, TransportError

MAX_ANSWER = 4 << 20
"""Bytes; the server's answers are far smaller, and blobs have a method of their own."""


@dataclass(frozen=True)
class Answer:
    """What came back. Nothing in it is trusted before its signature was verified."""

    status: int
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A signed message is meant for one server; nobody may send it elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


class Transport:
    """Requests to one server. `timeout` is seconds for each step, and four times that in all."""

    def __init__(self, server_url: str, *, ca_file: str | None = None, timeout: float = 30) -> None:
        self._base = server_url.rstrip("/")
        self._timeout = timeout
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self._base.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_context(ca_file)))
        self._opener = urllib.request.build_opener(*handlers)
        self._opener.addheaders = [("User-Agent", f"qlmdm/{__version__}")]

    def post_signed(self, path: str, data: bytes, signature: str) -> Answer:
        """Send the two fields `data` and `signature` as multipart/form-data.

        Multipart costs the server a tenth of what an urlencoded form of this size does.
        """
        boundary = secrets.token_hex(16)
        fields = (("data", data), ("signature", signature.encode("ascii")))
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (boundary.encode(), name.encode(), value)
            for name, value in fields
        ]
        body = b"".join(parts) + b"--%b--\r\n" % boundary.encode()
        request = urllib.request.Request(self._base + path, data=body, method="POST")  # noqa: S310
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        return self._send(request)

    def get(self, path: str) -> Answer:
        """Fetch something public, such as a root document."""
        return self._send(urllib.request.Request(self._base + path))  # noqa: S310

    def _send(self, request: urllib.request.Request) -> Answer:
        """Settings allow http and https only, so that `open` can't be led to a file."""
        deadline = time.monotonic() + 4 * self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return Answer(response.status, self._read(response, deadline))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, self._read(error, deadline))
        except urllib.error.URLError as error:
            raise TransportError(f"{self._base}: {_say(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise TransportError(f"{self._base}: {_say(error)}") from None

    def _read(self, response: HTTPResponse | urllib.error.HTTPError, deadline: float) -> bytes:
        """The whole body; a server that drips one byte a second does not hold us for ever."""
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER:
                raise TransportError(f"{self._base}: the answer is larger than {MAX_ANSWER} bytes")
            if time.monotonic() > deadline:
                raise TransportError(f"{self._base}: the answer took too long")
        length = response.headers.get("Content-Length")
        if length is not None and length.isdigit() and size != int(length):
            raise TransportError(f"{self._base}: the answer was cut short")
        return b"".join(chunks)


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{ca_file}: can't be used as certificate authority: {error}", key="ca_file"
        ) from None


def _say(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror  # without "[Errno -2]"
    return str(reason) or type(reason).__name__
