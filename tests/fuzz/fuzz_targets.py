"""What reads bytes that somebody else wrote, and what must come of any bytes at all.

A `Target` is a reader, valid input to begin with, and the errors that it may raise. Anything
else that it raises is a bug. Where a reader gives a value, the value is looked at, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import fuzz_strategies
from hypothesis import strategies as st

from qlmdm_core import commanddoc, envelope, manifest, rootdoc, settings, strictjson, tokens
from qlmdm_core.client.commands.journal import Journal
from qlmdm_core.client.release import layout, tarreader, update
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.errors import (
    SettingsError,
    SignatureError,
    SpoolError,
    TrustError,
    UsageError,
)
from qlmdm_core.server import forms
from qlmdm_core.server.refusals import Forbidden
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import packets
from qlmdm_core.signing.interface import Armour, PublicKey, Signature
from qlmdm_core.testing import releases
from qlmdm_core.testing.powercut import ModelFiles
from qlmdm_core.testing.trust import Ring, make_ring, whole_second

MAX_INPUT = 64 << 10
NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CID = "11111111-1111-4111-8111-111111111111"


class BelievesAll:
    """A verifier that a fuzzer need not fool: what comes behind it is looked at."""

    def verify(self, data: bytes, signature: Armour, allowed: Sequence[PublicKey]) -> Signature:
        """Good, whatever it is."""
        return Signature(fingerprint=allowed[0].fingerprint, created_at=NOW, hash="SHA256")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader."""

    name: str
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    strategy: st.SearchStrategy[bytes]

    def check(self, data: bytes) -> None:
        """Raise what the reader may not."""
        try:
            self.read(data)
        except self.errors:
            return


