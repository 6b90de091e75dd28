"""Who may join: approval, copies of a machine, a machine that was installed anew."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope, rekeying
from qlmdm_core.client import copied, enrol, identity, setup_cli
from qlmdm_core.client.cycle import open_link
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import PRIVATE_KEY, State
from qlmdm_core.client.submit import submit
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import BusyError, TransportError, TrustError
from qlmdm_core.server import clients_cli, copies
from qlmdm_core.server.gate import Gate
from qlmdm_core.server.settings import EnrolmentSettings
from qlmdm_core.store.outgoing import CommandPart, CommandRecord
from qlmdm_core.testing.client import KeyPair, SimulatedClient
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server


@pytest.fixture
def server(tmp_path: Path, prepared: Path) -> Iterator[SimulatedServer]:
    approval = EnrolmentSettings(approval=True)
    with simulated_server(tmp_path, prepared=prepared, enrolment=approval) as server:
        yield server


@pytest.fixture
def client(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    return SimulatedClient(server.send, pairs[0], hostname="laptop7", clock=server.clock)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    def call(*argv: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["qlmdm-clients", *argv])
        monkeypatch.setenv("QLMDM_SETTINGS", server.settings_file)
        status = clients_cli.main()
        return status, "".join(capsys.readouterr())

    return call


def joined(client: SimulatedClient, answer: Answer) -> Answer:
    client.cid = answer.cid
    return answer


# --- approval -------------------------------------------------------------------------------------


def test_a_new_machine_waits_until_it_is_approved(
    server: SimulatedServer, client: SimulatedClient, run: Run
) -> None:
    token = server.invite(tags=("lab",))
    answer = joined(client, client.enrol(token))
    assert (answer.status, answer.retry_after) == ("pending", 300)
    assert answer.details["roots"], "it can check what it will be told"
    assert client.submit().status == "pending"
    told = client.update()
    assert (told.status, "commands" in told.details, "release" in told.details) == (
        "pending",
        False,
        False,
    )
    assert json.loads(server.store.report(client.cid or "") or b"{}") == {}, "nothing is stored"
    assert client.enrol(token).status == "pending", "asking again is told the same"
    status, out = run("list", "--status", "pending")
    assert "laptop7 (pending)" in out
    status, out = run("approve", "laptop7")
    assert (status, "approved" in out) == (0, True)
    assert client.enrol(token).status == "ok"
    assert client.submit().is_receipt
    assert run("approve", "laptop7")[0] == 1, "once"


def test_without_that_guard_its_report_would_be_taken(
    server: SimulatedServer, client: SimulatedClient, run: Run
) -> None:
    joined(client, client.enrol(server.invite()))
    assert client.submit().status == "pending"
    server.store.set_client(client.cid or "", status="active")
    assert client.submit().is_receipt


def test_who_is_rejected_is_a_stranger(
    server: SimulatedServer, client: SimulatedClient, run: Run
) -> None:
    token = server.invite(uses=2)
    joined(client, client.enrol(token))
    assert run("reject", client.cid or "")[0] == 0
    with pytest.raises(TrustError, match="403"):
        client.update()
    with pytest.raises(TrustError, match="403"):
        client.submit()
    with pytest.raises(TrustError, match="403"):
        client.enrol(token)


@pytest.mark.parametrize("action", ["approve", "reject", "settle"])
def test_what_makes_no_sense_now_is_exit_1_and_changes_nothing(
    server: SimulatedServer, client: SimulatedClient, run: Run, action: str
) -> None:
    joined(client, client.enrol(server.invite()))
    server.store.set_client(client.cid or "", status="active")
    status, out = run(action, "laptop7")
    assert (status, f"({client.cid})" in out) == (1, True)
    found = server.store.client(client.cid or "")
    assert found is not None
    assert found.status == "active"


def test_a_machine_installed_anew_is_another_client_and_shows_the_one_before(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair], run: Run
) -> None:
    joined(client, client.enrol(server.invite()))
    server.clock.forward(seconds=60)
    again = SimulatedClient(
        server.send, pairs[1], hostname="laptop7", mid=client.mid, clock=server.clock
    )
    joined(again, again.enrol(server.invite()))
    assert again.cid != client.cid, "whoever has a token could say that it is this machine"
    _, out = run("show", again.cid or "")
    assert f"before     the same machine, as it says, was laptop7 ({client.cid}" in out
    assert f"qlmdm-clients retire {client.cid}" in out
    assert "enrolled again as laptop7" in run("show", client.cid or "")[1]
    assert run("retire", client.cid or "")[0] == 0
    assert client.update().reason == "retired"
    assert "qlmdm-clients retire" not in run("show", again.cid or "")[1]


def test_a_waiting_wipe_is_not_lost_by_revoking(
    server: SimulatedServer, client: SimulatedClient, run: Run
) -> None:
    joined(client, client.enrol(server.invite()))
    now = server.clock()
    command = CommandRecord(
        command_id="w1",
        kind="wipe",
        summary="wipe laptop7",
        created_at=now,
        created_by="ada",
        not_before=now,
        expires_at=now.replace(year=now.year + 1),
        hosts=1,
    )
    part = CommandPart(part=0, document=b"{}", hosts=(client.cid or "",))
    server.store.put_command(command, [part])
    status, out = run("revoke", "laptop7")
    assert (status, "the wipe w1 waits" in out) == (1, True)
    assert client.update().status == "pending", "nothing was revoked"
    assert run("revoke", "laptop7", "--anyway")[0] == 0
    with pytest.raises(TrustError, match="403"):
        client.update()


def test_clients_are_asked_for_new_keys(
    server: SimulatedServer, client: SimulatedClient, run: Run
) -> None:
    joined(client, client.enrol(server.invite()))
    server.store.set_client(client.cid or "", status="active")
    assert run("rekey")[0] == 2
    assert run("rekey", "laptop7", "--all")[0] == 2
    assert run("rekey", "laptop7")[0] == 0
    assert client.update().details["rekey"] is True
    assert run("rekey", "--all")[0] == 0


# --- copies -----------------------------------------------------------------------------------


def ask_as_copy(
    original: SimulatedClient,
    copy: SimulatedClient,
    *,
    by: KeyPair | None = None,
    wrong: dict[str, str] | None = None,
) -> Answer:
    """A machine with `original`'s key, as its copy, asks with a key of its own."""
    copy.root = original.root
    request = copy.envelope("enroll", cid=None)
    words = {
        "server_id": request.srv,
        "cid": original.cid or "",
        "old": original.key.signer.fingerprint,
        "new": request.kid,
        "nonce": request.nonce,
    }
    proof = (by or original.key).signer.sign(rekeying.copy_text(**{**words, **(wrong or {})}))
    body = {
        "clone_of": original.cid,
        "old_key": original.key.signer.fingerprint,
        "proof": proof,
        "public_key": copy.key.armoured,
        "hostname": copy.hostname,
    }
    return copy.ask(request, {"enroll": body})


