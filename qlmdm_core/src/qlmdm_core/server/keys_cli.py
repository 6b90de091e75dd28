"""`qlmdm-keys`: who may sign what for clients, and how that changes.

Its actions are in modules of their own; each has `add_actions` and a function for each action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from qlmdm_core import cli
from qlmdm_core.server import keys_drafts, keys_secrets, keys_show, keys_trust
from qlmdm_core.server.context import open_context
from qlmdm_core.server.keeping import split_cli
from qlmdm_core.server.keys_common import Action
from qlmdm_core.server.private_files import private_umask

EXAMPLES = f"""\
  qlmdm-keys list
  qlmdm-keys expire-soon --within 30d                 for monitoring: exit status 1 if anything does
  qlmdm-keys renew                                    the root document, valid for longer
  qlmdm-keys export release --secret --output release.key --remove    move a role off the server
  qlmdm-keys rotate release --new-key release.asc     to a key that was made elsewhere
  qlmdm-keys add-operator ada
  qlmdm-keys policy --threshold operator=2 --never-wipe build-server
  qlmdm-keys sign root-4 --export out                 what is to be signed elsewhere
  qlmdm-keys sign --import out/root-4.json.asc        what was signed there
{split_cli.EXAMPLES}"""

MODULES = (keys_show, keys_secrets, keys_trust, keys_drafts, split_cli)
"""Where actions come from, in the order of `--help`."""
ACTIONS: Mapping[str, Action] = {
    **keys_show.ACTIONS,
    **keys_secrets.ACTIONS,
    **keys_trust.ACTIONS,
    **keys_drafts.ACTIONS,
    "split": split_cli.split,
    "combine": split_cli.combine,
    "reshare": split_cli.reshare,
}


def main() -> int:
    """The command."""
    return cli.run(command, "qlmdm-keys")


def command(argv: Sequence[str]) -> int:
    """What it does with these arguments; its exit status."""
    parser = cli.base_parser(
        "qlmdm-keys", "See and change who may sign what for clients.", EXAMPLES, json=True
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for module in MODULES:
        module.add_actions(actions)
    args = parser.parse_args(argv)
    if args.json and args.action not in ("list", "show", "expire-soon", "drafts"):
        parser.error("--json goes with list, show, expire-soon and drafts")
    if args.action == "read":
        return keys_drafts.read_text(args)
    context = open_context(args.settings)
    with private_umask():
        return ACTIONS[args.action](args, context, datetime.now(timezone.utc))