def make() -> list[Target]:
    """All of them; makes a few keys, which takes a moment."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as home:
        ring = make_ring(home, ["root", "release", "operator", "online"])
    return [
        *_messages(ring),
        *_documents(ring),
        *_forms(),
        *_settings(),
        *_states(),
        _tar(),
        *_armour(ring),
    ]


def _json(
    name: str, read: Callable[[bytes], object], error: type[Exception], value: object
) -> Target:
    return Target(
        name=name,
        read=read,
        errors=(error,),
        seeds=(json.dumps(value).encode(),),
        strategy=fuzz_strategies.json_bytes(value),
    )


def _bytes(
    name: str, read: Callable[[bytes], object], error: type[Exception], *seeds: bytes
) -> Target:
    return Target(
        name=name,
        read=read,
        errors=(error,),
        seeds=seeds,
        strategy=st.one_of(*map(fuzz_strategies.byte_mutants, seeds), st.binary(max_size=300)),
    )


# --- what goes over the wire --------------------------------------------------------------------


def _messages(ring: Ring) -> list[Target]:
    request = envelope.Envelope(
        typ="update",
        srv="0123456789abcdef",
        ep=envelope.UPDATE,
        cid=CID,
        kid="A" * 40,
        mid="0" * 64,
        boot="unknown",
        nonce="0" * 32,
        iat=1,
        exp=121,
    )
    sha256 = "0" * 64
    answer = envelope.answer_dict(
        envelope.answer_to(request, "ok", sha256=sha256, at=2, retry_after=9, last_seq=3, root=1)
    )
    offer = {
        "version": "1.7",
        "manifest": {"sha256": sha256, "size": 700},
        "tar": {"sha256": sha256, "size": 10240},
        "mirrors": ["https://mirror.example/"],
    }

    def read_message(data: bytes) -> None:
        message = envelope.parse(data, max_bytes=MAX_INPUT)
        again = envelope.build(message.envelope, message.body)
        assert envelope.parse(again, max_bytes=2 * len(data) + 1000) == message

    def read_answer(data: bytes) -> None:
        packed = SignedText(text=data.decode("utf-8", "replace"), sigs=("",)).pack()
        found = envelope.open_answer(
            packed,
            request=request,
            sha256=sha256,
            online=[ring.public["online"]],
            verifier=BelievesAll(),
        )
        _ = found.retry_after, found.last_seq, found.reason, found.is_receipt

    def read_offer(data: bytes) -> None:
        try:
            value = strictjson.parse(data, max_bytes=MAX_INPUT)
        except strictjson.JsonError:
            return
        update.read_offer(value)

    return [
        _json(
            "envelope",
            read_message,
            TrustError,
            {"envelope": request.to_dict(), "update": {"root": 1}},
        ),
        _json("answer", read_answer, TrustError, answer),
        _json("offer", read_offer, TrustError, offer),
        _bytes(
            "token",
            lambda data: tokens.parse(data.decode("utf-8", "replace")),
            UsageError,
            b"qlmdm1.abcd1234." + b"0" * 64 + b"." + b"0" * 64,
        ),
    ]


# --- what is signed -----------------------------------------------------------------------------


def _documents(ring: Ring) -> list[Target]:
    root = ring.root(now=whole_second(NOW))
    release = releases.build(ring, "1.7", {"lib/a.py": b"a", "settings.yml": b"b"}, now=NOW)
    command = commanddoc.Command(
        server_id=root.server_id,
        id="0" * 32,
        part=1,
        kind="wipe",
        hosts=(CID,),
        issued_at=NOW,
        expires_at=NOW + timedelta(days=3),
        not_before=NOW + timedelta(minutes=15),
        requested_by="jane",
        wipe=commanddoc.WipeOrder(
            method="erase", machine_id="0" * 32, disk_serials=("S1",), luks_uuids=("u-1",)
        ),
    )

    def pack(data: bytes) -> bytes:
        return SignedText(text=data.decode("utf-8", "replace"), sigs=("", "")).pack()

    def read_root(data: bytes) -> None:
        found = rootdoc.load(pack(data), BelievesAll())
        assert rootdoc.parse(rootdoc.build(found)) == found
        found.is_expired(NOW)
        for role in rootdoc.ROLES:
            found.public_keys(role)
        found.keeper_keys()
        rootdoc.advance(root, pack(data), BelievesAll())

    def read_manifest(data: bytes) -> None:
        found = manifest.verify(pack(data), root, BelievesAll())
        assert manifest.parse(manifest.build(found)) == found
        for file in found.files:
            assert not {"", ".", ".."} & set(file.path.split("/")), file.path
        manifest.check_installable(found, root, now=NOW, above=None)

    def read_command(data: bytes) -> None:
        found = commanddoc.verify(pack(data), root, BelievesAll())
        assert commanddoc.parse(commanddoc.build(found)) == found
        assert found.path is None or not {"", ".", ".."} & set(found.path.split("/"))
        commanddoc.check_acceptable(found, root, cid=CID, now=NOW + timedelta(hours=1))

    def read_signed(data: bytes) -> None:
        rootdoc.load(data, BelievesAll())

    return [
        _json("root", read_root, TrustError, json.loads(rootdoc.build(root))),
        _json("manifest", read_manifest, TrustError, json.loads(manifest.build(release.manifest))),
        _json("command", read_command, TrustError, json.loads(commanddoc.build(command))),
        _json(
            "signed text", read_signed, TrustError, json.loads(pack(rootdoc.build(root).encode()))
        ),
    ]


def _armour(ring: Ring) -> list[Target]:
    certificate = ring.public["online"].armoured.encode()
    signature = ring.signers["online"].sign(b"data").encode()

    def read_certificate(data: bytes) -> None:
        packets.check_client_certificate(data)
        packets.key_created_at(packets.dearmour(data, "PUBLIC KEY BLOCK"))

    return [
        _bytes("signature", packets.read_signature, SignatureError, signature),
        _bytes("certificate", read_certificate, SignatureError, certificate),
    ]


# --- forms --------------------------------------------------------------------------------------


def _forms() -> list[Target]:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = (
        part % (b"data", b'{"envelope":{}}') + part % (b"signature", b"-----BEGIN") + b"--b--\r\n"
    )

    def read_multipart(data: bytes) -> None:
        form = forms.parse_multipart(data, b"b")
        assert b"\r\n--b" not in form.data + form.signature

    return [
        _bytes("multipart", read_multipart, Forbidden, body),
        _bytes("urlencoded", forms.parse_urlencoded, Forbidden, b"data=%7B%7D&signature=a+b%2F"),
    ]


# --- files --------------------------------------------------------------------------------------

_SERVER = b"""\
url: https://qlmdm.example.com
store: sqlite:///x.db
deprecated_urls: [https://old.example.com]
workers: 3
logs: json
changes_kept: 90 days
tls: {}
"""
_CLIENT = b"""\
server_url: https://qlmdm.example.com
network_timeout: 30s
"""


def _settings() -> list[Target]:
    def reader(schema: type) -> Callable[[bytes], object]:
        return lambda data: settings.parse(data.decode("utf-8", "replace"), schema)

    return [
        _bytes("server settings", reader(ServerSettings), SettingsError, _SERVER),
        _bytes("client settings", reader(ClientSettings), SettingsError, _CLIENT),
    ]


def _states() -> list[Target]:
    def files_with(path: str, data: bytes) -> ModelFiles:
        files = ModelFiles()
        layout.write_file(files, path, data)
        return files

    def read_release(data: bytes) -> None:
        files = files_with(layout.RELEASE, data)
        state = layout.read_release(files)
        layout.write_release(files, state)
        assert layout.read_release(files).high == state.high

    def read_journal(data: bytes) -> None:
        command = "0" * 32
        with tempfile.TemporaryDirectory(prefix="qlmdm-") as state:
            folder = os.path.join(state, "commands", command)
            os.makedirs(folder, 0o700)
            os.chmod(os.path.dirname(folder), 0o700)
            for name in ("outcome", "stages", "claim", "told", "problem"):
                _put(folder, name, data)
            _put(folder, "about.json", b'{"kind":"script","issued_at":1,"expires_at":2}')
            journal = Journal(state)
            entry = journal.entry(command)
            _ = journal.stages(entry), journal.claimed(entry), journal.outcome(entry)
            _ = journal.told(entry), journal.problem(entry)
            _put(folder, "about.json", data)
            journal.entries()
            os.makedirs(os.path.join(state, "commands", "past"), 0o700)
            _put(os.path.join(state, "commands", "past"), command, data)
            journal.forget(1e12)

    release = {"high": "1.7", "bad": {"1.7": "why"}, "previous": "1.6", "bad_launchers": {}}
    trial = {"slot": "1.7", "previous": "1.6", "tries_left": 3}
    outcome = {"state": "done", "result": {"exit_status": 0}, "kind": "x", "issued_at": 1}
    return [
        _json("release.json", read_release, SpoolError, release),
        _json(
            "trial.json",
            lambda data: layout.read_trial(files_with(layout.TRIAL, data)),
            SpoolError,
            trial,
        ),
        _json("command journal", read_journal, SpoolError, {**outcome, "expires_at": 2}),
    ]


def _put(folder: str, name: str, data: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def _tar() -> Target:
    contents = {"lib/a.py": b"first", "lib/b/c.py": b"x" * 700, "settings.yml": b""}
    listed = [
        manifest.File(path, hashlib.sha256(data).hexdigest(), len(data), 0o644)
        for path, data in sorted(contents.items())
    ]

    def read(data: bytes) -> None:
        found = {
            file.path: b"".join(chunks)
            for file, chunks in tarreader.members(io.BytesIO(data), listed)
        }
        assert found == contents

    return _bytes("tar", read, TrustError, releases.pack(contents))
