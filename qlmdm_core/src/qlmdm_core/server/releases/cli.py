"""`qlmdm-client-release`: build client releases, see them, decide who gets them."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TypeAlias

from qlmdm_core import cli, rootdoc
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError, UsageError
from qlmdm_core.server.context import Context, open_context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keys_common import add_yes, agreed, open_desk
from qlmdm_core.server.private_files import private_umask
from qlmdm_core.server.releases import bootstrap, changes, progress, publish, rollout, rollout_cli
from qlmdm_core.server.releases.build import build
from qlmdm_core.server.releases.rollout import Rollout
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.store.outgoing import Draft, ReleaseRecord

EXAMPLES = """\
  qlmdm-client-release build                          shows what changed, asks, signs, publishes
  qlmdm-client-release build --hold --note "new eset"     offered to nobody yet
  qlmdm-client-release rollout 1.7 --tag pilot
  qlmdm-client-release rollout 1.7 --percent 5 --grow 20 --every 4h --healthy-above 95
  qlmdm-client-release rollout 1.7 --pause
  qlmdm-client-release show 1.7                       how clients took it
  qlmdm-client-release diff 1.6 1.7
  qlmdm-client-release bootstrap --output qlmdm-client.tar --invite 20

exit status: 0 done, 1 something is wrong with a release, 2 usage or settings, 3 not now"""

Action: TypeAlias = Callable[[argparse.Namespace, Context, datetime], int]


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-client-release")


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.json and args.action not in ("list", "show", "diff"):
        parser.error("--json goes with list, show and diff")
    context = open_context(args.settings)
    with private_umask():
        return ACTIONS[args.action](args, context, datetime.now(timezone.utc))


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-client-release",
        "Build client releases, see them, and decide who gets them.",
        EXAMPLES,
        json=True,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = cli.add_action(actions, "build", "make a release of what is installed here; sign it")
    make.add_argument("--note", default="", help="a line for lists: what it is for")
    make.add_argument("--hold", action="store_true", help="offer it to nobody yet (see rollout)")
    make.add_argument(
        "--dry-run", action="store_true", help="build and compare; sign and store nothing"
    )
    make.add_argument("--files", action="store_true", help="name every file that changed")
    add_yes(make)
    cli.add_action(actions, "list", "all releases, and how many clients run each", json=True)
    show = cli.add_action(
        actions, "show", "one release: what is in it, how clients took it", json=True
    )
    show.add_argument("version", metavar="VERSION")
    diff = cli.add_action(actions, "diff", "what changed from one release to another", json=True)
    diff.add_argument("before", metavar="VERSION")
    diff.add_argument("after", metavar="VERSION")
    check = cli.add_action(actions, "verify", "look at every byte and signature as a client would")
    check.add_argument("version", metavar="VERSION", nargs="*", help="all that are published")
    back = cli.add_action(actions, "withdraw", "who does not have it gets it no more")
    back.add_argument("version", metavar="VERSION")
    add_yes(back)
    rollout_cli.add_action(actions)
    new = cli.add_action(actions, "bootstrap", "write the tar that new machines are installed from")
    new.add_argument("version", metavar="VERSION", nargs="?", help="else the newest published")
    new.add_argument("--output", metavar="FILE", required=True, help="a new file (0600)")
    invitation = new.add_mutually_exclusive_group()
    invitation.add_argument("--token-file", metavar="FILE", help="put this invitation into it")
    invitation.add_argument(
        "--invite", metavar="N", type=int, help="put a new invitation for N machines into it"
    )
    new.add_argument("--expires", default="7 days", help="of that invitation (7 days)")
    new.add_argument("--tag", action="append", default=[], help="a tag for these machines")
    return parser


# --- building -----------------------------------------------------------------------------------


def _build(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        built = build(
            context.settings,
            context.loaded.file,
            context.plugins,
            server_id=desk.root.server_id,
            say=lambda line: print(line, file=sys.stderr),
        )
        version = publish.next_version(desk.store, desk.root)
        before, contents = publish.previous(desk.store)
        found = changes.compare(contents, publish.contents_of(built))
        since = f", compared with {publish.version_of(before)}" if before else ""
        print(f"release {version}{since}:")
        for line in changes.lines(found, every_file=args.files):
            print(clean(line))
        objections = publish.objections(context.plugins, built, version, found)
        if objections:
            said = "\n".join(f"  {clean(line)}" for line in objections)
            raise publish.ObjectionError(f"no release is built:\n{said}")
        if args.dry_run:
            print("nothing was signed or stored (--dry-run)")
            return 0
        whom = "to nobody yet" if args.hold else f"to {_active(desk)} clients"
        if not agreed(args, f"sign and publish release {version}, {whom}?"):
            return 0
        done = publish.sign(
            desk,
            built,
            version,
            changes=found,
            created_by=getpass.getuser(),
            note=args.note,
            start=Rollout() if args.hold else None,
        )
        if isinstance(done, Draft):
            print(
                f"{done.name} waits for signatures: qlmdm-keys sign {done.name} --export DIR "
                "writes what is to be signed elsewhere"
            )
            return 0
        print(publish.published_line(done))
        return 0


def _active(desk: Desk) -> int:
    return desk.store.count_clients().get("active", 0)


# --- showing ------------------------------------------------------------------------------------


def _list(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with context.store() as store:
        records, counts = store.releases(), store.count_releases()
    if args.json:
        for record in records:
            print(json.dumps({**_as_json(record), "clients": counts.get(_name(record), 0)}))
        return 0
    if not records:
        print("no releases yet; make one with: qlmdm-client-release build")
        return 0
    rows = [
        [
            _name(record),
            record.status,
            str(counts.get(_name(record), 0)),
            ago(record.created_at, now),
            record.created_by,
            "no more"
            if record.status == "withdrawn"
            else progress.described(rollout.load(record.rollout, record.created_at)),
            record.note,
        ]
        for record in records
    ]
    print_table(["release", "status", "clients", "built", "by", "offered", "note"], rows)
    others = sum(counts.values()) - sum(counts.get(_name(record), 0) for record in records)
    if others:
        print(f"{others} active clients report from none of these")
    return 0


def _show(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with context.store() as store:
        record = publish.find(store, args.version)
        contents = publish.read_contents(store, record)
        found = progress.measure(store, record, now)
    if args.json:
        clients = {name: found.counts.get(name, 0) for name in progress.HEALTHS}
        shown = {**_as_json(record), "files": len(contents.files), "size": contents.size}
        print(json.dumps({**shown, "progress": clients, "trouble": found.trouble}, indent=2))
        return 0
    planned = rollout.load(record.rollout, record.created_at)
    print(f"release {_name(record)} ({record.status})")
    print(f"  built      {when(record.created_at)} by {clean(record.created_by)}")
    print(f"  note       {clean(record.note) or 'none'}")
    print(f"  holds      {len(contents.files)} files, {contents.size / 1e6:.1f} MB unpacked")
    print(f"  tar        {record.tar_sha256} ({record.tar_size / 1e6:.1f} MB)")
    print(f"  manifest   {record.manifest_sha256}")
    print(f"  offered    {clean(progress.described(planned))}")
    for name, version in contents.distributions.items():
        print(f"  package    {clean(name)} {clean(version)}")
    print()
    counts = [[name, str(found.counts.get(name, 0))] for name in progress.HEALTHS]
    print_table(["clients", "count"], [*counts, ["not offered it", str(found.others)]])
    if found.trouble:
        print()
        print_table(["client", "is", "why"], [list(line) for line in found.trouble])
    return 0


def _diff(args: argparse.Namespace, context: Context, now: datetime) -> int:  # noqa: ARG001
    with context.store() as store:
        before, after = (
            publish.read_contents(store, publish.find(store, name))
            for name in (args.before, args.after)
        )
    found = changes.compare(before, after)
    if args.json:
        print(json.dumps(changes.as_json(found), indent=2))
        return 0
    for line in changes.lines(found, every_file=True):
        print(clean(line))
    return 0


def _name(record: ReleaseRecord) -> str:
    return str(publish.version_of(record))


def _as_json(record: ReleaseRecord) -> dict[str, JSON]:
    about = record.about if isinstance(record.about, dict) else {}
    return {
        "version": _name(record),
        "status": record.status,
        "created_at": rootdoc.write_time(record.created_at),
        "created_by": record.created_by,
        "note": record.note,
        "tar": {"sha256": record.tar_sha256, "size": record.tar_size},
        "manifest": {"sha256": record.manifest_sha256},
        "rollout": rollout.dump(rollout.load(record.rollout, record.created_at)),
        "distributions": about.get("distributions") or {},
    }


# --- checking and taking back -------------------------------------------------------------------


def _verify(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        if args.version:
            records = [publish.find(desk.store, name) for name in args.version]
        else:
            records = [r for r in desk.store.releases() if r.status == "published"]
        wrong = 0
        for record in records:
            try:
                found = publish.verify(desk.store, record, desk.root, desk.verifier)
            except TrustError as error:
                wrong += 1
                print(f"{_name(record)}: {error}")
            else:
                expired = " (expired: no client installs it any more)"
                late = expired if now >= found.expires_at else ""
                print(f"{_name(record)}: {len(found.files)} files, as they were signed{late}")
    return 1 if wrong else 0


def _withdraw(args: argparse.Namespace, context: Context, now: datetime) -> int:  # noqa: ARG001
    with context.store() as store:
        record = publish.find(store, args.version)
        if record.status == "withdrawn":
            print(f"release {_name(record)} is withdrawn already")
            return 0
        on_it = store.count_releases().get(_name(record), 0)
        if not agreed(args, f"withdraw release {_name(record)}? {on_it} clients run it"):
            return 0
        publish.change(store, record, status="withdrawn")
    print(f"release {_name(record)} is offered no more. ", end="")
    if on_it:
        print(
            f"Clients that run it ({on_it}) go on with it: a client never takes an older one. To "
            "move them, mend what is wrong and build a newer release"
        )
    else:
        print("No client runs it; those on their way to it may still come to")
    return 0


# --- new machines -------------------------------------------------------------------------------


def _bootstrap(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        record = publish.find(desk.store, args.version) if args.version else None
        if record is None:
            record, _ = publish.previous(desk.store)
        if record is None:
            raise UsageError("there is no release yet; make one with: qlmdm-client-release build")
        try:
            manifest = publish.verify(desk.store, record, desk.root, desk.verifier)
        except TrustError as error:
            raise TrustError(
                f"release {_name(record)} is nothing that a new machine would install: {error}; "
                "build another: qlmdm-client-release build"
            ) from None
        if now >= manifest.expires_at:
            raise UsageError(f"release {manifest.version} has expired; build a newer one")
        bootstrap.check_new(args.output)  # before an invitation is made that nobody would have
        token = rollout_cli.token_for(args, desk, now)
        data = bootstrap.bootstrap_tar(desk.store, record, manifest, token)
        bootstrap.write_private(args.output, data)
    secret = "; it holds an invitation: whoever has it can enrol machines" if token else ""
    print(f"{args.output}: release {manifest.version}, {len(data) / 1e6:.1f} MB{secret}")
    name = shlex.quote(os.path.basename(args.output))
    print(f"on the new machine: tar xf {name} && sudo ./qlmdm-client/client-setup")
    return 0


ACTIONS: Mapping[str, Action] = {
    "build": _build,
    "list": _list,
    "show": _show,
    "diff": _diff,
    "verify": _verify,
    "withdraw": _withdraw,
    "rollout": rollout_cli.roll_out,
    "bootstrap": _bootstrap,
}
