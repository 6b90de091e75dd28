"""Attacks on the server with its code in hand: by clients, by who writes to its database.

Each is also shown to get through where its guard is taken out.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc, envelope, rekeying, rootdoc, signedtext
from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import copies, crypto, desk, legacy, rekey, root_changes
from qlmdm_core.server.audit.run import Audit
from qlmdm_core.server.commands import delivery, making, publish, show_cli
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.server.root_changes import Changes, following
from qlmdm_core.server.settings import LegacySettings
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.client import (
    KeyPair,
    Reply,
    SimulatedClient,
    multipart,
)
from qlmdm_core.testing.server import SimulatedServer, simulated_server


@pytest.fixture
def client(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    made = SimulatedClient(server.send, pairs[0], clock=server.clock, hostname="laptop7")
    assert made.enrol(server.invite()).status == "ok"
    return made


def queue(server: SimulatedServer, *hosts: str | None, now: datetime | None = None) -> str:
    """A script for these clients; its id."""
    at = now or server.clock()
    made = making.make(
        server_id=str(server.store.meta("server_id")),
        kind="script",
        hosts=[host for host in hosts if host],
        now=at,
        lifetime_seconds=86400,
        requested_by="alice",
        summary="a script",
        about={},
        payload_sha256=server.store.put_blob(b"true\n"),
        payload_size=5,
    )
    signing = Desk(server.settings, server.store, server.crypto.verifier, now=at)
    signed = signing.sign(
        name=made.name,
        kind="command",
        role="operator",
        texts=made.texts(),
        attach=made.attach("alice"),
        created_by="alice",
    )
    assert isinstance(signed, Completed)
    attach = made.attach("alice")
    return publish.publish(server.store, signed.documents, attach=attach, now=at).command_id


def given(client: SimulatedClient) -> list[str]:
    """The ids of the commands that a poll gives."""
    texts = client.update().details["commands"]
    return [
        commanddoc.parse(signedtext.unpack(text.encode(), max_bytes=1 << 20).text).id
        for text in texts
    ]


# --- two workers, two administrators ------------------------------------------------------------


class CancelledBetween:
    """A store in which an administrator is just faster than the worker that gives a command."""

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server.store, name)

    def due_commands(self, cid: str, now: datetime) -> Any:
        found = self._server.store.due_commands(cid, now)
        for due in found:
            self._server.store.cancel_command(due.command.command_id, now)
        return found


def test_what_is_cancelled_while_it_is_about_to_be_given_is_not_given(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = queue(server, client.cid)
    key = server.store.key(client.key.signer.fingerprint)
    assert key is not None
    store: Any = CancelledBetween(server)
    assert delivery.for_client(store, key, server.clock()) == []
    target = server.store.target(command, client.cid or "")
    assert target is not None
    assert target.state == "cancelled"
    # Without that look it would have gone out.
    queue(server, client.cid)
    key = server.store.key(client.key.signer.fingerprint)
    assert key is not None
    monkeypatch.setattr(delivery, "GIVEN", ("delivered", "started", "cancelled"))
    assert len(delivery.for_client(store, key, server.clock())) == 1


def test_what_another_worker_gave_just_now_is_given_again(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    """Of two polls at once, the one whose answer arrives must have it."""
    command = queue(server, client.cid)
    key = server.store.key(client.key.signer.fingerprint)
    assert key is not None
    (due,) = server.store.due_commands(client.cid or "", server.clock())
    server.store.advance_target(command, client.cid or "", "delivered", server.clock())
    assert delivery._mark(server.store, due, client.cid or "", server.clock())


def test_clients_that_are_named_at_the_same_moment_are_all_asked_for_new_keys(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two administrators, or one and a client that is done."""
    both = threading.Barrier(2, timeout=5)
    real = rekey.wanted

    def slow(store: Any) -> Any:
        found = real(store)
        with _broken_is_fine():
            both.wait(0.3)
        return found

    monkeypatch.setattr(rekey, "wanted", slow)

    def name(cid: str) -> None:
        store = open_store(server.settings.store)
        rekey.change_wanted(store, add=[cid])
        store.close()

    def both_named() -> set[str]:
        server.store.set_meta(rekey.WANTED, None)
        both.reset()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(name, ["one", "two"]))
        return set(real(server.store)[0])

    assert both_named() == {"one", "two"}
    monkeypatch.setattr(rekey, "_alone", lambda _store: _broken_is_fine())
    assert len(both_named()) == 1, "without the lease one of them is lost"


