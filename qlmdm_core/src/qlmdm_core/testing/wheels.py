"""Makes wheels without pip, an index, or a network: of what is installed, and of nothing much."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import urllib.parse
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LEFT_OUT = re.compile(r"(\.so|\.pyc|\.pyd)\Z|(^|/)(RECORD|INSTALLER|REQUESTED|direct_url\.json)\Z")


def write_wheel(
    folder: str | os.PathLike[str],
    name: str,
    *,
    version: str = "1.0",
    tag: str = "py3-none-any",
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    requires_python: str = ">=3.10",
    entry_points: str = "",
) -> Path:
    """A wheel of these files; its path.

    Example::

        write_wheel(tmp_path, "acme", files={"acme.py": "X = 1"}, requires=["six"])
    """
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    metadata += [f"Requires-Dist: {line}" for line in requires]
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
    whole: dict[str, str | bytes] = dict(files or {})
    whole[f"{stem}.dist-info/METADATA"] = "\n".join(metadata) + "\n"
    if entry_points:
        whole[f"{stem}.dist-info/entry_points.txt"] = entry_points
    return _zip(Path(folder) / f"{stem}-{tag}.whl", whole, tag)


def repack(folder: str | os.PathLike[str], name: str) -> Path:
    """A pure wheel of an installed distribution, a checkout included; its path.

    Extensions that it was compiled with are left out; it must run without them.
    """
    installed = importlib.metadata.distribution(name)
    version = installed.version
    stem = f"{re.sub(r'[-_.]+', '_', installed.metadata['Name'])}-{version}"
    whole: dict[str, str | bytes] = {}
    for entry in installed.files or ():
        path = entry.as_posix()
        if path.startswith("..") or _LEFT_OUT.search(path) or path.endswith(".pth"):
            continue
        head, slash, rest = path.partition(".dist-info/")
        whole[f"{stem}.dist-info/{rest}" if slash else head] = Path(
            str(installed.locate_file(entry))
        ).read_bytes()
    source = _checkout(installed)
    if source is not None:
        for found in sorted(source.rglob("*")):
            path = found.relative_to(source).as_posix()
            if found.is_file() and not _LEFT_OUT.search(path) and ".egg-info" not in path:
                whole[path] = found.read_bytes()
    return _zip(Path(folder) / f"{stem}-py3-none-any.whl", whole, "py3-none-any")


def repack_all(folder: str | os.PathLike[str], names: Iterable[str]) -> Path:
    """Wheels of these distributions and of all that they need here; the folder."""
    environment: Mapping[str, str] = {**default_environment(), "extra": ""}  # type: ignore[dict-item]
    Path(folder).mkdir(parents=True, exist_ok=True)
    waiting, done = list(names), set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in done:
            continue
        done.add(name)
        repack(folder, name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({**environment}):
                waiting.append(requirement.name)
    return Path(folder)


def _checkout(installed: importlib.metadata.Distribution) -> Path | None:
    """The `src` of a distribution that was installed to be worked on (PEP 610)."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(origin["url"]).path)) / "src"


def _zip(path: Path, files: Mapping[str, str | bytes], tag: str) -> Path:
    (stem,) = {name.split("/")[0] for name in files if name.endswith(".dist-info/METADATA")}
    wheel = f"Wheel-Version: 1.0\nGenerator: qlmdm-tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    whole = {**files, f"{stem}/WHEEL": wheel, f"{stem}/RECORD": ""}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return path
