"""Decides what is due, has it collected, and makes the record that the server will get.

A record holds only what ran in this cycle::

    {"rid": "…", "collected_at": "2026-11-01T12:00:00Z",
     "collectors": {"firewall": {"status": "ok", "value": {…}, "collected_at": "…", "seconds": 0.2},
                    "acme": {"status": "timeout", "error": "…", …}},
     "failures": [{"distribution": "…", "entry_point": "…", "stage": "import", "error": "…", …}],
     "spool": {"pending": 3, "dropped": {"too_old": 1}, …}}

What is private is sealed before it is stored (see `sealing`), and goes with an HMAC under a key
that stays here: its plain hash could be guessed, and what is encrypted anew is never the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from functools import partial

from qlmdm_core import strictjson
from qlmdm_core.api import JSON, Host
from qlmdm_core.client.entries import find_entries
from qlmdm_core.client.isolation import CollectorOutcome, Outcome, run_collectors
from qlmdm_core.client.plan import Descriptor, FindDistro
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.spool import Entry, Spool
from qlmdm_core.client.state import COLLECTED, State
from qlmdm_core.errors import SpoolError, UsageError
from qlmdm_core.settings import Loaded

RETRY_SECONDS = 3600.0
"""How soon a collector with a longer interval is run again after it failed."""


def collect(
    loaded: Loaded[ClientSettings],
    *,
    only: Collection[str] | None = None,
    due: Callable[[Descriptor], bool] = lambda _: True,
    make_host: Callable[[str, FindDistro], Host] | None = None,
) -> Outcome:
    """Run the collectors of all installed plugins that are due and not switched off."""
    off = set(loaded.core.collectors_off)
    return run_collectors(
        find_entries(loaded.core.plugins_off),
        settings=loaded,
        host_factory=make_host or host_maker(),
        only=only,
        due=lambda descriptor: descriptor.name not in off and due(descriptor),
    )


def host_maker(
    replay: str | None = None, record: str | None = None, memory: str | None = None
) -> Callable[[str, FindDistro], Host]:
    """What makes the hosts: of this machine or a recorded one, and recording if asked to.

    `memory` is the folder in which collectors on this machine keep what they remember; without
    one, they remember nothing. Raises `RecordingError` if a recording can't be read, or none be
    written. The modules are loaded here, once, and not in each collector's process.
    """
    make: Callable[[str, FindDistro], Host]
    if replay is not None:
        from qlmdm_core.host.replay import ReplayHost

        replay = os.path.abspath(replay)  # collectors run in /
        ReplayHost(replay)  # raises now if it is no recorded machine, and not fourteen times
        make = partial(_replay_host, ReplayHost, replay)
    else:
        from qlmdm_core.host.real import RealHost

        make = partial(_real_host, RealHost, memory)
    if record is None:
        return make
    from qlmdm_core.host.recording import RecordingHost

    record = os.path.abspath(record)
    # Begun here: that it can't be written is then said once, before anything is asked.
    RecordingHost(make("", lambda: None), record)
    return lambda name, find_distro: RecordingHost(make(name, find_distro), record)


def _real_host(
    kind: Callable[..., Host], memory: str | None, name: str, find_distro: FindDistro
) -> Host:
    return kind(distro=find_distro, memory=memory and f"{memory}/{name}.json")


def _replay_host(
    kind: Callable[..., Host], directory: str, _: str, find_distro: FindDistro
) -> Host:
    return kind(directory, distro=find_distro)


def collect_to_spool(
    state: State,
    loaded: Loaded[ClientSettings],
    spool: Spool,
    *,
    only: Collection[str] | None = None,
    everything: bool = False,
    replay: str | None = None,
    now: Callable[[], float] = time.time,
) -> tuple[Entry, Outcome]:
    """Run what is due (or named, or everything) and store one record; the caller holds the
    cycle lock.

    Raises `SpoolError` if it can't be stored; then everything is due again. Raises
    `UsageError` if a name in `only` does not exist; then nothing is stored.
    """
    from qlmdm_core.client.privacy import Privacy  # not needed to print a report

    begun = now()
    history = _History(state, loaded.core.collect_interval, begun)
    accounts = "/etc/passwd" if replay is None else f"{replay}/files/etc/passwd"
    privacy = Privacy(state, loaded.core, accounts)
    outcome = collect(
        loaded,
        only=only,
        due=lambda d: privacy.allows(d) and (everything or history.is_due(d)),
        make_host=host_maker(replay, memory=state.memory_folder()),
    )
    check_names(outcome)
    privacy.answer_for_the_refused(outcome, lambda d: only is None or d.name in only, begun)
    record = make_record(outcome, privacy.seal(outcome), privacy.key, spool.report(), begun)
    entry = spool.put(record)
    privacy.remember()
    history.write(outcome)
    return entry, outcome


def check_names(outcome: Outcome) -> None:
    """Raise `UsageError` for collectors that do not exist, with those that do."""
    if not outcome.unknown:
        return
    wrong = sorted(outcome.unknown)
    import difflib

    near = difflib.get_close_matches(wrong[0], outcome.names, 1)
    known = ", ".join(sorted(outcome.names)) or "none"
    loaded = " among those that could be loaded" if outcome.failures else ""
    raise UsageError(
        f"there is no collector {', '.join(map(repr, wrong))}{loaded}"
        + (f"; did you mean {near[0]}?" if near else "")
        + f"\nthere are: {known}"
        + "".join(f"\nfailed: {failure}" for failure in outcome.failures)
    )


# --- what is due ------------------------------------------------------------------------------


class _History:
    """When each collector ran last, and whether it went well."""

    def __init__(self, state: State, cycle: float, now: float) -> None:
        self._state = state
        self._cycle = cycle
        self._now = now
        try:
            self._runs = state.read_json(COLLECTED) or {}
        except SpoolError:
            self._runs = {}  # damaged: everything is due, and the file is written anew

    def is_due(self, descriptor: Descriptor) -> bool:
        """Whether the collector's interval has passed, or will have before the next cycle."""
        if descriptor.interval is None:
            return True
        last: JSON = self._runs.get(descriptor.name)
        try:
            ran_at, ok = float(last["ran_at"]), last["ok"] is True
        except (TypeError, ValueError, KeyError):
            return True
        interval = descriptor.interval if ok else min(descriptor.interval, RETRY_SECONDS)
        # Half a cycle early rather than half a cycle late; a clock set back does not wait.
        return not 0 <= self._now - ran_at < interval - self._cycle / 2

    def write(self, outcome: Outcome) -> None:
        """Remember what ran now; forget collectors that no longer exist."""
        gone = set(self._runs) - outcome.names if not outcome.failures else set()
        runs = {name: run for name, run in self._runs.items() if name not in gone}
        for name, result in outcome.results.items():
            runs[name] = {"ran_at": self._now, "ok": result.status == "ok"}
        self._state.write_json(COLLECTED, runs)


