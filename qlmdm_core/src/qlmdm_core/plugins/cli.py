"""`qlmdm-plugins`: what plugins are installed, what they give, and what is wrong with them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qlmdm_core import cli, settings
from qlmdm_core.api import JSON
from qlmdm_core.client.settings import ClientSettings, StandaloneSettings
from qlmdm_core.errors import PluginError, QlmdmError, UsageError
from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP, client, server
from qlmdm_core.plugins import discover, normalised
from qlmdm_core.plugins.guard import say
from qlmdm_core.plugins.probe import KINDS, LOAD_SECONDS, Report, probe
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.tables import print_table
from qlmdm_core.settings import Loaded, setting
from qlmdm_core.units import parse_duration, say_duration

EXAMPLES = """\
  qlmdm-plugins                           what is installed, for both sides
  qlmdm-plugins --json                    the same, with everything that is known
  qlmdm-plugins --side client             only what runs on clients
  qlmdm-plugins run acme-badge --help     a command that a plugin brings
  qlmdm-plugins check qlmdm-acme          whether a distribution keeps the contract
  qlmdm-plugins new acme-badge            write a distribution to begin one's own with

exit status: 0 all is well, 1 something failed, 2 settings or usage"""

_GROUPS = {"client": (CLIENT_GROUP, client), "server": (SERVER_GROUP, server)}


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-plugins")


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-plugins",
        "Show the plugins of this machine, run a command of one, check one, or begin a new one.",
        EXAMPLES,
        json=True,
    )
    parser.add_argument("--side", choices=sorted(_GROUPS), help="only this side's plugins")
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_duration,
        default=LOAD_SECONDS,
        help=f"how long a plugin may take to load (else {say_duration(LOAD_SECONDS)})",
    )
    commands = parser.add_subparsers(dest="command", metavar="run|check|new")
    run = cli.add_action(commands, "run", "run NAME …: a command of a plugin")
    # All that follows a NAME is the command's own, --help and --settings too.
    run.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="NAME …", help="the command, and what it takes"
    )
    check = cli.add_action(commands, "check", "try out one distribution by all rules", json=True)
    check.add_argument("distribution", metavar="DISTRIBUTION", help="one that is installed")
    check.add_argument(
        "--replay", metavar="DIR", help="collect from a recorded machine, not from this one"
    )
    new = cli.add_action(commands, "new", "write a new distribution: plugins, tests, README")
    new.add_argument("name", metavar="NAME", help="such as acme-badge; it becomes qlmdm-acme-badge")
    new.add_argument(
        "--directory", metavar="DIR", default=".", help="where its folder is made (else here)"
    )
    return parser


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    if args.command == "new":
        return _new(args)
    loaded = _settings(args.settings)
    if args.command == "check":
        return _check(args, loaded)
    sides = [args.side] if args.side else list(_GROUPS)
    reports = {side: _probe(side, loaded[side], args.timeout) for side in sides}
    if args.command == "run":
        return _run(args.words, reports)
    if args.json:
        rows = [_as_json(side, report) for side, found in reports.items() for report in found]
        print(json.dumps({"plugins": rows}, indent=2))
    else:
        _print(reports)
    failed = any(report.failures for found in reports.values() for report in found)
    return 1 if failed else 0


def _probe(side: str, loaded: Loaded[Any], timeout: float) -> list[Report]:
    group, hookspec_module = _GROUPS[side]
    off = loaded.core.plugins_off
    entries = discover(group, frozenset(off))
    known = {normalised(entry.distribution) for entry in entries}
    for word in off:
        if normalised(word.partition(":")[0]) not in known:
            note = f"plugins_off: {word}: no such plugin is installed"
            print(f"qlmdm-plugins: {loaded.file}: {note}", file=sys.stderr)
    return probe(entries, hookspec_module, loaded, timeout=timeout)


# --- for those who write plugins -------------------------------------------------------------


def _new(args: argparse.Namespace) -> int:
    from qlmdm_core.plugins.scaffold import write_project

    print("\n".join(write_project(args.name, args.directory)))
    return 0


def _check(args: argparse.Namespace, loaded: Mapping[str, Loaded[Any]]) -> int:
    from qlmdm_core.plugins.check.command import check

    files = {
        side: found.file if os.path.lexists(found.file) else None for side, found in loaded.items()
    }
    status, text = check(args.distribution, loaded, files, replay=args.replay, as_json=args.json)
    print(text)
    return status


# --- settings -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _NoServer(ServerSettings):
    """For a machine that is no server."""

    url: str = setting("https://not-set-up.invalid", "Not used.")


def _settings(named: str | None) -> Mapping[str, Loaded[Any]]:
    """Both sides' settings: from the file that is named, or those that are installed.

    A side without a file has nothing disabled.
    """
    loaded: dict[str, Loaded[Any]] = {
        "client": settings.defaults(StandaloneSettings),
        "server": settings.defaults(_NoServer),
    }
    schemas = {"client": ClientSettings, "server": ServerSettings}
    paths = {side: settings.find_file(side, named) for side in loaded}
    if paths["client"] == paths["server"]:
        side = _side_of(paths["client"])
        loaded[side] = settings.load(paths[side], schemas[side])
        return loaded
    for side, path in paths.items():
        if os.path.lexists(path):
            loaded[side] = settings.load(path, schemas[side])
    return loaded


def _side_of(path: str) -> str:
    """Whose settings a file has; only a client's name a server's URL."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(settings.MAX_FILE_BYTES)
    except OSError:
        text = ""  # that it can't be read is said when it is loaded
    return "client" if re.search(r"(?m)^server_url\s*:", text) else "server"


