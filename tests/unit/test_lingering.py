"""How the server's connections end: nobody is waited for in the thread that accepts."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from qlmdm_core.server import worker
from qlmdm_core.server.worker import Lingerer


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


@pytest.fixture
def lingerer() -> Iterator[Lingerer]:
    made = Lingerer()
    yield made
    made.stop()


def is_closed(sock: socket.socket) -> bool:
    return sock.fileno() == -1


def test_the_other_side_reads_to_the_end_and_then_the_connection_is_closed(
    lingerer: Lingerer,
) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b"the answer")
    lingerer.close(ours)
    assert theirs.recv(100) == b"the answer"
    assert theirs.recv(100) == b""
    assert not is_closed(ours)
    theirs.close()
    wait_until(lambda: is_closed(ours))


def test_what_is_still_sent_is_thrown_away_up_to_a_limit(
    lingerer: Lingerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LINGER_SECONDS", 600.0)
    ours, theirs = socket.socketpair()
    lingerer.close(ours)
    theirs.setblocking(False)

    def sent_too_much() -> bool:
        with contextlib.suppress(OSError):  # it is full for a moment, or over
            theirs.send(b"x" * 4096)
        return is_closed(ours)

    wait_until(sent_too_much)
    theirs.close()


def test_a_peer_that_never_closes_is_let_go_after_a_while(
    lingerer: Lingerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LINGER_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    lingerer.close(ours)
    wait_until(lambda: is_closed(ours))
    theirs.close()


def test_beyond_the_limit_nobody_is_waited_for(
    lingerer: Lingerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LINGER_SECONDS", 600.0)
    monkeypatch.setattr(worker, "MOST", 2)
    pairs = [socket.socketpair() for _ in range(3)]
    for ours, _ in pairs:
        lingerer.close(ours)
    assert [is_closed(ours) for ours, _ in pairs] == [False, False, True]
    for _, theirs in pairs:
        theirs.close()
    wait_until(lambda: all(is_closed(ours) for ours, _ in pairs))


def test_a_connection_that_is_gone_already_is_closed(lingerer: Lingerer) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    lingerer.close(ours)
    assert is_closed(ours)
