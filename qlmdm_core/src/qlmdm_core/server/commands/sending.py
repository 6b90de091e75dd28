"""`run`, `put`, `remove` and `cancel`: a command is made, signed, and queued or left as a draft."""

from __future__ import annotations

import argparse
import getpass
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from qlmdm_core import commanddoc
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError, UsageError
from qlmdm_core.server import crypto
from qlmdm_core.server.commands import publish, whom
from qlmdm_core.server.commands.finding import find_command
from qlmdm_core.server.commands.making import MAX_PAYLOAD_BYTES, Order, make
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandState, Draft
from qlmdm_core.units import parse_duration

SUMMARY = 48
"""Characters of a shell command that lists show: a whole one may hold a secret."""
OPEN_ON_CLIENT: tuple[CommandState, ...] = ("delivered", "started")
_SHEBANG = re.compile(rb"#![ \t]*(/[A-Za-z0-9_./+-]{1,200})[ \t]*(?:\r?\n|\Z)")


@dataclass(frozen=True, kw_only=True)
class Queued:
    """What became of an order."""

    command_id: str
    waits_for: str | None = None
    """The name of the draft that waits for signatures; None: it is queued."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """What orders are made and signed with."""

    context: Context
    store: Store
    now: datetime

    @property
    def settings(self) -> ServerSettings:
        """The server's settings."""
        return self.context.settings

    def desk(self) -> Desk:
        """Where operators sign."""
        verifier = crypto.verifier_of(crypto.best_engine())
        return Desk(self.settings, self.store, verifier, now=self.now)

    # --- the four actions -----------------------------------------------------------------------

    def run(self, args: argparse.Namespace) -> Queued:
        """A script for clients."""
        content, summary, interpreter = _script(args)
        return self._send(
            args,
            "script",
            payload=content,
            summary=summary,
            interpreter=args.interpreter or interpreter,
            timeout_seconds=self._timeout(args),
            output_max_bytes=args.output_max,
        )

    def put(self, args: argparse.Namespace) -> Queued:
        """A file for clients."""
        content = _read_file(args.file)
        return self._send(
            args,
            "file",
            payload=content,
            summary=f"put {args.path}",
            path=_safe(args.path),
            mode=args.mode,
        )

    def remove(self, args: argparse.Namespace) -> Queued:
        """A file that clients no longer should have."""
        return self._send(args, "remove", summary=f"remove {args.path}", path=_safe(args.path))

    def cancel(self, args: argparse.Namespace) -> tuple[int, Queued | None]:
        """Call a command off: how many never got it, and the command that tells the others."""
        command = find_command(self.store, args.id)
        before = self.store.count_targets(command.command_id).get("pending", 0)
        self.store.cancel_command(command.command_id, self.now)
        hosts = self._hosts_that_have(command.command_id)
        if not hosts:
            return before, None
        order = make(
            server_id=self.desk().root.server_id,
            kind="cancel",
            hosts=hosts,
            now=self.now,
            lifetime_seconds=self._lifetime(args),
            requested_by=getpass.getuser(),
            summary=f"cancel {command.command_id[:8]}: {command.summary}",
            about=_about(args),
            cancels=command.command_id,
        )
        return before, self._signed(order, args)

    def _hosts_that_have(self, command_id: str) -> list[str]:
        hosts: list[str] = []
        while True:
            page = self.store.targets(
                command_id, states=OPEN_ON_CLIENT, after=hosts[-1] if hosts else None
            )
            hosts += [target.cid for target in page]
            if not page:
                return hosts

    # --- how ------------------------------------------------------------------------------------

    def _send(
        self,
        args: argparse.Namespace,
        kind: commanddoc.Kind,
        *,
        summary: str,
        payload: bytes | None = None,
        **fields: Any,
    ) -> Queued:
        clients = whom.chosen(self.store, args)
        whom.confirm(clients, summary, args)
        about = _about(args)
        if payload is not None:
            sha256 = self.store.put_blob(payload)
            fields |= {"payload_sha256": sha256, "payload_size": len(payload)}
            about |= {"size": len(payload), "sha256": sha256}
        about |= {n: fields[n] for n in ("path", "interpreter", "timeout_seconds") if n in fields}
        desk = self.desk()
        order = make(
            server_id=desk.root.server_id,
            kind=kind,
            hosts=[client.cid for client in clients],
            now=self.now,
            lifetime_seconds=self._lifetime(args),
            requested_by=getpass.getuser(),
            summary=summary,
            about=about,
            **fields,
        )
        return self._signed(order, args, desk)

    def _signed(self, order: Order, args: argparse.Namespace, desk: Desk | None = None) -> Queued:
        """Have it signed by an operator, and queue it if that is enough."""
        desk = desk or self.desk()
        only = (desk.find("operator", args.operator),) if args.operator else ()
        try:
            texts = order.texts()
        except TrustError as error:
            raise UsageError(f"clients would refuse this: {error}") from None
        queued = publish.sign(desk, order, texts=texts, by=getpass.getuser(), only=only)
        if isinstance(queued, Draft):
            return Queued(command_id=order.command.id, waits_for=queued.name)
        return Queued(command_id=queued.command_id)

    def _lifetime(self, args: argparse.Namespace) -> float:
        longest = commanddoc.MAX_LIFETIME.total_seconds()
        lifetime = _duration("--expires", args.expires, self.settings.commands.expires_after)
        if not 60 <= lifetime <= longest:
            raise UsageError("--expires: expected from a minute to 30 days")
        return lifetime

    def _timeout(self, args: argparse.Namespace) -> int:
        seconds = _duration("--timeout", args.timeout, self.settings.commands.timeout)
        if not 1 <= seconds <= commanddoc.MAX_TIMEOUT_SECONDS:
            raise UsageError("--timeout: expected from a second to a day")
        return int(seconds)


