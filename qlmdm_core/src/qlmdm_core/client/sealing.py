"""Keeps what is personal from everybody but the site's secret-keepers, the server included.

The private parts of a value (named by its collector, or by settings) are taken out of it on the
client, encrypted to the keepers that the root document names, and put beside it as `sealed`. A
pseudonym stands where they were: the same for the same thing on this client, so that a check
can tell two users apart, and of no use for finding out who they are, since it is an HMAC under
a key that never leaves. What is sealed reads::

    {"cid": "…", "collector": "screenlock", "parts": {"/sessions/0/user": "ada"}}

The paths are JSON pointers (RFC 6901).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qlmdm_core import strictjson
from qlmdm_core.api import JSON
from qlmdm_core.client.isolation import CollectorOutcome, Outcome
from qlmdm_core.errors import KeyringError
from qlmdm_core.plugins import PluginFailure
from qlmdm_core.signing.interface import PublicKey

SEALED = "sealed"
"""The field of a value that holds what was taken out of it, ASCII-armoured; None if it could
not be encrypted."""
OPEN = ("state", "reason")
"""What is told even of a value that is private as a whole."""
NO_KEEPERS = "there are no secret-keepers to encrypt it to, so that it is not collected"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What settings say beside the collectors."""

    private: tuple[str, ...] = ()
    """`COLLECTOR` or `COLLECTOR.path`."""
    not_private: tuple[str, ...] = ()
    """`COLLECTOR.path`, as the collector names it."""

    def is_private(self, collector: str, declared: bool) -> bool:
        """Whether the whole value is."""
        return declared or collector in self.private

    def paths(self, collector: str, declared: Sequence[str]) -> tuple[str, ...]:
        """The parts of a collector's value that are."""
        start = collector + "."
        named = [name[len(start) :] for name in self.private if name.startswith(start)]
        free = {name[len(start) :] for name in self.not_private if name.startswith(start)}
        return tuple(path for path in dict.fromkeys([*declared, *named]) if path not in free)


@dataclass(kw_only=True)
class Sealer:
    """Seals the values of one collect."""

    cid: str
    keepers: Sequence[PublicKey] | None
    """None: not known yet, since this client is not enrolled. Nobody can read it then."""
    key: Callable[[], bytes]
    """The client's own secret; only asked for if something is private."""
    encrypt: Callable[[bytes, Sequence[PublicKey]], str]
    choice: Choice = field(default_factory=Choice)
    kept: dict[str, JSON] = field(default_factory=dict)
    """What was encrypted before: `{collector: {"of": hash, "sealed": text}}`. A value that has
    not changed is not encrypted again: it would cost a gpg, and look like a change."""

    def seal(self, outcome: Outcome) -> dict[str, bytes]:
        """Seal all results in place; for each that was sealed, what it was and for whom, as bytes
        from which to tell a change: one that other keepers must read is another.

        What can't be encrypted stays here, with a failure that says so.
        """
        plain: dict[str, bytes] = {}
        if self.keepers is not None and not self.keepers:
            return plain  # nobody to keep it for: private parts are as all the rest
        for name, result in outcome.results.items():
            whole = self.choice.is_private(name, result.private)
            paths = self.choice.paths(name, result.private_paths)
            if result.status != "ok":
                outcome.results[name] = _without_words(result, whole, bool(paths))
            elif whole or paths:
                value, sealed_parts = take_out(result.value, paths, whole, self._pseudonym)
                if sealed_parts:
                    plain[name] = self._readers() + strictjson.canonical(_lasting(result))
                    value[SEALED] = self._encrypt(name, sealed_parts, outcome)
                outcome.results[name] = replace(result, value=value, private=whole)
        self.kept = {name: kept for name, kept in self.kept.items() if name in outcome.names}
        return plain

    def _readers(self) -> bytes:
        names = sorted(key.fingerprint for key in self.keepers or ())
        return ",".join(names).encode("ascii") + b"\0"

    def _pseudonym(self, value: JSON) -> str:
        digest = hmac.new(self.key(), b"pseudonym\0" + strictjson.canonical(value), "sha256")
        return f"private:{digest.hexdigest()[:12]}"

    def _encrypt(self, name: str, parts: Mapping[str, JSON], outcome: Outcome) -> str | None:
        if self.keepers is None:
            return None
        content = {"cid": self.cid, "collector": name, "parts": dict(parts)}
        data = json.dumps(content, sort_keys=True).encode("ascii")
        of = hmac.new(self.key(), self._readers() + data, "sha256").hexdigest()
        kept: Any = self.kept.get(name)
        if isinstance(kept, dict) and kept.get("of") == of and isinstance(kept.get(SEALED), str):
            return str(kept[SEALED])
        try:
            sealed = self.encrypt(data, self.keepers)
        except KeyringError as error:
            outcome.failures.append(
                PluginFailure(
                    distribution=outcome.results[name].distribution,
                    entry_point="",
                    stage="seal",
                    error=f"{name}: {error}",
                )
            )
            return None
        self.kept[name] = {"of": of, SEALED: sealed}
        return sealed


