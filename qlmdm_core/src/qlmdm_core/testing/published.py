"""Releases for tests: of a few files, really signed and published, without pip."""

from __future__ import annotations

from collections.abc import Mapping

from qlmdm_core.server.desk import Desk
from qlmdm_core.server.releases import publish
from qlmdm_core.server.releases.build import Built, pack
from qlmdm_core.server.releases.changes import compare
from qlmdm_core.server.releases.rollout import Rollout
from qlmdm_core.server.releases.tree import Tree
from qlmdm_core.store.outgoing import ReleaseRecord
from qlmdm_core.testing.server import SimulatedServer

FILES = {
    "settings.yml": b"server_url: https://qlmdm.example.com\n",
    "lib/acme.py": b"VERSION = 1\n",
}


def built_of(files: Mapping[str, bytes] = FILES, *, machines: tuple[str, ...] = ()) -> Built:
    """A build of these files."""
    tree = Tree()
    for path, content in files.items():
        tree.add(path, content, "a test")
    text = files.get("settings.yml", b"").decode()
    return pack(tree, {"acme": "1.0"}, machines, text)


def desk_of(server: SimulatedServer) -> Desk:
    """The server's desk, at its clock's time."""
    return Desk(server.settings, server.store, server.crypto.verifier, now=server.clock())


def publish_release(
    server: SimulatedServer, files: Mapping[str, bytes] = FILES, *, start: Rollout | None = None
) -> ReleaseRecord:
    """The next release, of these files, signed by the server's release key and published.

    Example::

        record = publish_release(server, {"lib/a.py": b"X = 1", "settings.yml": b"…"})
    """
    desk, built = desk_of(server), built_of(files)
    _, before = publish.previous(server.store)
    changes = compare(before, publish.contents_of(built))
    version = publish.next_version(server.store, desk.root)
    record = publish.sign(desk, built, version, changes=changes, created_by="ada", start=start)
    if not isinstance(record, ReleaseRecord):
        raise AssertionError(f"{record.name} waits for signatures")  # noqa: TRY004
    server.clock.forward(seconds=1)
    return record
