"""One cycle of the agent: ask the server for news, collect, send. One lock, one interpreter.

A failure of the network is told once, when it begins: the agent runs every minute, and cron
mails what it prints.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone

from qlmdm_core import cli, settings
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client import schedule
from qlmdm_core.client.commands import step
from qlmdm_core.client.link import CANT_ASK, Link
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import State
from qlmdm_core.client.submit import submit
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import BusyError, SpoolError, TransportError, TrustError
from qlmdm_core.settings import Loaded
from qlmdm_core.signing.gpg import GpgSigner

EXAMPLES = """\
  * * * * * root qlmdm-client-cron      in /etc/cron.d, on every client
  qlmdm-client-cron --now               poll, collect and send at once
  qlmdm-client-cron --now --replay DIR  the same, for a recorded machine

exit status: 0 done or nothing due, 2 settings or not enrolled, 3 server away or lock held"""


def main(argv: Sequence[str]) -> int:
    """What `qlmdm-client-cron` does once it found that something is due."""
    return cli.run(_main, "qlmdm-client-cron", argv)


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser(
        "qlmdm-client-cron",
        "Run the agent's cycle: whatever is due of polling, collecting and sending.",
        EXAMPLES,
    )
    parser.add_argument("--now", action="store_true", help="do all of it now, due or not")
    parser.add_argument("--poll", action="store_true", help="ask the server for news, no more")
    parser.add_argument("--replay", metavar="DIR", help="collect from a recorded machine")
    args = parser.parse_args(argv)
    loaded = settings.load(settings.find_file("client", args.settings), ClientSettings)
    try:
        with State.open(create=False) as state, state.lock(), open_link(state, loaded.core) as link:
            cycle = Cycle(state, loaded, link, replay=args.replay)
            problem = cycle.ask() if args.poll else cycle.run(now=args.now)
    except BusyError:
        if args.now or args.poll:
            raise
        return BusyError.exit_status  # the cycle of a minute ago still collects: no news
    if problem is None:
        return 0
    if cycle.is_unproven:
        raise TrustError(problem)
    if args.now or args.poll or link.memory.backoff.failures == 1:
        raise TransportError(f"{problem}; what was collected is kept and sent later")
    return TransportError.exit_status


def open_link(state: State, core: ClientSettings) -> Link:
    """The way to the server for an enrolled client; raises `NotSetUpError` for another."""
    identity, root = identities.load_identity(state), identities.load_root(state)
    transport = Transport(core.server_url, ca_file=core.ca_file, timeout=core.network_timeout)
    if identity.mid != identities.machine_hash():
        from qlmdm_core.client.copied import become_a_client

        identity = become_a_client(state, transport, identity, root)
        root = identities.load_root(state)
    if identities.is_rekey_due(state, identity, datetime.now(timezone.utc)):
        from qlmdm_core.client import rekey

        identity = rekey.try_to(state, transport, identity, root)
        root = identities.load_root(state)
    return Link(
        state,
        identity=identity,
        root=root,
        transport=transport,
        signer=GpgSigner(identities.gnupg_home(state, identity), identity.fingerprint),
        verifier=identities.verifier(),
    )


def open_spool(state: State, core: ClientSettings) -> Spool:
    """The records that wait for the server."""
    return Spool(state.spool_path, max_bytes=core.spool_max_bytes, max_age=core.spool_max_age)


class Cycle:
    """What one start of the agent does."""

    def __init__(
        self, state: State, loaded: Loaded[ClientSettings], link: Link, *, replay: str | None
    ) -> None:
        self._state = state
        self._loaded = loaded
        self._core = loaded.core
        self._link = link
        self._replay = replay
        self._answered = False
        """Whether the server gave a verified answer to a poll of this cycle."""
        self._refused = 0
        """How many records the server called malformed."""
        self._something_to_try = False
        self.is_unproven = False
        """Whether all went well but for a release on trial that may not be committed."""

    def ask(self) -> str | None:
        """Ask for news and do nothing about it; why there was no answer, or None."""
        try:
            self._question()
        except (*CANT_ASK, SpoolError) as error:
            return str(error)
        return None

    def run(self, *, now: bool) -> str | None:
        """Do what is due, or all of it; why the server could not be reached, or None."""
        begun = time.time()
        memory = self._link.memory
        away = memory.backoff.waits(begun) and not now
        # A slot that is not whole can't wait for its time: another runs in its place.
        poll = now or bool(os.environ.get("QLMDM_BROKEN"))
        poll = poll or self._is_due(memory.polled_at, self._core.poll_interval, begun)
        collect = now or self._is_due(memory.collected_at, self._core.collect_interval, begun)
        problem: str | None = None
        if poll and not away:
            problem = self._poll(begun)
        if collect:
            self._collect(begun, everything=now)
        if not away and problem is None:
            problem = self._submit()
        if problem is None and self._answered and collect:
            problem = self._prove_release()
            self.is_unproven = problem is not None
        self._write_due()
        return problem

    def _is_due(self, last: float, interval: float, now: float) -> bool:
        """Whether one of this client's moments has come since. A clock set back does not wait."""
        return not last <= now < schedule.next_due(self._link.cid, interval, last)

    def _question(self) -> dict[str, JSON]:
        """Ask the server for news: what its verified answer says."""
        from qlmdm_core.client import agent

        body = {"root": self._link.root_version, **agent.release_status(self._state)}
        answer = self._link.ask("update", {"update": body})
        return dict(answer.details)

    def _poll(self, now: float) -> str | None:
        """Ask for news: first a new root document, then, by its keys, a release."""
        try:
            news = self._question()
            self._link.follow_root(news.get("root"))
            if news.get("rekey") is True:  # the next cycle begins with that
                self._state.write(identities.REKEY_WANTED, b"")
            self._link.remember(polled_at=now)
        except (*CANT_ASK, SpoolError) as error:
            # Whatever it is, collecting goes on: the spool is made for days like this.
            self._link.failed(now, self._core.backoff_max)
            return str(error)
        self._answered = True
        step.take(self._link, self._state, self._link.root, news.get("commands"))
        step.report(self._link, self._state, self._loaded.file)
        if news.get("release") is not None:
            self._take_release(news["release"])
        return None

    def _take_release(self, offered: JSON) -> None:
        """Install a release; what keeps it away is in the next report, and said here once."""
        from qlmdm_core.client.release.update import Updater

        outcome = Updater(self._state, self._loaded, self._link).take(offered)
        self._something_to_try = outcome.state == "installed"
        if outcome.why and outcome.is_news:
            sys.stderr.write(
                f"qlmdm-client-cron: release {outcome.version} is not installed: {outcome.why}\n"
            )

    def _prove_release(self) -> str | None:
        """Commit a release, or launcher, whose trial this cycle was; why it was not, or None."""
        if not (os.environ.get("QLMDM_TRIAL") or os.environ.get("QLMDM_LAUNCHER_TRIAL")):
            return None
        from qlmdm_core.client.release import proof

        if self._refused:
            return f"the server called {self._refused} of its records malformed"
        return proof.prove(self._state, self._loaded, self._link)

    def _collect(self, now: float, *, everything: bool) -> None:
        """Collectors may take minutes; imported here, since most cycles only poll."""
        from qlmdm_core.client.collect import collect_to_spool

        with open_spool(self._state, self._core) as spool:
            collect_to_spool(
                self._state, self._loaded, spool, everything=everything, replay=self._replay
            )
        self._link.remember(collected_at=now)

    def _submit(self) -> str | None:
        with open_spool(self._state, self._core) as spool:
            step.add_news(self._state, spool)
            if not spool.pending():
                self._link.succeeded()
                return None
            result = submit(self._link, spool)
        self._refused += result.set_aside
        if result.set_aside:
            sys.stderr.write(
                f"qlmdm-client-cron: the server called {result.set_aside} records malformed; "
                f"they are kept in {self._state.spool_path}\n"
            )
        if result.problem:
            self._link.failed(time.time(), self._core.backoff_max, at_least=result.retry_after)
            return result.problem
        self._link.succeeded()
        return None

    def _write_due(self) -> None:
        """Tell the next starts when there is something to do (see `cron`)."""
        memory = self._link.memory
        now = time.time()
        poll = schedule.next_due(self._link.cid, self._core.poll_interval, now)
        if memory.backoff.waits(now):
            poll = max(poll, memory.backoff.until)
        collect = schedule.next_due(self._link.cid, self._core.collect_interval, now)
        due = now if self._something_to_try else min(poll, collect)
        self._state.write(schedule.DUE_FILE, f"{now:.3f} {due:.3f}\n".encode())