# --- running a plugin's command --------------------------------------------------------------


def _run(words: Sequence[str], reports: Mapping[str, list[Report]]) -> int:
    """Import what the command names, here and now, and call it."""
    everything = [report for found in reports.values() for report in found]
    known = ", ".join(sorted({name for report in everything for name in report.targets})) or "none"
    if not words or words[0].startswith("-"):
        raise UsageError(f"run needs the NAME of a plugin's command; there are: {known}")
    name, *arguments = words
    targets = {
        (report.entry.distribution, report.targets[name])
        for report in everything
        if name in report.targets
    }
    if not targets:
        raise UsageError(f"no plugin brings the command {name!r}; there are: {known}")
    if len(targets) > 1:
        owners = " and by ".join(sorted({distribution for distribution, _ in targets}))
        raise PluginError(f"the command {name!r} is claimed by {owners}; none is run")
    ((distribution, target),) = targets
    module, _, attribute = target.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
        status = function(arguments)
    except QlmdmError:
        raise
    except Exception as error:
        raise PluginError(f"{distribution}: the command {name} failed: {say(error)}") from error
    if status is None:
        return 0
    if isinstance(status, bool) or not isinstance(status, int):
        raise PluginError(f"{distribution}: the command {name} returned no exit status")
    return status


# --- showing ----------------------------------------------------------------------------------


def _state(report: Report) -> str:
    if report.entry.disabled:
        return "disabled"
    return "failed" if report.failures else "ok"


def _as_json(side: str, report: Report) -> dict[str, JSON]:
    entry = report.entry
    return {
        "side": side,
        "distribution": entry.distribution,
        "version": entry.version,
        "entry_point": entry.name,
        "target": entry.target,
        "state": _state(report),
        "disabled": entry.disabled,
        "hooks": list(report.hooks),
        **{kind: list(report.gives.get(kind, ())) for kind in KINDS.values()},
        "load_seconds": None if report.seconds is None else round(report.seconds, 4),
        "error": "; ".join(f"{f.stage}: {f.error}" for f in report.failures) or None,
        "failures": [
            {"stage": f.stage, "error": f.error, "trace": list(f.trace)} for f in report.failures
        ],
    }


def _print(reports: Mapping[str, list[Report]]) -> None:
    rows = [
        [
            side,
            report.entry.distribution,
            report.entry.version,
            report.entry.name,
            _state(report),
            "-" if report.seconds is None else f"{report.seconds * 1000:.0f} ms",
            ", ".join(hook.removeprefix("qlmdm_") for hook in report.hooks) or "-",
            _gives(report) or "-",
        ]
        for side, found in reports.items()
        for report in found
    ]
    if not rows:
        print("No plugins are installed; without any, nothing is collected and nothing is checked.")
        return
    columns = ["side", "distribution", "version", "entry", "state", "load", "hooks", "gives"]
    try:
        print_table(columns, rows)
    except ModuleNotFoundError:  # a client has no rich
        for row in rows:
            print("  ".join(row))
    for side, found in reports.items():
        for report in found:
            for failure in report.failures:
                print(f"{side}: {failure}")


def _gives(report: Report) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in report.gives.items() if names)
