"""What several checks do with the values of collectors, which come from clients: trust nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from qlmdm_core.api import JSON, Verdict

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:@~-]{0,63}\$?\Z")
_PLAIN_PATH = re.compile(r"/[\w./:+@-]{1,200}\Z", re.ASCII)
_PSEUDONYM = "private:"


def unknown_for(value: Mapping[str, JSON]) -> Verdict:
    """The verdict on a value that says that it does not know, with its reason."""
    reason = value.get("reason")
    message = reason[:500] if isinstance(reason, str) and reason else "no reason was reported"
    return Verdict(state="unknown", message=message)


def not_understood(collector: str) -> Verdict:
    """The verdict on a value that is not what its collector gives."""
    return Verdict(state="unknown", message=f"the value of {collector} is not understood")


def texts(values: JSON, most: int = 20) -> list[str]:
    """The texts in a list, cut; nothing if it is none."""
    if not isinstance(values, list):
        return []
    return [value[:200] for value in values[:most] if isinstance(value, str)]


def text_in(value: JSON, key: str, most: int = 200) -> str:
    """The text in a field of a value, cut; empty if it is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found[:most] if isinstance(found, str) else ""


def objects(values: JSON) -> list[Mapping[str, JSON]]:
    """The objects in a list; what is none counts as an empty one."""
    if not isinstance(values, list):
        return []
    return [value if isinstance(value, dict) else {} for value in values]


def named(names: Iterable[str], most: int = 5) -> str:
    """Names for a message: `a, b and 3 more`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:80] for name in names[:most]) + more


def word(name: JSON, usual: str) -> str:
    """A word to type. A client's report is not to be trusted in an administrator's shell.

    A pseudonym, which stands for a name that only secret-keepers may read, is no word to type.
    """
    plain = isinstance(name, str) and _PLAIN.match(name) and not name.startswith(_PSEUDONYM)
    return str(name) if plain else usual


def plain_path(path: JSON, usual: str) -> str:
    """A path to type, as with `word`."""
    return path if isinstance(path, str) and _PLAIN_PATH.match(path) else usual


def moment(text: JSON) -> datetime | None:
    """A time as clients write it; None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        # Python 3.10 does not read "Z".
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
