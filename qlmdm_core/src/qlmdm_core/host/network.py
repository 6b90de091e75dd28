"""The one request to the network that a collector may make; bounded, to one host."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import requests

from qlmdm_core.api import JSON, HttpResponse

MAX_BODY_BYTES = 1 << 20
MAX_REDIRECTS = 3


def request(
    method: str,
    url: str,
    *,
    json: JSON = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> HttpResponse:
    """Send one request and read the answer; proxies come from the environment, as for curl.

    Redirects are followed on the same host only, so that what a setting names is all that
    is ever asked. Every outcome is data.
    """
    deadline = time.monotonic() + timeout
    with requests.Session() as session:
        # Otherwise, requests would send what root's ~/.netrc holds for this host.
        session.auth = _no_authentication
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with session.request(
                    method,
                    url,
                    json=json,
                    headers=dict(headers or {}),
                    timeout=max(0.001, deadline - time.monotonic()),
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    target = answer.headers.get("location") if answer.is_redirect else None
                    if target is None or not _same_place(url, urljoin(url, target)):
                        return _read(answer, deadline)
                    url = urljoin(url, target)
        except (requests.RequestException, ValueError) as error:
            return HttpResponse(status=0, error=_why(error, url))
    return HttpResponse(status=0, error="too many redirects")


def _no_authentication(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _same_place(url: str, target: str) -> bool:
    """Whether a redirect stays on the host, and does not leave https."""
    old, new = urlsplit(url), urlsplit(target)
    upgrade = old.scheme == "http" and new.scheme == "https"
    return old.hostname == new.hostname and (upgrade or old[:2] == new[:2])


def _read(answer: requests.Response, deadline: float) -> HttpResponse:
    body = b""
    for part in answer.iter_content(8192):
        body += part
        if len(body) > MAX_BODY_BYTES:
            return HttpResponse(status=0, error=f"the answer is larger than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            return HttpResponse(status=0, error="the answer did not end in time")
    return HttpResponse(status=answer.status_code, body=body.decode("utf-8", "replace"))


def _why(error: Exception, url: str) -> str:
    """The reason, without the URL's path and query, which may hold a key."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    text = str(error)
    if isinstance(error, ValueError):
        return f"not a URL that can be asked: {type(error).__name__}"
    parts = urlsplit(url)
    for secret in (url, f"{parts.path}?{parts.query}", parts.query):
        if len(secret) > 1:
            text = text.replace(secret, "…")
    return f"{type(error).__name__}: {text}"[:300]
