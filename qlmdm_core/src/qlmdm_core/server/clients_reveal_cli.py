"""`qlmdm-clients reveal`: what clients sealed for the secret-keepers, opened by one of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime

from qlmdm_core.errors import UsageError
from qlmdm_core.server import revealing
from qlmdm_core.server.revealing import Revealed, SealedFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("client", nargs="?", metavar="CLIENT", help="hostname or id")
    parser.add_argument("collector", nargs="?", metavar="COLLECTOR", help="only this one's value")
    parser.add_argument(
        "--export", metavar="FILE", help="on the server: write what is sealed, for a keeper"
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="on a keeper's machine: open that ('-': standard input); needs no server",
    )


def from_file(args: argparse.Namespace) -> int:
    """Away from the server: no settings and no database, only the keeper's gpg."""
    if args.client or args.export:
        raise UsageError("--file goes alone (and with --json): the file says whose values it has")
    try:
        if args.file == "-":
            data = sys.stdin.buffer.read(revealing.MAX_BYTES + 1)
        else:
            with open(args.file, "rb") as file:
                data = file.read(revealing.MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--file: {args.file}: {error.strerror}") from None
    return _show(revealing.unpack(data, args.file), args.json)


def from_server(args: argparse.Namespace, now: datetime) -> int:
    """On the server: write the file, or open it at once if the keeper's key is here."""
    from qlmdm_core.server.context import open_context
    from qlmdm_core.server.lookup import find_client

    if not args.client:
        raise UsageError("name a client, or a --file that the server wrote")
    with open_context(args.settings).store() as store:
        client = find_client(store, args.client)
        report = json.loads(store.report(client.cid) or b"{}")
    values = revealing.sealed_values(report, args.collector)
    if not values:
        what = f"{args.collector} of " if args.collector else ""
        print(f"nothing of {what}{client.hostname!r} is sealed", file=sys.stderr)
        return 1
    text = revealing.pack(client.cid, client.hostname, values, now)
    if not args.export:
        return _show(revealing.unpack(text.encode(), "the server"), args.json)
    try:
        fd = os.open(args.export, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"--export: {args.export}: {error.strerror}") from None
    print(f"{args.export}: {len(values)} sealed values of {client.hostname!r}", file=sys.stderr)
    print("  a keeper opens it by: qlmdm-clients reveal --file FILE", file=sys.stderr)
    return 0


def _show(sealed: SealedFile, as_json: bool) -> int:
    found = revealing.reveal(sealed.cid, sealed.values, revealing.by_own_gpg(os.environ))
    if as_json:
        for one in found:
            shown = {"cid": sealed.cid, "hostname": sealed.hostname, "collector": one.collector}
            shown |= {"collected_at": one.collected_at, "problem": one.problem}
            print(json.dumps({**shown, "value": one.value if not one.problem else None}))
    else:
        _print(sealed, found)
    return 1 if any(one.problem for one in found) else 0


def _print(sealed: SealedFile, found: Sequence[Revealed]) -> None:
    # ASCII JSON throughout: clients choose these words, and a terminal obeys some.
    print(f"{json.dumps(sealed.hostname)} ({json.dumps(sealed.cid)}), as of {sealed.exported_at}")
    for one in found:
        print(f"{json.dumps(one.collector)}, collected {json.dumps(one.collected_at)}")
        if one.problem:
            print(f"  not opened: {one.problem}".encode("unicode_escape").decode())
            continue
        for line in json.dumps(one.value, indent=1, sort_keys=True).splitlines():
            print(f"  {line}")