def _about(args: argparse.Namespace) -> dict[str, JSON]:
    return {"reason": args.reason} if args.reason else {}


def _duration(option: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _script(args: argparse.Namespace) -> tuple[bytes, str, str]:
    """The script, its line for lists, and its interpreter."""
    if (args.shell is None) == (args.script is None):
        raise UsageError("expected a shell command, - for standard input, or --script FILE")
    if args.script is not None:
        content = _read_file(args.script)
        return content, f"script {os.path.basename(args.script)}", interpreter_of(content)
    if args.shell == "-":
        content = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
        digest = hashlib.sha256(content).hexdigest()[:8]
        return _bounded(content), f"script from standard input ({digest})", interpreter_of(content)
    return (args.shell + "\n").encode(), shortened(args.shell), "/bin/sh"


def shortened(shell: str) -> str:
    """What lists show of a shell command."""
    line = " ".join(shell.split())
    return line if len(line) <= SUMMARY else line[: SUMMARY - 1] + "…"


def interpreter_of(content: bytes) -> str:
    """What runs a script: its first line says so. A line with arguments is for the kernel to
    read, to which env(1) hands it."""
    match = _SHEBANG.match(content)
    if match is not None:
        return match[1].decode("ascii")
    return "/usr/bin/env" if content.startswith(b"#!") else "/bin/sh"


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return _bounded(file.read(MAX_PAYLOAD_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_PAYLOAD_BYTES:
        raise UsageError(f"more than {MAX_PAYLOAD_BYTES >> 20} MB can't be sent by a command")
    return content


def _safe(path: str) -> str:
    if not commanddoc.is_safe_path(path):
        raise UsageError(
            f"{path}: expected a path below the client's own folder for files, as in acme/x.conf"
        )
    return path


def now() -> datetime:
    """The present, UTC."""
    return datetime.now(timezone.utc)


def said(queued: Queued) -> Sequence[str]:
    """What to tell people of an order."""
    if queued.waits_for is None:
        return [f"{queued.command_id} is queued"]
    return [
        f"{queued.command_id} waits for signatures, as the draft {queued.waits_for}:",
        f"  qlmdm-keys sign {queued.waits_for}               sign with a key that is here",
        f"  qlmdm-keys sign {queued.waits_for} --export DIR  write what is to be signed elsewhere",
    ]