# --- the record -------------------------------------------------------------------------------


def make_record(
    outcome: Outcome,
    plain: Mapping[str, bytes],
    private_key: Callable[[], bytes],
    spool: Mapping[str, JSON],
    now: float,
) -> dict[str, JSON]:
    """The record of one collect. `plain` is what the values that were sealed had been; the
    `private_key` is only asked for if there is one."""
    import uuid  # as above, see _with_hash

    return {
        "rid": str(uuid.uuid4()),
        "collected_at": iso(now),
        "collectors": {
            name: _with_hash(result, plain.get(name), private_key)
            for name, result in sorted(outcome.results.items())
        },
        "failures": [asdict(failure) for failure in outcome.failures],
        "spool": dict(spool),
    }


def result_of(result: CollectorOutcome) -> dict[str, JSON]:
    """What is reported of one collector: its value, or why there is none."""
    reported: dict[str, JSON] = {"status": result.status}
    if result.status == "ok":
        reported["value"] = result.value
    else:
        reported["error"] = result.error
        if result.printed and not result.private:
            reported["printed"] = result.printed
    reported["collected_at"] = iso(result.started_at)
    reported["seconds"] = result.seconds
    if result.private:
        reported["private"] = True
    return reported


def _with_hash(
    result: CollectorOutcome, plain: bytes | None, private_key: Callable[[], bytes]
) -> dict[str, JSON]:
    """The result, with the hash that tells a changed value, where the server can't make it."""
    reported = result_of(result)
    if result.status != "ok" or not (plain or result.private or result.volatile):
        return reported
    import hashlib  # after the collect: each of its processes would carry the cryptography
    import hmac

    data = plain or strictjson.canonical(result.lasting)
    if plain or result.private:
        reported["value_sha256"] = hmac.new(private_key(), data, "sha256").hexdigest()
    else:
        reported["value_sha256"] = hashlib.sha256(data).hexdigest()
    return reported


def iso(seconds: float) -> str:
    """A time as reports have it: ISO 8601, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
