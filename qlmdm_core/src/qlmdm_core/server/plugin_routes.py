"""Addresses of plugins, below `/qlmdm/v1/x/<distribution>/`, with core's door in front.

With `auth="client"` a plugin's resource is only called for a message that passed steps 1 to 8,
of type "plugin" and for exactly that address; it finds it as `req.context.envelope` and
`req.context.body`. Such a message can be repeated within the allowed difference of clocks:
what a plugin does with it must be harmless when it is done twice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import falcon

from qlmdm_core import envelope
from qlmdm_core.api import Route
from qlmdm_core.errors import PluginError
from qlmdm_core.server.gate import Gate
from qlmdm_core.server.refusals import Told

log = logging.getLogger(__name__)

PREFIX = "/qlmdm/v1/x/"
_METHODS = ("on_get", "on_post", "on_put", "on_delete", "on_patch", "on_head", "on_options")
_PATH = re.compile(r"[A-Za-z0-9_{}:.-]+(/[A-Za-z0-9_{}:.-]+)*\Z")


class PluginRoute(NamedTuple):
    """A route, and the distribution that it came from."""

    distribution: str
    route: Route


def add_routes(app: falcon.App[Any, Any], gate: Gate, routes: Sequence[PluginRoute]) -> None:
    """Add the routes of plugins; a distribution that has a bad one gets none, and a log line."""
    bad = set()
    for distribution, route in routes:
        try:
            check_route(distribution, route)
        except PluginError as error:
            bad.add(distribution)
            log.error("%s", error)  # noqa: TRY400 - the message has it all
    for distribution, route in routes:
        if distribution in bad:
            continue
        resource = Guarded(route.resource, gate) if route.auth == "client" else route.resource
        try:
            app.add_route(f"{PREFIX}{distribution}/{route.path}", resource)
        except Exception:  # whatever Falcon finds wrong costs this route only
            log.exception("%s: the route %s can't be added", distribution, route.path)


def check_route(distribution: str, route: Route) -> None:
    """Raise `PluginError` for a route that is not added to a server."""
    if not isinstance(route, Route) or not _PATH.match(route.path) or ".." in route.path:
        raise PluginError(f"{distribution}: a route needs a relative path, without .. in it")
    if route.auth not in ("client", "none"):
        raise PluginError(f"{distribution}: route {route.path}: auth is 'client' or 'none'")


class Guarded:
    """A plugin's resource whose methods are reached by authenticated clients only."""

    def __init__(self, resource: object, gate: Gate) -> None:
        for name in _METHODS:
            responder = getattr(resource, name, None)
            if callable(responder):
                setattr(self, name, self._guard(responder, gate))

    @staticmethod
    def _guard(responder: Callable[..., None], gate: Gate) -> Callable[..., None]:
        def guarded(req: falcon.Request, resp: falcon.Response, **params: object) -> None:
            caller = gate.admit(req, "plugin", req.path)
            if caller.key.status != "active":
                raise Told(envelope.REFUSED, reason=caller.key.status)
            req.context.envelope = caller.envelope
            req.context.body = caller.message.body
            responder(req, resp, **params)

        return guarded
