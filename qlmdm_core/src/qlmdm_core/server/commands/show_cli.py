"""`list`, `show` and `output`: what became of commands, for people and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from textwrap import indent

import orjson

from qlmdm_core.api import JSON
from qlmdm_core.client.commands.shipped import COLLECTOR
from qlmdm_core.errors import UsageError
from qlmdm_core.server.commands.closing import sweep
from qlmdm_core.server.commands.finding import all_targets, find_command, host_of
from qlmdm_core.server.commands.waiting import progress, row
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandRecord, CommandTarget
from qlmdm_core.store.records import Client

LISTED = 50


def list_commands(store: Store, *, now: datetime, count: int, as_json: bool) -> int:
    """The newest commands, and how far they are."""
    sweep(store, now)
    commands = store.commands(limit=count)
    if as_json:
        for command in commands:
            shown = command_json(command)
            print(json.dumps({**shown, "states": dict(store.count_targets(command.command_id))}))
        return 0
    if not commands:
        print("no commands yet; make one with: qlmdm-client-command run")
        return 0
    rows = [
        [
            command.command_id[:8],
            ago(command.created_at, now),
            command.created_by,
            command.kind,
            progress(store.count_targets(command.command_id)) + _ended(command, now),
            command.summary,
        ]
        for command in commands
    ]
    print_table(["id", "made", "by", "kind", "state", "what"], rows)
    return 0


def _ended(command: CommandRecord, now: datetime) -> str:
    if command.cancelled_at is not None:
        return " (cancelled)"
    return " (expired)" if now >= command.expires_at else ""


def show(store: Store, name: str, *, now: datetime, as_json: bool) -> int:
    """One command, and each of its clients."""
    sweep(store, now)
    command = find_command(store, name)
    targets = all_targets(store, command.command_id)
    if as_json:
        shown = [target_json(store, target, output=False) for target in targets]
        print(json.dumps({**command_json(command), "targets": shown}, indent=2))
        return 0
    print(f"{command.command_id}  {command.kind}{_ended(command, now)}")
    print(f"  what     {clean(command.summary)}")
    print(f"  made     {when(command.created_at)} by {clean(command.created_by)}")
    print(f"  expires  {when(command.expires_at)}")
    if command.not_before > command.created_at:
        print(f"  held     until {when(command.not_before)}")
    for key, value in (command.about if isinstance(command.about, dict) else {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        print(f"  {clean(key):<8} {clean(text)[:300]}")
    print(f"  state    {progress(store.count_targets(command.command_id))}\n")
    rows = [
        [*row(host_of(store, target.cid), target), ago(target.updated_at, now)]
        for target in targets
    ]
    print_table(["client", "state", "status", "seconds", "why", "since"], rows)
    return 0


def output(store: Store, name: str, host: str | None, *, as_json: bool) -> int:
    """What a command printed, on one client or on all."""
    command = find_command(store, name)
    if host is not None:
        found = store.target(command.command_id, find_client(store, host).cid)
        if found is None:
            raise UsageError(f"{host} is none of the clients of {command.command_id}")
        targets: Iterator[CommandTarget] = iter([found])
    else:
        targets = all_targets(store, command.command_id)
    if as_json:
        for target in targets:
            print(json.dumps(target_json(store, target, output=True)))
        return 0
    for target in targets:
        result = target.result if isinstance(target.result, dict) else {}
        print(f"== {host_of(store, target.cid)}: {_how(target, result)}")
        for stream in ("stdout", "stderr"):
            if text := result.get(stream):
                print(f"-- {stream}")
                # Set in, so that no client can print what looks like another one's.
                print(indent(printable(str(text)), "  ", lambda _line: True))
    return 0


def _how(target: CommandTarget, result: Mapping[str, JSON]) -> str:
    words: list[str] = [target.state]
    if result.get("exit_status") is not None:
        words.append(f"exit status {result['exit_status']}")
    if result.get("truncated"):
        words.append("output cut")
    if result.get("reason"):
        words.append(clean(str(result["reason"])))
    return ", ".join(words)


def printable(text: str) -> str:
    """Output with its lines, and without what could move a terminal's cursor."""
    return "\n".join(clean(line.expandtabs()) for line in text.rstrip("\n").split("\n"))


def list_shipped(store: Store, clients: Iterator[Client], *, as_json: bool) -> int:
    """What scripts that came with a release did, on each client."""
    rows: list[list[str]] = []
    for client in clients:
        for name, note in _shipped(store, client.cid):
            if as_json:
                # What the client wrote comes first: it must not name another client.
                print(json.dumps({**note, "client": client.hostname, "name": name}))
            status, reason = note.get("exit_status"), note.get("reason") or ""
            last = (str(note.get("stdout") or "").strip().splitlines() or [""])[-1]
            rows.append(
                [
                    client.hostname,
                    str(note.get("release") or ""),
                    name,
                    str(note.get("state")),
                    "" if status is None else str(status),
                    str(note.get("at") or ""),
                    str(reason) or last[:80],
                ]
            )
    if not as_json:
        print_table(["client", "release", "script", "state", "status", "at", "said"], rows)
    return 0


def _shipped(store: Store, cid: str) -> Iterator[tuple[str, dict[str, JSON]]]:
    report: dict[str, JSON] = orjson.loads(store.report(cid) or b"{}")
    result = report.get(COLLECTOR) or {}
    value = result.get("value") if isinstance(result, dict) else None
    commands = value.get("commands") if isinstance(value, dict) else None
    for name, note in sorted((commands if isinstance(commands, dict) else {}).items()):
        if isinstance(note, dict):
            yield name, note


def command_json(command: CommandRecord) -> dict[str, JSON]:
    """A command as `--json` prints it."""
    return _plain(dataclasses.asdict(command))


def target_json(store: Store, target: CommandTarget, *, output: bool) -> dict[str, JSON]:
    """One client of a command as `--json` prints it."""
    shown = _plain(dataclasses.asdict(target)) | {"hostname": host_of(store, target.cid)}
    result = shown.get("result")
    if isinstance(result, dict) and not output:
        shown["result"] = {n: v for n, v in result.items() if n not in ("stdout", "stderr")}
    return shown


def _plain(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