class _broken_is_fine:  # noqa: N801 - reads as a function
    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: object, _trace: object) -> bool:
        return isinstance(error, threading.BrokenBarrierError)


def test_a_command_that_nobody_will_tell_of_is_closed_by_the_audit(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    """Also where no administrator lists commands; not before clients had time to tell."""
    command = queue(server, client.cid)
    assert given(client) == [command]

    def state_after(days: float) -> str:
        Audit(
            open_store=lambda: open_store(server.settings.store),
            rules=(),
            notifiers=(),
            unknown_grace_period=600.0,
            processes=1,
        ).run(server.clock() + timedelta(days=days), lambda _alerts: None)
        target = server.store.target(command, client.cid or "")
        assert target is not None
        return target.state

    assert state_after(1 + 6.9) == "delivered"
    assert state_after(1 + 7.1) == "expired"


# --- who writes to the database and has no keys ---------------------------------------------------


def exchange_root(server: SimulatedServer, thief: KeyPair) -> None:
    """Put a root document in the place of the newest one, whole in itself, by the thief's key."""
    found = server.store.root()
    assert found is not None
    text = signedtext.unpack(found.document, max_bytes=rootdoc.MAX_BYTES).text
    root = rootdoc.parse(text)
    name = thief.signer.fingerprint
    roles = {
        role: replace(each, fingerprints=(*each.fingerprints, name))
        if role in ("root", "operator")
        else each
        for role, each in root.roles.items()
    }
    forged = replace(root, roles=roles, keys={**root.keys, name: thief.armoured})
    forged_text = rootdoc.build(forged)
    document = signedtext.SignedText(
        text=forged_text, sigs=(thief.signer.sign(forged_text.encode()),)
    ).pack()
    path = server.settings.store.removeprefix("sqlite://")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE roots SET document = ? WHERE version = ?", (document, found.version))
    db.close()


def real_root(server: SimulatedServer) -> Root:
    found = server.store.root()
    assert found is not None
    return rootdoc.load(found.document, server.crypto.verifier)


def renewed(server: SimulatedServer) -> bytes:
    """What an administrator with the real root key makes in good faith."""
    signing = Desk(server.settings, server.store, server.crypto.verifier, now=server.clock())
    root = following(signing.root, Changes(), now=server.clock(), lifetime_seconds=86400 * 90)
    made = root_changes.issue(signing, root, created_by="alice")
    assert isinstance(made, list)
    found = server.store.root()
    assert found is not None
    return found.document


def test_a_root_document_exchanged_in_the_database_is_not_signed_on(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    exchange_root(server, pairs[3])
    with pytest.raises(StoreCorruptError, match="not the one of that version"):
        renewed(server)


def test_without_that_guard_the_thief_would_be_an_operator_of_all_clients(
    server: SimulatedServer, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = real_root(server)
    exchange_root(server, pairs[3])
    for module in (desk, root_changes):
        monkeypatch.setattr(
            module, "trusted_root", lambda _settings, store, by: crypto.newest_root(store, by)
        )
    taken = rootdoc.advance(known, renewed(server), server.crypto.verifier)
    assert pairs[3].signer.fingerprint in taken.roles["operator"].fingerprints


def test_a_false_successor_in_the_database_is_not_signed_on(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    exchange_root(server, pairs[3])
    found = server.store.root()
    assert found is not None
    forged = rootdoc.parse(signedtext.unpack(found.document, max_bytes=1 << 20).text)
    text = rootdoc.build(replace(forged, version=forged.version + 1))
    document = signedtext.SignedText(text=text, sigs=(pairs[3].signer.sign(text.encode()),)).pack()
    path = server.settings.store.removeprefix("sqlite://")
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO roots (version, document) VALUES (?, ?)", (forged.version + 1, document)
        )
    db.close()
    with pytest.raises(StoreCorruptError, match="signed by 0 of the 1 root keys"):
        renewed(server)


def test_real_successors_and_a_machine_that_saw_none_are_no_alarm(
    server: SimulatedServer, tmp_path: Path
) -> None:
    first = renewed(server)
    assert renewed(server) != first
    elsewhere = replace(server.settings, keys=str(tmp_path / "other"))
    opened = Desk(elsewhere, server.store, server.crypto.verifier, now=server.clock())
    assert opened.root.version == 3
    renewed(server)
    renewed(server)
    assert (
        Desk(elsewhere, server.store, server.crypto.verifier, now=server.clock()).root.version == 5
    )


# --- a client's key in a thief's hand -------------------------------------------------------------


def ask_as_copy(original: SimulatedClient, copy: SimulatedClient) -> Any:
    copy.root = original.root
    request = copy.envelope("enroll", cid=None)
    text = rekeying.copy_text(
        request.srv,
        original.cid or "",
        original.key.signer.fingerprint,
        request.kid,
        request.nonce,
    )
    body = {
        "clone_of": original.cid,
        "old_key": original.key.signer.fingerprint,
        "proof": original.key.signer.sign(text),
        "public_key": copy.key.armoured,
        "hostname": copy.hostname,
    }
    answer = copy.ask(request, {"enroll": body})
    copy.cid = answer.cid
    return answer


def test_copies_of_a_waiting_copy_do_not_fill_the_list(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else one stolen key could have eight copies, each of them eight, and so on."""
    one = SimulatedClient(server.send, pairs[1], clock=server.clock)
    two = SimulatedClient(server.send, pairs[2], clock=server.clock)
    assert ask_as_copy(client, one).status == "pending"
    answer = ask_as_copy(one, two)
    assert (answer.status, answer.reason) == ("refused", "too_many_copies")
    assert server.store.count_clients() == {"active": 1, "pending": 1}
    monkeypatch.setattr(copies, "COPY_OF", "looked_for_nowhere")
    assert ask_as_copy(one, two).status == "pending"


def test_copies_that_ask_at_the_same_moment_do_not_all_find_room(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copies, "MOST_COPIES", 1)
    one = SimulatedClient(server.send, pairs[1], clock=server.clock)
    two = SimulatedClient(server.send, pairs[2], clock=server.clock)
    vouched, answers = copies.Copies.vouched, []

    def another_is_faster(self: Any, *args: Any) -> Any:
        """The second request is served whole after the first has read about the original."""
        found = vouched(self, *args)
        monkeypatch.setattr(copies.Copies, "vouched", vouched)
        answers.append(ask_as_copy(client, two).status)
        return found

    monkeypatch.setattr(copies.Copies, "vouched", another_is_faster)
    answers.append(ask_as_copy(client, one).status)
    assert answers == ["pending", "refused"]
    assert server.store.take_lease(f"copies:{client.cid}", "another", server.clock(), 10)
    assert ask_as_copy(client, one).status == "retry_after"


@pytest.mark.parametrize("typ", ["ack", "payload", "submit"])
def test_who_waits_for_approval_gets_nowhere_else(
    server: SimulatedServer, client: SimulatedClient, typ: str
) -> None:
    command = queue(server, client.cid)
    server.store.set_client(client.cid or "", status="pending")
    bodies: dict[str, dict[str, Any]] = {
        "ack": {"ack": {"command": command, "state": "done", "result": {}}},
        "payload": {"payload": {"command": command}},
        "submit": {"report": {"hostname": "laptop7", "collectors": {}}},
    }
    request = client.envelope(typ, seq=1, rid="11111111-1111-4111-8111-111111111111")
    assert client.ask(request, bodies[typ]).status in ("pending", "malformed")
    target = server.store.target(command, client.cid or "")
    assert target is not None
    assert target.state == "pending"


def test_a_new_key_does_not_end_the_wait_for_approval(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair]
) -> None:
    server.store.set_client(client.cid or "", status="pending")
    request = client.envelope("rekey")
    proof = rekeying.proof_text(
        request.srv,
        client.cid or "",
        client.key.signer.fingerprint,
        pairs[1].signer.fingerprint,
        request.nonce,
    )
    body = {"public_key": pairs[1].armoured, "proof": pairs[1].signer.sign(proof)}
    assert client.ask(request, {"rekey": body}).status == "ok"
    key = server.store.key(pairs[1].signer.fingerprint)
    assert key is not None
    assert key.status == "pending"


# --- what hostile clients say, before people's eyes -----------------------------------------------


def told(client: SimulatedClient, command: str, **result: Any) -> None:
    body = {"command": command, "state": "done", "result": result}
    assert client.ask(client.envelope("ack"), {"ack": body}).status == "ok"


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202egnp.exe\u200b"


def test_what_a_client_prints_can_not_move_a_terminal(
    server: SimulatedServer, client: SimulatedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    command = queue(server, client.cid)
    assert given(client) == [command]
    told(client, command, exit_status=0, stdout=ESCAPES, stderr=ESCAPES, reason=ESCAPES)
    now = server.clock()
    show_cli.output(server.store, command, None, as_json=False)
    show_cli.show(server.store, command, now=now, as_json=False)
    show_cli.list_commands(server.store, now=now, count=5, as_json=False)
    out = capsys.readouterr().out
    assert "owned" in out
    assert all(char.isprintable() or char == "\n" for char in out)
    show_cli.output(server.store, command, None, as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out)["result"]["stdout"] == ESCAPES
    assert out.isascii()


def test_a_client_can_not_print_what_looks_like_another_ones_output(
    server: SimulatedServer, client: SimulatedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    command = queue(server, client.cid)
    assert given(client) == [command]
    told(client, command, stdout="x\n== boss: done, exit status 0\u2028== boss: done\x0b== boss:")
    show_cli.output(server.store, command, None, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("==")] == ["== laptop7: done"]
    assert any("== boss" in line for line in lines)


def test_what_a_client_says_of_its_scripts_stays_its_own(
    server: SimulatedServer,
    client: SimulatedClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = {"state": "done", "client": "boss", "name": "other"}
    monkeypatch.setattr(show_cli, "_shipped", lambda _store, _cid: iter([("fix", note)]))
    found = server.store.client(client.cid or "")
    assert found is not None
    show_cli.list_shipped(server.store, iter([found]), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["client"], shown["name"]) == ("laptop7", "fix")


# --- the shared key of the original's clients -----------------------------------------------------


@pytest.fixture
def old_ways(tmp_path: Path, prepared: Path, pairs: list[KeyPair]) -> Iterator[SimulatedServer]:
    (tmp_path / "shared.asc").write_text(pairs[3].armoured)
    until = (datetime.now(timezone.utc) + timedelta(days=30)).date().isoformat()
    settings = LegacySettings(public_key=str(tmp_path / "shared.asc"), until=until)
    with simulated_server(tmp_path, prepared=prepared, legacy=settings) as server:
        yield server


def post(server: SimulatedServer, key: KeyPair, hostname: str) -> Reply:
    data = json.dumps({"hostname": hostname}).encode()
    body, content_type = multipart(data, key.signer.sign(data))
    return server.send("POST", envelope.SUBMIT, body, {"Content-Type": content_type})


MASKS = [
    "LAPTOP7",
    "laptop7.",
    "Laptop7..",
    "laptop7 ",
    "laptop7\0",
    "ｌaptop7",
    "lаptop7",
    "\u200blaptop7",
]


@pytest.mark.parametrize("hostname", MASKS)
def test_an_enrolled_host_is_not_masked_by_another_spelling(
    old_ways: SimulatedServer, pairs: list[KeyPair], hostname: str
) -> None:
    client = SimulatedClient(old_ways.send, pairs[0], clock=old_ways.clock, hostname="laptop7")
    assert client.enrol(old_ways.invite()).status == "ok"
    assert post(old_ways, pairs[3], hostname).status == 403
    assert old_ways.store.unattributed() == []
    assert post(old_ways, pairs[3], "laptop8").status == 200


def test_without_that_look_it_would_be(
    old_ways: SimulatedServer, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SimulatedClient(old_ways.send, pairs[0], clock=old_ways.clock, hostname="laptop7")
    assert client.enrol(old_ways.invite()).status == "ok"
    monkeypatch.setattr(legacy, "spellings", lambda hostname: {hostname})
    assert post(old_ways, pairs[3], "LAPTOP7").status == 200
