"""Decides which distributions a release is made of, and takes them as they are installed here.

Core and the plugins travel in the versions that this server has: what the audit was tried with
is what clients run. A checkout that somebody works in (`pip install -e`) is made into a wheel
first, unless the folder of wheels has that version; all else comes from the index, or that
folder, in exactly the version that is here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Collection, Sequence

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from qlmdm_core.errors import UsageError
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.plugins import discover
from qlmdm_core.server.releases.pip import Pip, PipError
from qlmdm_core.server.releases.wheels import UnfitError, read_wheel

CORE = "qlmdm-core"


def wanted(chosen: Sequence[str], plugins_off: Collection[str]) -> list[str]:
    """The names of the distributions: core, then those chosen, or all with client plugins here.

    Raises `UsageError` for one whose metadata is broken.
    """
    off = {canonicalize_name(word) for word in plugins_off if ":" not in word}
    if chosen:
        names = {canonicalize_name(name) for name in chosen}
    else:
        entries = discover(CLIENT_GROUP, frozenset(plugins_off))
        broken = [entry for entry in entries if entry.error and not entry.disabled]
        if broken:
            raise UsageError(f"{broken[0].distribution}: {broken[0].error}; mend or remove it")
        names = {canonicalize_name(entry.distribution) for entry in entries}
    return [CORE, *sorted(names - off - {CORE})]


def requirement(name: str, pip: Pip, folder: str) -> str:
    """What pip is asked for: `NAME==VERSION`, or the path of a wheel that was made in `folder`.

    Raises `PipError`, and `UnfitError` if what would be built is not what is installed.
    """
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return name  # not here, only on clients: the newest there is
    origin = _origin(installed)
    if origin is None or _is_given(name, installed.version, pip.wheels):
        return f"{name}=={installed.version}"
    path = origin if origin.endswith(".whl") else _build(origin, name, pip, folder)
    wheel = read_wheel(path)
    if canonicalize_name(wheel.name) != name or wheel.version != _plain(installed.version):
        raise UnfitError(
            f"{name} {installed.version} is installed here, and {origin} is {wheel.name} "
            f"{wheel.version}; install it anew"
        )
    return path


def _is_given(name: str, version: str, folder: str | None) -> bool:
    """Whether the folder of wheels has just this."""
    for base in os.listdir(folder) if folder else ():
        try:
            there, its_version, _, _ = parse_wheel_filename(base)
        except InvalidWheelFilename:
            continue
        if canonicalize_name(there) == name and str(its_version) == _plain(version):
            return True
    return False


def _plain(version: str) -> str:
    return str(Version(version))


def _origin(installed: importlib.metadata.Distribution) -> str | None:
    """Where it was installed from, if that is a folder or file here, or a repository (PEP 610)."""
    try:
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        url = str(origin.get("url") or "")
        if "vcs_info" in origin:
            info = origin["vcs_info"]
            return f"{info['vcs']}+{url}@{info['commit_id']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    parts = urllib.parse.urlsplit(url)
    path = urllib.request.url2pathname(parts.path)
    return path if parts.scheme == "file" and os.path.exists(path) else None


def _build(source: str, name: str, pip: Pip, folder: str) -> str:
    target = os.path.join(folder, name)
    os.mkdir(target)
    try:
        # What builds it is often installed where it is worked on, and then no index is needed.
        pip.build(target, source, isolated=False)
    except PipError:
        pip.build(target, source)
    (base,) = os.listdir(target)
    return os.path.join(target, base)