@pytest.fixture
def copy(server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair]) -> SimulatedClient:
    joined(client, client.enrol(server.invite()))
    server.store.set_client(client.cid or "", status="active")
    return SimulatedClient(server.send, pairs[1], hostname="laptop7", clock=server.clock)


def test_a_copy_waits_and_both_are_kept_and_marked(
    server: SimulatedServer, client: SimulatedClient, copy: SimulatedClient, run: Run
) -> None:
    answer = joined(copy, ask_as_copy(client, copy))
    assert (answer.status, answer.cid != client.cid) == ("pending", True)
    assert ask_as_copy(client, copy).cid == answer.cid, "an answer that was lost is given again"
    assert client.submit().is_receipt
    original, other = (server.store.client(c.cid or "") for c in (client, copy))
    assert original is not None
    assert other is not None
    assert original.flags["duplicate_identity"]["copies"] == [copy.cid]
    assert (other.status, other.tags, other.flags) == ("pending", (), {"copy_of": client.cid})
    assert f"a copy of laptop7 ({client.cid}" in run("show", copy.cid or "")[1]
    status, out = run("approve", copy.cid or "")
    assert (status, f"qlmdm-clients settle {client.cid}" in out) == (0, True)
    assert copy.submit().is_receipt
    assert run("settle", client.cid or "")[0] == 0
    settled = server.store.client(client.cid or "")
    assert settled is not None
    assert "duplicate_identity" not in settled.flags


@pytest.mark.parametrize("wrong", [{"cid": "x"}, {"new": "A" * 40}, {"nonce": "0" * 32}])
def test_without_the_originals_key_nobody_is_its_copy(
    server: SimulatedServer,
    client: SimulatedClient,
    copy: SimulatedClient,
    pairs: list[KeyPair],
    wrong: dict[str, str],
) -> None:
    with pytest.raises(TrustError, match="403"):
        ask_as_copy(client, copy, wrong=wrong)
    with pytest.raises(TrustError, match="403"):
        ask_as_copy(client, copy, by=pairs[2])
    assert server.store.count_clients() == {"active": 1}


def test_without_that_guard_anybody_would_be(
    client: SimulatedClient,
    copy: SimulatedClient,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Gate, "vouched", lambda *_: None)
    assert ask_as_copy(client, copy, by=pairs[2]).status == "pending"


