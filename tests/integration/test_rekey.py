"""A client's next key: who may ask for one, and that no client is lost over it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import rekeying
from qlmdm_core.client import enrol, identity, rekey
from qlmdm_core.client.cycle import open_link
from qlmdm_core.client.identity import Identity
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import TransportError, TrustError, UsageError
from qlmdm_core.server import rekey as server_rekey
from qlmdm_core.server.gate import Gate
from qlmdm_core.signing import keys
from qlmdm_core.signing.gpg import stop_agent
from qlmdm_core.store.records import Enrolled, Enrolment
from qlmdm_core.testing.client import KeyPair, SimulatedClient
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer


@pytest.fixture
def client(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    made = SimulatedClient(server.send, pairs[0], clock=server.clock)
    made.enrol(server.invite())
    return made


def ask(
    client: SimulatedClient,
    new: KeyPair,
    *,
    by: KeyPair | None = None,
    wrong: dict[str, str] | None = None,
) -> Answer:
    """Ask for `new` in place of the client's key; the proof is by it, or by another."""
    request = client.envelope("rekey")
    words = {
        "server_id": request.srv,
        "cid": client.cid or "",
        "old": client.key.signer.fingerprint,
        "new": new.signer.fingerprint,
        "nonce": request.nonce,
    }
    proof = (by or new).signer.sign(rekeying.proof_text(**{**words, **(wrong or {})}))
    return client.ask(request, {"rekey": {"public_key": new.armoured, "proof": proof}})


def key_of(server: SimulatedServer, client: SimulatedClient) -> str:
    found = server.store.client(client.cid or "")
    assert found is not None
    return found.fingerprint


# --- the server ---------------------------------------------------------------------------------


def test_the_next_key_counts_and_the_old_one_no_more(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair]
) -> None:
    client.submit()
    answer = ask(client, pairs[1])
    assert (answer.status, answer.cid) == ("ok", client.cid)
    for told in (client.update(), client.submit()):
        assert (told.status, told.reason) == ("refused", "key_replaced")
    old = replace_key(client, pairs[1])
    assert client.submit().is_receipt, "the numbers go on"
    client.key = old
    assert ask(client, pairs[1]).status == "ok", "an answer that was lost is given again"
    other = ask(client, pairs[2])
    assert (other.status, other.reason) == ("refused", "not_your_key")
    assert key_of(server, client) == pairs[1].signer.fingerprint


def replace_key(client: SimulatedClient, new: KeyPair) -> KeyPair:
    old, client.key = client.key, new
    return old


def test_an_old_key_can_do_more_when_the_gate_does_not_look(
    client: SimulatedClient, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the guard is the gate's, and this test can fail."""
    ask(client, pairs[1])
    admit = Gate.admit
    monkeypatch.setattr(
        Gate, "admit", lambda self, req, typ, ep, **_: admit(self, req, typ, ep, any_age=True)
    )
    assert client.update().status == "ok"


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_id": "another"},
        {"cid": "another"},
        {"old": "A" * 40},
        {"new": "A" * 40},
        {"nonce": "0" * 32},
    ],
)
def test_a_proof_is_for_one_message(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair], wrong: dict[str, str]
) -> None:
    answer = ask(client, pairs[1], wrong=wrong)
    assert (answer.status, answer.reason) == ("refused", "proof")
    assert key_of(server, client) == pairs[0].signer.fingerprint


def test_nobody_takes_a_key_that_is_not_theirs(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair]
) -> None:
    """Else a client could name another machine's key as its own, and be taken for it."""
    assert ask(client, pairs[1], by=pairs[2]).reason == "proof"
    other = SimulatedClient(server.send, pairs[1], clock=server.clock)
    other.enrol(server.invite())
    assert ask(client, pairs[1]).reason == "key_in_use"
    assert key_of(server, client) == pairs[0].signer.fingerprint


def test_without_the_proof_somebodys_key_could_be_taken(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vouched = Gate.vouched
    monkeypatch.setattr(
        Gate,
        "vouched",
        lambda self, text, proof, key: vouched(self, text, pairs[1].signer.sign(text), key),
    )
    assert ask(client, pairs[1], by=pairs[2]).status == "ok"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rekey": []},
        {"rekey": {"public_key": "x", "proof": "x"}},
        {"rekey": {"public_key": "x" * 20_000, "proof": "x"}},
        {"rekey": {"proof": "x"}},
    ],
)
def test_what_is_no_key_is_malformed(client: SimulatedClient, body: dict[str, Any]) -> None:
    assert client.ask(client.envelope("rekey"), body).status == "malformed"


