"""The client's half of the protocol against the real server application, over real HTTP.

Keys, signatures and gpg are real; only gunicorn is replaced by a small WSGI server, in which
tests can put faults between client and server.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import tokens
from qlmdm_core.client import enrol, identity, link, submit
from qlmdm_core.client.cycle import open_link, open_spool
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import TransportError, TrustError, UsageError
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server


@dataclass
class Agent:
    """An enrolled client and its server."""

    server: SimulatedServer
    wire: Wire
    state: State
    settings: ClientSettings
    link: link.Link
    spool: Spool

    @property
    def cid(self) -> str:
        return identity.load_identity(self.state).cid

    def put(self, value: Any) -> None:
        self.spool.put(record(value))

    def stored(self) -> dict[str, Any]:
        return json.loads(self.server.store.report(self.cid) or b"{}")


def record(value: Any) -> dict[str, Any]:
    at = "2026-11-01T12:00:00+00:00"
    result = {"status": "ok", "value": value, "collected_at": at, "seconds": 0.1}
    return {
        "rid": str(uuid.uuid4()),
        "collected_at": at,
        "collectors": {"firewall": result},
        "failures": [],
        "spool": {"dropped": {}},
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedServer]:
    with simulated_server(tmp_path) as made:
        yield made


@pytest.fixture
def agent(server: SimulatedServer, tmp_path: Path) -> Iterator[Agent]:
    with served(server.app) as wire, State(str(tmp_path / "client")) as state:
        settings = ClientSettings(server_url=wire.url)
        enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
        with open_link(state, settings) as opened, open_spool(state, settings) as spool:
            wire.requests.clear()
            yield Agent(server, wire, state, settings, opened, spool)


def test_a_record_is_stored_acknowledged_and_only_then_deleted(agent: Agent) -> None:
    agent.put({"state": "off"})
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.left, result.problem) == (1, 0, "")
    stored = agent.stored()
    assert stored["firewall"]["value"] == {"state": "off"}
    assert stored["agent"]["value"]["state"] == "ok"
    client = agent.server.store.client(agent.cid)
    assert client is not None
    assert client.hostname == "laptop7"


def test_records_are_sent_oldest_first(agent: Agent) -> None:
    for number in range(3):
        agent.put({"state": "off", "number": number})
    assert submit.submit(agent.link, agent.spool).sent == 3
    numbers = [
        change.new["number"]
        for change in agent.server.store.changes(agent.cid)
        if change.collector == "firewall"
    ]
    assert numbers == [2, 1, 0]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path, body: ("500 Oops", b"oops"),
        lambda path, body: ("200 OK", b"<html>hotel login</html>"),
        lambda path, body: ("403 Forbidden", b'{"status":"error"}'),
        lambda path, body: ("200 OK", b""),
        lambda path, body: ("200 OK", body.replace(b"ok", b"OK", 1)),
        lambda path, body: ("302 Found", b""),
    ],
)
def test_without_the_signed_receipt_the_record_stays(agent: Agent, meddle: Any) -> None:
    agent.put({"state": "off"})
    agent.wire.meddle = meddle
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.left) == (0, 1)
    assert result.problem
    agent.wire.meddle = None
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.left) == (1, 0)


def test_a_receipt_that_got_lost_is_given_again_and_nothing_is_stored_twice(agent: Agent) -> None:
    agent.put({"state": "off"})
    agent.wire.meddle = lambda path, body: ("504 Gateway Timeout", b"")
    submit.submit(agent.link, agent.spool)
    before = agent.server.store.changes(agent.cid)
    agent.wire.meddle = None
    assert submit.submit(agent.link, agent.spool).sent == 1
    assert agent.server.store.changes(agent.cid) == before


def test_the_receipt_of_another_record_deletes_nothing(agent: Agent) -> None:
    answers: list[bytes] = []

    def keep(path: str, body: bytes) -> tuple[str, bytes]:
        answers.append(body)
        return "200 OK", answers[0]

    agent.wire.meddle = keep
    agent.put({"state": "off"})
    agent.put({"state": "on"})
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.left) == (1, 1)
    assert "another request" in result.problem


def test_what_the_server_calls_malformed_is_set_aside(agent: Agent) -> None:
    bad = record({"state": "off"})
    bad["collectors"]["Bad Name"] = bad["collectors"]["firewall"]
    agent.spool.put(bad)
    agent.put({"state": "on"})
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.set_aside, result.left) == (1, 1, 0)
    assert agent.spool.report()["quarantined"] == 1


def test_a_record_that_is_too_large_for_a_proxy_does_not_hold_up_the_others(agent: Agent) -> None:
    agent.put({"state": "off"})
    agent.put({"state": "on"})
    first = True

    def refuse(path: str, body: bytes) -> tuple[str, bytes]:
        nonlocal first
        status = "413 Content Too Large" if first else "200 OK"
        first = False
        return status, body

    agent.wire.meddle = refuse
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.left) == (1, 1)
    assert "413" in result.problem


def test_a_client_that_lost_its_count_goes_on_from_the_servers(agent: Agent) -> None:
    agent.put({"state": "off"})
    submit.submit(agent.link, agent.spool)
    agent.link.remember(seq=0)
    agent.put({"state": "on"})
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.problem) == (1, "")
    assert agent.link.memory.seq == 2


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_wrong_by_a_day_is_corrected(agent: Agent, days: int) -> None:
    agent.server.clock.forward(days=days)
    agent.put({"state": "off"})
    result = submit.submit(agent.link, agent.spool)
    assert (result.sent, result.problem) == (1, "")
    assert abs(agent.link.memory.clock_offset - days * 86400) < 60
    agent.server.clock.forward(days=-days)
    agent.put({"state": "on"})
    assert submit.submit(agent.link, agent.spool).sent == 1
    assert agent.link.memory.clock_offset == 0


def test_a_poll_writes_nothing_and_follows_nothing_old(agent: Agent) -> None:
    answer = agent.link.ask("update", {"update": {"root": 1}})
    assert answer.status == "ok"
    agent.link.follow_root(answer.details["root"])
    assert agent.wire.requests == ["/qlmdm/v1/update"]


def test_a_sequence_number_is_on_disk_before_it_is_used(agent: Agent) -> None:
    seen: list[int] = []

    def look(path: str, body: bytes) -> tuple[str, bytes]:
        seen.append(json.loads((Path(agent.state.path) / "link.json").read_text())["seq"])
        return "500 Oops", b""

    agent.wire.meddle = look
    agent.put({"state": "off"})
    submit.submit(agent.link, agent.spool)
    submit.submit(agent.link, agent.spool)
    assert seen == [1, 2]


# --- enrolment ----------------------------------------------------------------------------------


@pytest.fixture
def fresh(server: SimulatedServer, tmp_path: Path) -> Iterator[tuple[Wire, State]]:
    with served(server.app) as wire, State(str(tmp_path / "fresh")) as state:
        yield wire, state


def test_an_answer_that_got_lost_is_asked_for_again(
    server: SimulatedServer, fresh: tuple[Wire, State]
) -> None:
    wire, state = fresh
    token = server.invite()
    wire.meddle = lambda path, body: (
        ("500 Oops", b"") if path.endswith("enroll") else ("200 OK", body)
    )
    with pytest.raises(TrustError, match="HTTP 500"):
        enrol.enrol(state, Transport(wire.url), token, "")
    assert state.read_json(identity.IDENTITY) is None
    wire.meddle = None
    made = enrol.enrol(state, Transport(wire.url), token, "")
    assert server.store.count_clients() == {"active": 1}
    assert identity.load_identity(state) == made


def test_a_machine_is_enrolled_once(server: SimulatedServer, fresh: tuple[Wire, State]) -> None:
    wire, state = fresh
    enrol.enrol(state, Transport(wire.url), server.invite(), "")
    with pytest.raises(UsageError, match="is enrolled already"):
        enrol.enrol(state, Transport(wire.url), server.invite(), "")


def test_another_servers_token_is_refused(
    server: SimulatedServer, fresh: tuple[Wire, State], tmp_path: Path
) -> None:
    wire, state = fresh
    (tmp_path / "o").mkdir()
    with simulated_server(tmp_path / "o") as other:
        token = other.invite()
    with pytest.raises(TrustError, match="no root document like the one"):
        enrol.enrol(state, Transport(wire.url), token, "")


def test_a_used_up_token_is_refused_with_the_reason(
    server: SimulatedServer, fresh: tuple[Wire, State], tmp_path: Path
) -> None:
    wire, state = fresh
    token = server.invite(uses=1)
    enrol.enrol(state, Transport(wire.url), token, "")
    used_up = pytest.raises(UsageError, match="used as often as it may be")
    with State(str(tmp_path / "second")) as second, used_up:
        enrol.enrol(second, Transport(wire.url), token, "")
    wrong = tokens.parse(str(token).replace(token.secret, "0" * 64))
    with State(str(tmp_path / "third")) as third, pytest.raises(TrustError, match="HTTP 403"):
        enrol.enrol(third, Transport(wire.url), wrong, "")


def test_no_server_there_is_said(tmp_path: Path, server: SimulatedServer) -> None:
    with State(str(tmp_path / "c")) as state, pytest.raises(TransportError, match="refused"):
        enrol.enrol(state, Transport("http://127.0.0.1:1"), server.invite(), "")
