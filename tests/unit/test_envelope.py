"""Messages and answers: what is read back, what is refused, what an answer must name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import envelope, tokens
from qlmdm_core.envelope import Answer, Envelope, EnvelopeError
from qlmdm_core.errors import SignatureError, TrustError, UsageError
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import PublicKey, Signature
from qlmdm_core.strictjson import JsonError

KEY = "A" * 40
ONLINE = [PublicKey(fingerprint="B" * 40, armoured="")]
REQUEST = Envelope(
    typ="submit",
    srv="server-1",
    ep=envelope.SUBMIT,
    cid="7d0c",
    kid=KEY,
    mid="e3b0",
    boot="1b4e28ba",
    nonce="0123456789abcdef" * 2,
    seq=7,
    iat=1_700_000_000,
    exp=1_700_000_120,
    rid="5a3f",
)


class Nodding:
    """A verifier for which the armour is the fingerprint, and good if it is allowed."""

    def verify(self, data: bytes, signature: object, allowed: Sequence[PublicKey]) -> Signature:
        for key in allowed:
            if key.fingerprint == signature:
                return Signature(
                    fingerprint=key.fingerprint, created_at=datetime.now(timezone.utc), hash="x"
                )
        raise SignatureError("no")


def test_a_message_is_read_back() -> None:
    body = {"report": {"a": [1, "é", None]}, "later": True}
    data = envelope.build(REQUEST, body)
    assert data.isascii()
    message = envelope.parse(data, max_bytes=len(data))
    assert message.envelope == REQUEST
    assert message.body == body


def test_unknown_fields_of_the_envelope_are_kept() -> None:
    data = envelope.build(replace(REQUEST, extra={"new": 1}), {})
    found = envelope.parse(data, max_bytes=len(data)).envelope
    assert found.extra == {"new": 1}
    assert found.to_dict()["new"] == 1
    fields: dict[str, Any] = REQUEST.to_dict()
    del fields["cid"]  # one missing, one unknown: as many as usual
    fields["new"] = 2
    assert envelope.from_value({"envelope": fields}).envelope.extra == {"new": 2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", "2"),
        ("v", True),
        ("typ", ""),
        ("typ", "a\nb"),
        ("srv", None),
        ("ep", 1),
        ("cid", ""),
        ("cid", 5),
        ("cid", "a b"),
        ("kid", "a" * 40),
        ("kid", KEY + "\n"),
        ("mid", "x" * 201),
        ("boot", []),
        ("nonce", "0" * 31),
        ("nonce", "G" * 32),
        ("seq", -1),
        ("seq", 2**53 + 1),
        ("seq", 1.0),
        ("iat", True),
        ("exp", None),
        ("rid", {}),
    ],
)
def test_a_malformed_envelope_names_the_field(name: str, value: object) -> None:
    fields = {**REQUEST.to_dict(), name: value}
    with pytest.raises(EnvelopeError, match=f"envelope's {name} is"):
        envelope.from_value({"envelope": fields})


@pytest.mark.parametrize("value", [None, [], "x", {}, {"envelope": []}, {"envelope": {}}])
def test_what_is_no_message(value: object) -> None:
    with pytest.raises(EnvelopeError):
        envelope.from_value(value)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        envelope.parse(data, max_bytes=1000)


@given(st.dictionaries(st.sampled_from([*REQUEST.to_dict(), "x"]), st.integers() | st.text()))
def test_any_fields_are_an_envelope_or_an_error(changes: dict[str, Any]) -> None:
    fields = {**REQUEST.to_dict(), **changes}
    try:
        found = envelope.from_value({"envelope": fields}).envelope
    except EnvelopeError:
        return
    assert found.to_dict() == fields


def test_what_no_reader_would_take_is_not_built() -> None:
    with pytest.raises(JsonError):
        envelope.build(REQUEST, {"report": float("nan")})
    with pytest.raises(ValueError, match="one envelope"):
        envelope.build(REQUEST, {"envelope": {}})


# --- answers --------------------------------------------------------------------------------------


def packed(answer: Answer, *sigs: str) -> bytes:
    return SignedText(text=envelope.answer_text(answer), sigs=sigs or ("B" * 40,)).pack()


def opened(data: bytes, request: Envelope = REQUEST) -> Answer:
    return envelope.open_answer(
        data, request=request, sha256="5e", online=ONLINE, verifier=Nodding()
    )


def ok(**details: Any) -> Answer:
    return envelope.answer_to(REQUEST, envelope.OK, sha256="5e", at=1_700_000_001, **details)


def test_a_receipt_names_the_request() -> None:
    answer = opened(packed(ok(accepted_at="2026-01-01")))
    assert answer.is_receipt
    assert answer.details == {"accepted_at": "2026-01-01"}
    assert (answer.cid, answer.rid, answer.nonce) == (REQUEST.cid, REQUEST.rid, REQUEST.nonce)
    repeated = envelope.answer_to(REQUEST, envelope.REPEATED, sha256="5e", at=1)
    assert opened(packed(repeated)).is_receipt


@pytest.mark.parametrize(
    "status", ["stale", "behind", "malformed", "retry_after", "refused", "pending", "new"]
)
def test_nothing_else_is_a_receipt(status: str) -> None:
    answer = envelope.answer_to(REQUEST, status, sha256="5e", at=1, last_seq=4, retry_after=1.5)
    found = opened(packed(answer))
    assert not found.is_receipt
    assert (found.last_seq, found.retry_after) == (4, 1.5)
    update = replace(ok(), re="update")
    assert not update.is_receipt


@pytest.mark.parametrize(
    "change",
    [
        {"re": "update"},
        {"srv": "server-2"},
        {"cid": "other"},
        {"cid": None},
        {"rid": "other"},
        {"rid": None},
        {"nonce": "f" * 32},
        {"sha256": "ff"},
    ],
)
def test_an_answer_to_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TrustError, match="another request"):
        opened(packed(replace(ok(), **change)))


def test_an_answer_by_another_key_or_by_two_is_refused() -> None:
    for sigs in (("C" * 40,), ("B" * 40, "B" * 40), ("B" * 40, "C" * 40)):
        with pytest.raises(TrustError, match="not signed"):
            opened(packed(ok(), *sigs))
    with pytest.raises(TrustError, match="not signed"):
        opened(SignedText(text=envelope.answer_text(ok()), sigs=()).pack())


def test_a_signed_text_of_another_kind_is_no_answer() -> None:
    values: list[Any] = [{"typ": "root"}, [], {"typ": "answer", "v": 3}, {"typ": "answer", "v": 2}]
    for value in values:
        data = SignedText(text=json.dumps(value), sigs=("B" * 40,)).pack()
        with pytest.raises(TrustError):
            opened(data)


@pytest.mark.parametrize("data", [b"", b"{}", b"<html>", b'{"signed":1,"sigs":[]}', b"[" * 99_999])
def test_garbage_from_the_network_is_a_trust_error(data: bytes) -> None:
    with pytest.raises(TrustError):
        opened(data)


def test_numbers_that_are_none_are_not_used() -> None:
    found = opened(packed(ok(last_seq="7", retry_after=True, reason=None)))
    assert (found.last_seq, found.retry_after, found.reason) == (None, None, "")


def test_after_enrolling_the_answer_gives_the_id() -> None:
    request = replace(REQUEST, typ="enroll", cid=None, rid=None)
    answer = envelope.answer_to(request, envelope.OK, sha256="5e", at=1, cid="new")
    assert opened(packed(answer), request).cid == "new"


# --- tokens -------------------------------------------------------------------------------


def test_a_token_is_read_back_and_hides_its_secret() -> None:
    token = tokens.Token(invitation_id="abcdef12", secret="5" * 64, root_sha256="a" * 64)
    assert tokens.parse(f" {token}\n") == token
    assert "5" * 64 not in repr(token)


@given(st.text())
def test_any_other_text_is_a_usage_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        tokens.parse("qlmdm1.secretsecret." + text)
    assert "secretsecret" not in str(caught.value)


def test_a_proof_is_for_one_server_key_and_message() -> None:
    about = {"server_id": "s", "fingerprint": KEY, "nonce": "n"}
    given_proof = tokens.proof("5" * 64, **about)
    assert tokens.proof_is_right(given_proof, "5" * 64, **about)
    for name in about:
        assert not tokens.proof_is_right(given_proof, "5" * 64, **{**about, name: "x"})
    assert not tokens.proof_is_right(given_proof, "6" * 64, **about)
    assert not tokens.proof_is_right("é", "5" * 64, **about)
