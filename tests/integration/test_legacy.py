"""The original's clients, which share one key: what is taken of them, and what never."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope
from qlmdm_core.errors import SettingsError
from qlmdm_core.server import clients_cli, legacy
from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.settings import LegacySettings
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.testing.client import KeyPair, Reply, SimulatedClient, multipart
from qlmdm_core.testing.server import SimulatedServer, simulated_server

ERROR = b'{"status":"error"}'
REPORT = {"hostname": "old7", "plugins": {"firewall": {"$set": 1}}, "commands": {}}


@pytest.fixture
def shared(pairs: list[KeyPair], tmp_path: Path) -> KeyPair:
    (tmp_path / "shared.asc").write_text(pairs[0].armoured)
    return pairs[0]


@pytest.fixture
def server(tmp_path: Path, prepared: Path, shared: KeyPair) -> Iterator[SimulatedServer]:
    until = (datetime.now(timezone.utc) + timedelta(days=30)).date().isoformat()
    settings = LegacySettings(public_key=str(tmp_path / "shared.asc"), until=until)
    with simulated_server(tmp_path, prepared=prepared, legacy=settings) as server:
        yield server


def post(server: SimulatedServer, key: KeyPair, value: Any, path: str = envelope.SUBMIT) -> Reply:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    body, content_type = multipart(data, key.signer.sign(data))
    return server.send("POST", path, body, {"Content-Type": content_type})


def forbidden(server: SimulatedServer, reply: Reply) -> bool:
    return (reply.status, reply.body) == (403, ERROR) and not server.store.unattributed()


def test_a_report_is_kept_as_what_somebody_said(server: SimulatedServer, shared: KeyPair) -> None:
    reply = post(server, shared, REPORT)
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}')
    (found,) = server.store.unattributed()
    assert (found.hostname, json.loads(found.report)) == ("old7", REPORT)
    assert server.store.count_clients() == {}, "it is no client"
    post(server, shared, {**REPORT, "plugins": {}})
    (found,) = server.store.unattributed()
    assert json.loads(found.report)["plugins"] == {}


def test_it_is_off_unless_settings_turn_it_on(
    tmp_path: Path, prepared: Path, shared: KeyPair
) -> None:
    with simulated_server(tmp_path, prepared=prepared) as server:
        assert forbidden(server, post(server, shared, REPORT))


def test_not_after_the_last_day(server: SimulatedServer, shared: KeyPair) -> None:
    """The whole last day still counts, the next no more."""
    resource = server.app._router.find(envelope.SUBMIT)[0]
    resource._until = server.clock().date() - timedelta(days=1)
    assert forbidden(server, post(server, shared, REPORT))
    resource._until = server.clock().date()
    assert post(server, shared, REPORT).status == 200


def test_an_enrolled_host_can_not_be_spoken_for(
    server: SimulatedServer, shared: KeyPair, pairs: list[KeyPair]
) -> None:
    client = SimulatedClient(server.send, pairs[1], hostname="old7", clock=server.clock)
    client.enrol(server.invite())
    assert client.submit().is_receipt, "clients with keys are served as ever"
    for status in ("active", "pending", "revoked"):
        server.store.set_client(client.cid or "", status=status)
        assert forbidden(server, post(server, shared, REPORT))
    server.store.set_client(client.cid or "", status="retired")
    assert post(server, shared, REPORT).status == 200


def test_without_that_guard_it_would_be(
    server: SimulatedServer,
    shared: KeyPair,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = SimulatedClient(server.send, pairs[1], hostname="old7", clock=server.clock)
    client.enrol(server.invite())
    monkeypatch.setattr(type(server.store), "clients_named", lambda *_: [])
    assert post(server, shared, REPORT).status == 200


@pytest.mark.parametrize("path", [envelope.UPDATE, envelope.ACK, envelope.PAYLOAD, envelope.REKEY])
def test_it_gets_no_news_and_no_commands(
    server: SimulatedServer, shared: KeyPair, path: str
) -> None:
    assert forbidden(server, post(server, shared, REPORT, path))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"[]",
        b'"old7"',
        b'{"hostname": ""}',
        b'{"hostname": 7}',
        b'{"hostname": "a", "hostname": "b"}',
        b"[" * 100_000,
        json.dumps({"hostname": "x" * 256}).encode(),
        json.dumps({"hostname": "x", "plugins": "x" * (600 << 10)}).encode(),
    ],
)
def test_what_is_no_report_is_refused_like_a_stranger(
    server: SimulatedServer, shared: KeyPair, value: bytes
) -> None:
    assert forbidden(server, post(server, shared, value))


def test_another_key_and_a_signature_over_something_else(
    server: SimulatedServer, shared: KeyPair, pairs: list[KeyPair]
) -> None:
    assert forbidden(server, post(server, pairs[2], REPORT))
    data = json.dumps(REPORT).encode()
    body, content_type = multipart(data, shared.signer.sign(data + b" "))
    reply = server.send("POST", envelope.SUBMIT, body, {"Content-Type": content_type})
    assert forbidden(server, reply)


def test_an_old_message_is_not_taken_again(server: SimulatedServer, shared: KeyPair) -> None:
    server.clock.forward(seconds=86400 + 600)
    assert forbidden(server, post(server, shared, REPORT))


def test_the_shared_key_can_not_fill_the_database(
    server: SimulatedServer, shared: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy, "MOST_HOSTNAMES", 2)
    statuses = [post(server, shared, {"hostname": name}).status for name in ("a", "b", "c", "a")]
    assert statuses == [200, 200, 403, 200]


def test_the_shared_key_can_not_ask_all_the_time(
    server: SimulatedServer, shared: KeyPair, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = server.app._router.find(envelope.SUBMIT)[0]
    resource._buckets = Buckets(2, clock=lambda: 0.0)
    statuses = [post(server, shared, REPORT).status for _ in range(3)]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize(("text", "message"), [(None, "No such file"), ("no key", "no public key")])
def test_a_key_that_can_not_be_read_is_named(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "shared.asc"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=f"legacy.public_key: .*{message}"):
        legacy.read_shared_key(LegacySettings(public_key=str(path), until="2027-01-01"))


def test_the_list_says_what_it_is_worth(
    server: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "old\x1b[2J7"  # (no longer taken, but it may be there)
    report = Unattributed(hostname=name, received_at=server.clock(), report=b"{}")
    server.store.put_unattributed(report)
    monkeypatch.setenv("QLMDM_SETTINGS", server.settings_file)
    monkeypatch.setattr(sys, "argv", ["qlmdm-clients", "list", "--unattributed"])
    assert clients_cli.main() == 0
    out = capsys.readouterr().out
    assert "a key that many machines share" in out
    assert "old·[2J7" in out
    monkeypatch.setattr(sys, "argv", ["qlmdm-clients", "list"])
    assert clients_cli.main() == 0
    assert "no clients yet" in capsys.readouterr().out
