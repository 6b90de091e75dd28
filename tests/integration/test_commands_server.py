"""What clients can do to commands on the server: take their own, and say what became of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from qlmdm_core import commanddoc, signedtext
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import BusyError, TrustError
from qlmdm_core.server.commands import ack, delivery, making, payload, publish
from qlmdm_core.server.context import open_context
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.store.outgoing import CommandRecord
from qlmdm_core.testing.client import KeyPair, Reply, SimulatedClient, said
from qlmdm_core.testing.server import SimulatedServer

SCRIPT = b"echo the-script\n"


@pytest.fixture
def clients(server: SimulatedServer, pairs: list[KeyPair]) -> list[SimulatedClient]:
    made = []
    for number, pair in enumerate(pairs[:2]):
        client = SimulatedClient(server.send, pair, clock=server.clock, hostname=f"host{number}")
        assert client.enrol(server.invite()).status == "ok"
        made.append(client)
    return made


def order(server: SimulatedServer, *hosts: str | None, **fields: Any) -> making.Order:
    if fields.get("kind", "script") == "script":
        sha256 = server.store.put_blob(SCRIPT)
        fields = {"payload_sha256": sha256, "payload_size": len(SCRIPT), **fields}
    return making.make(
        server_id=str(server.store.meta("server_id")),
        kind=fields.pop("kind", "script"),
        hosts=[host for host in hosts if host],
        now=server.clock(),
        lifetime_seconds=86400,
        requested_by="alice",
        summary="a script",
        about={},
        **fields,
    )


def queue(server: SimulatedServer, *hosts: str | None, **fields: Any) -> CommandRecord:
    made = order(server, *hosts, **fields)
    desk = Desk(server.settings, server.store, server.crypto.verifier, now=server.clock())
    signed = desk.sign(
        name=made.name,
        kind="command",
        role="operator",
        texts=made.texts(),
        attach=made.attach("alice"),
        created_by="alice",
    )
    assert isinstance(signed, Completed)
    return publish.publish(
        server.store, signed.documents, attach=made.attach("alice"), now=server.clock()
    )


def given(client: SimulatedClient) -> list[str]:
    """The ids of the commands that a poll gives."""
    texts = client.update().details["commands"]
    return [
        commanddoc.parse(signedtext.unpack(text.encode(), max_bytes=1 << 20).text).id
        for text in texts
    ]


def acknowledge(client: SimulatedClient, command_id: str, state: str, **result: Any) -> Answer:
    body = {"command": command_id, "state": state, "result": result}
    return client.ask(client.envelope("ack"), {"ack": body})


def fetch(client: SimulatedClient, command_id: str) -> Reply:
    from qlmdm_core import envelope

    data = envelope.build(client.envelope("payload"), {"payload": {"command": command_id}})
    return client.post(envelope.PAYLOAD, data)


def state_of(server: SimulatedServer, command: CommandRecord, client: SimulatedClient) -> str:
    target = server.store.target(command.command_id, client.cid or "")
    assert target is not None
    return target.state


def test_a_command_is_given_to_its_clients_only(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    command = queue(server, clients[0].cid)
    assert given_ids(clients) == [[command.command_id], []]
    assert state_of(server, command, clients[0]) == "delivered"
    assert given_ids(clients) == [[command.command_id], []], "again, until it is over"
    acknowledge(clients[0], command.command_id, "started")
    assert given_ids(clients) == [[], []]


def given_ids(clients: list[SimulatedClient]) -> list[list[str]]:
    return [given(client) for client in clients]


def test_a_poll_without_commands_reads_and_writes_nothing_about_them(
    server: SimulatedServer, clients: list[SimulatedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("asked for commands")

    monkeypatch.setattr(server.store, "due_commands", never)
    monkeypatch.setattr(server.store, "advance_target", never)
    assert given(clients[0]) == []


def test_no_more_are_given_at_once_than_may_be_and_none_is_starved(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    commands = {queue(server, clients[0].cid).command_id for _ in range(20)}
    first, second = given(clients[0]), given(clients[0])
    assert (len(first), len(second)) == (delivery.MAX_COMMANDS, delivery.MAX_COMMANDS)
    assert set(first) | set(second) == commands


def test_an_acknowledgement_moves_a_state_forward_only(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    client, command = clients[0], queue(server, clients[0].cid)
    given(client)
    for state, expected in (
        ("started", "started"),
        ("done", "done"),
        ("started", "done"),
        ("failed", "done"),
        ("done", "done"),
    ):
        assert acknowledge(client, command.command_id, state).status == "ok"
        assert state_of(server, command, client) == expected


def test_an_acknowledgement_for_a_command_never_sent(
    server: SimulatedServer, clients: list[SimulatedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = queue(server, clients[0].cid, not_before=server.clock() + timedelta(hours=1))
    held = replace(held)
    for command_id in (held.command_id, "ab" * 16):
        answer = acknowledge(clients[0], command_id, "done")
        assert (answer.status, answer.reason) == ("refused", "unknown_command")
    assert state_of(server, held, clients[0]) == "pending"
    monkeypatch.setattr(ack, "given_to", lambda *_: "delivered")
    assert acknowledge(clients[0], held.command_id, "done").status == "ok"
    assert state_of(server, held, clients[0]) == "done"


def test_an_acknowledgement_for_somebody_elses_command(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    command = queue(server, clients[0].cid)
    given(clients[0])
    answer = acknowledge(clients[1], command.command_id, "done")
    assert (answer.status, answer.reason) == ("refused", "unknown_command")
    assert state_of(server, command, clients[0]) == "delivered"


def test_a_captured_acknowledgement_changes_nothing_for_another_client(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    from qlmdm_core import envelope

    command = queue(server, clients[0].cid, clients[1].cid)
    given_ids(clients)
    body = {"ack": {"command": command.command_id, "state": "done"}}
    data = envelope.build(clients[0].envelope("ack"), body)
    for _ in range(2):
        assert clients[0].post(envelope.ACK, data).status == 200
    assert clients[1].post(envelope.ACK, data).status == 403
    assert state_of(server, command, clients[1]) == "delivered"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ack": []},
        {"ack": {"command": "x", "state": "done"}},
        {"ack": {"command": "ab" * 16, "state": "delivered"}},
        {"ack": {"command": "ab" * 16, "state": "pending"}},
        {"ack": {"command": "$where", "state": {"$ne": 1}}},
    ],
)
def test_what_is_no_acknowledgement(clients: list[SimulatedClient], body: dict[str, Any]) -> None:
    client = clients[0]
    if isinstance(body.get("ack"), dict) and not isinstance(body["ack"]["state"], str):
        body = {"ack": {**body["ack"], "state": "nonsense"}}
    assert client.ask(client.envelope("ack"), body).status == "malformed"


_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@hypothesis.given(
    st.dictionaries(
        st.sampled_from(["exit_status", "seconds", "stdout", "stderr", "reason", "stages", "x"]),
        _LEAF | st.lists(_LEAF, max_size=100) | st.dictionaries(st.text(), _LEAF, max_size=3),
    )
)
def test_of_any_result_only_what_is_known_is_kept(result: dict[str, Any]) -> None:
    kept = ack.bounded(result)
    assert kept.keys() <= {
        *("exit_status", "seconds", "stdout", "stderr", "truncated", "reason", "stages")
    }
    assert type(kept.get("exit_status", 0)) is int
    assert all(isinstance(kept.get(name, ""), str) for name in ("stdout", "stderr", "reason"))
    assert len(kept.get("stages", [])) <= ack.MAX_STAGES


def test_a_flood_of_output_is_cut() -> None:
    kept = ack.bounded({"stdout": "x" * (2 << 20), "stderr": "y"})
    assert len(kept["stdout"]) == ack.MAX_OUTPUT
    assert (kept["stderr"], kept["truncated"]) == ("", True)


def test_a_payload_is_given_to_whom_the_command_was_given_and_while_it_is_open(
    server: SimulatedServer, clients: list[SimulatedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = queue(server, clients[0].cid)
    assert said(fetch(clients[0], command.command_id))["reason"] == "unknown_command"
    given(clients[0])
    reply = fetch(clients[0], command.command_id)
    assert (reply.status, reply.body) == (200, SCRIPT)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert said(fetch(clients[1], command.command_id))["reason"] == "unknown_command"
    with monkeypatch.context() as patch:
        patch.setattr(payload, "given_to", lambda *_: "delivered")
        assert fetch(clients[1], command.command_id).body == SCRIPT
    acknowledge(clients[0], command.command_id, "done")
    assert said(fetch(clients[0], command.command_id))["reason"] == "closed"


def test_a_payload_is_no_blob_that_anybody_may_fetch(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    queue(server, clients[0].cid)
    digest = hashlib.sha256(SCRIPT).hexdigest()
    assert server.send("GET", f"/qlmdm/v1/blob/{digest}", b"", {}).status in (403, 404)


def test_a_cancelled_command_is_not_given(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    command = queue(server, clients[0].cid)
    server.store.cancel_command(command.command_id, server.clock())
    assert given(clients[0]) == []
    assert state_of(server, command, clients[0]) == "cancelled"


def test_a_command_for_many_is_signed_in_parts(server: SimulatedServer) -> None:
    hosts = [f"host-{number:04}" for number in range(600)]
    texts = order(server, *hosts).texts()
    commands = [commanddoc.parse(text) for text in texts]
    assert [len(command.hosts) for command in commands] == [256, 256, 88]
    assert [command.part for command in commands] == [1, 2, 3]
    assert len({command.id for command in commands}) == 1
    assert sorted(cid for command in commands for cid in command.hosts) == hosts


@pytest.mark.parametrize("wrong", ["missing", "twice", "mixed", "late"])
def test_parts_that_do_not_belong_together_are_not_queued(
    server: SimulatedServer, wrong: str
) -> None:
    hosts = [f"host-{number:04}" for number in range(300)]
    documents = [
        signedtext.SignedText(text=text, sigs=()).pack() for text in order(server, *hosts).texts()
    ]
    other = [
        signedtext.SignedText(text=text, sigs=()).pack() for text in order(server, *hosts).texts()
    ]
    now = server.clock() + timedelta(days=2 if wrong == "late" else 0)
    tried = {
        "missing": documents[1:],
        "twice": [documents[0], documents[0]],
        "mixed": [documents[0], other[1]],
        "late": documents,
    }[wrong]
    with pytest.raises(TrustError):
        publish.publish(server.store, tried, attach={}, now=now)
    assert server.store.commands() == []


def test_a_command_is_queued_once(server: SimulatedServer, clients: list[SimulatedClient]) -> None:
    made = order(server, clients[0].cid)
    documents = [signedtext.SignedText(text=text, sigs=()).pack() for text in made.texts()]
    publish.publish(server.store, documents, attach={}, now=server.clock())
    with pytest.raises(BusyError, match="queued already"):
        publish.publish(server.store, documents, attach={}, now=server.clock())


def test_a_command_whose_operator_is_elsewhere_waits_as_a_draft_and_is_queued_once_signed(
    server: SimulatedServer, clients: list[SimulatedClient]
) -> None:
    made = order(server, clients[0].cid)
    home = Path(server.settings.keys) / "operator"
    elsewhere = home.with_name("elsewhere")
    home.rename(elsewhere)
    desk = Desk(server.settings, server.store, server.crypto.verifier, now=server.clock())
    draft = desk.sign(
        name=made.name,
        kind="command",
        role="operator",
        texts=made.texts(),
        attach=made.attach("alice"),
        created_by="alice",
    )
    assert not isinstance(draft, Completed)
    assert given(clients[0]) == []
    elsewhere.rename(home)
    desk = Desk(server.settings, server.store, server.crypto.verifier, now=server.clock())
    signed = desk.sign_draft(draft)
    for _ in range(2):  # finishing again changes nothing
        lines = desk.finish(open_context(server.settings_file), signed)
        assert lines == [f"command {made.command.id} is queued for 1 client"]
    found = server.store.command(made.command.id)
    assert found is not None
    assert (found.summary, found.created_by) == ("a script", "alice")
    server.clock.forward(seconds=2)
    assert given(clients[0]) == [made.command.id]
