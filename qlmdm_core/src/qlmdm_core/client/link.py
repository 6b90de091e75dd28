"""One signed question to the server, and its verified answer.

What must survive a restart is in `link.json`: the last sequence number (stored before it is
used), the highest server time that a signed answer named, how far our clock is off, and how
long to leave the server alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from qlmdm_core import envelope, rootdoc
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.backoff import Backoff
from qlmdm_core.client.identity import Identity
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer, Envelope
from qlmdm_core.errors import KeyringError, SpoolError, TransportError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.signing.interface import Verifier

LINK = "link.json"
REMEMBER_SERVER_TIME = 300.0
"""Seconds between two writes of the server's time alone: a disk write a minute is too many."""
CLOCK_TOLERANCE = 60.0
"""Seconds; a smaller difference between the clocks is not corrected."""
MAX_ROOT_STEPS = 64


CANT_ASK = (TransportError, TrustError, KeyringError)
"""What `Link.ask` raises when the server can't be asked, or its answer can't be believed."""


class UnsignedAnswerError(TransportError):
    """Something answered, but not as the server would: a proxy, a portal, an early refusal."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class LinkState:
    """What `link.json` holds."""

    seq: int = 0
    server_at: float = 0.0
    """The latest time that a signed answer named (Unix time)."""
    clock_offset: float = 0.0
    """Seconds to add to our clock to get the server's."""
    polled_at: float = 0.0
    collected_at: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


def load_link(state: State) -> LinkState:
    """What was stored; the beginning of everything if nothing was."""
    stored = state.read_json(LINK) or {}
    try:
        known = {f.name: stored[f.name] for f in fields(LinkState) if f.name in stored}
        backoff = Backoff(**known.pop("backoff", {}))
        return LinkState(**{name: _number(part) for name, part in known.items()}, backoff=backoff)
    except (TypeError, ValueError):
        raise SpoolError(f"{state.path}/{LINK} is damaged; delete it to start afresh") from None


def _number(value: JSON) -> JSON:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError(value)
    return value


