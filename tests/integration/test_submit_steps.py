"""`/submit`, step by step: each of the twelve failing alone, and what that looks like.

The server is really set up on SQLite, keys are real; only the socket is missing. A helper
changes one thing about a message that is otherwise right, so that just one step can object.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from qlmdm_core import envelope
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import StoreUnavailableError, TrustError
from qlmdm_core.signing import PublicKey, Signature, keys
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.store.records import ClientStatus
from qlmdm_core.testing.client import (
    KeyPair,
    Reply,
    SimulatedClient,
    multipart,
)
from qlmdm_core.testing.server import SimulatedServer, simulated_server

SUBMIT = envelope.SUBMIT
ERROR = b'{"status":"error"}'


@pytest.fixture
def client(server: SimulatedServer, pairs: list[KeyPair]) -> SimulatedClient:
    return enrolled(server, pairs[0])


def enrolled(server: SimulatedServer, pair: KeyPair, **details: Any) -> SimulatedClient:
    client = SimulatedClient(server.send, pair, clock=server.clock, **details)
    assert client.enrol(server.invite()).status == "ok"
    return client


def message(client: SimulatedClient, **changes: Any) -> bytes:
    """A right submission but for changes of the envelope."""
    return envelope.build(client.submission(**changes), {"report": client.report()})


def stored_nothing(server: SimulatedServer, client: SimulatedClient) -> bool:
    assert client.cid is not None
    found = server.store.client(client.cid)
    return found is not None and found.seq == 0 and server.store.report(client.cid) == b"{}"


def the_one_403(reply: Reply, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """The identical answer, and the reason only in the log, under the response's id."""
    assert reply.status == 403
    assert reply.body == ERROR
    ours = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    assert ours == {"content-type": "application/json", "content-length": str(len(ERROR))}
    (record,) = [r for r in caplog.records if r.name == "qlmdm_core.server.app"]
    assert reason in record.getMessage()
    assert record.__dict__["request_id"] == reply.headers["x-request-id"]
    caplog.clear()


