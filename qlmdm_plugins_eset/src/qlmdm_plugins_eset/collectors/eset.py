"""Finds out whether an ESET antivirus is installed, runs, and has a recent detection engine.

It knows ESET Endpoint Antivirus (eea) and ESET Server Security (efs) from version 7 on, and
ESET File Security 4 (esets). It asks, and never updates anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from qlmdm_core import JSON, Host, Process
from qlmdm_plugins_eset.collectors._service import (
    Finding,
    Unit,
    ask_unit,
    is_there,
    list_is_whole,
    runs_from,
    state_of,
)

ENGINE = "EM002"
"""The detection engine among the modules; names are translated, numbers are not."""

MAX_ENGINE_AGE = timedelta(days=2)
"""An engine older than this missed its updates: ESET publishes several a day."""

_VERSION = re.compile(r"\b(\d{1,9}(?:\.\d{1,9}){1,4})\b")
_MODULE = re.compile(r"^[ \t]*(EM\d{3})[ \t]+(\S+)[ \t]+\((\d{8})\)", re.MULTILINE)
_LICENCE = re.compile(
    r"^[ \t]*(Status|License Validity|Licence Validity)[ \t]*:[ \t]*(.*\S)", re.MULTILINE
)
_NO_DAEMON = re.compile(r"user-agent|egui|upd$|lslog$|odscan$|/lic$")
"""Programs of the product that protect nobody while they run."""


@dataclass(frozen=True)
class Product:
    """One of ESET's products for Linux."""

    key: str
    """Its package, its service, and its folder below /opt/eset."""
    name: str
    programs: tuple[str, ...]
    """Programs of which at least one is there while it is installed."""

    @property
    def folder(self) -> str:
        """Where it is installed."""
        return f"/opt/eset/{self.key}"


_PROGRAMS = ("bin/upd", "sbin/startd", "sbin/scand", "lib/scand", "lib/oaeventd")
PRODUCTS = (
    Product("eea", "ESET Endpoint Antivirus", _PROGRAMS),
    Product("efs", "ESET Server Security", _PROGRAMS),
    Product("esets", "ESET File Security 4", ("sbin/esets_daemon",)),
)


@dataclass(frozen=True)
class Engine:
    """The detection engine: which one, and of when."""

    version: str | None = None
    day: date | None = None
    why: str = ""
    """Why it is not known."""


def collect(host: Host) -> JSON:
    """`state` running, stopped, absent or unknown; version, and whether it is up to date."""
    found = [(product, *_find(host, product)) for product in PRODUCTS]
    # Of several, the one that runs; of those that do not, the newest kind.
    order = ("running", "unknown", "stopped", "absent")
    product, finding, unit = min(found, key=lambda item: order.index(item[1].state))
    if finding.state == "absent":
        packaged = _packaged(host)
        if packaged is None:
            return _value(finding, None, unit)
        product, unit = packaged, Unit(f"{packaged.key}.service")
        why = f"the package {packaged.key} is installed, but none of its programs is in sight"
        finding = Finding("unknown", why)
    version = _version(host, product)
    engine = _engine(host, product)
    up_to_date = is_recent(engine.day, host.now())
    value = _value(finding, product, unit)
    value.update(
        version=version,
        up_to_date=up_to_date,
        engine_version=engine.version,
        engine_date=engine.day.isoformat() if engine.day else None,
        real_time_protection=_real_time(host, product, version),
        licence=_licence(host, product),
    )
    if up_to_date is None:
        value["update_reason"] = engine.why or "the clock is behind the detection engine's date"
    return value


def _find(host: Host, product: Product) -> tuple[Finding, Unit]:
    installed = is_there(host, [f"{product.folder}/{name}" for name in product.programs])
    # Of the three, hardly more than one is there: do not ask systemd about the others.
    unit = Unit(f"{product.key}.service") if installed is False else ask_unit(host, product.key)

    def is_daemon(process: Process) -> bool:
        program = process.program or (process.argv or ("",))[0]
        return runs_from(process, product.folder) and not _NO_DAEMON.search(program)

    return state_of(host, installed, unit, is_daemon), unit


def _packaged(host: Host) -> Product | None:
    """The product that the package manager knows, where none of its files is in sight."""
    for product in PRODUCTS[:2]:
        for argv in (["dpkg-query", "-W", product.key], ["rpm", "-q", product.key]):
            answer = host.run(argv, timeout=10.0)
            if answer.ok and parse_version(answer.stdout):
                return product
    return None


