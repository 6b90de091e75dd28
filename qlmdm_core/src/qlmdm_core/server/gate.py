"""Who is speaking, and is it meant for us, and now? Steps 1 to 8 of the protocol, in order.

Every message of a client comes through here before anything looks at what it says. Steps 1 to
5 answer a stranger with one identical 403; from step 6 on it is known which client it is, and
what is wrong is said to it, signed. Step 12 is here too: every signed answer is made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import falcon
import orjson

from qlmdm_core import envelope
from qlmdm_core.api import JSON
from qlmdm_core.envelope import Envelope, Message
from qlmdm_core.errors import SignatureError
from qlmdm_core.server import fastjson
from qlmdm_core.server.forms import Form, read_form
from qlmdm_core.server.refusals import Forbidden, Told
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.share import FairShare
from qlmdm_core.signing import PublicKey, Signature, Signer, Verifier, packets
from qlmdm_core.signing.packets import SignatureFacts
from qlmdm_core.store import Store
from qlmdm_core.store.records import ClientKey
from qlmdm_core.strictjson import JsonError

MAX_LIFETIME_SECONDS = 3600
"""The longest that a message may call itself good, `exp` - `iat`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A client that has proved who it is, and what it says."""

    key: ClientKey
    envelope: Envelope
    message: Message
    sha256: str
    """Of `data`: the answer names it."""
    now: datetime


class Gate:
    """The way into the server, and the signed way out."""

    def __init__(
        self,
        *,
        store: Store,
        settings: ServerSettings,
        server_id: str,
        signer: Signer,
        verifier: Verifier,
        clock: Callable[[], datetime],
        share: FairShare,
    ) -> None:
        self.server_id = server_id
        self.clock = clock
        self._store = store
        self._share = share
        self._signer = signer
        self._verifier = verifier
        self._max_bytes = settings.limits.body
        self._skew_seconds = settings.limits.clock_skew

    def admit(self, req: falcon.Request, typ: str, ep: str, *, any_age: bool = False) -> Caller:
        """Steps 1 to 8. Raises `Forbidden` or, through `told`, `Told`.

        `any_age`: by a key that has expired or was replaced, too. Only who asks for a new key may
        come by one.
        """
        form = req.context.form = read_form(req, self._max_bytes)  # 1, 2
        facts, key = self.known_key(form)  # 3
        self._share.begin(req, key.fingerprint)
        signature = self.verified(form.data, facts, key)  # 4
        self._share.prove(req)
        message = self.opened(form, key)  # 5
        caller = self.caller(form, key, message)
        req.context.caller = caller
        self.meant_for_us(caller.envelope, typ, ep)  # 6
        self.timely(caller, signature, any_age=any_age)  # 7
        self.own_key(caller)  # 8
        return caller

    # --- 3 to 5: nobody is told why ---------------------------------------------------------

    def known_key(self, form: Form) -> tuple[SignatureFacts, ClientKey]:
        """Step 3: the signature's issuer chooses the one key that it is verified against."""
        facts = self.one_signature(form)
        key = self._store.key(facts.issuer)
        if key is None:
            raise Forbidden("an unknown key", fingerprint=facts.issuer)
        if key.status == "revoked":
            raise Forbidden("a revoked key", fingerprint=facts.issuer)
        return facts, key

    def one_signature(self, form: Form) -> SignatureFacts:
        """What the one signature in the form claims about itself."""
        try:
            return packets.read_signature(form.signature)
        except SignatureError as error:
            raise Forbidden(str(error)) from None

    def verified(self, data: bytes, facts: SignatureFacts, key: ClientKey) -> Signature:
        """Step 4: the signature is good, before anything reads what was signed."""
        allowed = PublicKey(fingerprint=key.fingerprint, armoured=key.public_key)
        try:
            return self._verifier.verify(data, facts, [allowed])
        except SignatureError as error:
            raise Forbidden(str(error), fingerprint=key.fingerprint) from None

    def vouched(self, text: bytes, signature: str, key: PublicKey) -> Signature:
        """A signature within a message, by another key. Raises `SignatureError`."""
        return self._verifier.verify(text, signature, [key])

    def opened(self, form: Form, key: ClientKey) -> Message:
        """Step 5: strict JSON with an envelope that names the key that signed it."""
        try:
            value = fastjson.parse(form.data, max_bytes=self._max_bytes)
            message = envelope.from_value(value)
        except (JsonError, envelope.EnvelopeError) as error:
            raise Forbidden(str(error), fingerprint=key.fingerprint) from None
        if message.envelope.kid != key.fingerprint:
            raise Forbidden("the envelope names another key", fingerprint=key.fingerprint)
        return message

    def caller(self, form: Form, key: ClientKey, message: Message) -> Caller:
        """Who it is, now that this is proved."""
        return Caller(
            key=key,
            envelope=message.envelope,
            message=message,
            sha256=envelope.sha256_hex(form.data),
            now=self.clock(),
        )

    # --- 6 to 8: the client is told ---------------------------------------------------------

    def meant_for_us(self, sent: Envelope, typ: str, ep: str) -> None:
        """Step 6: this version, this type, this server, this address."""
        if sent.v != envelope.VERSION:
            raise Told(envelope.REFUSED, reason="version", versions=[envelope.VERSION])
        if sent.typ != typ:
            raise Told(envelope.REFUSED, reason="type")
        if sent.srv != self.server_id:
            raise Told(envelope.REFUSED, reason="server")
        if sent.ep != ep:
            raise Told(envelope.REFUSED, reason="endpoint")

    def timely(self, caller: Caller, signature: Signature, *, any_age: bool = False) -> None:
        """Step 7: signed and built just now, by a key that has neither expired nor been replaced.

        A client whose clock is wrong learns the server's time, which is in every answer.
        """
        sent, now = caller.envelope, caller.now.timestamp()
        skew = self._skew_seconds
        off = max(abs(sent.iat - now), abs(signature.created_at.timestamp() - now))
        if off > skew or sent.exp < now - skew:
            raise Told(envelope.STALE)
        if not sent.iat <= sent.exp <= sent.iat + MAX_LIFETIME_SECONDS:
            raise Told(envelope.REFUSED, reason="lifetime")
        if any_age:
            return
        if caller.key.replaced_by is not None:
            raise Told(envelope.REFUSED, reason="key_replaced")
        if signature.key_expired_at is not None:
            raise Told(envelope.REFUSED, reason="key_expired")

    def own_key(self, caller: Caller) -> None:
        """Step 8: the key is that of the client that the message says it is from."""
        if caller.envelope.cid != caller.key.cid:
            raise Told(envelope.REFUSED, reason="not_your_key")

    # --- 12 -----------------------------------------------------------------------------------

    def answer(self, resp: falcon.Response, caller: Caller, status: str, **details: JSON) -> None:
        """Step 12: an answer signed by the online key that names the request it answers.

        Its HTTP status is always 200: what it says is in the signed text, which proxies leave
        alone, as they do not always do with the bodies of errors.
        """
        answer = envelope.answer_to(
            caller.envelope,
            status,
            sha256=caller.sha256,
            at=int(caller.now.timestamp()),
            **details,
        )
        text = orjson.dumps(envelope.answer_dict(answer))
        sig = self._signer.sign(text)
        resp.data = orjson.dumps({"signed": text.decode(), "sigs": [sig]})
        resp.content_type = falcon.MEDIA_JSON
