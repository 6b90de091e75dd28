"""A database engine for qlmdm that keeps everything in memory: `store: memory://NAME`.

For a demonstration and for tests, and as an example of an engine by a third party. What it
leaves out is in the README.
"""

from __future__ import annotations

from qlmdm_core import StoreBackend, hookimpl


@hookimpl
def qlmdm_register_stores() -> list[StoreBackend]:
    # Imported only by who stores in memory: every server command loads this module.
    from qlmdm_memory_store.store import Memory

    return [StoreBackend(scheme="memory", open=Memory().open)]