def test_a_revoked_key_makes_no_copies(
    server: SimulatedServer, client: SimulatedClient, copy: SimulatedClient
) -> None:
    server.store.set_client(client.cid or "", status="revoked")
    with pytest.raises(TrustError, match="403"):
        ask_as_copy(client, copy)


def test_a_stolen_key_does_not_fill_the_list(
    client: SimulatedClient,
    copy: SimulatedClient,
    server: SimulatedServer,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copies, "MOST_COPIES", 1)
    assert ask_as_copy(client, copy).status == "pending"
    another = SimulatedClient(server.send, pairs[2], clock=server.clock)
    answer = ask_as_copy(client, another)
    assert (answer.status, answer.reason) == ("refused", "too_many_copies")


# --- the client's side --------------------------------------------------------------------------


@pytest.fixture
def wire(server: SimulatedServer) -> Iterator[Wire]:
    with served(server.app) as wire:
        yield wire


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(str(tmp_path / "c")) as state:
        yield state


def spool_of(state: State) -> Spool:
    return Spool(state.spool_path, max_bytes=1 << 20, max_age=1e9)


def record() -> dict[str, Any]:
    return {"rid": str(uuid.uuid4()), "collected_at": "2026-11-24T10:00:00Z", "collectors": {}}


def test_what_is_collected_while_it_waits_is_kept(
    server: SimulatedServer, wire: Wire, state: State
) -> None:
    made, waits = enrol.enrol_and_tell(state, Transport(wire.url), server.invite(), "laptop7")
    assert waits
    core = ClientSettings(server_url=wire.url)
    with spool_of(state) as spool:
        spool.put(record())
        with open_link(state, core) as link:
            result = submit(link, spool)
            assert (result.sent, result.left, result.retry_after) == (0, 1, 300)
            assert f"qlmdm-clients approve {made.cid}" in result.problem
        server.store.set_client(made.cid, status="active")
        with open_link(state, core) as link:
            assert submit(link, spool).sent == 1


def test_setup_says_that_it_waits_and_for_what(
    server: SimulatedServer,
    wire: Wire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("QLMDM_SETTINGS", str(tmp_path / "client.yml"))
    monkeypatch.setenv("QLMDM_STATE_DIR", str(tmp_path / "s"))
    (tmp_path / "token").write_text(str(server.invite()))
    argv = ["qlmdm-client-setup", "--server", wire.url, "--token-file", str(tmp_path / "token")]
    monkeypatch.setattr(sys, "argv", argv)
    assert setup_cli.main() == 0
    out = capsys.readouterr().out
    (cid,) = (client.cid for client in server.store.clients().clients)
    assert f"qlmdm-clients approve {cid}" in out


def test_a_machine_that_finds_out_that_it_is_a_copy_becomes_a_client_of_its_own(
    server: SimulatedServer, wire: Wire, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
    server.store.set_client(first.cid, status="active")
    core = ClientSettings(server_url=wire.url)
    pseudonyms = state.secret(PRIVATE_KEY)
    with spool_of(state) as spool:
        spool.put(record())
    monkeypatch.setattr(identity, "machine_hash", lambda: "f" * 64)
    wire.meddle = lambda path, body: ("502 Bad Gateway", b"")
    with pytest.raises(TransportError, match="is a copy of client"):
        open_link(state, core)
    assert identity.load_identity(state) == first
    known = state.read_json(copied.COPIED) or {}
    later = {**known["backoff"], "until": 1e12}
    state.write_json(copied.COPIED, {**known, "backoff": later})
    with pytest.raises(BusyError, match="asks again later"):
        open_link(state, core)
    state.write_json(copied.COPIED, {**known, "backoff": {}})
    wire.meddle = None
    wire.requests.clear()
    with open_link(state, core) as link, spool_of(state) as spool:
        asked = ["/qlmdm/v1/root/2", envelope.ENROLL]
        assert wire.requests == asked, "nothing was sent in the other's name"
        assert spool.pending() == [], "what the other collected is not ours to send"
        spool.put(record())
        assert submit(link, spool).left == 1
        copy = identity.load_identity(state)
        server.store.set_client(copy.cid, status="active")
    with open_link(state, core) as link, spool_of(state) as spool:
        assert submit(link, spool).sent == 1
    assert (copy.cid != first.cid, copy.fingerprint != first.fingerprint) == (True, True)
    assert copy.mid == "f" * 64
    found = server.store.client(copy.cid)
    assert found is not None
    assert found.flags["copy_of"] == first.cid
    assert state.secret(PRIVATE_KEY) != pseudonyms
    assert sum(server.store.count_clients().values()) == 2, "the lost answer made no third"
    kept = [path.name for path in Path(state.path).iterdir() if path.name.startswith("gnupg")]
    assert kept == [copy.keyring], "the other's key is not ours to keep"
