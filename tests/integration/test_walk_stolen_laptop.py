"""A laptop was stolen: what the administrator does, and what the thief can and can not do.

As docs/security.md tells it, step by step. The thief is root on the laptop and has all that was
on it: its key, its spool, what it sent before.
"""

from __future__ import annotations

import pytest

from qlmdm_core import envelope, rekeying
from qlmdm_core.errors import TrustError
from qlmdm_core.server import clients_change_cli
from qlmdm_core.server.gate import Gate
from qlmdm_core.server.refusals import Forbidden
from qlmdm_core.store.outgoing import CommandPart, CommandRecord
from qlmdm_core.testing.client import KeyPair, Reply, SimulatedClient
from qlmdm_core.testing.server import SimulatedServer


@pytest.fixture
def stolen(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    """The laptop, with a report of its honest days."""
    made = SimulatedClient(server.send, pairs[0], hostname="laptop7", clock=server.clock)
    made.enrol(server.invite())
    assert made.submit(made.report(firewall={"state": "on"})).is_receipt
    return made


@pytest.fixture
def other(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    made = SimulatedClient(server.send, pairs[1], hostname="laptop8", clock=server.clock)
    made.enrol(server.invite())
    return made


def revoke(server: SimulatedServer, client: SimulatedClient) -> None:
    server.store.set_client(client.cid or "", status="revoked")


def a_stranger(reply: Reply) -> bool:
    return (reply.status, reply.body) == (403, b'{"status":"error"}')


# --- before anybody noticed -----------------------------------------------------------------------


def test_until_it_is_revoked_the_thief_speaks_for_that_laptop_and_for_no_other(
    server: SimulatedServer, stolen: SimulatedClient, other: SimulatedClient
) -> None:
    """Root on a client can make it report anything: that is not defended. But not of others."""
    assert stolen.submit(stolen.report(firewall={"state": "off"})).is_receipt
    told = stolen.submit(cid=other.cid)
    assert (told.status, told.reason) == ("refused", "not_your_key")
    assert server.store.report(other.cid or "") in (None, b"{}")


def test_without_that_guard_it_would_speak_for_others(
    server: SimulatedServer,
    stolen: SimulatedClient,
    other: SimulatedClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gate's check is not the last one: the store looks, too."""
    monkeypatch.setattr(Gate, "own_key", lambda *_: None)
    assert stolen.update(cid=other.cid).status == "ok"


def test_the_thief_can_not_take_the_name_of_another_by_a_new_key(
    server: SimulatedServer, stolen: SimulatedClient, other: SimulatedClient
) -> None:
    request = stolen.envelope("rekey", cid=other.cid)
    text = rekeying.proof_text(
        request.srv, other.cid or "", request.kid, request.kid, request.nonce
    )
    body = {"public_key": stolen.key.armoured, "proof": stolen.key.signer.sign(text)}
    assert stolen.ask(request, {"rekey": body}).reason == "not_your_key"


# --- step 1: a wipe, which waits for it --------------------------------------------------------


def queue_wipe(server: SimulatedServer, client: SimulatedClient) -> None:
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
    assert server.store.put_command(command, [part])


def test_revoking_first_would_keep_the_wipe_from_it_and_is_refused(
    server: SimulatedServer, stolen: SimulatedClient
) -> None:
    queue_wipe(server, stolen)
    client = server.store.client(stolen.cid or "")
    assert client is not None
    assert clients_change_cli.waiting_wipe(server.store, client, server.clock()) == "w1"
    server.store.advance_target("w1", client.cid, "done", server.clock())
    assert clients_change_cli.waiting_wipe(server.store, client, server.clock()) is None


# --- step 2: revoked ----------------------------------------------------------------------------


def test_once_revoked_its_key_is_a_strangers(
    server: SimulatedServer, stolen: SimulatedClient
) -> None:
    revoke(server, stolen)
    for typ, ep in envelope.ENDPOINTS.items():
        if typ == "enroll":
            continue
        request = stolen.envelope(typ, seq=99, rid="r1")
        data = envelope.build(request, {})
        assert a_stranger(stolen.post(ep, data)), typ


def test_without_that_guard_it_would_be_a_client(
    server: SimulatedServer, stolen: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(server, stolen)

    def known_key(self: Gate, form: object) -> object:
        facts = self.one_signature(form)  # type: ignore[arg-type]
        key = server.store.key(facts.issuer)
        if key is None:
            raise Forbidden("unknown")
        return facts, key

    monkeypatch.setattr(Gate, "known_key", known_key)
    assert stolen.update().reason == "revoked", "told, where a stranger learns nothing"


def test_what_it_sent_before_can_not_be_sent_again(
    server: SimulatedServer, stolen: SimulatedClient
) -> None:
    data = envelope.build(stolen.submission(), {"report": stolen.report()})
    signature = stolen.key.signer.sign(data)
    assert stolen.post(envelope.SUBMIT, data, signature).status == 200
    revoke(server, stolen)
    assert a_stranger(stolen.post(envelope.SUBMIT, data, signature))


def test_what_it_reported_before_is_kept(server: SimulatedServer, stolen: SimulatedClient) -> None:
    before = server.store.report(stolen.cid or "")
    revoke(server, stolen)
    assert b"firewall" in (before or b"")
    assert server.store.report(stolen.cid or "") == before


def test_no_new_key_and_no_copy_comes_of_a_revoked_one(
    server: SimulatedServer, stolen: SimulatedClient, pairs: list[KeyPair]
) -> None:
    revoke(server, stolen)
    request = stolen.envelope("rekey")
    new = pairs[2]
    text = rekeying.proof_text(
        request.srv, stolen.cid or "", request.kid, new.signer.fingerprint, request.nonce
    )
    body = {"public_key": new.armoured, "proof": new.signer.sign(text)}
    with pytest.raises(TrustError, match="403"):
        stolen.ask(request, {"rekey": body})
    copy = SimulatedClient(server.send, new, clock=server.clock)
    copy.root = stolen.root
    request = copy.envelope("enroll", cid=None)
    text = rekeying.copy_text(
        request.srv,
        stolen.cid or "",
        stolen.key.signer.fingerprint,
        new.signer.fingerprint,
        request.nonce,
    )
    asks = {
        "clone_of": stolen.cid,
        "old_key": stolen.key.signer.fingerprint,
        "proof": stolen.key.signer.sign(text),
        "public_key": new.armoured,
        "hostname": "laptop7",
    }
    with pytest.raises(TrustError, match="403"):
        copy.ask(request, {"enroll": asks})
    assert server.store.count_clients() == {"revoked": 1}


def test_the_key_that_it_replaced_is_revoked_with_it(
    server: SimulatedServer, stolen: SimulatedClient, pairs: list[KeyPair]
) -> None:
    """A thief may have a key from an old backup."""
    request = stolen.envelope("rekey")
    new = pairs[2]
    text = rekeying.proof_text(
        request.srv, stolen.cid or "", request.kid, new.signer.fingerprint, request.nonce
    )
    body = {"public_key": new.armoured, "proof": new.signer.sign(text)}
    assert stolen.ask(request, {"rekey": body}).status == "ok"
    revoke(server, stolen)
    with pytest.raises(TrustError, match="403"):
        stolen.update()
    stolen.key = new
    with pytest.raises(TrustError, match="403"):
        stolen.update()


# --- step 3: it was found -----------------------------------------------------------------------


def test_found_again_it_joins_as_a_new_client_only_by_a_new_invitation(
    server: SimulatedServer, stolen: SimulatedClient, pairs: list[KeyPair]
) -> None:
    revoke(server, stolen)
    again = stolen.enrol(server.invite())
    assert (again.status, again.reason) == ("refused", "key_in_use"), "not with the old key"
    back = SimulatedClient(
        server.send, pairs[3], hostname="laptop7", mid=stolen.mid, clock=server.clock
    )
    assert back.enrol(server.invite()).status == "ok"
    assert back.cid != stolen.cid
    assert back.submit().is_receipt
