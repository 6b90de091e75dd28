"""The engine for more than one server: MongoDB, without transactions."""

from __future__ import annotations

from qlmdm_core.store.mongo.store import MongoStore, open_mongo

__all__ = ["MongoStore", "open_mongo"]
