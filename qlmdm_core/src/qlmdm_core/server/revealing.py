"""Opens what clients sealed for the secret-keepers, on a machine of one of them.

The server has only ciphertexts; it writes those of a client into a file, which a keeper opens
with their own gpg: their keyring, agent, passphrase or smart card. So nothing here touches gpg's
home or its questions. Each sealed text names its client and its collector inside; one that was
put in another's place is refused. That one is missing shows, because the file lists what there
is; whether it is the newest, only the server's word says.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qlmdm_core import strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import KeyringError, TrustError, UsageError
from qlmdm_core.signing.gpg import program

MAX_BYTES = 16 << 20
SEALED = "sealed"
Decrypt = Callable[[bytes], bytes]
"""Raises `KeyringError`."""


@dataclass(frozen=True, kw_only=True)
class SealedValue:
    """One collector's value, with what only keepers can read."""

    collector: str
    collected_at: str
    value: Mapping[str, JSON]
    """With pseudonyms, and without what is sealed."""
    sealed: str | None
    """None: the client could not encrypt it, so that nobody has it."""


@dataclass(frozen=True, kw_only=True)
class SealedFile:
    """What the server wrote about one client."""

    cid: str
    hostname: str
    exported_at: str
    values: Sequence[SealedValue]


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """One value, opened, or why not."""

    collector: str
    collected_at: str
    value: Mapping[str, JSON]
    parts: Mapping[str, JSON] = field(default_factory=dict)
    """What was sealed, by JSON pointers."""
    problem: str = ""


def sealed_values(report: Mapping[str, JSON], only: str | None = None) -> list[SealedValue]:
    """What is sealed in a client's report."""
    found = []
    for name, result in sorted(report.items()):
        value = result.get("value")
        if not isinstance(value, dict) or SEALED not in value or only not in (None, name):
            continue
        found.append(
            SealedValue(
                collector=name,
                collected_at=str(result.get("collected_at", "")),
                value={key: part for key, part in value.items() if key != SEALED},
                sealed=value[SEALED] if isinstance(value[SEALED], str) else None,
            )
        )
    return found


def pack(cid: str, hostname: str, values: Sequence[SealedValue], now: datetime) -> str:
    """The text of the file for a keeper."""
    entries = [
        {
            "collector": one.collector,
            "collected_at": one.collected_at,
            "value": one.value,
            "sealed": one.sealed,
        }
        for one in values
    ]
    about = {"v": 1, "typ": "sealed", "cid": cid, "hostname": hostname}
    about |= {"exported_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "count": len(entries)}
    return json.dumps({**about, "values": entries}, indent=1) + "\n"


def unpack(data: bytes, where: str) -> SealedFile:
    """What `pack` wrote. Raises `UsageError`, and for a list that is cut short `TrustError`."""
    try:
        value: Any = strictjson.parse(data, max_bytes=MAX_BYTES)
        if value["v"] != 1 or value["typ"] != "sealed":
            raise ValueError("not of this version")
        values = [_entry(entry) for entry in value["values"]]
        made = SealedFile(
            cid=_text(value["cid"]),
            hostname=_text(value["hostname"]),
            exported_at=_text(value["exported_at"]),
            values=values,
        )
        count = value["count"]
    except (strictjson.JsonError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{where}: not a file of qlmdm-clients reveal --export ({error})"
        ) from None
    if count != len(values) or len({one.collector for one in values}) != count:
        raise TrustError(f"{where}: it should hold {count} values and holds others; it was changed")
    return made


def _entry(entry: Any) -> SealedValue:
    sealed = entry["sealed"]
    if sealed is not None:
        _text(sealed)
    return SealedValue(
        collector=_text(entry["collector"]),
        collected_at=_text(entry["collected_at"]),
        value=dict(entry["value"]),
        sealed=sealed,
    )


def _text(value: JSON) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def reveal(cid: str, values: Sequence[SealedValue], decrypt: Decrypt) -> list[Revealed]:
    """Each value opened, or why it could not be; none is left out."""
    return [_reveal(cid, one, decrypt) for one in values]


def _reveal(cid: str, one: SealedValue, decrypt: Decrypt) -> Revealed:
    def failed(problem: str) -> Revealed:
        return Revealed(
            collector=one.collector,
            collected_at=one.collected_at,
            value=one.value,
            problem=problem,
        )

    if one.sealed is None:
        return failed("the client could not encrypt it; see its plugin failures")
    try:
        content: Any = strictjson.parse(
            decrypt(one.sealed.encode("ascii", "replace")), max_bytes=MAX_BYTES
        )
        of, collector, parts = content["cid"], content["collector"], dict(content["parts"])
    except KeyringError as error:
        return failed(str(error))
    except (strictjson.JsonError, KeyError, TypeError, ValueError):
        return failed("what was sealed is not what a client seals")
    if (of, collector) != (cid, one.collector):
        return failed(
            f"it is about {collector!r} of client {of!r}: somebody put it in another's place"
        )
    return Revealed(
        collector=one.collector,
        collected_at=one.collected_at,
        value=put_back(one.value, parts),
        parts=parts,
    )


def put_back(value: Mapping[str, JSON], parts: Mapping[str, JSON]) -> dict[str, JSON]:
    """The value as it was; a part whose place is not there (any more) is under its pointer."""
    whole: dict[str, JSON] = json.loads(json.dumps(value))
    for pointer, part in parts.items():
        words = [word.replace("~1", "/").replace("~0", "~") for word in pointer.split("/")[1:]]
        if not _put(whole, words, part):
            whole[pointer] = part
    return whole


def _put(container: Any, words: Sequence[str], part: JSON) -> bool:
    for word in words[:-1]:
        if isinstance(container, dict) and word in container:
            container = container[word]
        elif isinstance(container, list) and word.isdecimal() and int(word) < len(container):
            container = container[int(word)]
        else:
            return False
    last = words[-1] if words else ""
    if isinstance(container, dict):
        container[last] = part
        return True
    if isinstance(container, list) and last.isdecimal() and int(last) < len(container):
        container[int(last)] = part
        return True
    return False


def by_own_gpg(environ: Mapping[str, str]) -> Decrypt:
    """Decrypts as the person at this machine does: with their gpg, which may ask them."""
    binary = program("gpg")
    if binary is None:
        raise KeyringError("gpg is not installed; install GnuPG")

    def decrypt(message: bytes) -> bytes:
        environment = dict(environ)
        if os.isatty(0):
            environment.setdefault("GPG_TTY", os.ttyname(0))
        done = subprocess.run(
            [binary, "--quiet", "--no-tty", "--decrypt", "--output", "-", "--", "-"],
            input=message,
            capture_output=True,
            env=environment,
            check=False,
        )
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = words[-1][:200] if words else "no reason given"
            raise KeyringError(f"gpg could not open it with the keys that are here: {why}")
        return done.stdout

    return decrypt
