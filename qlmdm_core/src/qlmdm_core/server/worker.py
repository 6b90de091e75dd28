"""gunicorn's worker with threads, which waits for nobody in the thread that accepts.

After an answer with `Connection: close`, gunicorn waits up to two seconds for the other side to
close first (RFC 9112, 9.6: the end of an answer could be lost otherwise). It does so in the one
thread that also accepts connections, so that a few hundred peers who don't close, or who are
slow to take what they asked for, would keep all others out. Here another thread waits, for all
of them at once.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from functools import partial
from typing import Any

from gunicorn.workers import gthread

LINGER_SECONDS = 2.0
"""So long may the other side take to close."""
MOST = 1000
"""So many connections are waited for at once; beyond, they are closed without waiting."""
MAX_DRAINED = 1 << 16
"""Bytes of what the other side still sends that are read and thrown away."""


class Lingerer:
    """The thread that waits. Safe to use from others; starts with the first connection."""

    def __init__(self) -> None:
        self._waiting: dict[socket.socket, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._woken.setblocking(False)
        self._thread: threading.Thread | None = None
        self._stopping = False

    def stop(self) -> None:
        """Close all connections and end the thread."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")
        if self._thread is not None:
            self._thread.join()
        for sock in [*self._waiting, self._wake, self._woken]:
            _close(sock)
        self._selector.close()

    def close(self, sock: socket.socket) -> None:
        """Close a connection once the other side has, or after a while. Does not wait."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
        except OSError:
            _close(sock)
            return
        with self._lock:
            if len(self._waiting) >= MOST:
                _close(sock)
                return
            self._waiting[sock] = (time.monotonic() + LINGER_SECONDS, 0)
            self._selector.register(sock, selectors.EVENT_READ)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lingerer", daemon=True)
                self._thread.start()
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                until = min((at for at, _ in self._waiting.values()), default=None)
            longest = None if until is None else max(0.0, until - time.monotonic())
            ready = [key.fileobj for key, _ in self._selector.select(longest)]
            now = time.monotonic()
            with self._lock:
                for sock in ready:
                    self._read(sock)
                for sock in [s for s, (at, _) in self._waiting.items() if at <= now]:
                    self._forget(sock)

    def _read(self, sock: Any) -> None:
        if sock is self._woken:
            with contextlib.suppress(OSError):
                sock.recv(4096)
            return
        until, drained = self._waiting[sock]
        try:
            # The plain recv(2): what is left of TLS is of no interest.
            count = len(socket.socket.recv(sock, 4096))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0 or drained + count > MAX_DRAINED:
            self._forget(sock)
        else:
            self._waiting[sock] = (until, drained + count)

    def _forget(self, sock: socket.socket) -> None:
        del self._waiting[sock]
        self._selector.unregister(sock)
        _close(sock)


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.close()


class Worker(gthread.ThreadWorker):  # type: ignore[misc] # it has no types
    """As gunicorn's, but for how connections end."""

    def init_process(self) -> None:
        """After the fork, where threads may be started."""
        self._lingerer = Lingerer()
        super().init_process()

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Called in the thread that accepts, when a request was answered."""
        conn.close = partial(self._close, conn)
        super().finish_request(conn, fs)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        if graceful:
            self._lingerer.close(conn.sock)
        else:
            gthread.TConn.close(conn)
