"""Writes the composed machines of tests/machines again, or says which differ from what is there.

    python tools/corpus/compose                all of them
    python tools/corpus/compose NAME…          some
    python tools/corpus/compose --check        write nothing; exit 1 if a folder would change

`expected.json` is left as it is: see tools/corpus/expect.py.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from families import RECIPES

MACHINES = Path(__file__).resolve().parents[3] / "tests" / "machines"
KEPT = ("expected.json",)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="machines; all unless named")
    parser.add_argument("--check", action="store_true", help="only say what would change")
    args = parser.parse_args()
    known = {recipe.name: recipe for recipe in RECIPES}
    if unknown := set(args.names) - set(known):
        parser.error(f"no recipe makes {', '.join(sorted(unknown))}")
    changed = False
    with tempfile.TemporaryDirectory(prefix="qlmdm-compose-") as folder:
        for name in args.names or known:
            made = known[name].make(Path(folder))
            differing = sorted(differences(made, MACHINES / name))
            if not differing:
                continue
            changed = True
            print(f"{name}: {', '.join(differing[:5])}{' …' if len(differing) > 5 else ''}")
            if not args.check:
                replace(made, MACHINES / name)
    return 1 if changed and args.check else 0


def entries(folder: Path) -> Iterator[str]:
    """The files and links below a folder, but for those that are written by others."""
    for where, folders, files in os.walk(folder):
        links = [name for name in folders if Path(where, name).is_symlink()]
        for name in [*files, *links]:
            path = os.path.relpath(os.path.join(where, name), folder)
            if path not in KEPT:
                yield path


def differences(made: Path, stored: Path) -> Iterator[str]:
    """The paths in which two folders differ. Empty folders do not count: git has none."""
    there = set(entries(made)) | set(entries(stored))
    for path in there:
        one, other = made / path, stored / path
        if one.is_symlink() or other.is_symlink():
            same = one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
        else:
            same = one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
        if not same:
            yield path


def replace(made: Path, stored: Path) -> None:
    """Put the new folder in the place of the old one, with what is kept of that."""
    for name in KEPT:
        if (stored / name).exists():
            shutil.copy2(stored / name, made / name)
    shutil.rmtree(stored, ignore_errors=True)
    shutil.copytree(made, stored, symlinks=True)


if __name__ == "__main__":
    sys.exit(main())
