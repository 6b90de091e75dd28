"""Says what differs between two releases: what an administrator looks at before signing one."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.api import JSON
from qlmdm_core.manifest import File

MOST_LINES = 40
"""Files that are listed one by one; more of them are counted."""
LAUNCHER = "launcher/"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a release is made of, as far as people are told."""

    files: Sequence[File]
    distributions: Mapping[str, str]
    settings: str

    @property
    def size(self) -> int:
        """Bytes, unpacked."""
        return sum(file.size for file in self.files)


NOTHING = Contents(files=(), distributions={}, settings="")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """From one release to another."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    distributions: tuple[tuple[str, str | None, str | None], ...]
    """Name, version before, version after."""
    settings: tuple[str, ...]
    """Lines of a unified diff."""
    size: tuple[int, int]
    """Bytes before and after."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(before: Contents, after: Contents) -> Changes:
    """What changed."""
    old = {file.path: file for file in before.files}
    new = {file.path: file for file in after.files}
    both = old.keys() & new.keys()
    names = sorted({*before.distributions, *after.distributions})
    versions = [(n, before.distributions.get(n), after.distributions.get(n)) for n in names]
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(path for path in both if old[path] != new[path])),
        distributions=tuple(entry for entry in versions if entry[1] != entry[2]),
        settings=tuple(
            difflib.unified_diff(
                before.settings.splitlines(), after.settings.splitlines(), lineterm="", n=1
            )
        )[2:],
        size=(before.size, after.size),
    )


def lines(changes: Changes, *, every_file: bool = False) -> Iterator[str]:
    """What changed, for people: packages, then settings, then files."""
    if not changes:
        yield "nothing changed"
        return
    for name, before, after in changes.distributions:
        if before is None:
            yield f"  + {name} {after}"
        elif after is None:
            yield f"  - {name} {before}"
        else:
            yield f"  ~ {name} {before} -> {after}"
    first = changes.size[0] == 0
    yield from (f"  settings.yml: {line}" for line in _settings(changes.settings, first=first))
    for mark, paths in (("+", changes.added), ("-", changes.removed), ("~", changes.changed)):
        yield from (f"  {mark} {line}" for line in (paths if every_file else _summed_up(paths)))
        if not every_file and not first:
            yield from (f"  {mark} {line}" for line in _untold(paths, changes.distributions))
    before_size, after_size = changes.size
    if first:
        yield f"  {len(changes.added)} files, {_megabytes(after_size)} unpacked"
        return
    yield (
        f"  {len(changes.added)} files added, {len(changes.removed)} removed, "
        f"{len(changes.changed)} changed; {_megabytes(after_size)} unpacked "
        f"({_megabytes(before_size)} before)"
    )


def _settings(diff: Sequence[str], *, first: bool) -> Iterator[str]:
    """The diff; of a first release only what is set, since all of it is new."""
    for line in diff:
        if not first or (not line.startswith(("+#", "@@")) and line.strip("+ ")):
            yield line


def _untold(
    paths: Sequence[str], distributions: Sequence[tuple[str, str | None, str | None]]
) -> Iterator[str]:
    """Folders of packages whose version is as before, or is another's than the folder says."""
    names = {name.lower().replace("-", "_") for name, _, _ in distributions}
    tops = Counter(path.split("/")[1] for path in paths if path.startswith("lib/"))
    for top, count in sorted(tops.items()):
        if top.lower().partition("-")[0] not in names:
            yield f"lib/{top}, " + ("1 file" if count == 1 else f"{count} files")


def _summed_up(paths: Sequence[str]) -> Iterator[str]:
    """Files that a person wants to see one by one, and how many others there are.

    The files of a package are told by its name, and the launcher is one thing.
    """
    own = [path for path in paths if not path.startswith(("lib/", LAUNCHER))]
    yield from own[:MOST_LINES]
    if len(own) > MOST_LINES:
        yield f"{len(own) - MOST_LINES} files more"
    launcher = sum(path.startswith(LAUNCHER) for path in paths)
    if launcher:
        yield "the launcher, 1 file" if launcher == 1 else f"the launcher, {launcher} files"


def as_json(changes: Changes) -> JSON:
    """The same for programs."""
    return {
        "added": list(changes.added),
        "removed": list(changes.removed),
        "changed": list(changes.changed),
        "distributions": [list(entry) for entry in changes.distributions],
        "settings": list(changes.settings),
        "size": list(changes.size),
    }


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
