"""`qlmdm-server-setup`: makes a server out of a file of answers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timezone

from qlmdm_core import cli
from qlmdm_core import settings as settings_files
from qlmdm_core.errors import UsageError
from qlmdm_core.server.setup import Answers, example_answers, set_up

EXAMPLES = """\
  qlmdm-server-setup --example > answers.yml    a file to start from, with every key explained
  qlmdm-server-setup --answers answers.yml      set up what is missing; running it again is safe
  qlmdm-server-setup --answers answers.yml --settings /srv/qlmdm/server.yml"""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-server-setup")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser(
        "qlmdm-server-setup",
        "Set up a qlmdm server: settings, database, keys, the root document.",
        EXAMPLES,
    )
    parser.add_argument("--answers", metavar="FILE", help="the answers, as YAML")
    parser.add_argument("--example", action="store_true", help="print an example of that file")
    args = parser.parse_args(argv)
    if args.example:
        print(example_answers(), end="")
        return 0
    if not args.answers:
        raise UsageError("give the answers with --answers FILE; --example prints one")
    answers = settings_files.load(args.answers, Answers).core
    path = settings_files.find_file("server", args.settings)
    done: list[str] = []

    def say(line: str) -> None:
        done.append(line)
        print(line, flush=True)

    set_up(answers, path, now=datetime.now(timezone.utc), say=say)
    if not done:
        print("everything is there already; nothing was changed")
    else:
        print(f"done. Start it with: qlmdm-server --settings {shlex.quote(path)}")
    return 0
