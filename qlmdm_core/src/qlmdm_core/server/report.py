"""Step 9: is the body of a submission a report at all?

A report says what the collectors of one machine found::

    {"hostname": "laptop7", "release": null,
     "collectors": {"firewall": {"status": "ok", "value": {"state": "on", …},
                                 "value_sha256": "…", "collected_at": "2026-05-01T10:00:00Z",
                                 "seconds": 0.2, "private": false}, …}}

Values are data and stay as they are, whatever their keys are called. What is checked is what
the server itself reads: names, statuses, times, and how much there is of everything.
Fields that are not known here are ignored: newer clients say more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qlmdm_core.api import JSON, NAME
from qlmdm_core.store.records import CollectorResult

MAX_COLLECTORS = 256
MAX_HOSTNAME = 255
MAX_ERROR = 4096
MAX_SECONDS = 1e6

_STATUS = re.compile(r"[a-z][a-z_]{0,31}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_RELEASE = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\Z")
# ISO 8601 in UTC, as datetime.isoformat writes it, with Z or +00:00
_TIME = re.compile(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,6})?(Z|\+00:00)\Z"
)

_USUAL_ORDER = ("status", "value", "value_sha256", "collected_at", "seconds")
_USUAL = frozenset(_USUAL_ORDER)


class MalformedError(Exception):
    """The body will never be accepted, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report whose shape was checked."""

    hostname: str
    release: str | None
    collectors: Mapping[str, CollectorResult]


def check_report(value: JSON) -> Report:
    """The report in the body of a message. Raises `MalformedError`."""
    if not isinstance(value, dict):
        raise MalformedError("report: expected an object")
    hostname, release = value.get("hostname"), value.get("release")
    if not isinstance(hostname, str) or not 1 <= len(hostname) <= MAX_HOSTNAME:
        raise MalformedError(f"report.hostname: expected text of 1 to {MAX_HOSTNAME} characters")
    if release is not None and not (isinstance(release, str) and _RELEASE.match(release)):
        raise MalformedError('report.release: expected "EPOCH.NUMBER" or null')
    collectors = value.get("collectors")
    if not isinstance(collectors, dict) or len(collectors) > MAX_COLLECTORS:
        raise MalformedError(f"report.collectors: expected an object of at most {MAX_COLLECTORS}")
    times: set[str] = set()  # a report has few different ones
    results = {
        name: _usual(name, result, times) or _result(name, result)
        for name, result in collectors.items()
    }
    return Report(hostname=hostname, release=release, collectors=results)


def _usual(name: str, result: JSON, times: set[str]) -> CollectorResult | None:
    """What `_result` gives for a value that is plainly right; None if that must look closer.

    Nearly all results are of this kind, and there are dozens in a report.
    """
    if type(result) is not dict or result.keys() != _USUAL or not NAME.match(name):
        return None
    status, value, sha256, collected_at, seconds = map(result.__getitem__, _USUAL_ORDER)
    if status != "ok" or type(sha256) is not str or not _SHA256.match(sha256):
        return None
    if type(seconds) is not float or not 0.0 <= seconds < MAX_SECONDS:
        return None
    if type(collected_at) is not str:
        return None
    if collected_at not in times:
        if not _TIME.match(collected_at):
            return None
        times.add(collected_at)
    return CollectorResult(status, value, sha256, None, collected_at, seconds)


def _result(name: str, result: JSON) -> CollectorResult:
    if not NAME.match(name):
        raise MalformedError(f"report.collectors: {name[:80]!r} is not a collector's name")
    if not isinstance(result, dict):
        raise _wrong(name, "", "expected an object")
    get = result.get
    status, error = get("status"), get("error")
    if status != "ok" and not (isinstance(status, str) and _STATUS.match(status)):
        raise _wrong(name, ".status", 'expected a word such as "ok" or "timeout"')
    if (status == "ok") != ("value" in result):
        raise _wrong(name, ".value", 'expected with the status "ok", and only then')
    if error is not None and not (isinstance(error, str) and len(error) <= MAX_ERROR):
        raise _wrong(name, ".error", f"expected text of at most {MAX_ERROR} characters")
    sha256, private = get("value_sha256", ""), get("private", False)
    if sha256 != "" and not (isinstance(sha256, str) and _SHA256.match(sha256)):
        raise _wrong(name, ".value_sha256", "expected 64 hex digits")
    if not isinstance(private, bool):
        raise _wrong(name, ".private", "expected true or false")
    if private and status == "ok" and not sha256:
        # Ours to compute, it would change with each encryption.
        raise _wrong(name, ".value_sha256", "expected for a private value")
    collected_at, seconds = get("collected_at"), get("seconds", 0.0)
    if not isinstance(collected_at, str) or not _TIME.match(collected_at):
        raise _wrong(name, ".collected_at", "expected a time such as 2026-05-01T10:00:00Z")
    if type(seconds) not in (float, int) or not 0 <= seconds < MAX_SECONDS:
        raise _wrong(name, ".seconds", "expected a number from 0")
    return CollectorResult(
        status=status,
        value=get("value"),
        value_sha256=sha256,
        error=error,
        collected_at=collected_at,
        seconds=float(seconds),
        private=private,
    )


def _wrong(name: str, where: str, what: str) -> MalformedError:
    return MalformedError(f"report.collectors.{name}{where}: {what}")