@pytest.mark.parametrize(("status", "expected"), [("retired", "retired"), ("revoked", None)])
def test_who_may_not_report_gets_no_new_key(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    status: Any,
    expected: str | None,
) -> None:
    server.store.set_client(client.cid or "", status=status)
    if expected:
        assert ask(client, pairs[1]).reason == expected
    else:
        with pytest.raises(TrustError, match="403"):
            ask(client, pairs[1])
    assert key_of(server, client) == pairs[0].signer.fingerprint


def test_a_client_is_asked_to_until_it_did(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_rekey, "LOOK_SECONDS", -1.0)
    assert "rekey" not in client.update().details
    server_rekey.change_wanted(server.store, add=[client.cid or ""])
    assert client.update().details["rekey"] is True
    assert ask(client, pairs[1]).status == "ok"
    replace_key(client, pairs[1])
    assert "rekey" not in client.update().details
    later = datetime.now(timezone.utc) + timedelta(seconds=5)
    server_rekey.change_wanted(server.store, all_now=later)
    assert client.update().details["rekey"] is True
    earlier = datetime.now(timezone.utc) - timedelta(days=1)
    server_rekey.change_wanted(server.store, all_now=earlier)
    assert "rekey" not in client.update().details


# --- the client -----------------------------------------------------------------------------------


class Laptop:
    """A client's state directory, and the way to its server."""

    def __init__(self, folder: Path, server: SimulatedServer, wire: Wire) -> None:
        self.server, self.wire = server, wire
        self.state = State(str(folder / "c"))
        self.transport = Transport(wire.url)
        self.core = ClientSettings(server_url=wire.url)

    def enrol(self, days: int = 0) -> Identity:
        return enrol.enrol(
            self.state, self.transport, self.server.invite(), "laptop7", key_days=days
        )

    @property
    def identity(self) -> Identity:
        return identity.load_identity(self.state)

    def rekey(self) -> Identity:
        return rekey.rekey(
            self.state, self.transport, self.identity, identity.load_root(self.state)
        )

    def update(self) -> Answer:
        """One question, as each cycle begins."""
        with open_link(self.state, self.core) as link:
            return link.ask("update", {"update": {"root": 1}})

    def counts(self) -> str:
        found = self.server.store.client(self.identity.cid)
        assert found is not None
        return found.fingerprint

    def keyrings(self) -> list[str]:
        return sorted(name for name in os.listdir(self.state.path) if name.startswith("gnupg"))


@pytest.fixture
def laptop(tmp_path: Path, server: SimulatedServer) -> Iterator[Laptop]:
    with served(server.app) as wire:
        made = Laptop(tmp_path, server, wire)
        yield made
        made.state.close()


def test_a_client_replaces_its_key_and_keeps_its_name(laptop: Laptop) -> None:
    before = laptop.enrol()
    after = laptop.rekey()
    assert (after.cid, after.fingerprint != before.fingerprint) == (before.cid, True)
    assert laptop.identity == after
    assert laptop.counts() == after.fingerprint
    assert laptop.update().status == "ok"
    assert laptop.keyrings() == [after.keyring], "the old key is gone"
    assert laptop.state.read(rekey.PENDING) is None


def test_a_lost_answer_is_asked_for_again_with_the_same_key(laptop: Laptop) -> None:
    laptop.enrol()
    laptop.wire.meddle = lambda path, body: ("502 Bad Gateway", b"")
    with pytest.raises(TransportError):
        laptop.rekey()
    assert laptop.counts() != laptop.identity.fingerprint, "the server has done it"
    laptop.wire.meddle = None
    assert laptop.update().status == "ok", "the next cycle finishes it by itself"
    assert laptop.counts() == laptop.identity.fingerprint
    assert len(laptop.keyrings()) == 1


class PowerCutError(Exception):
    """Everything stops here."""


