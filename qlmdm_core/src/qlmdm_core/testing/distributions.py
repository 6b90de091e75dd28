"""Writes plugin distributions as pip would have installed them, good ones and broken ones."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path


def write_distribution(
    folder: str | os.PathLike[str],
    name: str,
    *,
    version: str = "1.0",
    entry_points: Mapping[str, str] | str = "",
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Write a distribution into a folder that is, or will be, on `sys.path`.

    `entry_points` maps a group to `name = target` lines (or is the whole text); `modules`
    maps a module's name to its source.

    Example::

        write_distribution(
            tmp_path, "acme", entry_points={"qlmdm_client": "badge = acme_badge"},
            modules={"acme_badge": "..."},
        )
    """
    folder = Path(folder)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    if not isinstance(entry_points, str):
        sections = (f"[{group}]\n{lines}\n" for group, lines in entry_points.items())
        entry_points = "\n".join(sections)
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    for module, source in (modules or {}).items():
        path = folder / f"{module}.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
    return info
