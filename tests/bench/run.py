"""`nox -s bench`: one table of figures against the budgets, each measured within this run.

Machines differ and drift, so what counts is a ratio of two things measured side by side; the
absolute figures stand beside it. docs/performance.md says what bounds each.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import audit
import client
import commands
import downloads
import hostile
import releases
import server
import slots
from figures import table

SECTIONS = {
    "client": client.figures,
    "server": server.figures,
    "hostile": hostile.figures,
    "audit": audit.figures,
    "releases": releases.figures,
    "downloads": downloads.figures,
    "slots": slots.figures,
    "commands": commands.figures,
}


def main() -> int:
    """Print the table; 1 if a budget was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="all, if none")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller fleets")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        f"commit {commit or 'unknown'}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors\n"
    )
    found = []
    for name in args.sections or SECTIONS:
        print(f"… {name}", file=sys.stderr, flush=True)
        found += SECTIONS[name](args.quick)
    print(table(found))
    missed = [figure.what for figure in found if figure.verdict == "MISSED"]
    print("\nall budgets are kept" if not missed else f"\nMISSED: {'; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
