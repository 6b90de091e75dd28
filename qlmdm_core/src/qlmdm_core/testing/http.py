"""A WSGI application on loopback, with a place in between for faults."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


@dataclass
class Wire:
    """What lies between a client and the server."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    """The paths that were asked for."""
    meddle: Callable[[str, bytes], tuple[str, bytes]] | None = None
    """May replace any answer: (path, the server's answer) to (status line, body)."""


@contextlib.contextmanager
def served(app: Any) -> Iterator[Wire]:
    """The application, served on a free port until the end of the `with` statement."""
    wire = Wire()

    def between(environ: dict[str, Any], start_response: Any) -> Any:
        path = str(environ["PATH_INFO"])
        wire.requests.append(path)
        if wire.meddle is None:
            return app(environ, start_response)
        body = b"".join(app(environ, lambda *_: None))
        status, body = wire.meddle(path, body)
        start_response(status, [("Content-Length", str(len(body)))])
        return [body]

    httpd = make_server("127.0.0.1", 0, between, _Server, _Quiet)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        wire.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        yield wire
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing about each request."""


class _Server(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested."""
