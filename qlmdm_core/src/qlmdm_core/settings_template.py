"""Writes a settings file from the code's own declarations: every key, with what it means.

Keys that are not set stand there as comments with their defaults, so that whoever opens the
file sees what could be set, and a later version's defaults still apply.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from qlmdm_core.units import Duration, Size, write_duration, write_size

_WIDTH = 96


def template(schema: type, values: Mapping[str, Any], heading: str = "") -> str:
    """The YAML text of a settings file in which `values` (by key) are set.

    A value that is itself a mapping sets the keys of a nested section.
    """
    lines = [f"# {line}" if line else "#" for line in textwrap.wrap(heading, _WIDTH - 2)]
    lines += [""] if lines else []
    lines += _section(schema, values, "")
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(schema: type, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind, help_text = hints[field.name], str(field.metadata.get("help", ""))
        # In a section that is itself a comment, taking "# " away from each line must do.
        mark = "" if indent.startswith("#") else "# "
        for line in textwrap.wrap(help_text, _WIDTH - 2 - len(indent)):
            yield f"{indent}# {line}"
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            inner = values.get(field.name) or {}
            yield f"{indent}{'' if inner else mark}{field.name}:"
            yield from _section(kind, inner, indent + "  " if inner else indent + mark + "  ")
            continue
        if field.name in values:
            yield f"{indent}{field.name}: {written(values[field.name], kind)}"
        elif field.default not in (dataclasses.MISSING, None):
            yield f"{indent}{mark}{field.name}: {written(field.default, kind)}"
        else:
            yield f"{indent}# {field.name}:"
        yield indent.rstrip() if indent.startswith("#") else ""


def written(value: Any, kind: Any) -> str:
    """A value as it is written in YAML; JSON is YAML, too."""
    if kind is Duration:
        return write_duration(value)
    if kind is Size:
        return write_size(value)
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False)
