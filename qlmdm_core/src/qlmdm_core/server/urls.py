"""Which of the server's own addresses a request came by, and from where."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import falcon

_PORTS = {"http": 80, "https": 443}


class DeprecatedUrls:
    """Old addresses of the server, to find the clients that still use them."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = {_place(url): url for url in urls}

    def match(self, req: falcon.Request) -> str | None:
        """The deprecated address that this request came by, or None.

        By host and port, as the client wrote them (`Host`); a reverse proxy must pass that on.
        """
        if not self._urls:
            return None
        scheme = req.forwarded_scheme
        return self._urls.get(_place(f"{scheme}://{req.get_header('Host') or ''}"))


def _place(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:  # a port that is no number: whoever sends that matches nothing
        return "", 0


class Addresses:
    """Who is at the other end, behind the proxies that are trusted to say so."""

    def __init__(self, trusted_proxies: Collection[str]) -> None:
        self._trusted = [ip_network(proxy, strict=False) for proxy in trusted_proxies]

    def remote(self, req: falcon.Request) -> str:
        """The address of whoever is nearest and not one of our own proxies."""
        nearest = req.remote_addr or "unix"
        if not self._trusted:
            return nearest
        chain = [part.strip() for part in (req.get_header("X-Forwarded-For") or "").split(",")]
        while chain and self._is_trusted(nearest):
            nearest = chain.pop() or nearest
        return nearest

    def neighbourhood(self, req: falcon.Request) -> str:
        """The address, or the /64 network of an IPv6 address: one machine owns all of that."""
        address = self.remote(req)
        try:
            found = ip_address(address)
        except ValueError:
            return address[:64]
        return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)

    def _is_trusted(self, address: str) -> bool:
        if address == "unix":
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)
