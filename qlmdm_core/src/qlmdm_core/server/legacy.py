"""Reports of the original's clients, for the time of a migration: `settings.legacy`.

All of those clients share one key, so that whoever has any of them can speak as all. What they
send is stored as what somebody said, apart from the clients: no check judges it, no command is
ever given for it, and it is refused for a hostname that an enrolled client has. Off unless the
settings name the shared public key and the last day.

What is assumed of the original's messages, and not more: `POST /qlmdm/v1/submit` with the form
fields `data`, a JSON object with a text `hostname`, and `signature`, a detached, ASCII-armoured
OpenPGP signature over the bytes of `data`, made by the shared primary key itself with SHA-256 or
better. (A client whose GnuPG signs with SHA-1 is refused like a stranger.) What else is in
`data` is kept as it came and not looked at. Such messages have no number, and no time but that
of the signature: one that was read on the way can be sent again, for a day. The answer is
`{"status":"ok"}` with HTTP status 200, unsigned, as those clients are believed to expect; by it
they delete what they sent.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import falcon

from qlmdm_core.errors import SettingsError, SignatureError
from qlmdm_core.server import fastjson
from qlmdm_core.server.forms import Form
from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.refusals import Forbidden
from qlmdm_core.server.report import MAX_HOSTNAME
from qlmdm_core.server.settings import LegacySettings
from qlmdm_core.server.submit import Submit
from qlmdm_core.signing import PublicKey, Verifier, packets
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.strictjson import JsonError

log = logging.getLogger(__name__)

OK = b'{"status":"ok"}'
MAX_BYTES = 512 << 10
FRESH = timedelta(days=1)
"""Older signatures are refused: nothing else says when such a message was made."""
PER_MINUTE = 120.0
"""So many of these one server process takes."""
MOST_HOSTNAMES = 2000
"""The shared key must not fill the database: no further names are taken."""
LOOK_SECONDS = 60.0
# hostname(7): letters, digits, hyphens, dots. Any other sign would only look like one of these.
_HOSTNAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_HOSTNAME}}}\Z")


@dataclass
class _Names:
    known: frozenset[str] = field(default_factory=frozenset)
    read_at: float | None = None


class LegacySubmit:
    """The address for reports, while legacy clients are taken, too.

    Clients with keys of their own are served first, exactly as without this.
    """

    def __init__(
        self,
        *,
        submit: Submit,
        store: Store,
        verifier: Verifier,
        settings: LegacySettings,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `SettingsError` if the key can't be read."""
        self._submit = submit
        self._store = store
        self._verifier = verifier
        self._key = read_shared_key(settings)
        self._until = date.fromisoformat(settings.until or "")
        self._clock = clock
        self._monotonic = monotonic
        self._buckets = Buckets(PER_MINUTE, clock=monotonic)
        self._names = _Names()
        self._lock = threading.Lock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A report of either kind. Raises what `Submit.on_post` raises."""
        try:
            self._submit.on_post(req, resp)
        except Forbidden as error:
            form = getattr(req.context, "form", None)
            if form is None or error.fingerprint != self._key.fingerprint:
                raise
            self._take(form)
            resp.data, resp.content_type = OK, falcon.MEDIA_JSON

    def _take(self, form: Form) -> None:
        """Store what somebody said. Raises `Forbidden`, the same for everything."""
        now = self._clock()
        fingerprint = self._key.fingerprint
        if now.date() > self._until:
            raise Forbidden("the time of the shared key is over", fingerprint=fingerprint)
        try:
            facts = packets.read_signature(form.signature)
            signature = self._verifier.verify(form.data, facts, [self._key])
            self._buckets.take("the shared key")
            if signature.key_expired_at is not None or abs(now - signature.created_at) > FRESH:
                raise Forbidden("by the shared key, expired or old", fingerprint=fingerprint)
            if len(form.data) > MAX_BYTES:
                raise Forbidden("too large for the shared key", fingerprint=fingerprint)
            value = fastjson.parse(form.data, max_bytes=MAX_BYTES)
        except (SignatureError, JsonError) as error:
            raise Forbidden(f"by the shared key: {error}", fingerprint=fingerprint) from None
        hostname = value.get("hostname") if isinstance(value, dict) else None
        if not isinstance(hostname, str) or not _HOSTNAME.match(hostname):
            raise Forbidden("by the shared key, without a hostname", fingerprint=fingerprint)
        for name in spellings(hostname):
            if any(client.status != "retired" for client in self._store.clients_named(name)):
                raise Forbidden("by the shared key, as an enrolled client", fingerprint=fingerprint)
        self._make_room(hostname)
        self._store.put_unattributed(
            Unattributed(hostname=hostname, received_at=now, report=form.data)
        )
        log.info("unattributed report, called %r", hostname)

    def _make_room(self, hostname: str) -> None:
        """Raise `Forbidden` if this is a new name beyond what there may be."""
        with self._lock:
            names, now = self._names, self._monotonic()
            if names.read_at is None or now - names.read_at > LOOK_SECONDS:
                found = frozenset(report.hostname for report in self._store.unattributed())
                names = _Names(found, now)
            if hostname not in names.known and len(names.known) >= MOST_HOSTNAMES:
                raise Forbidden("too many names by the shared key")
            self._names = _Names(names.known | {hostname}, names.read_at)


def spellings(hostname: str) -> set[str]:
    """A hostname as an enrolled client may write it: case and a last dot mean nothing."""
    plain = hostname.rstrip(".")
    return {hostname, plain, plain.lower(), plain.upper(), plain.capitalize()}


def read_shared_key(settings: LegacySettings) -> PublicKey:
    """The public key that the original's clients share. Raises `SettingsError`."""
    path = settings.public_key or ""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(packets.MAX_CERTIFICATE_BYTES * 2)
        certificate = packets.dearmour(text, "PUBLIC KEY BLOCK")
        return PublicKey(fingerprint=packets.primary_fingerprint(certificate), armoured=text)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", key="legacy.public_key") from None
    except SignatureError as error:
        raise SettingsError(
            f"{path}: no public key ({error}); as gpg --armor --export prints it",
            key="legacy.public_key",
        ) from None
