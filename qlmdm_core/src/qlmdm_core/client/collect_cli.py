"""`qlmdm-collect`: collects facts about this machine, now."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qlmdm_core import cli, settings
from qlmdm_core.api import JSON
from qlmdm_core.client.collect import (
    check_names,
    collect,
    collect_to_spool,
    host_maker,
    result_of,
)
from qlmdm_core.client.isolation import Outcome
from qlmdm_core.client.settings import ClientSettings, StandaloneSettings
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import State
from qlmdm_core.errors import NotSetUpError
from qlmdm_core.settings import Loaded

PROG = "qlmdm-collect"
EXAMPLES = """\
  qlmdm-collect                            run what is due, store a record for the server
  qlmdm-collect --stdout                   print what would be reported; change nothing
  qlmdm-collect --stdout --only firewall   the same, of one collector
  qlmdm-collect --explain                  what is collected on this machine, and why
  qlmdm-collect --explain firewall         what it asked the machine, and what it concluded
  qlmdm-collect --record DIR               a bug report: this machine, with other names
  qlmdm-collect --replay DIR --json        the report of a recorded machine

exit status: 0 done, 1 not recorded, as you said, 2 usage or settings, 3 could not be done now"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return cli.run(_main, PROG, argv)


def _main(argv: Sequence[str]) -> int:
    args = _parse(argv)
    if args.explain is not None:
        from qlmdm_core.client import explain  # only here: it would make each process larger

        if args.explain:
            explained = explain.one(_settings(args), args.explain, replay=args.replay)
        else:
            explained = explain.overview(_settings(args))
        print(json.dumps(explained.data, indent=2, sort_keys=True) if args.json else explained.text)
        return 0
    if args.stdout or args.record or args.replay or args.json:
        return _print_report(args)
    loaded = settings.load(settings.find_file("client", args.settings), ClientSettings)
    with State.open() as state, state.lock(), _open_spool(state, loaded) as spool:
        entry, outcome = collect_to_spool(state, loaded, spool, only=args.only)
    _tell_failures(outcome)
    failed = sum(1 for result in outcome.results.values() if result.status != "ok")
    print(f"stored {entry.rid}: {len(outcome.results)} collectors, {failed} of them failed")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.base_parser(PROG, "Collect facts about this machine.", EXAMPLES, json=True)
    parser.add_argument("--stdout", action="store_true", help="print the report and change nothing")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="run these collectors, due or not"
    )
    parser.add_argument(
        "--record", metavar="DIR", help="write what was asked and answered into a new folder"
    )
    parser.add_argument(
        "--keep-names", action="store_true", help="with --record: rename nobody and nothing"
    )
    parser.add_argument("--yes", action="store_true", help="with --record: write it without asking")
    parser.add_argument("--replay", metavar="DIR", help="ask a recorded machine, not this one")
    parser.add_argument(
        "--explain",
        metavar="NAME",
        nargs="?",
        const="",
        help="what is collected here, and why; with NAME, what it asked, and what it concluded",
    )
    args = parser.parse_args(argv)
    if args.record is None and (args.keep_names or args.yes):
        parser.error("--keep-names and --yes go with --record")
    if args.explain is not None and (args.only or args.record):
        parser.error("--explain goes with --replay, not with --only or --record")
    return args


def _settings(args: argparse.Namespace) -> Loaded[Any]:
    """The settings, if there are any that we may read; these modes work without."""
    path = settings.find_file("client", args.settings)
    named = args.settings or os.environ.get("QLMDM_SETTINGS")
    try:
        if named or os.access(path, os.R_OK):
            return settings.load(path, StandaloneSettings)
        if os.path.exists(path):
            print(
                f"{PROG}: {path} is not readable for you: what it turns on and off is not known "
                "here",
                file=sys.stderr,
            )
    except NotSetUpError:
        if named:
            raise
    return settings.defaults(StandaloneSettings)


def _open_spool(state: State, loaded: Loaded[ClientSettings]) -> Spool:
    core = loaded.core
    return Spool(state.spool_path, max_bytes=core.spool_max_bytes, max_age=core.spool_max_age)


def _tell_failures(outcome: Outcome) -> None:
    for failure in outcome.failures:
        print(f"{PROG}: {failure}", file=sys.stderr)
    if not outcome.names and not outcome.failures:
        print(
            f"{PROG}: no plugin is installed that collects anything (see qlmdm-plugins)",
            file=sys.stderr,
        )


# --- printing a report -------------------------------------------------------------------------


def _print_report(args: argparse.Namespace) -> int:
    if args.record is not None:
        return _record(args)
    outcome = collect(_settings(args), only=args.only, make_host=host_maker(args.replay))
    check_names(outcome)
    _tell_failures(outcome)
    print(json.dumps(report_of(outcome), indent=2, sort_keys=True))
    return 0


def _record(args: argparse.Namespace) -> int:
    from qlmdm_core.client import bug_report  # only here: a collect needs none of it

    def say(line: str) -> None:
        print(f"{PROG}: {line}", file=sys.stderr)

    loaded = _settings(args)
    outcome, kept = bug_report.record(
        args.record,
        lambda make: collect(loaded, only=args.only, make_host=make),
        replay=args.replay,
        renamed=not args.keep_names,
        agreed=lambda shown: bug_report.agree(shown, args.record, answered=args.yes),
        say=say,
    )
    _tell_failures(outcome)
    if not kept:
        say("nothing was written")
        return 1
    say(f"recorded in {args.record}; look through it before you pass it on")
    if args.stdout or args.json:
        print(json.dumps(report_of(outcome), indent=2, sort_keys=True))
    return 0


def report_of(outcome: Outcome) -> dict[str, JSON]:
    """What is printed: `{"collectors": {name: {"status", "value", …}}, "failures": […]}`."""
    collectors = {name: result_of(result) for name, result in outcome.results.items()}
    return {
        "collectors": collectors,
        "failures": [asdict(failure) for failure in outcome.failures],
    }
