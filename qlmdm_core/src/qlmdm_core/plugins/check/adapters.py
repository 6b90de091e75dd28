"""Asks a distro adapter all that a collector may ask it, and judges what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from qlmdm_core.api import DistroAdapter, Host, InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_core.plugins.check.findings import Finding, failed
from qlmdm_core.plugins.check.inspected import attempt

_STRANGERS: Sequence[Mapping[str, str]] = (
    {},
    {"ID": "no-such-distribution"},
    {"ID": "", "ID_LIKE": "", "VERSION_ID": "\N{SNOWMAN}" * 1000},
)
_TYPES: Mapping[str, type] = {
    "updates": Updates,
    "release_upgrade": ReleaseUpgrade,
    "packages": InstalledPackages,
    "reboot_required": Reboot,
}


def questions(adapter: DistroAdapter, host: Host) -> dict[str, Callable[[], object]]:
    """Every question, by the method that answers it."""
    asked: dict[str, Callable[[], object]] = {
        "updates": partial(adapter.updates, host),
        "release_upgrade": partial(adapter.release_upgrade, host),
        "package_version": partial(adapter.package_version, host, "qlmdm-no-such-package"),
        "packages": partial(adapter.packages, host),
        "reboot_required": partial(adapter.reboot_required, host),
    }
    return asked


def judge_match(adapter: DistroAdapter) -> Iterator[Finding]:
    """Whether it leaves distributions alone that are none of its own."""
    for release in _STRANGERS:
        where = f"adapter {adapter.name}, match({str(dict(release))[:40]})"
        score, raised = answer(partial(adapter.match, dict(release)))
        if raised:
            yield failed("adapters", where, f"it raised {raised}", "Return 0")
        elif score != 0 or isinstance(score, bool):
            yield failed("adapters", where, f"it returned {score!r} for a stranger", "Return 0")


def answer(question: Callable[[], object]) -> tuple[Any, str | None]:
    """What it answered, or what it raised."""
    answers: list[object] = []
    raised = attempt(lambda: answers.append(question()))
    return (answers[0] if answers else None), raised


def judge_answer(where: str, method: str, said: object, *, told_nothing: bool) -> Iterator[Finding]:
    """What is wrong with an answer; `told_nothing`: the machine could not be asked anything."""
    kind = _TYPES.get(method)
    if kind is None:
        if said is not None and not isinstance(said, str):
            yield failed("adapters", where, f"it returned {said!r}, not a version or None")
        return
    if not isinstance(said, kind):
        what = f"it returned an object of type {type(said).__name__}, not {kind.__name__}"
        yield failed("adapters", where, what)
    elif _is_unknown(said) and not getattr(said, "reason", ""):
        yield failed("adapters", where, "unknown without a reason", "Set reason=")
    elif told_nothing and isinstance(said, Updates) and said.state == "up_to_date":
        todo = 'Say Updates(state="unknown", reason=…)'
        yield failed("adapters", where, "up to date, though nothing could be asked", todo)
    elif told_nothing and isinstance(said, Reboot) and said.required is False:
        todo = "Say Reboot(required=None, reason=…)"
        yield failed("adapters", where, "no restart is due, though nothing could be asked", todo)
    elif told_nothing and isinstance(said, InstalledPackages) and said.packages == ():
        todo = "Say InstalledPackages(packages=None, reason=…)"
        yield failed("adapters", where, "no packages, though nothing could be asked", todo)


def _is_unknown(said: object) -> bool:
    """Whether it says that it does not know. Of a release, nothing but its end may be known."""
    if isinstance(said, Updates):
        return said.state == "unknown"
    if isinstance(said, InstalledPackages):
        return said.packages is None
    if isinstance(said, Reboot):
        return said.required is None
    return said == ReleaseUpgrade()
