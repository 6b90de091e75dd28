"""The embedded engine: one file, Python's own sqlite3, group commit, a fair queue of writers."""

from __future__ import annotations

from qlmdm_core.store.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
