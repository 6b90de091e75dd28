"""Reads wheels: what a distribution needs, what Pythons it is for, and which files clients get.

A wheel is a zip with a name that says what it is for (PyPA, "Binary distribution format").
Clients get its modules, and of its metadata what is read at run time or must travel with the
code: METADATA, entry points, licences. Everything else (lists of hashes, who installed it,
bytecode, scripts for a `bin` folder) would only make two builds differ.
"""

from __future__ import annotations

import email.parser
import email.policy
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from qlmdm_core import manifest
from qlmdm_core.errors import QlmdmError

_KEPT_METADATA = {"METADATA", "entry_points.txt"}
_LICENCE = re.compile(r"(?i)(licen[cs]es?/.+|(licen[cs]e|copying|notice|authors)[^/]*)\Z")
_COMPILED = (".so", ".pyd", ".dylib", ".dll")
_FOR_ONE_PYTHON = re.compile(r"\.(cpython-3|cp3|pypy)[^/]*\.(so|pyd)\Z")
_INFO = re.compile(r"[^/]+\.dist-info/")
_DATA = re.compile(r"[^/]+\.data/(?P<kind>[^/]+)/(?P<rest>.+)\Z")


class UnfitError(QlmdmError):
    """A package can't travel to clients: which, why, and what to do."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One wheel file, its name and metadata read."""

    path: str
    name: str
    """As package indexes compare it."""
    version: str
    requires: tuple[Requirement, ...]
    python: SpecifierSet
    machine: str | None
    """Whose compiled code is in it, as `uname -m` says; None: any machine's."""


def read_wheel(path: str) -> Wheel:
    """What a wheel says of itself. Raises `UnfitError` if clients could not use it."""
    base = os.path.basename(path)
    try:
        name, version, _, tags = parse_wheel_filename(base)
    except InvalidWheelFilename as error:
        raise UnfitError(f"{base}: not a wheel: {error}") from None
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry for entry in archive.namelist() if _is_metadata(entry)]
            if len(names) != 1:
                raise UnfitError(f"{base}: expected one METADATA, found {len(names)}")
            text = archive.read(names[0]).decode("utf-8")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UnfitError(f"{base}: can't be read: {error}") from None
    headers = email.parser.Parser(policy=email.policy.compat32).parsestr(text, headersonly=True)
    try:
        requires = tuple(Requirement(str(line)) for line in headers.get_all("Requires-Dist") or ())
        python = SpecifierSet(str(headers.get("Requires-Python") or ""))
    except (InvalidRequirement, InvalidSpecifier) as error:
        raise UnfitError(f"{base}: its metadata can't be understood: {error}") from None
    return Wheel(
        path=path,
        name=canonicalize_name(name),
        version=str(version),
        requires=requires,
        python=python,
        machine=_machine(base, {(tag.abi, tag.platform) for tag in tags}),
    )


def _is_metadata(entry: str) -> bool:
    return entry.endswith(".dist-info/METADATA") and entry.count("/") == 1


def _machine(base: str, tags: set[tuple[str, str]]) -> str | None:
    if ("none", "any") in tags:
        return None
    for abi, platform in sorted(tags):
        found = re.fullmatch(
            r"(?:many|musl)?linux[a-z0-9]*(?:_[0-9]+_[0-9]+)?_([a-z0-9_]+)", platform
        )
        if abi == "abi3" and found and found[1]:
            return found[1]
    raise UnfitError(
        f"{base} is for one version of Python, or not for Linux; clients need a wheel for "
        "py3-none-any (pure Python) or abi3. Give one in the folder `release.wheels` names, "
        "or leave out the plugin that needs it"
    )


def kept_files(wheel: Wheel) -> Iterator[tuple[str, bytes]]:
    """The files that clients get, by path below `lib`. Raises `UnfitError`."""
    base = os.path.basename(wheel.path)
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
                path = None if entry.is_dir() else _kept_path(entry.filename)
                if path is None:
                    continue
                _check(base, path, entry, wheel)
                yield path, archive.read(entry)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise UnfitError(f"{base}: can't be read: {error}") from None


def check_code(wheel: Wheel) -> None:
    """Raise `UnfitError`, with file and line, for a module that no client could import."""
    for path, content in kept_files(wheel):
        if not path.endswith(".py"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(content, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            where = f"{path}, line {line}" if line else path
            reason = getattr(error, "msg", None) or error
            raise UnfitError(
                f"{wheel.name} {wheel.version}: {where}: not Python: {reason}; mend it, or leave "
                "the distribution out"
            ) from None


def _kept_path(entry: str) -> str | None:
    """Where a wheel's file goes below `lib`; None: nowhere."""
    data = _DATA.match(entry)
    if data:
        if data["kind"] not in ("purelib", "platlib"):
            return None  # scripts, headers, and what belongs to some prefix
        entry = data["rest"]
    info = _INFO.match(entry)
    if info:
        rest = entry[info.end() :]
        return entry if rest in _KEPT_METADATA or _LICENCE.match(rest) else None
    if entry.endswith((".pyc", ".pyo")) or "__pycache__" in entry.split("/"):
        return None
    return entry


def _check(base: str, path: str, entry: zipfile.ZipInfo, wheel: Wheel) -> None:
    if not manifest.is_safe_path(f"lib/{path}"):
        raise UnfitError(f"{base}: a release can't hold a file called {path!r}")
    if entry.file_size > manifest.MAX_FILE_BYTES:
        raise UnfitError(f"{base}: {path} has {entry.file_size} bytes, too many for a release")
    if path.endswith(".pth") and "/" not in path:
        raise UnfitError(
            f"{base}: {path} works only where pip installs; a client would not read it"
        )
    compiled = path.endswith(_COMPILED) or ".so." in path
    if compiled and (wheel.machine is None or _FOR_ONE_PYTHON.search(path)):
        raise UnfitError(
            f"{base}: {path} is compiled code for one version of Python or one machine; clients "
            "have several. Put a pure or abi3 wheel of the package into the folder that "
            "`release.wheels` names, or leave out the plugin that needs it"
        )
