"""What a plugin can implement: `client` for clients, `server` for the server.

A plugin is a module (or object) named by an entry point of the group `qlmdm_client` or
`qlmdm_server`. It implements any of the hooks of that side by functions of the same name,
marked with `hookimpl`::

    from qlmdm_core import Collector, hookimpl

    @hookimpl
    def qlmdm_register_collectors(settings):
        return [Collector(name="acme_badge", run=collect_badge)]

Hooks return descriptors; the behaviour is in what the descriptors point to. An
implementation may leave out arguments that it does not use, and must not give any a default.
Core calls implementations one at a time: one that raises costs its own distribution only.
"""

from __future__ import annotations

import pluggy

PROJECT = "qlmdm"
CLIENT_GROUP = "qlmdm_client"
SERVER_GROUP = "qlmdm_server"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
