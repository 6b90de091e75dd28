"""Another process that uses the same database: `python -m … OPENER URL ACTION ARGUMENT…`.

It prints one line for each thing that the store acknowledged, at once, and then waits for
its standard input to end: whoever started it may kill it at that moment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from qlmdm_core.store import Store
from qlmdm_core.store.records import Accepted, Enrolled, Judgement
from qlmdm_core.testing.store_contract import samples


def accept(store: Store, cid: str, first: str, count: str) -> None:
    """Send records of one client with the sequence numbers from `first`, each a change."""
    for seq in range(int(first), int(first) + int(count)):
        collectors = {"os_info": samples.result({"state": "available", "seq": seq})}
        outcome = store.accept(samples.submission(cid, seq, collectors))
        _say("accepted" if isinstance(outcome, Accepted) else type(outcome).__name__, seq)


def enrol(store: Store, prefix: str, count: str, invitation_id: str) -> None:
    """Enrol machines until `count` were tried."""
    for number in range(int(count)):
        wanted = samples.enrolment(f"{prefix}{number}", invitation_id=invitation_id)
        outcome = store.enrol(wanted)
        _say("enrolled" if isinstance(outcome, Enrolled) else outcome.reason, wanted.cid)


def lease(store: Store, name: str, owner: str) -> None:
    """Try to take a lease."""
    _say("taken" if store.take_lease(name, owner, samples.NOW, 60) else "refused", owner)


def judge(store: Store, prefix: str, count: str) -> None:
    """Open an issue about each client, as an audit would."""
    targets = store.audit_targets(samples.NOW, everything=True, limit=int(count))
    for target in targets:
        cid = target.client.cid
        opened = samples.issue(f"{prefix}-{cid}", cid)
        store.record_judgements(
            [
                Judgement(
                    cid=cid,
                    dirty=target.dirty,
                    rejudge_at=None,
                    verdicts=[samples.verdict(cid)],
                    issues=[opened],
                )
            ]
        )
        _say("judged", cid)


def advance(store: Store, cid: str, *command_ids: str) -> None:
    """Bring commands to an end, one after the other, as a client would that sends twice."""
    for command_id in command_ids:
        _say(str(store.advance_target(command_id, cid, "done", samples.NOW)), command_id)


def publish(store: Store, cid: str, name: str) -> None:
    """Put a release, and give a client its next key."""
    _say(str(store.put_release(samples.release(7))), 7)
    _say(store.rekey(samples.rekeying(cid, f"NEW{name}")), cid)


def queue(store: Store, name: str, count: str) -> None:
    """Queue a command for so many clients."""
    # In many documents, so that it takes a while.
    parts = samples.parts([f"c{number}" for number in range(int(count))], each=10)
    _say("begun", 1)
    store.put_command(samples.command(name, hosts=int(count)), parts)


def blob(store: Store) -> None:
    """Keep many bytes."""
    data = samples.large_bytes()
    _say("begun", 1)
    store.put_blob(data)


def main(argv: list[str]) -> int:
    """Do what the command line says, then wait."""
    opener, url, action, *arguments = argv
    module, _, function = opener.partition(":")
    store: Store = getattr(import_module(module), function)(url)
    actions: dict[str, Callable[..., None]] = {
        "accept": accept,
        "enrol": enrol,
        "lease": lease,
        "judge": judge,
        "advance": advance,
        "publish": publish,
        "queue": queue,
        "blob": blob,
    }
    actions[action](store, *arguments)
    _say("done", "")
    sys.stdin.read()
    store.close()
    return 0


def _say(what: str, about: object) -> None:
    sys.stdout.write(f"{what} {about}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
