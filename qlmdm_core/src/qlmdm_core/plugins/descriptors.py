"""Checks what hooks return, once, so that everything behind may trust it.

Each hook returns a list of descriptors (or, for `qlmdm_release_files`, a mapping). What is
wrong with one is a sentence for the plugin's author; nothing here raises on purpose, but a
descriptor's own attributes may, so callers run it inside their guard.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qlmdm_core.api import (
    NAME,
    AuditCheck,
    Collector,
    Notifier,
    Objection,
    Route,
    SettingsSection,
    StoreBackend,
    SubCommand,
)
from qlmdm_core.errors import PluginError

API = 1
MOST_DESCRIPTORS = 1000
"""The most that one hook of one plugin may return; an endless generator has no last one."""

LONGEST_SECONDS = 366 * 86400.0
LARGEST_BYTES = 64 << 20

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}\Z")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")


def checked(hook: str, result: Any) -> list[Any]:
    """The descriptors in what a hook returned; raises `PluginError` if one is not right.

    Nothing at all (None) is an empty list. A mapping becomes its sorted items.
    """
    if hook not in _HOOKS:
        return []  # it returns nothing that is looked at
    if result is None:
        return []
    if hook == "qlmdm_release_files":
        return _files(result)
    if isinstance(result, (str, bytes, Mapping)) or not isinstance(result, Iterable):
        raise PluginError(f"returned {_a(result)}; expected a list of descriptors")
    items = list(itertools.islice(result, MOST_DESCRIPTORS + 1))
    if len(items) > MOST_DESCRIPTORS:
        raise PluginError(f"returned more than {MOST_DESCRIPTORS} descriptors")
    kind, check = _HOOKS[hook]
    seen: set[str] = set()
    for item in items:
        if kind is not None and not isinstance(item, kind):
            raise PluginError(f"returned {_a(item)}; expected {kind.__name__}")
        wrong = (_api(item) if kind is not None else None) or check(item)
        label = name_of(item)
        what = f"{type(item).__name__} {label!r}" if label else type(item).__name__
        if wrong:
            raise PluginError(f"{what}: {wrong}")
        if label in seen:
            raise PluginError(f"{what}: returned twice")
        if label:
            seen.add(label)
    return items


def name_of(descriptor: Any) -> str:
    """What a descriptor is called, by whatever attribute says so; empty if by none."""
    for attribute in ("name", "scheme", "path"):
        value = getattr(descriptor, attribute, None)
        if isinstance(value, str):
            return value[:80]
    return ""


def _a(value: Any) -> str:
    return "nothing" if value is None else f"an object of type {type(value).__name__}"


def _api(item: Any) -> str | None:
    if type(item.api) is not int or item.api < 1:
        return f"api: expected {API}"
    if item.api > API:
        return f"api: made for a newer qlmdm-core (api {item.api}; this one knows {API})"
    return None


# --- one check for each kind: what is wrong, or None -----------------------------------------


def _collector(item: Collector) -> str | None:
    return (
        _named(item.name)
        or _callable(item, "run")
        or _seconds(item, "timeout", positive=True)
        or _bytes(item.max_bytes)
        or (None if item.interval is None else _seconds(item, "interval"))
        or _flag(item, "private")
        or _words(item, "private_paths")
        or _words(item, "volatile")
        or _text(item, "help")
        or _sentences(item, "fields")
    )


def _audit_check(item: AuditCheck) -> str | None:
    needs: Any = item.needs  # as written by a stranger, not as annotated
    if not isinstance(needs, (tuple, list)):
        return "needs: expected a tuple of collectors' names"
    for name in needs:
        if _named(name):
            return f"needs: {name!r} can't be the name of a collector"
    return (
        _named(item.name)
        or _callable(item, "judge")
        or _seconds(item, "grace_period")
        or _seconds(item, "alert_frequency")
        or _text(item, "help")
    )


def _notifier(item: Notifier) -> str | None:
    return _named(item.name) or _callable(item, "send") or _seconds(item, "timeout", positive=True)


def _store(item: StoreBackend) -> str | None:
    if not isinstance(item.scheme, str) or not _SCHEME.match(item.scheme):
        return "scheme: expected lower-case letters, as before :// in a URL"
    return _callable(item, "open")


def _route(item: Route) -> str | None:
    if not isinstance(item.path, str) or not item.path or item.path.startswith("/"):
        return "path: expected a relative path"
    if any(part in ("", ".", "..") for part in item.path.split("/")):
        return "path: expected plain parts between single slashes"
    if item.auth not in ("client", "none"):
        return 'auth: expected "client" or "none"'
    if not any(
        name.startswith("on_") and callable(getattr(item.resource, name))
        for name in dir(item.resource)
    ):
        return "resource: expected an object with on_get, on_post or another responder"
    return None


def _section(item: SettingsSection) -> str | None:
    if not (isinstance(item.schema, type) and dataclasses.is_dataclass(item.schema)):
        return "schema: expected a dataclass (the class, not an instance)"
    return _named(item.name)


def _command(item: SubCommand) -> str | None:
    if not isinstance(item.target, str) or not _TARGET.match(item.target):
        return 'target: expected "module:function"'
    return _named(item.name) or _text(item, "help")


def _objection(item: Objection) -> str | None:
    if not isinstance(item.reason, str) or not item.reason.strip():
        return "reason: expected a sentence"
    return None


_ADAPTER_METHODS = (
    "match",
    "updates",
    "release_upgrade",
    "package_version",
    "packages",
    "reboot_required",
)


def _adapter(item: Any) -> str | None:
    if isinstance(item, type):
        return "expected an adapter (an instance, not the class)"
    for method in _ADAPTER_METHODS:
        wrong = _callable(item, method)
        if wrong:
            return wrong
    return _named(getattr(item, "name", None))


def _files(result: Any) -> list[tuple[str, bytes]]:
    if not isinstance(result, Mapping):
        raise PluginError(f"returned {_a(result)}; expected a mapping of path to content")
    files = list(itertools.islice(result.items(), MOST_DESCRIPTORS + 1))
    if len(files) > MOST_DESCRIPTORS:
        raise PluginError(f"returned more than {MOST_DESCRIPTORS} files")
    for path, content in files:
        if not isinstance(path, str) or not isinstance(content, bytes):
            raise PluginError("expected a mapping of path (text) to content (bytes)")
        parts = path.split("/")
        if "\0" in path or any(part in ("", ".", "..") for part in parts):
            raise PluginError(f"{path!r}: expected a relative path without . and ..")
        if len(content) > LARGEST_BYTES:
            raise PluginError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB")
    return sorted(files)


_HOOKS: dict[str, tuple[type | None, Callable[[Any], str | None]]] = {
    "qlmdm_register_settings": (SettingsSection, _section),
    "qlmdm_register_collectors": (Collector, _collector),
    "qlmdm_register_distros": (None, _adapter),
    "qlmdm_register_audit_checks": (AuditCheck, _audit_check),
    "qlmdm_register_notifiers": (Notifier, _notifier),
    "qlmdm_register_stores": (StoreBackend, _store),
    "qlmdm_register_routes": (Route, _route),
    "qlmdm_register_commands": (SubCommand, _command),
    "qlmdm_release_objections": (Objection, _objection),
    "qlmdm_release_files": (None, lambda _: None),
}

# --- fields ------------------------------------------------------------------------------------


def _named(name: Any) -> str | None:
    if not isinstance(name, str) or not NAME.match(name):
        return "name: expected a lower-case letter, then letters, digits, - or _ (63 at most)"
    return None


def _callable(item: Any, field: str) -> str | None:
    return None if callable(getattr(item, field, None)) else f"{field}: expected a function"


def _seconds(item: Any, field: str, *, positive: bool = False) -> str | None:
    value = getattr(item, field)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{field}: expected seconds"
    if value < 0 or (positive and value == 0) or value > LONGEST_SECONDS:
        least = "above 0" if positive else "0 or more"
        return f"{field}: expected {least} and at most a year of seconds, not {value}"
    return None


def _bytes(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_BYTES:
        return f"max_bytes: expected a number of bytes from 1 to {LARGEST_BYTES}"
    return None


def _flag(item: Any, field: str) -> str | None:
    return None if isinstance(getattr(item, field), bool) else f"{field}: expected True or False"


def _sentences(item: Any, attribute: str) -> str | None:
    value = getattr(item, attribute)
    if not isinstance(value, Mapping) or len(value) > MOST_DESCRIPTORS:
        return f"{attribute}: expected a mapping of names to sentences"
    for name, sentence in value.items():
        if not isinstance(name, str) or not isinstance(sentence, str) or len(sentence) > 500:
            return f"{attribute}: expected a sentence for each name"
    return None


def _words(item: Any, field: str) -> str | None:
    words = getattr(item, field)
    if isinstance(words, tuple) and all(isinstance(word, str) for word in words):
        return None
    return f"{field} must be a tuple of text, not {_a(words)}"


def _text(item: Any, field: str) -> str | None:
    return None if isinstance(getattr(item, field), str) else f"{field}: expected text"