class Link:
    """The way to the server of an enrolled client. Use it in a `with` statement."""

    def __init__(
        self,
        state: State,
        *,
        identity: Identity,
        root: Root,
        transport: Transport,
        signer: GpgSigner,
        verifier: Verifier,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._identity = identity
        self._root = root
        self._transport = transport
        self._signer = signer
        self._verifier = verifier
        self._clock = clock
        self._mid = identities.machine_hash()
        self._boot = identities.boot_id()
        self.memory = load_link(state)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._signer.close()

    @property
    def root_version(self) -> int:
        """Of the root document that we go by."""
        return self._root.version

    @property
    def state(self) -> State:
        """Where this client keeps what it must remember."""
        return self._state

    @property
    def root(self) -> Root:
        """The root document that we go by."""
        return self._root

    @property
    def verifier(self) -> Verifier:
        """What checks signatures here."""
        return self._verifier

    @property
    def cid(self) -> str:
        """This client's id."""
        return self._identity.cid

    @property
    def hostname(self) -> str:
        """What this machine is called: as it was enrolled by hand, or as it is called now."""
        return self._identity.hostname or os.uname().nodename

    def remember(self, **changes: JSON) -> None:
        """Change what `link.json` holds, durably."""
        self.memory = replace(self.memory, **changes)
        self._state.write_json(LINK, asdict(self.memory))

    def failed(self, now: float, longest: float, *, at_least: float = 0.0) -> None:
        """The server could not be reached: leave it alone for a while."""
        backoff = self.memory.backoff.failed(now, longest, at_least=at_least)
        try:
            self.remember(backoff=backoff)
        except SpoolError:  # the disk is full, say: then the next try comes sooner
            self.memory = replace(self.memory, backoff=backoff)

    def succeeded(self) -> None:
        """The server answered: forget the failures before."""
        if self.memory.backoff.failures:
            self.remember(backoff=Backoff())

    def ask(
        self, typ: str, body: Mapping[str, JSON], *, rid: str | None = None, seq: int = 0
    ) -> Answer:
        """Sign and send one message; the answer is signed by the server and for this message.

        Raises `TransportError` (nobody there, or an answer that is not the server's),
        `TrustError` (not to be believed) or `KeyringError` (we can't sign): see `CANT_ASK`.
        """
        request = self._envelope(typ, rid, seq)
        data = envelope.build(request, body)
        answer = self._transport.post_signed(request.ep, data, self._sign(data))
        if answer.status != 200:
            raise UnsignedAnswerError(_unsigned(answer.status), answer.status)
        try:
            opened = self._open(answer.body, request, data)
        except TrustError:
            # The server's key may have been replaced while we slept. Nobody need be believed to
            # find out: each root document is vouched for by the one before.
            if not self._walk():
                raise
            opened = self._open(answer.body, request, data)
        self._note_time(opened)
        return opened

    def _sign(self, data: bytes) -> str:
        """A signature with the server's date on it. Raises `KeyringError`."""
        self._signer.clock_offset = self.memory.clock_offset
        try:
            return self._signer.sign(data)
        except KeyringError:
            if not self.memory.clock_offset:
                raise
        # Our key may have expired by the date that the server named; it may have lied, or its
        # clock may have been wrong. With our own date we can at least ask again.
        self.memory = replace(self.memory, clock_offset=0.0)
        self._signer.clock_offset = 0.0
        return self._signer.sign(data)

    def _envelope(self, typ: str, rid: str | None, seq: int) -> Envelope:
        return question(
            typ,
            srv=self._identity.server_id,
            cid=self._identity.cid,
            kid=self._identity.fingerprint,
            mid=self._mid,
            boot=self._boot,
            at=self._clock() + self.memory.clock_offset,
            rid=rid,
            seq=seq,
        )

    def _open(self, body: bytes, request: Envelope, data: bytes) -> Answer:
        return verified(body, request, data, self._root, self._verifier)

    def _note_time(self, answer: Answer) -> None:
        """Keep the highest time seen, and correct our own if the server calls it wrong."""
        offset = answer.at - self._clock()
        if answer.status == envelope.STALE:
            self.remember(clock_offset=offset if abs(offset) > CLOCK_TOLERANCE else 0.0)
        # The online key is believed up to the root document's end, and no further: whoever stole
        # it could else call all that the root keys will ever sign expired.
        end = self._root.expires_at.timestamp()
        at, known = min(float(answer.at), end), self.memory.server_at
        if at > known + REMEMBER_SERVER_TIME or at == end > known:
            self.remember(server_at=at)

    def next_seq(self) -> int:
        """A sequence number that was never used; stored before anybody sees it."""
        self.remember(seq=self.memory.seq + 1)
        return self.memory.seq

    def follow_root(self, newest: JSON) -> None:
        """Walk to the newest root document, version by version; each must vouch for the next.

        Raises `TrustError` if one does not; we then stay with the one we have.
        """
        if type(newest) is not int:
            return
        for _ in range(MAX_ROOT_STEPS):
            if self._root.version >= newest:
                return
            answer = self._transport.get(self._next_root())
            if answer.status != 200:
                raise UnsignedAnswerError(_unsigned(answer.status), answer.status)
            self._step(answer.body)

    def _walk(self) -> bool:
        """Walk to the newest root document without having been told of it; whether we moved.

        Nothing comes of it if we can't: why we tried is what is wrong.
        """
        before = self._root.version
        with contextlib.suppress(TransportError, TrustError):
            for _ in range(MAX_ROOT_STEPS):
                answer = self._transport.get(self._next_root())
                if answer.status != 200:
                    break
                self._step(answer.body)
        return self._root.version > before

    def _next_root(self) -> str:
        return f"/qlmdm/v1/root/{self._root.version + 1}"

    def _step(self, document: bytes) -> None:
        """Go by the next root document, if ours and itself vouch for it."""
        root = rootdoc.advance(self._root, document, self._verifier)
        stored = keep_root(self._state, self._root, root, document)
        self._root = root
        self.memory = replace(
            self.memory, server_at=stored.server_at, clock_offset=stored.clock_offset
        )


def question(
    typ: str,
    *,
    srv: str,
    kid: str,
    mid: str,
    boot: str,
    at: float,
    cid: str | None = None,
    rid: str | None = None,
    seq: int = 0,
) -> Envelope:
    """The envelope of a message that is signed and sent at once; `at` is Unix time."""
    return Envelope(
        typ=typ,
        srv=srv,
        ep=envelope.ENDPOINTS[typ],
        cid=cid,
        kid=kid,
        mid=mid,
        boot=boot,
        nonce=secrets.token_hex(16),
        seq=seq,
        iat=int(at),
        exp=int(at) + envelope.LIFETIME_SECONDS,
        rid=rid,
    )


def verified(body: bytes, request: Envelope, data: bytes, root: Root, verifier: Verifier) -> Answer:
    """The server's answer to `request`, sent as `data`. Raises `TrustError`."""
    return envelope.open_answer(
        body,
        request=request,
        sha256=envelope.sha256_hex(data),
        online=root.public_keys("online"),
        verifier=verifier,
    )


def keep_root(state: State, before: Root, root: Root, document: bytes) -> LinkState:
    """Go by this root document from now on; what is remembered of the server then.

    If other keys speak for the server now, what the ones before said of the time counts for no
    more than what the root keys have signed: they may have been stolen.
    """
    memory = load_link(state)
    names = [{key.fingerprint for key in one.public_keys("online")} for one in (before, root)]
    if names[0] != names[1]:
        at = min(memory.server_at, root.issued_at.timestamp())
        memory = replace(memory, server_at=at, clock_offset=0.0)
        state.write_json(LINK, asdict(memory))
    state.write(identities.ROOT, document)
    return memory


def _unsigned(status: int) -> str:
    if status == 403:
        return (
            "the server does not accept this client's messages (403): its key may be unknown "
            "or revoked there, or something on the way changes messages"
        )
    return f"an answer that is not the server's own: HTTP {status}"