def test_a_report_is_stored_and_a_receipt_names_it(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    answer = client.submit(client.report(firewall={"state": "on"}))
    assert answer.is_receipt
    assert answer.status == "ok"
    assert client.cid is not None
    report = json.loads(server.store.report(client.cid) or b"")
    assert report["firewall"]["value"] == {"state": "on"}
    found = server.store.client(client.cid)
    assert found is not None
    assert (found.seq, found.hostname, found.boot) == (1, "laptop1", client.boot)


# --- 1 and 2: the form --------------------------------------------------------------------


def raw(
    client: SimulatedClient, body: bytes, content_type: str, headers: Mapping[str, str] = {}
) -> Reply:
    return client.send("POST", SUBMIT, body, {"Content-Type": content_type, **headers})


def test_step_1_size_is_judged_before_parsing(
    server: SimulatedServer, client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    limit = server.settings.limits.body
    body, content_type = multipart(b"x" * (limit + 10_000), "sig")
    the_one_403(raw(client, body, content_type), caplog, "a body of")
    body, content_type = multipart(b"x" * (limit + 1), "sig")
    the_one_403(raw(client, body, content_type), caplog, "a field is too large")
    body, content_type = multipart(b"x", "s" * 5000)
    the_one_403(raw(client, body, content_type), caplog, "a field is too large")


def test_step_1_a_report_of_50_megabytes_is_refused(
    server: SimulatedServer, client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    report = client.report(huge={"state": "available", "text": "x" * 50_000_000})
    form = envelope.build(client.submission(), {"report": report})
    the_one_403(client.post(SUBMIT, form), caplog, "a body of 50")
    assert stored_nothing(server, client)
    assert client.submit(client.report(firewall={"state": "on"})).status == "ok"


def test_step_1_a_hundred_megabytes_are_refused_by_their_announcement(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    _, content_type = multipart(b"", "")
    reply = raw(client, b"", content_type, {"Content-Length": "100000000"})
    the_one_403(reply, caplog, "a body of 100000000 bytes")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "text/plain",
        "",
        "multipart/mixed; boundary=x",
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=x; charset=utf-16",
        "multipart/form-data; boundary=" + "x" * 71,
        "application/x-www-form-urlencoded-not",
    ],
)
def test_step_1_other_content_types(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture, content_type: str
) -> None:
    body, _ = multipart(message(client), "x")
    the_one_403(raw(client, body, content_type), caplog, "content type")


def test_step_1_a_body_shorter_than_announced(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    body, content_type = multipart(message(client), "x")
    reply = raw(client, body, content_type, {"Content-Length": str(len(body) + 1)})
    the_one_403(reply, caplog, "shorter than announced")


def test_both_encodings_are_taken(client: SimulatedClient) -> None:
    request = client.submission()
    data = envelope.build(request, {"report": client.report(x={"é": "+&=%\n"})})
    form = urlencode({"signature": client.key.signer.sign(data), "data": data}).encode()
    reply = raw(client, form, "application/x-www-form-urlencoded; charset=utf-16")
    assert client.open(request, data, reply).is_receipt
    request = client.submission()
    data = envelope.build(request, {"report": client.report()})
    as_curl = (
        b'--b\r\nContent-Disposition: form-data; name="signature"; filename="s.asc"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n"
        b'--b\r\ncontent-disposition: form-data; name="data"\r\n\r\n%s\r\n--b--\r\n'
    ) % (client.key.signer.sign(data).encode(), data)
    reply = raw(client, as_curl, 'multipart/form-data; boundary="b"')
    assert client.open(request, data, reply).is_receipt


def part(name: str, value: bytes, headers: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"data=x",
        b"signature=x",
        b"data=x&data=x&signature=x",
        b"data=x&signature=x&signature=x",
        b"data=x&signature=x&extra=x",
        b"data[]=x&signature=x",
        b"Data=x&signature=x",
        b"data=x;signature=x",
        b"data=x&signature=\xff",
    ],
)
def test_step_2_exactly_one_of_each_urlencoded(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    reply = raw(client, body, "application/x-www-form-urlencoded")
    the_one_403(reply, caplog, "ASCII" if b"\xff" in body else "exactly one")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d, s: part("data", d) + END, "exactly one"),
        (lambda d, s: part("data", d) * 2 + part("signature", s) + END, "exactly one"),
        (lambda d, s: part("data", d) + part("signature", s) * 2 + END, "exactly one"),
        (lambda d, s: part("data", d) + part("signature", s) + part("x", s) + END, "exactly one"),
        (lambda d, s: part("data", d) + part("signature", s), "begin or end"),
        (lambda d, s: b"x" + part("data", d) + part("signature", s) + END, "begin or end"),
        (lambda d, s: part("data", d) + part("signature", s) + END + b"x", "begin or end"),
        (lambda d, s: part("data", d) + part("signature", s) + END + END, "without headers"),
        (
            lambda d, s: (
                part("data", d, "Content-Transfer-Encoding: base64\r\n")
                + part("signature", s)
                + END
            ),
            "the header",
        ),
        (
            lambda d, s: part("data", d, "Content-Length: 5\r\n") + part("signature", s) + END,
            "the header",
        ),
        (
            lambda d, s: (
                part("data", d, 'Content-Disposition: form-data; name="signature"\r\n')
                + part("signature", s)
                + END
            ),
            "the header",
        ),
        (lambda d, s: b"--b\r\n\r\n" + d + b"\r\n" + part("signature", s) + END, "without"),
        (lambda d, s: b"--b\r\nnothing\r\n" + part("signature", s) + END, "without headers"),
        (lambda d, s: part("da\tta", d) + part("signature", s) + END, "the header"),
        (lambda d, s: part('data"; name="x', d) + part("signature", s) + END, "the header"),
    ],
)
def test_step_2_multipart_with_lying_or_missing_parts(
    client: SimulatedClient,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[bytes, bytes], bytes],
    reason: str,
) -> None:
    data = message(client)
    body = make(data, client.key.signer.sign(data).encode())
    the_one_403(raw(client, body, "multipart/form-data; boundary=b"), caplog, reason)


def test_the_same_parts_without_the_lie_are_taken(client: SimulatedClient) -> None:
    data = message(client)
    signature = client.key.signer.sign(data).encode()
    body = part("data", data, "Content-Type: text/plain; charset=utf-16\r\n")
    body += part("signature", signature) + END
    assert raw(client, body, "multipart/form-data; boundary=b").status == 200


# --- 3: the key ---------------------------------------------------------------------------


