"""Enrolling, asking for news, root documents, plugins' addresses: the server beside /submit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon
import pytest

from qlmdm_core import envelope, rootdoc, signedtext, tokens
from qlmdm_core.api import Route
from qlmdm_core.errors import NotSetUpError, SettingsError, TrustError, UsageError
from qlmdm_core.rootdoc import Role
from qlmdm_core.server.app import create_app
from qlmdm_core.server.invitations import invite
from qlmdm_core.server.plugin_routes import PluginRoute
from qlmdm_core.server.settings import LimitSettings
from qlmdm_core.signing import keys
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.store.records import RootDocument
from qlmdm_core.testing.client import KeyPair, Reply, SimulatedClient, said
from qlmdm_core.testing.server import SimulatedServer, simulated_server

ERROR = b'{"status":"error"}'


def new(server: SimulatedServer, pair: KeyPair, **details: Any) -> SimulatedClient:
    return SimulatedClient(server.send, pair, clock=server.clock, **details)


def post_enrol(client: SimulatedClient, token: tokens.Token, **body: Any) -> Reply:
    request, message = client.enrolment(token)
    message["enroll"].update(body)
    return client.post(envelope.ENROLL, envelope.build(request, message))


# --- enrolment -----------------------------------------------------------------------------


def test_an_invited_machine_becomes_a_client(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    token = server.invite(tags=("lab",), user_email="ada@example.com")
    client = new(server, pairs[0], hostname="laptop7")
    answer = client.enrol(token)
    assert answer.status == "ok"
    found = server.store.client(client.cid or "")
    assert found is not None
    assert (found.hostname, found.status, found.mid) == ("laptop7", "active", client.mid)
    assert (found.tags, found.user_email) == (("lab",), "ada@example.com")
    assert found.fingerprint == pairs[0].signer.fingerprint
    assert answer.details["root"] == 1
    (document,) = answer.details["roots"]
    assert rootdoc.pin(document.encode(), token.root_sha256, client.verifier) == client.root


def test_the_same_key_and_invitation_get_the_same_answer_again(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = server.invite(uses=1)
    client = new(server, pairs[0])
    first = client.enrol(token)
    second = client.enrol(token)
    assert (first.status, second.status) == ("ok", "ok")
    assert first.cid == second.cid
    assert sum(server.store.count_clients().values()) == 1


def test_an_invitation_is_used_up(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    token = server.invite(uses=1)
    assert new(server, pairs[0]).enrol(token).status == "ok"
    answer = new(server, pairs[1]).enrol(token)
    assert (answer.status, answer.reason) == ("refused", "used_up")
    assert answer.cid is None


def test_an_invitation_expires(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    now = server.clock()
    _, token = invite(server.store, now=now - timedelta(days=2), expires_at=now - timedelta(days=1))
    answer = new(server, pairs[0]).enrol(token)
    assert (answer.status, answer.reason) == ("refused", "expired")


def test_a_key_serves_one_client(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    assert new(server, pairs[0]).enrol(server.invite()).status == "ok"
    answer = new(server, pairs[0]).enrol(server.invite())
    assert (answer.status, answer.reason) == ("refused", "key_in_use")


def test_machines_that_race_for_the_last_use(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    token = server.invite(uses=3)
    clients = [new(server, pair) for pair in pairs]
    for client in clients:
        client.pin_root(token.root_sha256)
    ready = threading.Barrier(len(clients))

    def enrol(client: SimulatedClient) -> str:
        ready.wait(30)
        return client.enrol(token).status

    with ThreadPoolExecutor(len(clients)) as pool:
        found = sorted(pool.map(enrol, clients))
    assert found == ["ok"] * 3 + ["refused"] * 5


def forbidden(reply: Reply) -> bool:
    return (reply.status, reply.body) == (403, ERROR)


def test_without_the_secret_nobody_learns_anything(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = server.invite()
    for wrong in (
        replace(token, secret="0" * 64),
        replace(token, invitation_id="0123456789"),
    ):
        assert forbidden(post_enrol(new(server, pairs[0]), wrong))
    for proof in ("", "é", "0" * 64, 5, None):
        assert forbidden(post_enrol(new(server, pairs[1]), token, proof=proof))
    assert sum(server.store.count_clients().values()) == 0


def test_a_proof_is_worth_nothing_for_another_key(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = server.invite()
    victim, thief = new(server, pairs[0]), new(server, pairs[1])
    request, message = victim.enrolment(token)
    thief.root = victim.root
    stolen = thief.envelope("enroll", cid=None, nonce=request.nonce)
    message["enroll"]["public_key"] = pairs[1].armoured
    assert forbidden(thief.post(envelope.ENROLL, envelope.build(stolen, message)))
    # Nor does the victim's own message, with another signature.
    data = envelope.build(*victim.enrolment(token))
    assert forbidden(victim.post(envelope.ENROLL, data, pairs[1].signer.sign(data)))
    assert forbidden(victim.post(envelope.ENROLL, data, pairs[0].signer.sign(data + b" ")))


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": "x"},
        {"public_key": None},
        {"hostname": ""},
        {"hostname": "x" * 256},
        {"hostname": 7},
        {"invitation": "x" * 65},
        {"invitation": []},
    ],
)
def test_a_malformed_enrolment_is_forbidden(
    server: SimulatedServer, pairs: list[KeyPair], changes: dict[str, Any]
) -> None:
    assert forbidden(post_enrol(new(server, pairs[0]), server.invite(), **changes))


def test_a_key_with_subkeys_is_forbidden(server: SimulatedServer) -> None:
    import pysequoia

    from qlmdm_core.signing import packets

    tsk = pysequoia.Tsk.generate("x")
    armoured = str(tsk.extract_certificate())
    raw = packets.dearmour(armoured, "PUBLIC KEY BLOCK")

    class Lying:
        fingerprint = packets.primary_fingerprint(raw)

        def sign(self, data: bytes) -> str:
            mode = pysequoia.SignatureMode.DETACHED
            return pysequoia.sign(tsk.signer(), data, mode=mode).decode()

    client = new(server, KeyPair(Lying(), armoured))
    assert forbidden(post_enrol(client, server.invite()))


def test_a_large_enrolment_is_forbidden(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    reply = post_enrol(new(server, pairs[0]), server.invite(), more="x" * 17_000)
    assert forbidden(reply)


def test_an_enrolment_for_another_server_or_by_a_wrong_clock_is_told(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = server.invite()
    client = new(server, pairs[0])
    now = int(server.clock().timestamp())
    stale = client.ask(*client.enrolment(token, iat=now - 9999, exp=now))
    assert (stale.status, stale.at) == ("stale", now)
    elsewhere = client.ask(*client.enrolment(token, v=3))
    assert (elsewhere.status, elsewhere.reason) == ("refused", "version")
    assert sum(server.store.count_clients().values()) == 0


def test_a_revoked_client_does_not_come_back_by_its_old_invitation(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = server.invite(uses=2)
    client = new(server, pairs[0])
    client.enrol(token)
    server.store.set_client(client.cid or "", status="revoked")
    assert forbidden(post_enrol(client, token))


def test_one_key_that_asks_all_the_time_is_slowed_down(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    token = replace(server.invite(), secret="0" * 64)
    client = new(server, pairs[0])
    statuses = [post_enrol(client, token).status for _ in range(9)]
    assert statuses == [403] * 6 + [429] * 3
    assert post_enrol(new(server, pairs[1]), token).status == 403  # others are not


def test_one_address_that_asks_all_the_time_is_slowed_down(
    tmp_path: Path, prepared: Path, pairs: list[KeyPair]
) -> None:
    proxies = ("127.0.0.1",)
    with simulated_server(tmp_path, prepared=prepared, trusted_proxies=proxies) as server:
        body = b"data=x&signature=x"

        def ask(address: str) -> Reply:
            return server.send(
                "POST",
                envelope.ENROLL,
                body,
                {
                    "Content-Type": "application/x-www-form-urlencoded",
                    "X-Forwarded-For": f"6.6.6.6, {address}",
                },
            )

        half = server.settings.limits.enrolments_per_minute // 2
        assert {ask("203.0.113.7").status for _ in range(half)} == {403}
        slowed = ask("203.0.113.7")
        assert (slowed.status, slowed.body) == (429, ERROR)
        assert 1 <= int(slowed.headers["retry-after"]) <= 60
        assert ask("203.0.113.8").status == 403


def test_strangers_do_not_use_up_what_invited_machines_may_ask(
    tmp_path: Path, prepared: Path, pairs: list[KeyPair]
) -> None:
    limits = LimitSettings(enrolments_per_minute=4)
    with simulated_server(
        tmp_path, prepared=prepared, limits=limits, trusted_proxies=("127.0.0.1",)
    ) as server:
        token = server.invite(uses=8)

        def enrol(number: int, token: tokens.Token) -> int:
            client = new(server, pairs[number])
            send, origin = client.send, {"X-Forwarded-For": f"203.0.113.{number}"}
            client.send = lambda m, p, b, h: send(m, p, b, {**h, **origin})
            return post_enrol(client, token).status

        for number in range(4):
            assert enrol(number, replace(token, secret="0" * 64)) == 403
        assert [enrol(number, token) for number in range(5)] == [200] * 4 + [429]


def test_what_an_invitation_must_be(server: SimulatedServer, tmp_path: Path) -> None:
    now = server.clock()
    with pytest.raises(UsageError, match="expire in the future"):
        invite(server.store, now=now, expires_at=now)
    with pytest.raises(UsageError, match="1 to"):
        invite(server.store, now=now, expires_at=now + timedelta(days=1), uses=0)
    invitation, token = invite(server.store, now=now, expires_at=now + timedelta(days=1))
    assert tokens.parse(str(token)) == token
    assert server.store.invitation(token.invitation_id) is not None
    assert invitation.secret == token.secret


# --- news ------------------------------------------------------------------------------------


def test_nothing_new_is_said_signed_and_for_this_question(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    client = new(server, pairs[0])
    client.enrol(server.invite())
    answer = client.update()
    assert answer.status == "ok"
    assert not answer.is_receipt
    assert answer.details == {"root": 1, "release": None, "commands": []}


def test_a_question_writes_when_it_was_seen_once_in_five_minutes(
    server: SimulatedServer, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(type(server.store), "seen", lambda self, cid, at: seen.append(at))
    client = new(server, pairs[0])
    client.enrol(server.invite())
    server.clock.forward(seconds=-180)  # signatures have real times: stay near
    for _ in range(3):
        client.update()
        server.clock.forward(seconds=60)
    assert len(seen) == 1
    server.clock.forward(seconds=120)
    client.update()
    assert len(seen) == 2


def test_a_retired_client_is_told(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    client = new(server, pairs[0])
    client.enrol(server.invite())
    server.store.set_client(client.cid or "", status="retired")
    assert (client.update().status, client.update().reason) == ("refused", "retired")
    server.store.set_client(client.cid or "", status="revoked")
    with pytest.raises(TrustError, match="403"):
        client.update()


def test_a_submission_is_no_question(server: SimulatedServer, pairs: list[KeyPair]) -> None:
    client = new(server, pairs[0])
    client.enrol(server.invite())
    answer = client.ask(client.envelope("update", typ="submit", ep=envelope.UPDATE), {})
    assert (answer.status, answer.reason) == ("refused", "type")


# --- root documents --------------------------------------------------------------------------


def test_every_version_of_the_root_document_is_served(
    server: SimulatedServer, prepared: Path, pairs: list[KeyPair]
) -> None:
    client = new(server, pairs[0])
    client.enrol(server.invite())
    first = server.store.root(1)
    assert first is not None
    old = rootdoc.load(first.document, client.verifier)
    home = str(prepared / "server/keys/root")
    text = rootdoc.build(replace(old, version=2))
    with GpgSigner(home, keys.list_keys(home)[0].fingerprint) as signer:
        document = signedtext.SignedText(text=text, sigs=(signer.sign(text.encode()),)).pack()
    server.store.put_root(RootDocument(version=2, document=document))
    for version, expected in ((1, first.document), (2, document)):
        reply = server.send("GET", f"/qlmdm/v1/root/{version}", b"", {})
        assert (reply.status, reply.body) == (200, expected)
        assert "immutable" in reply.headers["cache-control"]
    assert rootdoc.advance(old, document, client.verifier).version == 2
    # A machine that is invited now pins the second, and finds it.
    late = new(server, pairs[1])
    assert late.enrol(server.invite()).status == "ok"
    assert late.root is not None
    assert late.root.version == 2


@pytest.mark.parametrize(
    "version",
    [
        *("0", "3", "-1", "x", "1.0", "99999999999999999999", "%2e%2e", "1/2"),
        *("01", "+1", "1%0a", "%201", "%D9%A1", "%EF%BC%91"),
    ],
)
def test_other_versions_do_not_exist(server: SimulatedServer, version: str) -> None:
    reply = server.send("GET", f"/qlmdm/v1/root/{version}", b"", {})
    assert (reply.status, reply.body) == (404, ERROR)


def test_a_document_that_lets_the_online_key_do_more_is_never_issued(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    found = server.store.root()
    assert found is not None
    root = rootdoc.load(found.document, new(server, pairs[0]).verifier)
    online = root.roles["online"].fingerprints
    roles = {**root.roles, "release": Role(fingerprints=online)}
    with pytest.raises(TrustError, match="online key may not"):
        rootdoc.build(replace(root, roles=roles))


# --- the rest ---------------------------------------------------------------------------------


def test_health_and_readiness(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.send("GET", "/healthz", b"", {}).status == 200
    assert server.send("GET", "/readyz", b"", {}).status == 200


def test_not_ready_without_its_database(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlmdm_core.errors import StoreUnavailableError

    def away(_: object) -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(type(server.store), "ping", away)
    reply = server.send("GET", "/readyz", b"", {})
    assert (reply.status, said(reply)) == (503, {"status": "error"})
    assert server.send("GET", "/healthz", b"", {}).status == 200


def test_other_addresses_and_methods(server: SimulatedServer) -> None:
    assert server.send("GET", "/", b"", {}).status == 404
    assert server.send("GET", envelope.SUBMIT, b"", {}).status == 405
    assert server.send("POST", "/qlmdm/v1/nothing", b"", {}).status == 404


def test_a_bug_is_a_500_without_details(
    server: SimulatedServer, pairs: list[KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("with details")

    monkeypatch.setattr(type(server.store), "root", bug)
    reply = server.send("GET", "/qlmdm/v1/root/1", b"", {})
    assert (reply.status, reply.body) == (500, ERROR)


def test_a_store_of_no_server_is_not_served(server: SimulatedServer) -> None:
    server.store.set_meta("server_id", None)
    rest: Any = {
        "signer": server.crypto.signer,
        "verifier": server.crypto.verifier,
        "clock": server.clock,
    }
    with pytest.raises(NotSetUpError, match="qlmdm-server-setup"):
        create_app(server.store, server.settings, **rest)
    server.store.set_meta("server_id", "0123456789")
    settings = replace(server.settings, trusted_proxies=("nonsense",))
    with pytest.raises(SettingsError, match="trusted_proxies"):
        create_app(server.store, settings, **rest)


# --- plugins' addresses -------------------------------------------------------------------------


class Badges:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_post(self, req: falcon.Request, resp: falcon.Response, **params: object) -> None:
        self.seen.append((req.context.envelope.cid, req.context.body["badge"], params))
        resp.media = {"thanks": True}

    def on_get(self, req: falcon.Request, resp: falcon.Response, **params: object) -> None:
        resp.media = {"open": True}


def test_a_plugins_address_is_reached_by_authenticated_clients_only(
    tmp_path: Path, prepared: Path, pairs: list[KeyPair]
) -> None:
    badges = Badges()
    routes = (
        PluginRoute("acme", Route(path="badges/{kind}", resource=badges)),
        PluginRoute("acme", Route(path="open", resource=badges, auth="none")),
        PluginRoute("evil", Route(path="../submit", resource=badges)),
        PluginRoute("evil", Route(path="fine", resource=badges, auth="none")),
        PluginRoute("clumsy", Route(path="a/{", resource=badges)),
    )
    with simulated_server(tmp_path, prepared=prepared, routes=routes) as server:
        client = new(server, pairs[0])
        client.enrol(server.invite())
        path = "/qlmdm/v1/x/acme/badges/red"
        data = envelope.build(client.envelope("plugin", ep=path), {"badge": 7})
        reply = client.post(path, data)
        assert (reply.status, said(reply)) == (200, {"thanks": True})
        assert badges.seen == [(client.cid, 7, {"kind": "red"})]
        assert forbidden(client.post(path, data, client.key.signer.sign(b"")))
        assert forbidden(server.send("GET", path, b"", {}))
        elsewhere = envelope.build(client.envelope("plugin", ep=path + "x"), {"badge": 7})
        assert said(client.post(path, elsewhere))["reason"] == "endpoint"
        assert len(badges.seen) == 1
        assert server.send("GET", "/qlmdm/v1/x/acme/open", b"", {}).status == 200
        # The distribution with a bad address gets none; the server works.
        assert server.send("GET", "/qlmdm/v1/x/evil/fine", b"", {}).status == 404
        assert client.submit().is_receipt
        server.store.set_client(client.cid or "", status="retired")
        assert said(client.post(path, data))["reason"] == "retired"
