"""Runs a distribution's collectors as a client does, on several machines, and judges the values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qlmdm_core.client.collect import host_maker
from qlmdm_core.client.isolation import CollectorOutcome, run_collectors
from qlmdm_core.client.plan import Descriptor
from qlmdm_core.plugins.check.findings import Finding, failed, ok
from qlmdm_core.plugins.entries import PluginEntry
from qlmdm_core.settings import Loaded
from qlmdm_core.strictjson import canonical


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where collectors are tried."""

    what: str
    """In a few words, for a person."""
    folder: str | None
    """That of a recorded machine; None: the present one."""


def try_collectors(
    entries: Sequence[PluginEntry],
    settings: Loaded[Any],
    names: Collection[str],
    machines: Sequence[Machine],
) -> Iterator[Finding]:
    """Run these collectors on each machine. `entries` are those of all installed client plugins:
    a collector may need the distro adapter of another distribution."""
    if not names:
        return
    for machine in machines:
        outcome = run_collectors(
            entries, settings=settings, host_factory=host_maker(machine.folder), only=names
        )
        for name in sorted(outcome.unknown):
            what = "it was not registered when it was to run"
            yield failed("values", f"collector {name}, on {machine.what}", what)
        ran = [outcome.results[name] for name in sorted(outcome.results)]
        known = outcome.known
        for result in ran:
            where = f"collector {result.name}, on {machine.what}"
            yield from _judge(where, result, known.get(result.name))
        if ran:
            states = ", ".join(f"{r.name} {_state(r)}" for r in ran if r.status == "ok")
            yield ok("values", f"on {machine.what}: {states}")
            yield ok("time", f"on {machine.what}: {max(r.seconds for r in ran):.1f} s at most")
            yield ok("size", f"on {machine.what}: {max(map(_size, ran))} bytes at most")


def _telling(printed: str) -> str:
    """The line that tells most: the last, or of Python's faulthandler where it happened."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if printed.startswith("Fatal Python error"):
        lines = [line for line in lines if line.startswith("File ")][:1] or lines
    return lines[-1] if lines else ""


def _judge(where: str, result: CollectorOutcome, known: Descriptor | None) -> Iterator[Finding]:
    printed = f"; it printed: {_telling(result.printed)[:200]}" if result.printed else ""
    if result.status == "timeout":
        todo = "Give each host.run a timeout, and the collector a longer one if it must be"
        yield failed("time", where, result.error, todo)
    elif result.status == "too_big":
        todo = "Leave out what no check needs, or raise max_bytes"
        yield failed("size", where, result.error, todo)
    elif result.status == "conflict":
        return  # told by the rule "names"
    elif result.status != "ok":
        todo = "Say unknown(reason) for what can't be found out"
        yield failed("values", where, f"{result.status}: {result.error}{printed}", todo)
    elif not result.value["state"].strip():
        yield failed("values", where, "its state is empty", "Name what is so")
    elif result.value["state"] == "unknown" and not _says_why(result.value.get("reason")):
        yield failed("values", where, "unknown without a reason", "Use unknown(reason)")
    elif known is not None:
        if _size(result) > known.max_bytes:
            yield failed("size", where, f"{_size(result)} bytes; {known.max_bytes} are allowed")
        silent = sorted(set(result.value) - {"state", "reason"} - set(known.fields))
        if silent:
            todo = "Say in fields= what each says: the person at the machine is shown that"
            yield failed("help", f"collector {result.name}", f"not explained: {_few(silent)}", todo)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _says_why(reason: object) -> bool:
    return isinstance(reason, str) and bool(reason.strip())


def _state(result: CollectorOutcome) -> str:
    state: str = result.value["state"]
    return state


def _size(result: CollectorOutcome) -> int:
    return len(canonical(result.value)) if result.status == "ok" else 0
