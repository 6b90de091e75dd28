"""Loads a server on loopback with messages that were signed before, and takes the times."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qlmdm_core import envelope
from qlmdm_core.api import JSON
from qlmdm_core.testing.client import SimulatedClient, multipart

BODY = 25_000
"""Bytes of `data` in each submission."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one round gave."""

    rate: float
    """Requests in a second."""
    p50: float
    p99: float
    """Seconds."""
    cpu: float = 0.0
    """Seconds of the server for each request, children that ended included."""


def report(client: SimulatedClient, number: int, size: int = BODY) -> dict[str, JSON]:
    """A report of about `size` bytes, of which one value differs with `number`."""
    values: dict[str, dict[str, JSON]] = {
        f"collector_{index:02}": {
            "state": "available",
            "items": [
                {"name": f"package-{index}-{item}", "version": f"{item}.{index}.0-1", "held": False}
                for item in range(16)
            ],
        }
        for index in range(20)
    }
    values["firewall"] = {"state": "on", "ipv4": "on", "ipv6": "on", "number": number}
    made = client.report(**values)
    missing = size - len(json.dumps(made, separators=(",", ":")))
    values["padding"] = {"state": "available", "text": "x" * max(0, missing - 150)}
    return client.report(**values)


def request(path: str, body: bytes, content_type: str) -> bytes:
    """The bytes of an HTTP request on a connection that stays open."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def submissions(client: SimulatedClient, count: int, *, changed: bool = True) -> list[bytes]:
    """Requests with the client's next records, signed now."""
    made = []
    for _ in range(count):
        sent = client.submission()
        data = envelope.build(sent, {"report": report(client, sent.seq if changed else 0)})
        made.append(request(envelope.SUBMIT, *multipart(data, client.key.signer.sign(data))))
    return made


def polls(client: SimulatedClient, count: int, **status: JSON) -> list[bytes]:
    """Requests that ask for news; `status` is what the client says of its release."""
    made = []
    for _ in range(count):
        data = envelope.build(client.envelope("update"), {"update": {"root": 1, **status}})
        made.append(request(envelope.UPDATE, *multipart(data, client.key.signer.sign(data))))
    return made


def fire(port: int, queues: Sequence[Sequence[bytes]]) -> Load:
    """Send each queue over a connection of its own, all at once; every answer must be 200."""
    times: list[float] = []
    errors: list[str] = []
    lock = threading.Lock()
    start = threading.Barrier(len(queues) + 1)

    def work(queue: Sequence[bytes]) -> None:
        mine = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start.wait()
            for message in queue:
                begun = time.perf_counter()
                connection.sendall(message)
                head = answer(connection)
                mine.append(time.perf_counter() - begun)
                if not head.startswith(b"HTTP/1.1 200"):
                    errors.append(head[:300].decode("utf-8", "replace"))
                    break
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    if errors:
        raise RuntimeError(f"{len(errors)} requests failed, such as: {errors[0]}")
    ordered = sorted(times)
    return Load(
        rate=len(ordered) / wall,
        p50=statistics.median(ordered),
        p99=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    )


def answer(connection: socket.socket) -> bytes:
    """Read one whole answer; its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += _some(connection)
    return head


def _some(connection: socket.socket) -> bytes:
    chunk = connection.recv(1 << 16)
    if not chunk:
        raise RuntimeError("the server closed the connection")
    return chunk


def written_bytes() -> int:
    """What this process has written so far (proc(5), /proc/PID/io: wchar)."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise RuntimeError("no wchar in /proc/self/io")