def test_step_3_an_unknown_key(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stranger = SimulatedClient(server.send, pairs[1], clock=server.clock)
    stranger.root, stranger.cid = client.root, client.cid
    the_one_403(stranger.post(SUBMIT, message(stranger)), caplog, "an unknown key")
    assert stored_nothing(server, client)


def test_step_3_a_revoked_key(
    server: SimulatedServer, client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.cid is not None
    server.store.set_client(client.cid, status="revoked")
    the_one_403(client.post(SUBMIT, message(client)), caplog, "a revoked key")
    assert stored_nothing(server, client)


@pytest.mark.parametrize("signature", ["", "x", "-----BEGIN PGP SIGNATURE-----\n\n\n"])
def test_step_3_no_signature(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture, signature: str
) -> None:
    body, content_type = multipart(message(client), signature)
    the_one_403(raw(client, body, content_type), caplog, "exactly one ASCII-armoured")


# --- 4: the signature ---------------------------------------------------------------------


def test_step_4_a_signature_over_something_else(
    server: SimulatedServer, client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    data = message(client)
    reply = client.post(SUBMIT, data, client.key.signer.sign(data + b" "))
    the_one_403(reply, caplog, "not a good signature")
    reply = client.post(SUBMIT, data.replace(b"laptop1", b"laptop2"), client.key.signer.sign(data))
    the_one_403(reply, caplog, "not a good signature")
    assert stored_nothing(server, client)


def test_step_4_comes_before_anything_reads_data(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    reply = client.post(SUBMIT, b"[" * 100_000, client.key.signer.sign(b"other"))
    the_one_403(reply, caplog, "not a good signature")


# --- 5: strict JSON that names the key ----------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ""),
        (b"no json", ""),
        (b"[" * 100_000, "nested deeper"),
        (b'{"envelope":{},"envelope":{}}', "duplicate key"),
        (b'{"envelope":{"seq":NaN}}', "NaN"),
        (b'{"envelope":{"boot":"\\ud800"}}', "surrogate"),
        (b'{"envelope":{}}', "envelope's v"),
        (b"[]", "JSON object"),
    ],
)
def test_step_5_no_strict_json(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    the_one_403(client.post(SUBMIT, data), caplog, reason)


def test_step_5_another_key_than_the_one_that_signed(
    server: SimulatedServer,
    client: SimulatedClient,
    pairs: list[KeyPair],
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = enrolled(server, pairs[1])
    caplog.clear()
    data = message(client, kid=other.key.signer.fingerprint)
    the_one_403(client.post(SUBMIT, data), caplog, "names another key")


def test_steps_1_to_5_look_the_same_from_outside(
    client: SimulatedClient, pairs: list[KeyPair]
) -> None:
    stranger = SimulatedClient(client.send, pairs[2])
    replies = [
        raw(client, b"", "text/plain"),
        raw(client, b"data=1", "application/x-www-form-urlencoded"),
        stranger.post(SUBMIT, b"{}"),
        client.post(SUBMIT, b"{}", client.key.signer.sign(b"")),
        client.post(SUBMIT, b"{}"),
    ]
    seen = {
        (
            r.status,
            r.body,
            tuple(sorted(set(r.headers.items()) - {("x-request-id", r.headers["x-request-id"])})),
        )
        for r in replies
    }
    assert len(seen) == 1


# --- 6: for us, for this address ----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 3}, "version"),
        ({"typ": "update"}, "type"),
        ({"srv": "another-server"}, "server"),
        ({"ep": envelope.UPDATE}, "endpoint"),
    ],
)
def test_step_6_meant_for_somebody_else(
    server: SimulatedServer, client: SimulatedClient, changes: dict[str, Any], reason: str
) -> None:
    answer = told(client, **changes)
    assert (answer.status, answer.reason) == ("refused", reason)
    assert stored_nothing(server, client)


def told(client: SimulatedClient, report: Any = None, **changes: Any) -> Answer:
    """The signed answer to a submission that is posted to /submit whatever it says."""
    request = client.submission(**changes)
    data = envelope.build(request, {"report": client.report() if report is None else report})
    return client.open(request, data, client.post(SUBMIT, data))


# --- 7: time -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 86_400])
def test_step_7_a_clock_that_is_wrong_learns_the_servers_time(
    server: SimulatedServer, client: SimulatedClient, seconds: int
) -> None:
    now = int(server.clock().timestamp())
    answer = told(client, iat=now + seconds, exp=now + seconds + 120)
    assert answer.status == "stale"
    assert answer.at == now
    assert not answer.is_receipt
    assert stored_nothing(server, client)


@pytest.mark.parametrize("seconds", [-299, 299])
def test_step_7_a_small_difference_is_allowed(client: SimulatedClient, seconds: int) -> None:
    now = int(client.clock().timestamp())
    assert told(client, iat=now + seconds, exp=now + seconds + 120).is_receipt


def test_step_7_a_message_that_is_over_or_never_will_be(client: SimulatedClient) -> None:
    now = int(client.clock().timestamp())
    assert told(client, exp=now - 301).status == "stale"
    assert told(client, exp=now - 1).reason == "lifetime"
    assert told(client, exp=now + 100_000).reason == "lifetime"


@pytest.mark.parametrize("hours", [1, -1])
def test_step_7_an_old_or_early_signature_under_a_fresh_envelope(
    server: SimulatedServer, client: SimulatedClient, hours: int
) -> None:
    server.clock.forward(hours=hours)  # the envelope follows, gpg's clock does not
    assert told(client).status == "stale"
    assert stored_nothing(server, client)


def test_step_7_a_signature_from_the_future_is_still_that_clients(
    server: SimulatedServer, tmp_path: Path
) -> None:
    home = str(tmp_path / "h")
    key = keys.make_key(home, "x")
    with GpgSigner(home, key.fingerprint) as signer:
        client = enrolled(server, KeyPair(signer, key.armoured))
        signer.clock_offset = 86_400.0
        assert told(client).status == "stale"


def test_step_7_an_expired_key(server: SimulatedServer, client: SimulatedClient) -> None:
    class Expired:
        def verify(self, data: bytes, signature: Any, allowed: list[PublicKey]) -> Signature:
            good = server.crypto.verifier.verify(data, signature, allowed)
            return replace(good, key_expired_at=server.clock())

    gate = server.app._router.find(SUBMIT)[0]._gate
    gate._verifier = Expired()
    answer = told(client)
    assert (answer.status, answer.reason) == ("refused", "key_expired")
    assert stored_nothing(server, client)


# --- 8: whose key -------------------------------------------------------------------------


def test_step_8_the_id_of_somebody_else(
    server: SimulatedServer, client: SimulatedClient, pairs: list[KeyPair]
) -> None:
    other = enrolled(server, pairs[1])
    request = client.submission(cid=other.cid)
    data = envelope.build(request, {"report": client.report()})
    answer = client.open(request, data, client.post(SUBMIT, data))
    assert (answer.status, answer.reason) == ("refused", "not_your_key")
    assert stored_nothing(server, other)
    assert stored_nothing(server, client)
    assert told(client, cid=None).reason == "not_your_key"


# --- 9: the report ------------------------------------------------------------------------


def collector(**changes: Any) -> dict[str, Any]:
    result = {
        "status": "ok",
        "value": {},
        "collected_at": "2026-05-01T10:00:00Z",
        "seconds": 1,
        **changes,
    }
    return {name: part for name, part in result.items() if part is not ...}


def with_collector(name: str = "x", **changes: Any) -> dict[str, Any]:
    return {"hostname": "h", "collectors": {name: collector(**changes)}}


@pytest.mark.parametrize(
    ("report", "where"),
    [
        ([], "report:"),
        ({"collectors": {}}, "report.hostname"),
        ({"hostname": "", "collectors": {}}, "report.hostname"),
        ({"hostname": "x" * 256, "collectors": {}}, "report.hostname"),
        ({"hostname": "h"}, "report.collectors"),
        ({"hostname": "h", "collectors": []}, "report.collectors"),
        ({"hostname": "h", "collectors": {f"c{n}": {} for n in range(257)}}, "at most 256"),
        ({"hostname": "h", "collectors": {}, "release": "new"}, "report.release"),
        ({"hostname": "h", "collectors": {"x": []}}, "report.collectors.x:"),
        (with_collector("$set"), "'$set'"),
        (with_collector("a.b"), "'a.b'"),
        (with_collector("x\0"), "x"),
        (with_collector(status="OK"), "x.status"),
        (with_collector(status=1), "x.status"),
        (with_collector(value=...), "x.value"),
        (with_collector(status="error"), "x.value"),
        (with_collector(error="e" * 4097), "x.error"),
        (with_collector(value_sha256="A" * 64), "x.value_sha256"),
        (with_collector(private=True), "x.value_sha256"),
        (with_collector(private=1), "x.private"),
        (with_collector(collected_at="yesterday"), "x.collected_at"),
        (with_collector(collected_at="2026-05-01T10:00:00+02:00"), "x.collected_at"),
        (with_collector(collected_at=...), "x.collected_at"),
        (with_collector(seconds=-1), "x.seconds"),
        (with_collector(seconds=True), "x.seconds"),
        (with_collector(seconds="1"), "x.seconds"),
    ],
)
def test_step_9_what_is_no_report_is_called_malformed_with_the_place(
    server: SimulatedServer, client: SimulatedClient, report: Any, where: str
) -> None:
    answer = told(client, report)
    assert answer.status == "malformed"
    assert where in answer.reason
    assert stored_nothing(server, client)


def test_step_9_a_record_needs_an_id_and_a_number(client: SimulatedClient) -> None:
    assert told(client, rid=None).status == "malformed"
    assert told(client, seq=0).status == "malformed"


def test_hostile_names_within_values_pass_through_untouched(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    value = {"$set": {"a.b": "\0", "__proto__": [None, 1.5, True]}, "": "'; DROP TABLE clients"}
    assert client.submit(client.report(x=value)).is_receipt
    assert client.cid is not None
    assert json.loads(server.store.report(client.cid) or b"")["x"]["value"] == value


def test_unknown_fields_of_a_newer_client_are_no_reason_to_refuse(client: SimulatedClient) -> None:
    report = {**with_collector(later=1), "later": {"x": 1}}
    assert told(client, report, extra={"later": 1}).is_receipt


def test_a_failed_collector_is_data(server: SimulatedServer, client: SimulatedClient) -> None:
    report = with_collector(status="timeout", value=..., error="killed after 30 s")
    assert told(client, report).is_receipt
    assert client.cid is not None
    stored = json.loads(server.store.report(client.cid) or b"")
    assert stored["x"]["status"] == "timeout"


# --- 10: may it? --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told_status"), [("pending", "pending"), ("retired", "refused")]
)
def test_step_10_a_client_that_may_not_report(
    server: SimulatedServer, client: SimulatedClient, status: ClientStatus, told_status: str
) -> None:
    assert client.cid is not None
    server.store.set_client(client.cid, status=status)
    assert told(client).status == told_status
    assert stored_nothing(server, client)


# --- 11: once, atomically -----------------------------------------------------------------


def test_step_11_an_old_number_is_behind_and_says_the_last(client: SimulatedClient) -> None:
    assert told(client, seq=5).is_receipt
    for seq in (5, 4, 1):
        answer = told(client, seq=seq)
        assert (answer.status, answer.last_seq) == ("behind", 5)
        assert not answer.is_receipt
    assert told(client, seq=6).is_receipt


def test_step_11_a_captured_message_posted_again_changes_nothing(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    request = client.submission()
    data = envelope.build(request, {"report": client.report(x={"state": "old"})})
    signature = client.key.signer.sign(data)
    assert client.open(request, data, client.post(SUBMIT, data, signature)).status == "ok"
    client.submit(client.report(x={"state": "new"}))
    server.clock.forward(minutes=1)
    again = client.open(request, data, client.post(SUBMIT, data, signature))
    assert again.status == "repeated"  # its receipt again, as after a lost answer
    assert client.cid is not None
    stored = json.loads(server.store.report(client.cid) or b"")
    assert stored["x"]["value"] == {"state": "new"}


def test_step_11_a_captured_message_posted_elsewhere_is_refused(client: SimulatedClient) -> None:
    request = client.submission()
    data = envelope.build(request, {"report": client.report()})
    answer = client.open(request, data, client.post(envelope.UPDATE, data))
    assert (answer.status, answer.reason) == ("refused", "type")


def test_step_11_a_known_record_is_acknowledged_again_whatever_its_number(
    client: SimulatedClient,
) -> None:
    rid = str(uuid.uuid4())
    first = told(client, rid=rid)
    second = told(client, rid=rid)
    assert (first.status, second.status) == ("ok", "repeated")
    assert second.is_receipt
    assert first.details["accepted_at"] == second.details["accepted_at"]


def test_step_11_one_message_many_times_at_once_is_stored_once(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    request = client.submission()
    data = envelope.build(request, {"report": client.report()})
    signature = client.key.signer.sign(data)
    ready = threading.Barrier(4)

    def post(_: int) -> str:
        ready.wait(30)
        return client.open(request, data, client.post(SUBMIT, data, signature)).status

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(post, range(4)))
    assert found == ["ok"] + ["repeated"] * 3
    assert client.cid is not None
    assert len(server.store.changes(client.cid)) == 1


def test_step_11_a_store_that_is_away_asks_for_patience(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("locked")

    monkeypatch.setattr(type(server.store), "accept", away)
    answer = told(client)
    assert (answer.status, answer.retry_after) == ("retry_after", 60.0)
    assert not answer.is_receipt


def test_a_store_that_is_away_at_the_door_is_a_plain_503(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("locked")

    monkeypatch.setattr(type(server.store), "key", away)
    reply = client.post(SUBMIT, message(client))
    assert (reply.status, reply.body) == (503, ERROR)
    assert reply.headers["retry-after"] == "60"


# --- 12: the answer -----------------------------------------------------------------------


def test_step_12_the_answer_is_signed_by_the_online_key_and_for_this_message(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    assert client.root is not None
    assert server.crypto.signer.fingerprint in client.root.roles["online"].fingerprints
    request = client.submission()
    data = envelope.build(request, {"report": client.report()})
    reply = client.post(SUBMIT, data)
    answer = client.open(request, data, reply)
    assert (answer.rid, answer.nonce, answer.cid) == (request.rid, request.nonce, client.cid)
    assert answer.sha256 == envelope.sha256_hex(data)
    with pytest.raises(TrustError, match="another request"):
        client.open(replace(request, nonce="0" * 32), data, reply)


# --- beside the steps ---------------------------------------------------------------------


def test_a_message_from_another_machine_marks_a_duplicate(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    client.submit()
    assert client.cid is not None
    before = server.store.client(client.cid)
    assert before is not None
    assert before.flags == {}
    assert told(client, mid="f" * 64).is_receipt  # both are kept
    marked = server.store.client(client.cid)
    assert marked is not None
    assert marked.flags["duplicate_identity"]["mid"] == "f" * 64
    client.submit()  # the original does not take the mark away
    still = server.store.client(client.cid)
    assert still is not None
    assert "duplicate_identity" in still.flags


def test_falling_behind_from_two_boots_marks_a_duplicate(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    def flags() -> Mapping[str, Any]:
        found = server.store.client(client.cid or "")
        assert found is not None
        return found.flags

    told(client, seq=10)
    for _ in range(10):  # one machine that was restored from a backup: no copy
        assert told(client, seq=3).status == "behind"
    assert flags() == {}
    for boot in ("boot-a", "boot-b", "boot-a", "boot-b"):
        told(client, seq=3, boot=boot)
    assert "duplicate_identity" in flags()


def test_a_deprecated_address_is_marked_and_unmarked(
    tmp_path: Path, prepared: Path, pairs: list[KeyPair]
) -> None:
    # Falcon's test client calls the server by this name.
    old = ("http://falconframework.org:80", "https://old.example.com")
    with simulated_server(tmp_path, prepared=prepared, deprecated_urls=old) as server:
        client = enrolled(server, pairs[0])
        client.submit()
        found = server.store.client(client.cid or "")
        assert found is not None
        assert found.flags == {"deprecated_url": old[0]}
        send = client.send
        client.send = lambda m, p, b, h: send(m, p, b, {**h, "Host": "new.example.com"})
        client.submit()
        found = server.store.client(client.cid or "")
        assert found is not None
        assert found.flags == {}


def test_the_server_can_do_without_pysequoia(
    tmp_path: Path, prepared: Path, pairs: list[KeyPair]
) -> None:
    with simulated_server(tmp_path, prepared=prepared, engine="gpg") as server:
        client = enrolled(server, pairs[0])
        assert client.submit().is_receipt
        assert client.update().status == "ok"
        reply = client.post(SUBMIT, message(client), client.key.signer.sign(b"other"))
        assert (reply.status, reply.body) == (403, ERROR)


def test_nothing_that_was_sent_is_logged(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.submit(client.report(x={"state": "a-secret-value"}))
    told(client, {"hostname": "a-secret-value"})
    assert "a-secret-value" not in caplog.text