def _value(finding: Finding, product: Product | None, unit: Unit) -> dict[str, JSON]:
    value: dict[str, JSON] = {
        "state": finding.state,
        "version": None,
        "up_to_date": None,
        "product": product.name if product else None,
        "engine_version": None,
        "engine_date": None,
        "real_time_protection": None,
        "licence": None,
        "evidence": {"state": finding.why, "unit": unit.name if product else None},
    }
    if finding.state == "unknown":
        value["reason"] = finding.why
    return value


def _version(host: Host, product: Product) -> str | None:
    """The product's version: from its own tools, else from the package manager."""
    tool = "sbin/esets_daemon" if product.key == "esets" else "bin/upd"
    answer = host.run([f"{product.folder}/{tool}", "--version"], timeout=10.0)
    found = parse_version(answer.stdout) if answer.ok else None
    if found is None and host.distro is not None:
        found = host.distro.package_version(host, product.key)
    if found is None:
        for argv in (["dpkg-query", "-W", product.key], ["rpm", "-q", product.key]):
            answer = host.run(argv, timeout=10.0)
            found = found or (parse_version(answer.stdout) if answer.ok else None)
    return found


def parse_version(text: str) -> str | None:
    """The first version number in what a tool printed; none in a list of modules."""
    found = None if _MODULE.search(text) else _VERSION.search(text)
    return found[1] if found else None


def parse_modules(text: str) -> Engine:
    """The detection engine among the modules that `upd --list-modules` printed. Never raises."""
    for number, version, digits in _MODULE.findall(text):
        if number != ENGINE:
            continue
        try:
            day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError:
            return Engine(version, why="the detection engine's date is not understood")
        return Engine(version, day)
    return Engine(why="the detection engine is not among the modules")


def is_recent(day: date | None, now: datetime) -> bool | None:
    """Whether an engine of that day is up to date; None if not known, or if it is of the future."""
    if day is None:
        return None
    age = now.astimezone(timezone.utc).date() - day
    if age < timedelta(days=-1):
        return None  # the clock is wrong
    return age <= MAX_ENGINE_AGE


def _engine(host: Host, product: Product) -> Engine:
    if product.key == "esets":
        # The 4.x products touch this file at each update.
        path = "/var/opt/eset/esets/lib/data/data.txt"
        try:
            changed = host.stat(path).mtime
        except OSError as error:
            return Engine(why=f"{path}: {error.strerror or 'not readable'}")
        if changed <= 0:
            return Engine(why=f"{path} has no time")
        return Engine(None, datetime.fromtimestamp(changed, timezone.utc).date())
    why = ""
    for option in ("--list-modules", "-l"):
        answer = host.run([f"{product.folder}/bin/upd", option], timeout=10.0)
        if answer.ok:
            engine = parse_modules(answer.stdout)
            if not host.is_root and engine.day is None:
                return Engine(why="the modules can be listed by root only")
            return engine
        why = why or answer.why
    return Engine(why=why)


def _licence(host: Host, product: Product) -> JSON:
    """Whether the licence is activated, and until when; no number that identifies it."""
    if product.key == "esets":
        return None
    answer = host.run([f"{product.folder}/sbin/lic", "--status"], timeout=10.0)
    return parse_licence(answer.stdout) if answer.ok else None


def parse_licence(text: str) -> JSON:
    """Status and last day in what `lic --status` printed; None if neither is there."""
    found = {name.lower(): value for name, value in _LICENCE.findall(text)}
    status = found.get("status")
    until = found.get("license validity") or found.get("licence validity")
    if status is None and until is None:
        return None
    return {"status": status and status[:60], "valid_until": until and until[:30]}


def _real_time(host: Host, product: Product, version: str | None) -> bool | None:
    """Whether files are scanned as they are opened; None if that can't be told."""
    processes = host.processes()
    watchers = ("oaeventd", "eventd")
    if any(
        runs_from(process, product.folder)
        and (process.program or (process.argv or ("",))[0]).rsplit("/", 1)[-1] in watchers
        for process in processes
    ):
        return True
    try:
        modules = host.read("/proc/modules")
    except OSError:
        return None
    if any(line.startswith("eset_rtp ") for line in modules.splitlines()):
        return True
    old = version is not None and int(version.split(".", 1)[0]) < 11
    # From 11 on it may work without the kernel module, by means that we do not know.
    return False if old and host.is_root and list_is_whole(host, processes) else None
