"""The client's side of HTTP: one signed form at a time, bounded in size and in time.

`urllib.request` and not requests: this runs every minute on every machine, and importing
requests alone costs more than a whole poll (docs/adr/0040). Proxies come from the environment
(`https_proxy`, `no_proxy`), certificates are always checked, redirects are never followed.
"""

from __future__ import annotations

import os
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from qlmdm_core._version import __version__
from qlmdm_core.errors import SettingsError, TransportError

MAX_ANSWER = 4 << 20
"""Bytes; the server's answers are far smaller, and what is downloaded goes to a file."""
SLOWEST_BYTES_PER_SECOND = 16 << 10
"""A download that is slower, beside the time that any request may take, is given up."""
BYTES = "application/octet-stream"
"""The content type of what is downloaded; an answer of another type is something that is said."""


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
        return self._send(self._form(path, data, signature))

    def download_signed(
        self, path: str, data: bytes, signature: str, *, to: int, max_bytes: int
    ) -> Answer:
        """As `post_signed`; the bytes asked for are written to the descriptor `to`.

        The answer's body is then empty. An answer of another type is given as by `post_signed`.
        Never are more than `max_bytes` written. Raises `TransportError` if there are more, and
        `OSError` if they can't be written.
        """
        return self._fetch(self._form(path, data, signature), to, max_bytes)

    def download(self, path: str, *, to: int, max_bytes: int, start: int | None = None) -> Answer:
        """Fetch public bytes into the descriptor `to`; with `start`, `max_bytes` from there on.

        The status is 206 if they are those, and 200 if the server began at the beginning, as one
        may that knows no parts: then nothing was written (RFC 9110, 14.2).
        """
        request = urllib.request.Request(self._base + path)  # noqa: S310 - as in `get`
        if start is None:
            return self._fetch(request, to, max_bytes)
        request.add_header("Range", f"bytes={start}-{start + max_bytes - 1}")
        return self._fetch(request, to, max_bytes, wanted=206)

    def patience(self, size: int) -> float:
        """Seconds that a download of so many bytes may take in all."""
        return 4 * self._timeout + size / SLOWEST_BYTES_PER_SECOND

    def _form(self, path: str, data: bytes, signature: str) -> urllib.request.Request:
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
        return request

    def get(self, path: str) -> Answer:
        """Fetch something public, such as a root document."""
        return self._send(urllib.request.Request(self._base + path))  # noqa: S310

    def _send(self, request: urllib.request.Request) -> Answer:
        deadline = time.monotonic() + 4 * self._timeout
        return self._exchange(request, deadline, lambda response: self._read(response, deadline))

    def _fetch(
        self, request: urllib.request.Request, to: int, max_bytes: int, *, wanted: int = 200
    ) -> Answer:
        deadline = time.monotonic() + self.patience(max_bytes)

        def take(response: HTTPResponse) -> bytes:
            if response.headers.get_content_type() != BYTES:
                return self._read(response, deadline)
            if response.status != wanted:
                return b""
            for chunk in self._chunks(response, deadline, max_bytes):
                _write(to, chunk)
            return b""

        return self._exchange(request, deadline, take)

    def _exchange(
        self,
        request: urllib.request.Request,
        deadline: float,
        take: Callable[[HTTPResponse], bytes],
    ) -> Answer:
        """Settings allow http and https only, so that `open` can't be led to a file."""
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return Answer(response.status, take(response))
        except _DiskError as error:
            raise error.error from None
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, self._read(error, deadline))
        except urllib.error.URLError as error:
            raise TransportError(f"{self._base}: {_say(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise TransportError(f"{self._base}: {_say(error)}") from None

    def _read(self, response: HTTPResponse | urllib.error.HTTPError, deadline: float) -> bytes:
        return b"".join(self._chunks(response, deadline, MAX_ANSWER))

    def _chunks(
        self, response: HTTPResponse | urllib.error.HTTPError, deadline: float, max_bytes: int
    ) -> Iterator[bytes]:
        """The whole body; a server that drips one byte a second does not hold us for ever."""
        size = 0
        while chunk := response.read1(1 << 16):
            size += len(chunk)
            if size > max_bytes:
                raise TransportError(f"{self._base}: the answer is larger than {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise TransportError(f"{self._base}: the answer took too long")
            yield chunk
        length = response.headers.get("Content-Length")
        if length is not None and length.isdigit() and size != int(length):
            raise TransportError(f"{self._base}: the answer was cut short")


class _DiskError(Exception):
    """Carries an error of our own disk past those of the network, which are `OSError`, too."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _write(to: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(to, view) :]
    except OSError as error:
        raise _DiskError(error) from None


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
