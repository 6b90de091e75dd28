"""Settings: a YAML file, checked against dataclasses, with mistakes named by file, line and key.

A settings dataclass declares each key as a field with a type, and `setting(default, help)`::

    @dataclass(frozen=True, kw_only=True)
    class Badge:
        reader: str = setting("/dev/badge0", "The device that reads badges.")
        forget_after: Duration = setting(parse_duration("2 days"), "How long to remember.")

Types may be `str`, `bool`, `int`, `float`, `Duration`, `Size`, `Literal[…]`, `T | None`,
`tuple[T, …]`, `dict[str, T]`, another such dataclass, or `Any`. Bounds stand beside the help.
The same declarations give the commented template and docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeVar

from qlmdm_core import yamlnodes
from qlmdm_core.api import SettingsSection
from qlmdm_core.errors import NotSetUpError, PluginError, SettingsError
from qlmdm_core.units import Duration, Size, parse_duration, parse_size
from qlmdm_core.yamlnodes import Mapping, Node, Scalar, Sequence

T = TypeVar("T")
MAX_FILE_BYTES = 1 << 20


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A field of a settings dataclass; without a default, the key is required.

    The bounds are those of a number, seconds or bytes.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum}
    if isinstance(default, (dict, list)):
        raise TypeError("a default must be immutable; use a tuple, or default_factory in field()")
    return dataclasses.field(default=default, metadata=metadata)


class Loaded(Generic[T]):
    """Settings that were read: core's part, and plugins' sections as they become known."""

    def __init__(self, core: T, file: str, plugins: Mapping | None = None) -> None:
        self.core = core
        self.file = file
        self._nodes = plugins
        self._sections: dict[str, Any] = {}

    def register(self, sections: Iterable[SettingsSection]) -> None:
        """Parse and validate these plugins' sections; raises `SettingsError`."""
        for section in sections:
            node = self._nodes.items.get(section.name) if self._nodes else None
            where = f"plugins.{section.name}"
            if node is None:
                node = Mapping({}, {}, 0)
            self._sections[section.name] = build(section.schema, node, self.file, where)

    def section(self, name: str) -> Any:
        """A plugin's settings; raises `PluginError` if it never registered them."""
        try:
            return self._sections[name]
        except KeyError:
            raise PluginError(
                f"settings section {name!r} was asked for but not registered; "
                "return it from qlmdm_register_settings"
            ) from None

    def check_sections(self) -> None:
        """Once all plugins are loaded: a section that none of them registered is a mistake."""
        for name, line in (self._nodes.lines if self._nodes else {}).items():
            if name not in self._sections:
                known = sorted(self._sections)
                raise SettingsError(
                    "no installed plugin has this section" + _suggest(name, known),
                    file=self.file,
                    line=line,
                    key=f"plugins.{name}",
                )


def load(path: str, schema: type[T]) -> Loaded[T]:
    """Read and check a settings file. Raises `SettingsError`, or `NotSetUpError` if missing."""
    return parse(_read(path), schema, path)


def parse(text: str, schema: type[T], file: str = "settings") -> Loaded[T]:
    """As `load`, from the text of a file."""
    root = yamlnodes.parse(text, file)
    if root is None:
        root = Mapping({}, {}, 1)
    if not isinstance(root, Mapping):
        raise SettingsError("expected `key: value` lines", file=file, line=root.line)
    items = dict(root.items)
    plugins = items.pop("plugins", None)
    if plugins is not None and not isinstance(plugins, Mapping):
        if not (isinstance(plugins, Scalar) and plugins.kind == "null"):
            raise SettingsError(
                "expected a mapping of plugin sections", file=file, line=plugins.line, key="plugins"
            )
        plugins = None
    core = build(schema, Mapping(items, root.lines, root.line), file, "")
    return Loaded(core, file, plugins)


