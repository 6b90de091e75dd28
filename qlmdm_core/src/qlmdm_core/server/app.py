"""The server as a WSGI application, made from its collaborators.

`create_app` reads no file, no environment and no clock of its own. What a request does is in
the resources (`submit`, `update`, `enrol`, …); here is which address leads to which, and how
each way of saying no becomes a response.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import falcon

from qlmdm_core import envelope
from qlmdm_core.errors import NotSetUpError, SettingsError, StoreError
from qlmdm_core.server.blobs import Blobs, Shelf, folder_of
from qlmdm_core.server.clones import CloneWatch
from qlmdm_core.server.commands.ack import Acknowledge
from qlmdm_core.server.commands.payload import Payload
from qlmdm_core.server.enrol import Enrol
from qlmdm_core.server.gate import Gate
from qlmdm_core.server.health import Health, Ready
from qlmdm_core.server.legacy import LegacySubmit
from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.plugin_routes import PluginRoute, add_routes
from qlmdm_core.server.refusals import Forbidden, Told, TooMany
from qlmdm_core.server.rekey import Rekey, RekeyWanted
from qlmdm_core.server.releases.offers import Offers
from qlmdm_core.server.roots import Roots
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.share import FairShare
from qlmdm_core.server.submit import Submit
from qlmdm_core.server.update import Update
from qlmdm_core.server.urls import Addresses
from qlmdm_core.signing import Signer, Verifier
from qlmdm_core.store import Store

log = logging.getLogger(__name__)

ERROR = b'{"status":"error"}'
"""The body of every unsigned refusal."""
STORE_RETRY_SECONDS = "60"


def create_app(
    store: Store,
    settings: ServerSettings,
    *,
    signer: Signer,
    verifier: Verifier,
    clock: Callable[[], datetime],
    routes: Sequence[PluginRoute] = (),
) -> falcon.App[Any, Any]:
    """The application. Raises `NotSetUpError` if the store belongs to no server yet."""
    server_id = store.meta("server_id")
    if not isinstance(server_id, str):
        raise NotSetUpError("the store has no server id; run qlmdm-server-setup")
    try:
        addresses = Addresses(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(str(error), key="trusted_proxies") from None
    share = FairShare(
        proved=Buckets(settings.limits.requests_per_minute, clock=time.monotonic),
        at_once=settings.limits.requests_at_once,
        addresses=addresses,
    )
    gate = Gate(
        store=store,
        settings=settings,
        server_id=server_id,
        signer=signer,
        verifier=verifier,
        clock=clock,
        share=share,
    )
    app: falcon.App[Any, Any] = falcon.App(
        middleware=[RequestIds(), share], independent_middleware=True, media_type=falcon.MEDIA_JSON
    )
    _add_error_handlers(app, gate, addresses)
    roots = Roots(store)
    rekeys = RekeyWanted(store)
    offers = Offers(store, settings.release.mirrors)
    submit = Submit(
        gate=gate, store=store, deprecated_urls=settings.deprecated_urls, clones=CloneWatch()
    )
    if settings.legacy.public_key is None:
        app.add_route(envelope.SUBMIT, submit)
    else:
        legacy = LegacySubmit(
            submit=submit, store=store, verifier=verifier, settings=settings.legacy, clock=clock
        )
        app.add_route(envelope.SUBMIT, legacy)
    app.add_route(
        envelope.UPDATE, Update(gate=gate, store=store, roots=roots, rekeys=rekeys, offers=offers)
    )
    app.add_route(
        envelope.BLOB + "{sha256}",
        Blobs(
            shelf=Shelf(folder_of(settings), store),
            offers=offers,
            at_once=max(1, settings.threads * 3 // 4),
        ),
    )
    app.add_route(envelope.ACK, Acknowledge(gate=gate, store=store))
    app.add_route(envelope.PAYLOAD, Payload(gate=gate, store=store))
    app.add_route(
        envelope.ENROLL,
        Enrol(
            gate=gate,
            store=store,
            roots=roots,
            addresses=addresses,
            per_minute=settings.limits.enrolments_per_minute,
            approval=settings.enrolment.approval,
        ),
    )
    app.add_route(envelope.REKEY, Rekey(gate=gate, store=store, wanted=rekeys))
    app.add_route("/qlmdm/v1/root/{version}", roots)
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Ready(store))
    add_routes(app, gate, routes)
    return app


class RequestIds:
    """Gives each request an id, which the log and the response name."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Called by Falcon before anything else."""
        req.context.request_id = request_id = secrets.token_hex(8)
        resp.set_header("X-Request-Id", request_id)


def _add_error_handlers(app: falcon.App[Any, Any], gate: Gate, addresses: Addresses) -> None:
    def forbidden(
        req: falcon.Request, resp: falcon.Response, error: Forbidden, _params: object
    ) -> None:
        log.warning(
            "%s: refused: %s",
            req.path,
            error.reason,
            extra={
                "request_id": req.context.request_id,
                "remote": addresses.remote(req),
                "fingerprint": error.fingerprint,
            },
        )
        resp.status = falcon.HTTP_403
        _plain(resp)

    def told(req: falcon.Request, resp: falcon.Response, error: Told, _params: object) -> None:
        caller = req.context.caller
        log.info(
            "%s: told %s %s",
            req.path,
            error.status,
            json.dumps(error.details),
            extra={"request_id": req.context.request_id, "cid": caller.envelope.cid},
        )
        gate.answer(resp, caller, error.status, **error.details)

    def too_many(
        req: falcon.Request, resp: falcon.Response, error: TooMany, _params: object
    ) -> None:
        log.warning("%s: %s", req.path, error.reason, extra={"request_id": req.context.request_id})
        resp.status = falcon.HTTP_429
        resp.set_header("Retry-After", str(int(error.retry_after) + 1))
        _plain(resp)

    def store_away(
        req: falcon.Request, resp: falcon.Response, error: StoreError, _params: object
    ) -> None:
        log.error("%s: %s", req.path, error, extra={"request_id": req.context.request_id})
        resp.status = falcon.HTTP_503
        resp.set_header("Retry-After", STORE_RETRY_SECONDS)
        _plain(resp)

    def bug(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
        log.error(
            "%s: a bug, please report it",
            req.path,
            exc_info=error,
            extra={"request_id": req.context.request_id},
        )
        resp.status = falcon.HTTP_500
        _plain(resp)

    # Falcon takes the handler of the nearest class.
    app.add_error_handler(Exception, bug)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(Forbidden, forbidden)
    app.add_error_handler(Told, told)
    app.add_error_handler(TooMany, too_many)
    app.add_error_handler(StoreError, store_away)


def _http_error(
    req: falcon.Request,  # noqa: ARG001 - Falcon's signature
    resp: falcon.Response,
    error: falcon.HTTPError,
    _params: object,
) -> None:
    resp.status = error.status
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)
    _plain(resp)


def _plain(resp: falcon.Response) -> None:
    resp.data = ERROR
    resp.content_type = falcon.MEDIA_JSON
