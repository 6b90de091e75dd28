"""What honest clients notice while another one floods the server."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import load
import server
from figures import Figure

HONEST = 16
CONNECTIONS = 8
FLOODING = 32
"""Connections of the one that floods."""
REQUESTS_A_CLIENT = 40
"""Of each honest client in one round: well below its share, which is refilled between rounds."""
ROUNDS = 5


def _flood(port: int, messages: Sequence[bytes], stop: Event, sent: Any) -> None:
    """Send as fast as the server takes it, whatever it answers, until told to stop."""

    def work() -> None:
        while not stop.is_set():
            with (
                contextlib.suppress(OSError, RuntimeError),  # it was thrown out: again
                socket.create_connection(("127.0.0.1", port)) as connection,
            ):
                for message in messages:
                    connection.sendall(message)
                    load.answer(connection)
                    with sent.get_lock():
                        sent[0] += 1
                    if stop.is_set():
                        return

    threads = [threading.Thread(target=work) for _ in range(FLOODING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _flooded(port: int, messages: Sequence[bytes]) -> Iterator[Any]:
    """A process of its own, so that the load generator does not slow itself down."""
    stop = multiprocessing.Event()
    sent = multiprocessing.Array("q", [0])
    process = multiprocessing.Process(target=_flood, args=(port, messages, stop, sent))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while sent[0] < 1500:  # its share is used up, and the flood stands
            if time.monotonic() > deadline:
                raise RuntimeError("the flood did not begin")
            time.sleep(0.01)
        yield sent
    finally:
        stop.set()
        process.join()


def figures(quick: bool) -> list[Figure]:
    """p99 of honest polls with a flood, against without, in turns."""
    rounds = 3 if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        folder = Path(name)
        with server.running("real", folder) as (port, settings_file, pid):
            (folder / "keys").mkdir()
            clients = server.enrolled(settings_file, port, folder / "keys", HONEST + 1)
            target = server.Target(port=port, pid=pid)
            noisy = load.polls(clients[-1], 200)
            ratios, alone, beside, rates = [], [], [], []
            for _ in range(rounds):
                queues: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
                for number, client in enumerate(clients[:-1]):
                    queues[number % CONNECTIONS] += load.polls(client, REQUESTS_A_CLIENT)
                alone.append(target.fire(queues))
                with _flooded(port, noisy) as sent:
                    before, begun = sent[0], time.monotonic()
                    beside.append(target.fire(queues))
                    rates.append((sent[0] - before) / (time.monotonic() - begun))
                ratios.append(beside[-1].p99 / alone[-1].p99)
    p99 = statistics.median(found.p99 for found in alone) * 1000
    p99_beside = statistics.median(found.p99 for found in beside) * 1000
    return [
        Figure(
            what="poll of honest clients, p99 while another one floods, against without",
            values=tuple(ratios),
            detail=f"{p99:.1f} ms, {p99_beside:.1f} ms beside {statistics.median(rates):,.0f} "
            f"requests/s over {FLOODING} connections, on the same two processors",
        )
    ]