@pytest.mark.parametrize("step", range(12))
def test_power_cuts_between_any_two_writes_lose_no_client(
    laptop: Laptop, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before the n-th thing that changes anything; then the next cycle runs."""
    laptop.enrol()
    left = step

    def cut(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise PowerCutError
            left -= 1
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(State, "write", cut(State.write))
        patch.setattr(State, "remove", cut(State.remove))
        patch.setattr(keys, "make_key", cut(keys.make_key))
        patch.setattr(rekey, "sync_folder", cut(rekey.sync_folder))
        patch.setattr(Transport, "post_signed", cut(Transport.post_signed))
        patch.setattr(identity, "drop_other_keyrings", cut(identity.drop_other_keyrings))
        with contextlib.suppress(PowerCutError):
            laptop.rekey()
    assert laptop.update().status == "ok"
    assert laptop.counts() == laptop.identity.fingerprint
    assert laptop.rekey().fingerprint == laptop.counts()
    assert laptop.update().status == "ok"
    assert len(laptop.keyrings()) == 1


def test_the_test_of_power_cuts_can_fail(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that forgot its next key after it asked for it is lost."""
    laptop.enrol()
    laptop.wire.meddle = lambda path, body: ("502 Bad Gateway", b"")
    with pytest.raises(TransportError):
        laptop.rekey()
    laptop.wire.meddle = None
    laptop.state.remove(rekey.PENDING)
    assert laptop.update().reason == "key_replaced"


def test_a_server_that_refuses_leaves_the_old_key(laptop: Laptop) -> None:
    before = laptop.enrol()
    laptop.server.store.set_client(before.cid, status="retired")
    with pytest.raises(UsageError, match=r"'refused' \(retired\); the old one stays"):
        laptop.rekey()
    laptop.server.store.set_client(before.cid, status="active")
    assert laptop.update().status == "ok"
    assert laptop.counts() == laptop.identity.fingerprint


def test_the_server_asks_and_the_next_cycle_obeys_once(laptop: Laptop) -> None:
    first = laptop.enrol()
    laptop.state.write(identity.REKEY_WANTED, b"")
    laptop.update()
    second = laptop.identity
    assert second.fingerprint != first.fingerprint
    laptop.state.write(identity.REKEY_WANTED, b"")
    laptop.update()
    assert laptop.identity == second, "asked again within hours: not again"
    assert laptop.state.read(identity.REKEY_WANTED) is None


def test_a_key_is_replaced_before_it_expires(laptop: Laptop) -> None:
    made = laptop.enrol(days=90)
    expires_at = datetime.fromisoformat(made.key_expires_at)
    for days, due in ((31, False), (29, True), (-100, True)):
        now = expires_at - timedelta(days=days)
        assert identity.is_rekey_due(laptop.state, made, now) is due
    short = replace(made, key_days="9")
    assert not identity.is_rekey_due(laptop.state, short, expires_at - timedelta(days=4))
    assert identity.is_rekey_due(laptop.state, short, expires_at - timedelta(days=2))
    renewed = laptop.rekey()
    assert renewed.key_days == "90"
    assert datetime.fromisoformat(renewed.key_expires_at) >= expires_at


def test_a_client_that_was_off_until_its_key_had_expired_comes_back(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off for three months: its key expired meanwhile, and is good for nothing but this."""
    made = expired_months_ago(laptop)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "is_rekey_due", lambda *_: False)
        rekey.never_expires(identity.gnupg_home(laptop.state, made), made.fingerprint)
        told = laptop.update()
    assert (told.status, told.reason) == ("refused", "key_expired")
    assert laptop.update().status == "ok"
    assert laptop.counts() == laptop.identity.fingerprint != made.fingerprint
    assert laptop.identity.key_expires_at > datetime.now(timezone.utc).isoformat()


def test_a_revoked_key_that_has_expired_does_not_come_back(laptop: Laptop) -> None:
    made = expired_months_ago(laptop)
    laptop.server.store.set_client(made.cid, status="revoked")
    with pytest.raises(TransportError, match="403"):
        laptop.update()
    assert laptop.counts() == made.fingerprint


def expired_months_ago(laptop: Laptop) -> Identity:
    """A client whose key was made half a year ago, for three months; known to the server."""
    home = f"{laptop.state.path}/gnupg"
    os.mkdir(home, 0o700)
    made_at = datetime.now(timezone.utc) - timedelta(days=180)
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback"]
    command += ["--passphrase", "", "--faked-system-time", f"{made_at:%Y%m%dT%H%M%S}"]
    subprocess.run(
        [*command, "--quick-generate-key", "laptop", "ed25519", "sign", "90d"], check=True
    )
    stop_agent(home)
    (key,) = keys.list_keys(home)
    assert key.expires_at is not None
    assert key.expires_at < datetime.now(timezone.utc)
    token = laptop.server.invite()
    root, document = enrol.pin_root(laptop.transport, token)
    enrolled = laptop.server.store.enrol(
        Enrolment(
            invitation_id=token.invitation_id,
            cid="old-laptop",
            fingerprint=key.fingerprint,
            public_key=keys.export_public(home, key.fingerprint).armoured,
            hostname="laptop7",
            mid=identity.machine_hash(),
            enrolled_at=datetime.now(timezone.utc),
        )
    )
    assert isinstance(enrolled, Enrolled)
    made = Identity(
        cid=enrolled.cid,
        server_id=root.server_id,
        fingerprint=key.fingerprint,
        mid=identity.machine_hash(),
        hostname="laptop7",
        enrolled_at=made_at.isoformat(),
        key_expires_at=key.expires_at.isoformat(),
        key_days="90",
    )
    laptop.state.write(identity.ROOT, document)
    identity.save_identity(laptop.state, made)
    return made
