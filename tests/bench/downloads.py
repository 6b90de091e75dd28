"""How polls fare while many clients on slow lines fetch a release."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import load
import releases
import server
from figures import Figure

from qlmdm_core import envelope
from qlmdm_core.client.release.fetch import PIECE_BYTES
from qlmdm_core.testing.client import SimulatedClient

ROUNDS = 5
DOWNLOADS = 200
BYTES_PER_SECOND = 52_500
"""Of each download; all of them together take 10.5 MB in a second."""
CLIENTS = 16
CONNECTIONS = 8


def figures(quick: bool) -> list[Figure]:
    """The figures of downloads."""
    return _downloads(3 if quick else ROUNDS)


@dataclass
class Download:
    """One client on a slow line: it asks for piece after piece, as the agent does."""

    port: int
    path: str
    size: int
    at: int = 0
    """The next byte to ask for."""
    left: int = 0
    """Of the piece that is under way."""
    taken: int = 0
    connection: socket.socket | None = None
    head: bytes | None = None

    def ask(self) -> None:
        """Ask for the next piece, over a connection of its own with little room for it."""
        self.left = min(PIECE_BYTES, self.size - self.at)
        self.connection = socket.socket()
        # Without this, the whole piece would lie in our own system at once.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.connection.connect(("127.0.0.1", self.port))
        end = self.at + self.left - 1
        self.connection.sendall(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Range: bytes={self.at}-{end}\r\n\r\n".encode()
        )
        self.connection.setblocking(False)
        self.head = b""

    def take(self, most: int) -> None:
        """Read what is there, at most so much."""
        if self.connection is None:
            self.ask()
        assert self.connection is not None
        try:
            data = self.connection.recv(most)
        except BlockingIOError:
            return
        if not data:
            raise RuntimeError(f"cut off, {self.left} bytes before the end of a piece")
        if self.head is not None:
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 206"):
                raise RuntimeError(head[:200].decode())
            self.head = None
        self.taken += len(data)
        self.left -= len(data)
        if not self.left:
            self.connection.close()
            self.connection = None
            self.at = (self.at + PIECE_BYTES) if self.at + PIECE_BYTES < self.size else 0


def _download(port: int, path: str, size: int, stop: Event, taken: Any) -> None:
    """In a process of its own: all downloads, each at its own slow pace, until told to stop."""
    lines = [Download(port, path, size) for _ in range(DOWNLOADS)]
    for number, line in enumerate(lines):  # they are not all at the same place
        line.at = number * size // DOWNLOADS // PIECE_BYTES * PIECE_BYTES
    begun = time.monotonic()
    step = 0
    while not stop.is_set():
        step += 1
        allowed = int((time.monotonic() - begun) * BYTES_PER_SECOND)
        for line in lines:
            if allowed > line.taken:
                line.take(min(allowed - line.taken, 64 << 10))
        taken.value = sum(line.taken for line in lines)
        time.sleep(max(0.0, begun + step * 0.1 - time.monotonic()))


@contextlib.contextmanager
def _downloading(port: int, path: str, size: int) -> Iterator[Any]:
    stop = multiprocessing.Event()
    taken = multiprocessing.Value("q", 0)
    process = multiprocessing.Process(
        daemon=True, target=_download, args=(port, path, size, stop, taken)
    )
    process.start()
    try:
        deadline = time.monotonic() + 10
        while taken.value < DOWNLOADS * BYTES_PER_SECOND:
            if not process.is_alive():
                raise RuntimeError("the downloads did not begin")
            if time.monotonic() > deadline:
                break  # they are as slow as that, and measured so
            time.sleep(0.01)
        yield taken
        if not process.is_alive():
            raise RuntimeError("the downloads ended before their time")
    finally:
        stop.set()
        process.join(5)
        process.kill()


def _downloads(rounds: int) -> list[Figure]:
    """Polls beside downloads; the server is one that can't read a blob."""
    ratios, rates, alone, beside = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        folder = Path(name)
        with server.running("unread", folder) as (port, settings_file, pid):
            record = releases.filled(settings_file)
            (folder / "keys").mkdir()
            clients = server.enrolled(settings_file, port, folder / "keys", CLIENTS)
            target = server.Target(port=port, pid=pid)
            path = envelope.BLOB + record.tar_sha256
            for _ in range(rounds):
                alone.append(_paced(target, clients))
                with _downloading(port, path, record.tar_size) as taken:
                    before, begun = taken.value, time.monotonic()
                    beside.append(_paced(target, clients))
                    rates.append((taken.value - before) / (time.monotonic() - begun) / 1e6)
                ratios.append(beside[-1].p99 / alone[-1].p99)
    p99 = statistics.median(one.p99 for one in alone) * 1000
    p99_beside = statistics.median(one.p99 for one in beside) * 1000
    return [
        Figure(
            what=f"a release to {DOWNLOADS} slow clients at once, by sendfile alone",
            values=tuple(rates),
            budget=10.0,
            better="high",
            unit=" MB/s",
            detail=f"each takes {BYTES_PER_SECOND / 1000:.1f} kB/s, in pieces of "
            f"{PIECE_BYTES >> 10} kB",
        ),
        Figure(
            what="poll, p99 beside these downloads, against without",
            values=tuple(ratios),
            budget=1.5,
            detail=f"{p99_beside:.2f} ms against {p99:.2f} ms, "
            f"{POLLS_PER_SECOND} polls/s on the same two processors",
        ),
    ]


POLLS_PER_SECOND = 400
POLLING_SECONDS = 4.0
LONGEST_WAIT = 5.0
"""Seconds after which a poll counts as not answered."""


def _paced(target: server.Target, clients: Sequence[SimulatedClient]) -> load.Load:
    """Polls at a steady rate, as a fleet sends them, and how long each waits for its answer."""
    total = int(POLLS_PER_SECOND * POLLING_SECONDS)
    queues = releases.queues(clients, total)
    times: list[float] = []
    errors: list[str] = []
    begun = time.perf_counter() + 0.05

    def work(number: int, queue: Sequence[bytes]) -> None:
        mine = []
        with socket.create_connection(("127.0.0.1", target.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(LONGEST_WAIT)
            for step, message in enumerate(queue):
                due = begun + (step * CONNECTIONS + number) / POLLS_PER_SECOND
                time.sleep(max(0.0, due - time.perf_counter()))
                sent = time.perf_counter()
                try:
                    connection.sendall(message)
                    head = load.answer(connection)
                except TimeoutError:  # no answer at all: it counts as the longest wait
                    mine.append(LONGEST_WAIT)
                    break
                mine.append(time.perf_counter() - sent)
                if not head.startswith(b"HTTP/1.1 200"):
                    errors.append(head[:300].decode("utf-8", "replace"))
                    break
        times.extend(mine)

    threads = [threading.Thread(target=work, args=item) for item in enumerate(queues)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors or not times:
        raise RuntimeError(f"{len(errors)} polls failed, such as: {errors[:1]}")
    ordered = sorted(times)
    return load.Load(
        rate=len(ordered) / (time.perf_counter() - begun),
        p50=statistics.median(ordered),
        p99=ordered[int(len(ordered) * 0.99)],
    )