def _lasting(result: CollectorOutcome) -> dict[str, JSON]:
    return {name: part for name, part in result.value.items() if name not in result.volatile}


def _without_words(result: CollectorOutcome, whole: bool, partly: bool) -> CollectorOutcome:
    """A failure without what the collector said or printed, which may be the private thing."""
    if whole:
        error = f"it failed; on the machine, run: qlmdm-collect --explain {result.name}"
        return replace(result, error=error, printed="", private=True)
    return replace(result, printed="") if partly else result


# --- taking a value apart -----------------------------------------------------------------------


def take_out(
    value: Mapping[str, JSON],
    paths: Sequence[str],
    whole: bool,
    pseudonym: Callable[[JSON], str],
) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """The value without its private parts, and these by their JSON pointers.

    Texts and numbers become pseudonyms; true, false and null stay, since they name nobody. A
    private text is replaced wherever else it stands as a word in the value, too, such as a
    user's name in a path. Of a value that is private as a whole, only `OPEN` is left.
    """
    if whole:
        left = {name: value[name] for name in OPEN if name in value}
        taken = {f"/{_token(name)}": part for name, part in value.items() if name not in left}
        return left, taken
    copy: dict[str, JSON] = json.loads(json.dumps(value))
    taken = {}
    for path in paths:
        for pointer, container, key in _leaves(copy, path.split("."), ""):
            if pointer == "/state":
                continue
            part = container[key]
            taken[pointer] = part
            container[key] = pseudonym(part)
    names = {part: pseudonym(part) for part in taken.values() if _is_name(part)}
    if names:
        copy = _rename(copy, names)
    return copy, taken


def _leaves(value: JSON, words: Sequence[str], pointer: str) -> Iterator[tuple[str, Any, Any]]:
    """Each text or number at or below the path, with the container that holds it."""
    items: list[tuple[Any, JSON]] = []
    if isinstance(value, dict):
        wanted = words[0] if words else "*"
        items = [(key, part) for key, part in value.items() if wanted in ("*", key)]
    elif isinstance(value, list):
        wanted = words[0] if words else "*"
        items = [(at, part) for at, part in enumerate(value) if wanted in ("*", str(at))]
    for key, part in items:
        here = f"{pointer}/{_token(str(key))}"
        if isinstance(part, (dict, list)):
            yield from _leaves(part, words[1:], here)
        elif len(words) <= 1 and part is not None and not isinstance(part, bool) and part != "":
            yield here, value, key


def _token(name: str) -> str:
    """A name as RFC 6901 has it in a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _is_name(part: JSON) -> bool:
    """Whether a text is long enough to be looked for elsewhere."""
    return isinstance(part, str) and len(part) > 1 and not part.startswith("private:")


def _rename(value: dict[str, JSON], names: Mapping[str, str]) -> dict[str, JSON]:
    longest_first = sorted(names, key=len, reverse=True)
    words = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")

    def walk(part: JSON) -> JSON:
        if isinstance(part, dict):
            return {key: walk(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [walk(inner) for inner in part]
        if isinstance(part, str):
            return words.sub(lambda found: names[found[0]], part)
        return part

    # The state is a word of the contract, whatever somebody's user name is.
    return {name: part if name == "state" else walk(part) for name, part in value.items()}
