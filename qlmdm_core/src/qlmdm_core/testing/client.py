"""A client that lives in the test: enrols, builds, signs and posts, fast and in this process.

It speaks the real protocol with real keys through `Send`, either straight into the application
(`through_app`) or over a socket (`through_http`), and can be told to do any step wrongly.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from qlmdm_core import envelope, rootdoc, tokens
from qlmdm_core.api import JSON
from qlmdm_core.envelope import Answer, Envelope
from qlmdm_core.errors import TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing import Signer, keys
from qlmdm_core.signing.sequoia import SequoiaSigner, SequoiaVerifier
from qlmdm_core.strictjson import canonical


class Reply(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Send = Callable[[str, str, bytes, Mapping[str, str]], Reply]
"""`send(method, path, body, headers)`."""


class KeyPair(NamedTuple):
    """A client's key."""

    signer: Signer
    armoured: str
    """The public part."""


def make_key_pair(home: str, name: str = "client") -> KeyPair:
    """A new key, made by gpg in `home` and then held in memory."""
    key = keys.make_key(home, name)
    return KeyPair(SequoiaSigner(keys.export_secret(home, key.fingerprint)), key.armoured)


class SimulatedClient:
    """One machine. Attributes may be changed to pretend something."""

    def __init__(
        self,
        send: Send,
        key: KeyPair,
        *,
        hostname: str = "laptop1",
        mid: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.send = send
        self.key = key
        self.hostname = hostname
        self.mid = mid or secrets.token_hex(32)
        self.boot = str(uuid.uuid4())
        self.clock = clock
        self.seq = 0
        self.cid: str | None = None
        self.root: Root | None = None
        self.verifier = SequoiaVerifier()

    # --- messages -----------------------------------------------------------------------------

    def envelope(self, typ: str, /, **changes: Any) -> Envelope:
        """An envelope that is right in every respect but for `changes`."""
        now = int(self.clock().timestamp())
        made = Envelope(
            typ=typ,
            srv=self.root.server_id if self.root else "unknown-server",
            ep=envelope.ENDPOINTS.get(typ, "/unknown"),
            cid=self.cid,
            kid=self.key.signer.fingerprint,
            mid=self.mid,
            boot=self.boot,
            nonce=secrets.token_hex(16),
            seq=0,
            iat=now,
            exp=now + envelope.LIFETIME_SECONDS,
            rid=None,
        )
        return replace(made, **changes)

    def post(self, path: str, data: bytes, signature: str | None = None) -> Reply:
        """Send `data` as multipart, signed by our key unless a signature is given."""
        body, content_type = multipart(data, signature or self.key.signer.sign(data))
        return self.send("POST", path, body, {"Content-Type": content_type})

    def ask(self, request: Envelope, body: Mapping[str, JSON]) -> Answer:
        """Send a message and open its signed answer. Raises `TrustError` if there is none."""
        data = envelope.build(request, body)
        return self.open(request, data, self.post(request.ep, data))

    def open(self, request: Envelope, data: bytes, reply: Reply) -> Answer:
        """The verified answer in a reply."""
        if self.root is None or reply.status != 200:
            raise TrustError(f"status {reply.status}: {reply.body[:200]!r}")
        return envelope.open_answer(
            reply.body,
            request=request,
            sha256=envelope.sha256_hex(data),
            online=self.root.public_keys("online"),
            verifier=self.verifier,
        )

    # --- what a client does -------------------------------------------------------------------

    def pin_root(self, sha256: str) -> Root:
        """Find the root document with this hash among the server's versions."""
        version = 1
        while True:
            reply = self.send("GET", f"/qlmdm/v1/root/{version}", b"", {})
            if reply.status != 200:
                raise TrustError(f"no root document has the hash {sha256}")
            try:
                self.root = rootdoc.pin(reply.body, sha256, self.verifier)
            except TrustError:
                version += 1
                continue
            return self.root

    def enrolment(
        self, token: tokens.Token, **changes: Any
    ) -> tuple[Envelope, dict[str, dict[str, JSON]]]:
        """The message that asks for enrolment."""
        root = self.root or self.pin_root(token.root_sha256)
        request = self.envelope("enroll", cid=None, **changes)
        proof = tokens.proof(
            token.secret,
            server_id=root.server_id,
            fingerprint=request.kid,
            nonce=request.nonce,
        )
        body = {
            "invitation": token.invitation_id,
            "proof": proof,
            "public_key": self.key.armoured,
            "hostname": self.hostname,
        }
        return request, {"enroll": body}

    def enrol(self, token: tokens.Token) -> Answer:
        """Pin the root document and become a client."""
        answer = self.ask(*self.enrolment(token))
        if answer.status == envelope.OK:
            self.cid = answer.cid
        return answer

    def submission(self, **changes: Any) -> Envelope:
        """The envelope of the next record."""
        self.seq += 1
        return self.envelope("submit", **{"seq": self.seq, "rid": str(uuid.uuid4()), **changes})

    def submit(self, report: Mapping[str, JSON] | None = None, **changes: Any) -> Answer:
        """Send one record."""
        body = {"report": self.report() if report is None else report}
        return self.ask(self.submission(**changes), body)

    def update(self, **changes: Any) -> Answer:
        """Ask for news."""
        return self.ask(self.envelope("update", **changes), {})

    def report(self, **values: Mapping[str, JSON]) -> dict[str, JSON]:
        """A report in which the collectors named have these values."""
        at = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        values = values or {"os_info": {"state": "available", "id": "arch"}}
        return {
            "hostname": self.hostname,
            "collectors": {
                name: {
                    "status": "ok",
                    "value": value,
                    "value_sha256": hashlib.sha256(canonical(value)).hexdigest(),
                    "collected_at": at,
                    "seconds": 0.1,
                }
                for name, value in values.items()
            },
        }


def multipart(data: bytes, signature: str | bytes) -> tuple[bytes, str]:
    """A multipart form of the two fields, and its content type."""
    boundary = "qlmdm-" + secrets.token_hex(12)
    if isinstance(signature, str):
        signature = signature.encode()
    parts = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (boundary.encode(), name, value)
        for name, value in ((b"data", data), (b"signature", signature))
    )
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def through_app(app: Any) -> Send:
    """Straight into a WSGI application, without a socket."""
    from falcon import testing

    client = testing.TestClient(app)

    def send(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        result = client.simulate_request(method, path, body=body, headers=dict(headers))
        return Reply(result.status_code, dict(result.headers), result.content)

    return send


def through_http(url: str, timeout: float = 30.0) -> Send:
    """Over a socket, to a server that runs."""

    def send(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        request = urllib.request.Request(  # noqa: S310 - the tests' own server
            url.rstrip("/") + path, data=body or None, method=method, headers=dict(headers)
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310
                return Reply(reply.status, dict(reply.headers), reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    return send


def said(reply: Reply) -> JSON:
    """What a reply says, unverified: for looking at what went wrong."""
    value = json.loads(reply.body)
    return json.loads(value["signed"]) if "signed" in value else value
