"""How the server logs: a line of text, or a line of JSON, on standard error.

Both carry the request's id, by which a response and a log line find each other. What a client
sent never becomes a line of its own: control characters are escaped.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Literal

EXTRAS = ("request_id", "cid", "fingerprint", "remote")
"""The fields that log calls add with `extra=`."""


def configure(style: Literal["plain", "json"], level: int = logging.INFO) -> None:
    """Send everything from `level` up to standard error, in that style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class PlainFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER: MESSAGE [request_id=… cid=…]`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there was an error of ours."""
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        line += f" [{extras}]" if extras else ""
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with `at`, `level`, `logger`, `message`, and the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        value = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value)


def _extras(record: logging.LogRecord) -> dict[str, str]:
    found = {name: getattr(record, name, None) for name in EXTRAS}
    return {name: str(value) for name, value in found.items() if value}


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, timezone.utc)
    return at.isoformat(timespec="milliseconds")
