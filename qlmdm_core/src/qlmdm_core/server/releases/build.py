"""Builds a client release: from settings and distributions to the exact bytes of its tar.

The same input gives the same bytes: on another day, in another folder, by another user, with
another language or time zone. What differs between two releases is therefore what somebody
changed, and it can be shown before anything is signed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from qlmdm_core import manifest, plugins
from qlmdm_core import settings as settings_files
from qlmdm_core.api import JSON
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.errors import PluginError
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.hookspecs import client as client_hookspecs
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.plugins import PluginFailure, PluginSet
from qlmdm_core.server.releases import sources, tree, ustar
from qlmdm_core.server.releases.pip import Pip
from qlmdm_core.server.releases.resolve import PYTHONS, resolve
from qlmdm_core.server.releases.tree import Tree
from qlmdm_core.server.releases.wheels import check_code
from qlmdm_core.server.settings import ServerSettings, shipped_commands, shipped_settings


@dataclass(frozen=True, kw_only=True)
class Built:
    """The bytes of a release, before it has a number."""

    files: tuple[File, ...]
    tar: bytes
    tar_sha256: str
    distributions: Mapping[str, str]
    """Name to version, of all that is in `lib/`."""
    machines: tuple[str, ...]
    settings: str
    """The text of the clients' settings."""

    @property
    def size(self) -> int:
        """Bytes of all files together, unpacked."""
        return sum(file.size for file in self.files)


def build(
    settings: ServerSettings,
    settings_file: str,
    server_plugins: PluginSet,
    *,
    server_id: str,
    pip: Pip | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Built:
    """Make a release of what settings name. Raises `QlmdmError` with what to do.

    `settings_file` is the server's own, beside which the clients' are looked for.
    """
    pip = pip or Pip(wheels=settings.release.wheels)
    text = _client_settings(settings, settings_file)
    off = _plugins_off(text, settings)
    names = sources.wanted(settings.release.distributions, off)
    grown = Tree()
    with tempfile.TemporaryDirectory(prefix="qlmdm-release-") as folder:
        say(f"asking pip for {', '.join(names)} and what they need")
        made = os.path.join(folder, "own")
        os.mkdir(made)
        roots = [sources.requirement(name, pip, made) for name in names]
        wheels = resolve(roots, pip, folder)
        for wheel in wheels:
            if wheel.name in names:  # what others publish may hold files for other Pythons
                check_code(wheel)
        tree.add_code(grown, wheels)
    tree.add_launcher(grown)
    grown.add("settings.yml", text.encode("utf-8"), "the clients' settings")
    commands = settings.release.commands
    tree.add_commands(
        grown, shipped_commands(settings, settings_file), required=commands is not None
    )
    distributions = {wheel.name: wheel.version for wheel in wheels}
    plan = {"server_id": server_id, "distributions": distributions, "settings": text}
    tree.add_plugin_files(grown, _hook_files(server_plugins, plan))
    machines = tuple(sorted({wheel.machine for wheel in wheels if wheel.machine}))
    return pack(grown, distributions, machines, text)


def pack(
    grown: Tree, distributions: Mapping[str, str], machines: tuple[str, ...], settings: str
) -> Built:
    """The tar of a finished tree, and the list of its files."""
    items = grown.items()
    tar = ustar.write_tar(items)
    files = tuple(
        File(path, hashlib.sha256(content).hexdigest(), len(content), mode)
        for path, content, mode in items
    )
    manifest.check_files(files)
    return Built(
        files=files,
        tar=tar,
        tar_sha256=hashlib.sha256(tar).hexdigest(),
        distributions=dict(sorted(distributions.items())),
        machines=machines,
        settings=settings,
    )


def manifest_of(
    built: Built, version: Version, *, server_id: str, issued_at: datetime, expires_at: datetime
) -> Manifest:
    """What is to be signed about a build, once it has a number."""
    return Manifest(
        server_id=server_id,
        version=version,
        issued_at=issued_at,
        expires_at=expires_at,
        tar_sha256=built.tar_sha256,
        tar_size=len(built.tar),
        files=built.files,
        python_from=PYTHONS[0],
        machines=built.machines,
    )


# --- settings and plugins ---------------------------------------------------------------------


def _client_settings(settings: ServerSettings, settings_file: str) -> str:
    """The text of the clients' settings, read as a client would. Raises `SettingsError`."""
    path = shipped_settings(settings, settings_file)
    data = tree.read_settings(path)
    loaded = settings_files.load(path, ClientSettings)
    text = data.decode("utf-8-sig")
    off = frozenset(loaded.core.plugins_off) | frozenset(settings.plugins_off)
    found = plugins.load_all(CLIENT_GROUP, client_hookspecs, off)
    found.register_settings(loaded)
    # A distribution that only clients get may have a section that nobody here knows.
    if not found.failures and not settings.release.distributions:
        loaded.check_sections()
    return text


def _plugins_off(text: str, settings: ServerSettings) -> frozenset[str]:
    """What is off here, or on every client, need not travel."""
    on_clients = settings_files.parse(text, ClientSettings).core.plugins_off
    return frozenset(on_clients) | frozenset(settings.plugins_off)


def _hook_files(server_plugins: PluginSet, plan: JSON) -> Sequence[tuple[str, str, bytes]]:
    found: list[tuple[str, str, bytes]] = []
    for plugin in server_plugins:
        files = plugins.call(plugin, "qlmdm_release_files", plan=plan)
        if isinstance(files, PluginFailure):
            raise PluginError(f"{files}; no release is built")
        found += [(plugin.entry.owner, path, content) for path, content in files]
    return found
