"""`qlmdm-verify`: is what runs on this machine what was signed? Reads every byte of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from qlmdm_core import cli
from qlmdm_core.client import identity as identities
from qlmdm_core.client.release import launchers, layout, verify
from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.client.state import State
from qlmdm_core.errors import NotSetUpError, TrustError
from qlmdm_core.manifest import Version
from qlmdm_core.rootdoc import Root

EXAMPLES = """\
  qlmdm-verify          the release that runs, and the launcher
  qlmdm-verify --all    every release that is kept, too
  qlmdm-verify --json

exit status: 0 all is what was signed, 1 something differs, 2 no release installed this client"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was found of one release, or of the launcher."""

    what: str
    """"1.7", or "launcher 1.7"."""
    seconds: float
    files: int
    differences: list[str]


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-verify")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser(
        "qlmdm-verify", "Compare the installed release with what was signed.", EXAMPLES, json=True
    )
    parser.add_argument("--all", action="store_true", help="releases that do not run now, too")
    args = parser.parse_args(argv)
    with State.open(create=False) as state:
        root = identities.load_root(state)
        with RealFiles(state.path) as files:
            results = verify_all(files, root, everything=args.all)
    wrong = [result for result in results if result.differences]
    if args.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            _show(result)
    return 1 if wrong else 0


def verify_all(files: Files, root: Root, *, everything: bool) -> list[Result]:
    """The release that runs and the launcher; with `everything`, each that is kept.

    Raises `NotSetUpError` if no release installed this client.
    """
    current = layout.current(files)
    if current is None:
        raise NotSetUpError(
            "no release installed this client (there is no `current`); what installed it, such "
            "as pip, can tell whether it is whole"
        )
    others = [version for version in layout.slots(files) if version != current]
    results = [_slot(files, version, root) for version in [current, *(others * everything)]]
    return [*results, _launcher(files, current, root)]


def _slot(files: Files, version: Version, root: Root) -> Result:
    begun = time.monotonic()
    differences: list[str] = []
    count = 0
    try:
        manifest, _ = verify.inspect(files, version, root, identities.verifier())
        count = len(manifest.files)
    except verify.SlotError as error:
        differences = error.differences
    seconds = round(time.monotonic() - begun, 3)
    return Result(what=str(version), seconds=seconds, files=count, differences=differences)


def _launcher(files: Files, current: Version, root: Root) -> Result:
    """The launcher has the files of the release that runs, or those of its own if it is kept."""
    begun = time.monotonic()
    version = launchers.pointed(files)
    if version is None:
        return Result(what="launcher", seconds=0.0, files=0, differences=["launcher: missing"])
    kept = files.stat(layout.slot_path(version)) is not None
    source = version if kept else current
    differences: list[str] = []
    count = 0
    try:
        manifest = verify.read_manifest(files, source, root, identities.verifier())
        differences = launchers.differences(files, version, manifest)
        count = len(launchers.listed(manifest))
    except TrustError as error:
        differences = [f"the manifest of release {source}: {error}"]
    seconds = round(time.monotonic() - begun, 3)
    return Result(what=f"launcher {version}", seconds=seconds, files=count, differences=differences)


def _show(result: Result) -> None:
    name = result.what if result.what.startswith("launcher") else f"release {result.what}"
    if not result.differences:
        print(f"{name}: {result.files} files are what was signed ({result.seconds:.2f} s)")
        return
    print(f"{name}: NOT WHAT WAS SIGNED")
    for difference in result.differences:
        print(f"  {difference}")