def defaults(schema: type[T]) -> Loaded[T]:
    """Settings with nothing set, for a schema whose fields all have defaults."""
    return parse("", schema, "built-in defaults")


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotSetUpError(
            f"{path}: there is no such settings file; run the setup command, "
            "or name another with --settings or QLMDM_SETTINGS"
        ) from None
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", file=path) from None
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError("larger than 1 MiB; this is not a settings file", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError("not UTF-8", file=path, line=line) from None


# --- from nodes to dataclasses ------------------------------------------------------------


def build(schema: type[T], node: Node, file: str, where: str) -> T:
    """An instance of a settings dataclass from a parsed mapping; raises `SettingsError`."""
    if not isinstance(node, Mapping):
        raise SettingsError("expected `key: value` lines", file=file, line=node.line, key=where)
    hints = typing.get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    for key in node.items:
        if key not in fields:
            raise SettingsError(
                "unknown key" + _suggest(key, fields),
                file=file,
                line=node.lines[key],
                key=_join(where, key),
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        key = _join(where, name)
        if name in node.items:
            value = _value(hints[name], node.items[name], file, key)
            _check_bounds(value, field, file, node.lines[name], key)
            values[name] = value
        elif dataclasses.is_dataclass(hints[name]) and isinstance(hints[name], type):
            values[name] = build(hints[name], Mapping({}, {}, node.line), file, key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError("required, but not set", file=file, key=key)
    try:
        return schema(**values)
    except ValueError as error:  # raised by a dataclass's own __post_init__
        raise SettingsError(str(error), file=file, line=node.line or None, key=where) from None


def _value(kind: Any, node: Node, file: str, key: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return yamlnodes.plain(node)
    if origin in (typing.Union, types.UnionType):
        if isinstance(node, Scalar) and node.kind == "null" and not node.quoted:
            return None
        (kind,) = (arg for arg in args if arg is not type(None))
        return _value(kind, node, file, key)
    if origin is tuple:
        if not isinstance(node, Sequence):
            raise SettingsError("expected a list", file=file, line=node.line, key=key)
        return tuple(
            _value(args[0], item, file, f"{key}[{number}]")
            for number, item in enumerate(node.items)
        )
    if origin is dict:
        if not isinstance(node, Mapping):
            raise SettingsError("expected a mapping", file=file, line=node.line, key=key)
        return {
            name: _value(args[1], item, file, f"{key}.{name}") for name, item in node.items.items()
        }
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return build(kind, node, file, key)
    if not isinstance(node, Scalar):
        raise SettingsError(
            f"expected {_describe(kind)}, not a list or mapping", file=file, line=node.line, key=key
        )
    try:
        return _scalar(kind, node)
    except ValueError as error:
        raise SettingsError(str(error), file=file, line=node.line or None, key=key) from None


def _scalar(kind: Any, node: Scalar) -> Any:
    text = node.text
    wrong = ValueError(f"expected {_describe(kind)}; got {text!r}")
    if kind is str:
        if node.kind == "null" and not node.quoted:
            raise wrong
        return text
    if kind is Duration:
        return parse_duration(text)
    if kind is Size:
        return parse_size(text)
    if kind is bool:
        if node.kind != "bool" or node.quoted:
            raise wrong
        return text.lower() in ("true", "yes", "on")
    if kind is int or kind is float:
        digits = text.removeprefix("-")
        if node.quoted:
            raise wrong
        if kind is int and digits.isascii() and digits.isdigit():
            return int(text)
        if kind is float and digits.replace(".", "", 1).isdigit() and digits.isascii():
            return float(text)
        raise wrong
    if typing.get_origin(kind) is Literal:
        if text in typing.get_args(kind):
            return text
        raise wrong
    raise TypeError(f"a settings field can't have the type {kind!r}")


def _check_bounds(
    value: Any, field: dataclasses.Field[Any], file: str, line: int, key: str
) -> None:
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if low is not None and value < low:
            raise SettingsError(f"expected at least {low:g}", file=file, line=line, key=key)
        if high is not None and value > high:
            raise SettingsError(f"expected at most {high:g}", file=file, line=line, key=key)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _suggest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def find_file(side: str, named: str | None) -> str:
    """The settings file: `--settings`, else `QLMDM_SETTINGS`, else /etc/qlmdm/SIDE/settings.yml.

    The one place that reads this environment variable.
    """
    return named or os.environ.get("QLMDM_SETTINGS") or f"/etc/qlmdm/{side}/settings.yml"
