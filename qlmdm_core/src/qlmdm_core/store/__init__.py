"""All state of a fleet, behind one interface: `interface` (what), `records` (of what), engines."""

from __future__ import annotations

from qlmdm_core.store.interface import Store

__all__ = ["Store"]
