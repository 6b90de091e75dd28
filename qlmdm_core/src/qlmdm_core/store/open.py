"""Which engine a store's URL means."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from qlmdm_core.api import StoreBackend
from qlmdm_core.errors import SettingsError
from qlmdm_core.store.interface import Store

# Imported on use: who stores in SQLite needs no pymongo.
BUILT_IN = MappingProxyType(
    {
        "sqlite": ("qlmdm_core.store.sqlite", "open_sqlite"),
        "mongodb": ("qlmdm_core.store.mongo", "open_mongo"),
        "mongodb+srv": ("qlmdm_core.store.mongo", "open_mongo"),
    }
)


def open_store(url: str, backends: Mapping[str, StoreBackend] = MappingProxyType({})) -> Store:
    """The store that the setting `store` names; nothing is read or connected yet.

    `backends` are those of plugins, by scheme. Raises `SettingsError` for a URL that makes no
    sense, and never repeats a password in its message.
    """
    scheme, found, _ = url.partition("://")
    if not found:
        raise SettingsError(
            f"expected a URL such as sqlite:///var/lib/qlmdm/server/store.db, not {_shown(url)}",
            key="store",
        )
    if scheme in BUILT_IN:
        module, name = BUILT_IN[scheme]
        try:
            opener = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{scheme}:// needs the Python package {error.name}; "
                "install it with: pip install 'qlmdm-core[server]'",
                key="store",
            ) from error
        return cast("Store", opener(url))
    if scheme in backends:
        return cast("Store", backends[scheme].open(url))
    known = ", ".join(sorted({*BUILT_IN, *backends}))
    raise SettingsError(
        f"no database engine is called {scheme!r} (known: {known}); is its plugin installed?",
        key="store",
    )


def _shown(url: str) -> str:
    return repr(url[:40]) if "@" not in url else "what it says"
