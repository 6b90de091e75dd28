"""Asks an image-based system (Silverblue, Kinoite, CoreOS, RHEL image mode) what waits.

There, dnf's answer is meaningless: packages come with the image, which rpm-ostree or bootc
replaces as a whole, to be booted next time. Their `status` tells what they found when they last
asked the image's server, and what they have put in place since; it asks nobody itself
(`rpm-ostree upgrade --check` and `bootc upgrade --check` would).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from qlmdm_core.api import JSON, Host, Reboot, Updates
from qlmdm_fedora.repositories import parse_sections, read
from qlmdm_fedora.versions import Package, parse_nevra

RPM_OSTREE = ("rpm-ostree", "status", "--json")
BOOTC = ("bootc", "status", "--json")
LAST_LOOK = (
    "systemctl",
    "show",
    "rpm-ostreed-automatic.service",
    "--property=Result",
    "--property=ExecMainExitTimestampMonotonic",
)
OLD_LOOK = 14 * 86400
"""Seconds after which it says nothing any more that no update was found."""


def is_image(host: Host) -> bool:
    """Whether the running system is an image: ostree leaves this mark at each start."""
    return host.exists("/run/ostree-booted")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What the status of an image-based system says."""

    booted: str = ""
    """The version of the running image, or a part of its checksum."""
    waiting: str = ""
    """The same of the one that will be booted next, if that is another."""
    new_image: bool = False
    """The one that will be booted next has other contents than the running one's image: not
    only a package more on top of it."""
    found: str = ""
    """The version of a newer one that was found on the server."""
    upgrades: tuple[tuple[str, str, str], ...] = ()
    """Name, old and new version of the packages that it changes, as far as they are known."""
    fixes: frozenset[Package] | None = None
    """The builds of it that mend security holes; None if that was not looked up."""


def updates(host: Host) -> Updates:
    """What waits. Being in place for the next start counts as waiting: it is not running yet."""
    status, why = _status(host)
    if status is None:
        return Updates(state="unknown", reason=why)
    if status.found or (status.waiting and status.new_image):
        return _available(status)
    age, doubt = _last_look(host)
    return Updates(
        state="unknown" if doubt else "up_to_date",
        reason=doubt,
        updates=None if doubt else 0,
        security_updates=None if doubt else 0,
        cache_age_seconds=age,
        notes=(f"the image is {status.booted}",) if status.booted else (),
    )


def _available(status: Status) -> Updates:
    packages = tuple(_packages(status))
    notes = [f"the image is {status.booted}, the next one {status.found or status.waiting}"]
    if status.waiting:
        notes.append("it is in place; a restart is all that is missing")
    security = None
    if status.fixes is not None:
        security = sum(package["security"] is True for package in packages) or len(status.fixes)
    return Updates(
        state="updates_available",
        updates=len(packages) or 1,
        security_updates=security,
        packages=packages,
        notes=tuple(notes),
    )


def _packages(status: Status) -> Iterable[Mapping[str, JSON]]:
    fixed = None if status.fixes is None else {fix.name for fix in status.fixes}
    for name, old, new in status.upgrades:
        security = None if fixed is None else name in fixed
        yield {"name": name, "installed": old, "available": new, "security": security}


def reboot_required(host: Host) -> Reboot:
    """Whether another deployment than the running one will be booted next."""
    status, why = _status(host)
    if status is None:
        return Reboot(required=None, reason=why)
    if status.waiting:
        return Reboot(required=True, reason=f"{status.waiting} is in place for the next start")
    return Reboot(required=False)


def _status(host: Host) -> tuple[Status | None, str]:
    """What either program says; of both, the one that knows of something that waits."""
    first, why = _ask(host, RPM_OSTREE, parse_rpm_ostree)
    if first is not None and (first.found or first.waiting):
        return first, ""
    second, other = _ask(host, BOOTC, parse_bootc)
    if second is not None and (first is None or second.found or second.waiting):
        return second, ""
    return first, "" if first is not None else f"{why}; {other}"


def _ask(
    host: Host, argv: tuple[str, ...], parse: Callable[[str], Status | None]
) -> tuple[Status | None, str]:
    result = host.run(argv, timeout=30.0)
    if not result.ok:
        return None, result.why
    status = parse(result.stdout)
    return status, "" if status else f"the answer of {argv[0]} is not understood"


def _last_look(host: Host) -> tuple[int | None, str]:
    """Seconds since rpm-ostree last looked for an update by itself; and why that is no proof.

    An update that is not found leaves no trace in the status. The timer's service does, if it
    is told to look at all (rpm-ostreed.conf(5)).
    """
    unknown = "it can't be told when an update of the image was last looked for"
    policy = parse_policy(read(host, "/etc/rpm-ostreed.conf"))
    if policy not in ("check", "stage", "apply"):
        return None, f"{unknown}; run: rpm-ostree upgrade --check"
    result = host.run(LAST_LOOK)
    uptime = _seconds(read(host, "/proc/uptime"))
    ended = parse_last_look(result.stdout) if result.ok else None
    if ended is None or uptime is None or ended > uptime:
        return None, f"{unknown} (since the last start); run: rpm-ostree upgrade --check"
    age = int(uptime - ended)
    if age > OLD_LOOK:
        return age, "an update of the image was last looked for too long ago"
    return age, ""


