"""Finds everything that a release must hold for its plugins to run, on every client's Python.

pip resolves, for the oldest Python that clients have, and takes only wheels that any of them
can use. pip judges conditions such as `python_version < "3.11"` by the Python that it runs on,
so they are judged here once more, for each of the clients' Pythons, and what pip passed over
is asked for by name until nothing new comes up. One `lib` serves all: what only some of the
clients need is there for all of them.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from qlmdm_core.server.releases.pip import Pip, PipError
from qlmdm_core.server.releases.wheels import UnfitError, Wheel, read_wheel

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""The versions of Python that clients have."""
ROUNDS = 20
"""So often at most pip is asked again, because a package turned out to be missing."""

_PURE = ("--implementation", "py", "--abi", "none", "--platform", "any")


def resolve(roots: Sequence[str], pip: Pip, folder: str) -> list[Wheel]:
    """The wheels of `roots` (requirements, or paths of wheels) and of all they need, by name.

    `folder` is where they are put, and must be empty. Raises `UnfitError` and `PipError`.
    """
    made = os.path.join(folder, "made")
    os.mkdir(made)
    search = _Search(roots=roots, pip=pip, made=made)
    more: frozenset[str] = frozenset()
    for turn in range(ROUNDS):
        target = os.path.join(folder, f"wheels-{turn}")
        os.mkdir(target)
        search.into(target, sorted(more))
        wheels = _read_all(target)
        found = passed_over(_names(roots, wheels), wheels)
        if found <= more:
            _check_pythons(wheels)
            return wheels
        more |= found
    raise UnfitError("packages need ever more packages; there is no end to it")


@dataclass(kw_only=True)
class _Search:
    """One search for wheels, which learns on the way what must be made, and for which tags."""

    roots: Sequence[str]
    pip: Pip
    made: str
    """Wheels that were made or fetched one by one."""
    with_abi3: bool = False

    def into(self, target: str, more: Sequence[str]) -> None:
        """Put the wheels into a folder, making those that nobody publishes."""
        tried: set[str] = set()
        while True:
            try:
                self.pip.download(target, [*self.roots, *more], find=self.made, tags=self._tags())
            except PipError as error:
                name = _name(error.missing)
                if name is None or name in tried:
                    raise
                tried.add(name)
                self._provide(name, str(error.missing), error)
            else:
                return

    def _tags(self) -> list[str]:
        python = ["--python-version", PYTHONS[0]]
        return [*(_abi3() if self.with_abi3 else _PURE), *python]

    def _provide(self, name: str, wanted: str, failure: PipError) -> None:
        """A package without a pure wheel: an abi3 one, or one made from its source."""
        python = ["--python-version", PYTHONS[0], "--no-deps"]
        try:
            self.pip.download(self.made, [wanted], find=self.made, tags=[*_abi3(), *python])
        except PipError:
            pass  # there is no such wheel: the usual case
        else:
            self.with_abi3 = True
            return
        for cached in (True, False):
            with TemporaryDirectory(prefix="qlmdm-release-") as built:
                try:
                    self.pip.build_pure(built, name, wanted, cached=cached)
                except PipError as error:
                    raise UnfitError(
                        f"{wanted}: there is no wheel that every client could use (py3-none-any "
                        "or abi3), and none could be made from its source. Put one into the "
                        "folder that `release.wheels` names, or leave out the plugin that needs "
                        f"it.\n{failure}\n{error}"
                    ) from None
                (base,) = os.listdir(built)
                path = os.path.join(built, base)
                try:
                    read_wheel(path)
                except UnfitError:
                    if not cached:
                        raise  # it says by name that it is compiled
                else:
                    shutil.move(path, os.path.join(self.made, base))
                    return


def _abi3() -> list[str]:
    """Tags of compiled code that each later Python can load, for machines as this server."""
    machine = platform.machine()
    # glibc 2.17 and 2.28: what is older than any distribution with Python 3.10 (PEP 600).
    platforms = ["any", f"manylinux2014_{machine}", f"manylinux_2_28_{machine}"]
    words = ["--implementation", "cp", "--abi", "abi3", "--abi", "none"]
    return words + [word for name in platforms for word in ("--platform", name)]


def _name(requirement: str | None) -> str | None:
    try:
        return canonicalize_name(Requirement(requirement).name) if requirement else None
    except InvalidRequirement:
        return None


def _read_all(folder: str) -> list[Wheel]:
    wheels = [read_wheel(os.path.join(folder, base)) for base in os.listdir(folder)]
    return sorted(wheels, key=lambda wheel: wheel.name)


def _names(roots: Sequence[str], wheels: Sequence[Wheel]) -> list[Requirement]:
    """The roots as requirements: a wheel's path is one of its name."""
    names = {os.path.basename(wheel.path): wheel.name for wheel in wheels}
    return [Requirement(names.get(os.path.basename(root), root)) for root in roots]


def environments() -> Iterator[Mapping[str, str]]:
    """What conditions are judged by: the first and the last release of each Python."""
    here: Mapping[str, str] = {**default_environment()}  # type: ignore[dict-item]
    for python in PYTHONS:
        for patch in ("0", "99"):
            full = f"{python}.{patch}"
            yield {
                **here,
                "implementation_name": "cpython",
                "implementation_version": full,
                "platform_python_implementation": "CPython",
                "python_full_version": full,
                "python_version": python,
                "sys_platform": "linux",
                "platform_system": "Linux",
                "os_name": "posix",
            }


def passed_over(roots: Sequence[Requirement], wheels: Sequence[Wheel]) -> frozenset[str]:
    """Requirements that hold for some client's Python and not for the one that pip runs on."""
    by_name = {wheel.name: wheel for wheel in wheels}
    here: Mapping[str, str] = {**default_environment()}  # type: ignore[dict-item]
    found: set[str] = set()
    for environment in environments():
        waiting = [(canonicalize_name(root.name), frozenset(root.extras)) for root in roots]
        seen: set[tuple[str, frozenset[str]]] = set()
        while waiting:
            name, extras = waiting.pop()
            if (name, extras) in seen or name not in by_name:
                continue  # one that is not there is in `found`, and there the next time
            seen.add((name, extras))
            for requirement in by_name[name].requires:
                if not _holds(requirement, environment, extras):
                    continue
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
                if not _holds(requirement, here, extras):
                    found.add(_unconditional(requirement))
    return frozenset(found)


def _holds(
    requirement: Requirement, environment: Mapping[str, str], extras: frozenset[str]
) -> bool:
    marker = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({**environment, "extra": extra}) for extra in extras or {""})


def _unconditional(requirement: Requirement) -> str:
    copy = Requirement(str(requirement))
    copy.marker = None
    return str(copy)


def _check_pythons(wheels: Sequence[Wheel]) -> None:
    for wheel in wheels:
        wrong = [python for python in PYTHONS if not wheel.python.contains(f"{python}.50")]
        if wrong:
            raise UnfitError(
                f"{wheel.name} {wheel.version} is for Python {wheel.python}, and clients have "
                f"{', '.join(wrong)} too; one release serves all of them. Use another version of "
                "it (a folder of wheels, `release.wheels`), or leave out the plugin that needs it"
            )
