"""Keeps what is personal from everybody but the site's secret-keepers, the server included.

The private parts of a value (named by its collector, or by settings) are taken out of it on the
client, encrypted to the keepers that the root document names, and put beside it as `sealed`. A
pseudonym stands where they were: the same for the same thing on this client, so that a check
can tell two users apart, and of no use for finding out who they are, since it is an HMAC under
a key that never leaves. What is sealed reads::

    {"cid": "…", "collector": "screenlock", "parts": {"/sessions/0/user": "ada"}}

The paths are JSON pointers (RFC 6901): what stood at each place of the value that was changed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
NOBODY = frozenset({"root"})
"""Names that are nobody's: they stay."""
NO_KEEPERS = "there are no secret-keepers to encrypt it to, so that it is not collected"

_RAISED = re.compile(
    r"(?P<type>[A-Za-z]\w*(?:Error|Exception|Exit|Interrupt|Iteration|Expired)\b)?.*?"
    r"(?P<where> \([\w./<>-]+:\d+ in [\w<>]+\))?\Z",
    re.DOTALL,
)
"""An exception as it is reported: its type (if it is none of ours), its words, and where."""
_HOME = re.compile(
    # Also the mount points that udisks(8) makes: /run/media/USER/LABEL, formerly below /media.
    r"(?:^|(?<=[\s\"'=:(,]))/(?:(?:var/)?home/(?P<home>[^/\s\"':,)]+)"
    r"|(?:run/)?media/(?P<media>[^/\s\"':,)]+)/[^/\s])"
)


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
    """What was encrypted before: `{collector: {"of": hash, "sealed": text, "some": bool}}`. A value
    that has not changed is not encrypted again: it would cost a gpg each time. `some`: not all of
    the keepers can read it."""
    people: Callable[[], Collection[str]] = tuple
    """The names of those who have an account here; only asked for if something is private."""
    _problem: str = ""
    """Why it can't be encrypted to all keepers in this collect; found out once."""
    _usable: Sequence[PublicKey] = ()
    """Those to whom it can be, then."""

    def seal(self, outcome: Outcome) -> dict[str, bytes]:
        """Seal all results in place; for each that was sealed, what it was and for whom, as bytes
        from which to tell a change: one that other keepers must read is another.

        What can't be encrypted stays here, with a failure that says so. If only some of the
        keepers' keys can't be used, it is encrypted to the others, with the same failure.
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
                value, sealed_parts = take_out(
                    result.value, paths, whole, self._pseudonym, self.people() if paths else ()
                )
                if sealed_parts:
                    value[SEALED] = self._encrypt(name, sealed_parts, outcome)
                    # The server keeps what it has while this stays the same: what nobody can
                    # read must not stand there once it can be encrypted.
                    mark = b"" if value[SEALED] else b"not encrypted\0"
                    lasting = strictjson.canonical(result.lasting)
                    plain[name] = self._readers() + mark + lasting
                outcome.results[name] = replace(result, value=value, private=whole)
        self.kept = {name: kept for name, kept in self.kept.items() if name in outcome.names}
        return plain

    def _readers(self) -> bytes:
        """Who can read it, and by which of their keys: a renewed one may have others."""
        names = sorted(f"{key.fingerprint} {key.armoured}" for key in self.keepers or ())
        return hashlib.sha256("\n".join(names).encode("utf-8", "replace")).digest()

    def _pseudonym(self, value: JSON) -> str:
        digest = hmac.new(self.key(), b"pseudonym\0" + strictjson.canonical(value), "sha256")
        return f"private:{digest.hexdigest()[:12]}"

    def _encrypt(self, name: str, parts: Mapping[str, JSON], outcome: Outcome) -> str | None:
        if self.keepers is None:
            return None
        content = {"cid": self.cid, "collector": name, "parts": dict(parts)}
        data = json.dumps(content, sort_keys=True).encode("ascii")
        of = hmac.new(self.key(), self._readers() + data, "sha256").hexdigest()
        before: Any = self.kept.get(name)
        is_same = isinstance(before, dict) and before.get("of") == of
        sealed = before.get(SEALED) if is_same else None
        if not isinstance(sealed, str) or before.get("some"):
            sealed = self._for_all_or_some(data, sealed)
            if self._problem:
                outcome.failures.append(_failure(outcome.results[name], self._problem))
        if sealed is None:
            self.kept.pop(name, None)
        else:
            self.kept[name] = {"of": of, SEALED: sealed, "some": bool(self._problem)}
        return sealed

    def _for_all_or_some(self, data: bytes, before: str | None) -> str | None:
        """The message to all keepers, or else to those whose keys can be used: `before`, if that
        was made. None if there are none such."""
        keepers = self.keepers or ()
        try:
            if not self._problem:
                return self.encrypt(data, keepers)
        except KeyringError as error:
            self._find_usable(keepers, error)
        if before is not None:
            return before
        try:
            return self.encrypt(data, self._usable) if self._usable else None
        except KeyringError as error:
            self._problem = str(error)
            return None

    def _find_usable(self, keepers: Sequence[PublicKey], error: KeyringError) -> None:
        wrong: dict[str, str] = {}
        for key in keepers if len(keepers) > 1 else ():
            try:
                self.encrypt(b"a trial", [key])
            except KeyringError as its:
                wrong[key.fingerprint] = str(its)
        self._usable = [key for key in keepers if key.fingerprint not in wrong]
        if len(keepers) == 1 or not wrong:
            wrong = {keepers[0].fingerprint: str(error)} if len(keepers) == 1 else {}
            self._usable = ()
        named = "; ".join(f"{name} ({why})" for name, why in wrong.items())
        self._problem = f"not encrypted to the secret-keeper {named}" if named else str(error)


def _failure(result: CollectorOutcome, error: str) -> PluginFailure:
    return PluginFailure(
        distribution=result.distribution,
        entry_point="",
        stage="seal",
        error=f"{result.name}: {error}",
    )


def _without_words(result: CollectorOutcome, whole: bool, partly: bool) -> CollectorOutcome:
    """A failure without what the collector said or printed, which may be the private thing."""
    if whole:
        error = f"it failed; on the machine, run: qlmdm-collect --explain {result.name}"
        return replace(result, error=error, printed="", private=True)
    if not partly:
        return result
    error = result.error
    if result.status == "error":  # what it raised; else the words are ours
        found = _RAISED.match(error)
        raised, where = (found["type"], found["where"]) if found else (None, None)
        error = (raised or "it raised an error") + (where or "")
    return replace(result, error=error, printed="")


# --- taking a value apart---------------------------------------------------------------------


def take_out(
    value: Mapping[str, JSON],
    paths: Sequence[str],
    whole: bool,
    pseudonym: Callable[[JSON], str],
    people: Collection[str] = (),
) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """The value without its private parts, and what stood in each place that was changed, by
    JSON pointers.

    Texts and numbers become pseudonyms; true, false and null stay, since they name nobody, and
    so does `root`. A private text is replaced wherever else it stands as a word in the value,
    too, such as a user's name in a path; so are the names of home folders, and of `people`. Of a
    value that is private as a whole, only `OPEN` is left.
    """
    if whole:
        left = {name: value[name] for name in OPEN if name in value}
        rest = {name: part for name, part in value.items() if name not in left}
        return left, {f"/{_token(name)}": part for name, part in rest.items() if part is not None}
    if not paths:
        return dict(value), {}
    copy: dict[str, JSON] = json.loads(json.dumps(value))
    taken: dict[str, JSON] = {}
    if SEALED in copy:  # the place is needed
        taken[f"/{SEALED}"] = copy.pop(SEALED)
    for path in paths:
        for pointer, container, key in _leaves(copy, path.split("."), ""):
            if pointer != "/state" and container[key] not in NOBODY:
                taken.setdefault(pointer, container[key])
                container[key] = pseudonym(taken[pointer])
    names = {word.lower(): pseudonym(word) for word in [*_names(copy, taken), *people]}
    return (_Renaming(names, taken).of(copy) if names else copy), taken


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


def _names(left: JSON, taken: Mapping[str, JSON]) -> Iterator[str]:
    """The private words that are to be looked for everywhere."""
    for pointer, part in taken.items():
        if isinstance(part, str) and pointer != f"/{SEALED}":
            # DOMAIN\user and user@domain have a home that is called by the user alone.
            yield from (word for word in (part, _short(part)) if _is_name(word))
    for text in (*_texts(left), *_texts(list(taken.values()))):
        for found in _HOME.finditer(text):
            word = found["home"] or found["media"]
            if _is_name(word) and word != "lost+found":
                yield word


def _short(name: str) -> str:
    return re.sub(r"\A[\w.-]+[\\+](?=\w)|(?<=\w)@[\w.-]+\Z", "", name)


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _is_name(part: str) -> bool:
    """Whether a text is long enough to be looked for elsewhere, and somebody's."""
    return len(part) > 1 and part not in NOBODY


