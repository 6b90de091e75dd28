"""`POST /qlmdm/v1/enroll`: a machine that was invited becomes a client.

The one message that is parsed before its signature is verified, since the key comes in it; so
it is small, and rate-limited for each address and key. Then comes the cheap test, whether the
sender knows the secret of an invitation, and only then the costly one. Its body::

    {"enroll": {"invitation": ID, "proof": HMAC, "public_key": ARMOUR, "hostname": "laptop7"}}

`proof` shows that the sender knows the invitation's secret, for this server, key and nonce
(`qlmdm_core.tokens`). The same key with the same invitation gets the same answer again, since
answers get lost. A machine that is a copy of a client (`copies`) has no invitation; it says::

    {"enroll": {"clone_of": CID, "old_key": FINGERPRINT, "proof": ARMOUR, "public_key": …}}

Who must be approved first is told `pending`, with its id: it is known, and nothing else of it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import falcon

from qlmdm_core import envelope, tokens
from qlmdm_core.api import JSON
from qlmdm_core.envelope import Message
from qlmdm_core.errors import SignatureError, StoreUnavailableError
from qlmdm_core.server import fastjson
from qlmdm_core.server.copies import Copies, CopyRequest
from qlmdm_core.server.forms import Form, read_form
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.refusals import Forbidden, Told
from qlmdm_core.server.report import MAX_HOSTNAME
from qlmdm_core.server.roots import Roots
from qlmdm_core.server.urls import Addresses
from qlmdm_core.signing import packets
from qlmdm_core.store import Store
from qlmdm_core.store.records import (
    Client,
    ClientKey,
    ClientStatus,
    Enrolled,
    Enrolment,
    EnrolmentRefused,
)
from qlmdm_core.strictjson import JsonError

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 10
PER_KEY = 6
"""So many requests of one key are looked at in a minute."""
PENDING_RETRY_SECONDS = 300
"""When who waits for approval is to ask again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a machine that wants to enrol says."""

    invitation_id: str
    """Empty for a copy of a client."""
    proof: str
    public_key: str
    hostname: str
    copy: CopyRequest | None = None


class Enrol:
    """The resource."""

    def __init__(
        self,
        *,
        gate: Gate,
        store: Store,
        roots: Roots,
        addresses: Addresses,
        per_minute: int,
        approval: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._gate = gate
        self._store = store
        self._roots = roots
        self._addresses = addresses
        self._all = Buckets(per_minute, clock=monotonic)
        # A whole office may come from one address, but must leave room for others.
        self._each_address = Buckets(max(1, per_minute // 2), clock=monotonic)
        self._each_key = Buckets(PER_KEY, clock=monotonic)
        self._new_id = new_id
        self._approval = approval
        self._copies = Copies(gate=gate, store=store)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Enrol one machine. Raises `Forbidden`, `TooMany` and `Told`, which the app answers."""
        self._each_address.take(self._addresses.neighbourhood(req))
        form = read_form(req, MAX_BYTES)  # 1, 2
        message, request, key = self.parsed(form)  # 5, before 3 and 4
        caller = self._gate.caller(form, key, message)
        original = self._copies.vouched(caller, request.copy) if request.copy else None
        if original is None:
            self.invited(caller, request)
        # Only now: a stranger must not use up what those who are invited may ask.
        self._all.take("everybody")
        facts = self._gate.one_signature(form)  # 3
        signature = self._gate.verified(form.data, facts, key)  # 4
        req.context.caller = caller
        self._gate.meant_for_us(caller.envelope, "enroll", envelope.ENROLL)  # 6
        self._gate.timely(caller, signature)  # 7
        cid, status = self.enrolled(caller, request, original)  # 8 to 11
        waits = {"retry_after": PENDING_RETRY_SECONDS} if status == "pending" else {}
        self._gate.answer(  # 12
            resp,
            caller,
            envelope.PENDING if waits else envelope.OK,
            cid=cid,
            root=self._roots.newest_version(),
            roots=self._roots.chain(),
            **waits,
        )

    def parsed(self, form: Form) -> tuple[Message, Request, ClientKey]:
        """Step 5 comes first here: the key that is to verify it is in the message."""
        try:
            message = envelope.from_value(fastjson.parse(form.data, max_bytes=MAX_BYTES))
            request = _request(message.body.get("enroll"))
            fingerprint = packets.check_client_certificate(request.public_key)
        except (JsonError, envelope.EnvelopeError, SignatureError) as error:
            raise Forbidden(str(error)) from None
        if message.envelope.kid != fingerprint:
            raise Forbidden("the envelope names another key", fingerprint=fingerprint)
        self._each_key.take(fingerprint)
        key = ClientKey(
            fingerprint=fingerprint, cid="", public_key=request.public_key, status="pending"
        )
        return message, request, key

    def invited(self, caller: Caller, request: Request) -> None:
        """The sender knows the secret of the invitation that it names.

        Whoever does not is a stranger and learns nothing, not even whether there is such an
        invitation.
        """
        invitation = self._store.invitation(request.invitation_id)
        if invitation is None or not tokens.proof_is_right(
            request.proof,
            invitation.secret,
            server_id=self._gate.server_id,
            fingerprint=caller.key.fingerprint,
            nonce=caller.envelope.nonce,
        ):
            raise Forbidden("no such invitation", fingerprint=caller.key.fingerprint)

    def enrolled(
        self, caller: Caller, request: Request, original: Client | None
    ) -> tuple[str, ClientStatus]:
        """Steps 8 to 11 in one: use the invitation and add the client, or neither."""
        status: ClientStatus = "pending" if self._approval or original else "active"
        try:
            if original is None:
                outcome = self._added(caller, request, request.invitation_id, status)
            else:
                with self._copies.alone(caller, original) as known:
                    name = self._copies.invitation_for(caller, known)
                    outcome = self._added(caller, request, name, status)
                    if isinstance(outcome, Enrolled):
                        self._copies.remember(outcome.cid, known)
        except StoreUnavailableError as error:
            log.error("enrolment not stored: %s", error)  # noqa: TRY400 - the message has it all
            raise Told(envelope.RETRY_AFTER, retry_after=60) from None
        if not isinstance(outcome, Enrolled):
            raise Told(envelope.REFUSED, reason=outcome.reason)
        if outcome.again:
            status = self._present_status(caller)
        log.info(
            "enrolled %r as %s%s (%s)",
            request.hostname,
            outcome.cid,
            " again" if outcome.again else "",
            status,
        )
        return outcome.cid, status

    def _added(
        self, caller: Caller, request: Request, invitation_id: str, status: ClientStatus
    ) -> Enrolled | EnrolmentRefused:
        return self._store.enrol(
            Enrolment(
                invitation_id=invitation_id,
                cid=self._new_id(),
                fingerprint=caller.key.fingerprint,
                public_key=request.public_key,
                hostname=request.hostname,
                mid=caller.envelope.mid,
                enrolled_at=caller.now,
                status=status,
            )
        )

    def _present_status(self, caller: Caller) -> ClientStatus:
        """What became meanwhile of a client that asks again."""
        known = self._store.key(caller.key.fingerprint)
        if known is None or known.status == "revoked":
            raise Forbidden("a revoked key", fingerprint=caller.key.fingerprint)
        return known.status


def _request(value: JSON) -> Request:
    if not isinstance(value, dict):
        raise Forbidden("no body of an enrolment")
    copy = None
    if "clone_of" in value:
        copy = CopyRequest(
            original=_text(value, "clone_of", 64),
            old_key=_text(value, "old_key", 40),
            proof=_text(value, "proof", 4096),
        )
    return Request(
        copy=copy,
        invitation_id="" if copy else _text(value, "invitation", 64),
        proof=_text(value, "proof", 4096 if copy else 128),
        public_key=_text(value, "public_key", MAX_BYTES),
        hostname=_text(value, "hostname", MAX_HOSTNAME),
    )


def _text(value: dict[str, JSON], name: str, longest: int) -> str:
    part = value.get(name)
    if not isinstance(part, str) or not 1 <= len(part) <= longest:
        raise Forbidden(f"the enrolment's {name} is missing or malformed")
    return part