def parse_policy(text: str) -> str:
    """`AutomaticUpdatePolicy` of rpm-ostreed.conf: none, check, stage, apply; none if not set."""
    value = parse_sections(text).get("Daemon", {}).get("automaticupdatepolicy", "none")
    return value.strip("\"'").lower()


def parse_last_look(text: str) -> float | None:
    """When the service last ended well, in seconds since the start; None if it didn't.

    systemd prints dates in the machine's own time zone, but this in microseconds.
    """
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    ended = values.get("ExecMainExitTimestampMonotonic", "")
    if values.get("Result") != "success" or not re.fullmatch(r"[0-9]{1,18}", ended):
        return None
    return int(ended) / 1e6 or None


def _seconds(uptime: str) -> float | None:
    match = re.match(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", uptime)
    return float(match[0]) if match else None


# --- rpm-ostree ---------------------------------------------------------------------------


def parse_rpm_ostree(text: str) -> Status | None:
    """Read `rpm-ostree status --json`; None if that is not what it is.

    `deployments` stand in the order in which they are booted. `cached-update` is the update that
    was found: `rpm-diff` has what it changes as `[kind, name, [evr, arch], [evr, arch]]`,
    `advisories` what it mends as `[id, kind, severity, [NEVRA], {}]`, security only; it is left
    out if there is none, and also if nobody looked (src/daemon/rpmostreed-deployment-utils).
    """
    deployments = [item for item in _list(_field(_load(text), "deployments")) if _dict(item)]
    if not deployments:
        return None
    booted = next((item for item in deployments if item.get("booted") is True), None)
    if booted is None:
        return None
    next_one = next((item for item in deployments if item.get("staged") is True), deployments[0])
    waiting = next_one is not booted
    update = _field(_load(text), "cached-update")
    found = _dict(update)
    advisories = found.get("advisories")
    return Status(
        booted=_version(booted),
        waiting=_version(next_one) if waiting else "",
        new_image=waiting and _base(next_one) != _base(booted),
        found=_version(found) if found else "",
        upgrades=tuple(_upgrades(_list(_field(found.get("rpm-diff"), "upgraded")))),
        fixes=frozenset(_fixes(advisories)) if isinstance(advisories, list) else None,
    )


def _version(deployment: Mapping[str, JSON]) -> str:
    for key in ("version", "checksum", "id"):
        value = deployment.get(key)
        if isinstance(value, str) and value:
            return value[:80] if key == "version" else value[:12]
    return "another image"


def _base(deployment: Mapping[str, JSON]) -> JSON:
    """What tells one image from another, whatever is layered on top of it."""
    return (
        deployment.get("base-checksum")
        or deployment.get("container-image-reference-digest")
        or deployment.get("checksum")
    )


def _upgrades(rows: list[JSON]) -> Iterable[tuple[str, str, str]]:
    for row in rows:
        cells = _list(row)
        if len(cells) < 4 or not isinstance(cells[1], str):
            continue
        old, new = (next(iter(_list(cell)), None) for cell in cells[2:4])
        if isinstance(old, str) and isinstance(new, str):
            yield cells[1], old, new


def _fixes(advisories: list[JSON]) -> Iterable[Package]:
    for row in advisories:
        cells = _list(row)
        for nevra in _list(cells[3]) if len(cells) > 3 else []:
            if isinstance(nevra, str) and (package := parse_nevra(nevra)):
                yield package


# --- bootc --------------------------------------------------------------------------------


def parse_bootc(text: str) -> Status | None:
    """Read `bootc status --json`; None if that is not what it is, or nothing of it is booted.

    `status.booted.cachedUpdate` is the image that was found on the server when it was last asked,
    `status.staged` the one that is in place for the next start.
    """
    status = _dict(_field(_load(text), "status"))
    booted = _dict(status.get("booted"))
    image = _dict(booted.get("image"))
    if not image:
        return None
    staged = _dict(_field(status.get("staged"), "image"))
    found = _dict(booted.get("cachedUpdate"))
    digest = image.get("imageDigest")
    return Status(
        booted=_image_version(image),
        waiting=_image_version(staged) if status.get("staged") else "",
        new_image=bool(status.get("staged")) and staged.get("imageDigest") != digest,
        found=_image_version(found) if found and found.get("imageDigest") != digest else "",
    )


def _image_version(image: Mapping[str, JSON]) -> str:
    for key in ("version", "imageDigest"):
        value = image.get(key)
        if isinstance(value, str) and value:
            return value[:80]
    return "another image"


def _load(text: str) -> JSON:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dict(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


def _field(value: JSON, key: str) -> JSON:
    return _dict(value).get(key)


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
