"""Reads YAML into plain values that remember their line, and refuses what is ambiguous.

PyYAML's loaders forget lines, let a later duplicate key win, and turn `no` into False,
`1:30` into 90 and `010` into 8. Here a scalar stays text until the setting that it is for
says what it must be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import yaml

from qlmdm_core.errors import SettingsError

Node: TypeAlias = "Scalar | Sequence | Mapping"


@dataclass(frozen=True)
class Scalar:
    """One value, as written (unquoted)."""

    text: str
    line: int
    quoted: bool
    kind: str
    """What YAML 1.1 takes it for: "str", "int", "float", "bool", "null", "timestamp", …"""


@dataclass(frozen=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Mapping:
    """A mapping; keys are text."""

    items: dict[str, Node]
    lines: dict[str, int]
    line: int


def parse(text: str, file: str) -> Node | None:
    """The document in `text`, or None if it is empty. Raises `SettingsError`."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingsError("a control character", file=file, line=line) from None
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context or "this is not YAML")
        if "'\\t'" in problem:
            problem = "a tab can't indent YAML; use spaces"
        raise SettingsError(
            problem, file=file, line=mark.line + 1 if mark is not None else None
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"this is not YAML: {error}", file=file) from None
    finally:
        loader.dispose()
    return None if root is None else _convert(root, file, 0)


def _convert(node: yaml.Node, file: str, depth: int) -> Node:
    line = node.start_mark.line + 1
    if depth > 32:
        raise SettingsError("nested too deeply", file=file, line=line)
    if isinstance(node, yaml.ScalarNode):
        kind = str(node.tag).rsplit(":", 1)[-1]
        return Scalar(text=node.value, line=line, quoted=node.style is not None, kind=kind)
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_convert(item, file, depth + 1) for item in node.value), line)
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError("this kind of YAML is not used here", file=file, line=line)
    items: dict[str, Node] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        at = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SettingsError("a key must be plain text", file=file, line=at)
        if key.value in items:
            raise SettingsError(
                f"set twice, first on line {lines[key.value]}", file=file, line=at, key=key.value
            )
        items[key.value] = _convert(value, file, depth + 1)
        lines[key.value] = at
    return Mapping(items, lines, line)


def plain(node: Node | None) -> object:
    """The node as YAML 1.2 would have it (`off` is text), for settings that may be anything."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.items.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    if node is None or (node.kind == "null" and not node.quoted):
        return None
    if node.quoted:
        return node.text
    if node.kind == "bool":
        return {"true": True, "false": False}.get(node.text.lower(), node.text)
    for number in (int, float):
        try:
            return number(node.text) if node.kind in ("int", "float") else node.text
        except ValueError:  # one of YAML 1.1's other spellings, such as 1:30
            continue
    return node.text
