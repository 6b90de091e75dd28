"""Shows what differs between the reports expected of the corpus and those made now.

    python tools/corpus/expect.py                      all machines
    python tools/corpus/expect.py NAME… --only sshd    some, of some collectors
    python tools/corpus/expect.py NAME… --write        take what is reported as right

`--write` is for after reading the differences, not instead: a machine is in the corpus to say
what is right, and not what the collectors say. It also writes the corpus's index.

exit status: 0 nothing differs (or was written), 1 something does, 2 usage
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

import index

from qlmdm_core.testing import corpus

MACHINES = Path(__file__).resolve().parents[2] / "tests" / "machines"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="machines; all unless named")
    parser.add_argument("--only", nargs="+", default=[], metavar="COLLECTOR")
    parser.add_argument("--write", action="store_true", help="store what is reported now")
    parser.add_argument("--index", action="store_true", help="write the index alone")
    parser.add_argument("--check-index", action="store_true", help="only say if it is up to date")
    parser.add_argument("--folder", type=Path, default=MACHINES, help="another corpus")
    args = parser.parse_args()
    if args.index or args.check_index:
        return index.update(args.folder, check=args.check_index)
    found = {machine.path.name: machine for machine in corpus.machines(args.folder)}
    for unknown in sorted(set(args.names) - set(found)):
        near = difflib.get_close_matches(unknown, found, 3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        parser.error(f"no such machine in {args.folder}: {unknown}{meant}")
    collectors = corpus.Collectors()
    differing = [
        name
        for name in args.names or found
        if not _same(found[name], collectors.report(found[name], args.only), args)
    ]
    if args.write:
        return index.update(args.folder, check=False)
    return 1 if differing else 0


def _same(machine: corpus.Machine, reported: Any, args: argparse.Namespace) -> bool:
    """Whether the machine's report is as expected; say where not, and store it if asked to."""
    try:
        expected: Any = machine.expected()
    except FileNotFoundError:
        print(f"{machine}: new: it has no expected.json yet")
        expected = {"collectors": {}, "failures": []}
    kept = expected["collectors"] if args.only else {}
    whole = {
        "collectors": {
            **{name: result for name, result in kept.items() if name not in args.only},
            **reported["collectors"],
        },
        "failures": reported["failures"],
    }
    lines = corpus.differences(expected, whole)
    for line in lines:
        print(f"{machine}: {line}")
    if args.write and lines:
        broken = [n for n, r in whole["collectors"].items() if r["status"] != "ok"]
        if broken:
            print(f"{machine}: not written: {', '.join(broken)} failed", file=sys.stderr)
            return False
        machine.expect(whole)
    return not lines


if __name__ == "__main__":
    sys.exit(main())