class _Renaming:
    """Replaces private words in what is left of a value, and takes down what stood there."""

    def __init__(self, names: Mapping[str, str], taken: dict[str, JSON]) -> None:
        self._names, self._taken = names, taken
        longest_first = sorted(names, key=len, reverse=True)
        inner = "|".join(map(re.escape, longest_first))
        self._words = re.compile(rf"(?<![^\W_])(?:{inner})(?![^\W_])", re.IGNORECASE)

    def of(self, value: dict[str, JSON]) -> dict[str, JSON]:
        """The value, renamed."""
        renamed: dict[str, JSON] = self._walk(value, "", "")
        return renamed

    def _walk(self, part: Any, pointer: str, key: str) -> Any:
        if isinstance(part, dict):
            return {
                self._replace(name): self._walk(inner, f"{pointer}/{_token(name)}", name)
                for name, inner in part.items()
            }
        if isinstance(part, list):
            return [self._walk(inner, f"{pointer}/{at}", "") for at, inner in enumerate(part)]
        # A state is a word of the contract, whatever somebody's user name is.
        if not isinstance(part, str) or key == "state" or pointer in self._taken:
            return part
        renamed = self._replace(part)
        if renamed != part:
            self._taken.setdefault(pointer, part)
        return renamed

    def _replace(self, text: str) -> str:
        return self._words.sub(lambda found: self._other(found[0]), text)

    def _other(self, word: str) -> str:
        # (A few letters have two lower cases: by which one it was found is no matter.)
        return self._names.get(word.lower()) or next(iter(self._names.values()))
