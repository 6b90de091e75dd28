"""One client that asks all the time, or all at once, is slowed down; nobody else is."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope
from qlmdm_core.server.app import create_app
from qlmdm_core.server.share import FairShare
from qlmdm_core.testing.client import SimulatedClient, make_key_pair, multipart, through_app
from qlmdm_core.testing.server import SimulatedServer, simulated_server


def limited(server: SimulatedServer, **limits: Any) -> SimulatedServer:
    """The same server with other limits."""
    settings = replace(server.settings, limits=replace(server.settings.limits, **limits))
    app = create_app(
        server.store,
        settings,
        signer=server.crypto.signer,
        verifier=server.crypto.verifier,
        clock=server.clock,
    )
    return replace(server, settings=settings, app=app)


def enrolled(server: SimulatedServer, folder: Path, name: str) -> SimulatedClient:
    client = SimulatedClient(server.send, make_key_pair(str(folder / name)))
    client.enrol(server.invite())
    return client


def poll(client: SimulatedClient, signature: str | None = None) -> int:
    """The status of one poll, told apart from the server's own answers."""
    data = envelope.build(client.envelope("update"), {"update": {"root": 1}})
    body, kind = multipart(data, signature or client.key.signer.sign(data))
    return client.send("POST", envelope.UPDATE, body, {"Content-Type": kind}).status


def test_a_client_that_asks_all_the_time_is_slowed_down(prepared: Path, tmp_path: Path) -> None:
    with simulated_server(tmp_path, prepared=prepared) as whole:
        server = limited(whole, requests_per_minute=10)
        noisy, quiet = (enrolled(server, tmp_path, name) for name in ("a", "b"))
        assert [poll(noisy) for _ in range(12)] == [200] * 10 + [429, 429]
        assert poll(quiet) == 200


def test_without_the_guard_it_could_ask_for_ever(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FairShare, "prove", lambda *_: None)
    with simulated_server(tmp_path, prepared=prepared) as whole:
        noisy = enrolled(limited(whole, requests_per_minute=10), tmp_path, "a")
        assert [poll(noisy) for _ in range(12)] == [200] * 12


def test_who_only_names_a_clients_key_uses_up_nothing(prepared: Path, tmp_path: Path) -> None:
    with simulated_server(tmp_path, prepared=prepared) as whole:
        server = limited(whole, requests_per_minute=10)
        client = enrolled(server, tmp_path, "a")
        stale = client.key.signer.sign(b"something else")
        assert [poll(client, stale) for _ in range(30)] == [403] * 30
        assert poll(client) == 200


def test_too_much_at_once_is_refused_and_room_comes_back(prepared: Path, tmp_path: Path) -> None:
    with simulated_server(tmp_path, prepared=prepared) as whole:
        server = limited(whole, requests_at_once=2)
        client = enrolled(server, tmp_path, "a")
        inside, go_on = threading.Semaphore(0), threading.Event()
        verify = server.crypto.verifier.verify

        class Slow:
            """A verifier that takes as long as the test likes."""

            def verify(self, *args):  # type: ignore[no-untyped-def]
                inside.release()
                assert go_on.wait(30)
                return verify(*args)

        app = create_app(
            server.store,
            server.settings,
            signer=server.crypto.signer,
            verifier=Slow(),
            clock=server.clock,
        )
        client.send = through_app(app)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(poll(client))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert inside.acquire(timeout=30)
        assert poll(client) == 429
        go_on.set()
        for thread in threads:
            thread.join(30)
        assert found == [200, 200]
        assert poll(client) == 200
