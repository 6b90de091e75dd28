"""The files of a release's `launcher/` folder, and of the folder that a new machine unpacks.

The launcher verifies slots, so it can't run out of one: the few modules that this takes travel
beside it, as copies. `LAUNCHER_MODULES` is kept exact by a test that starts it with nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

LAUNCHER_MODULES = (
    "qlmdm_core",
    "qlmdm_core._version",
    "qlmdm_core.api",
    "qlmdm_core.api.both",
    "qlmdm_core.api.client",
    "qlmdm_core.api.machine",
    "qlmdm_core.api.server",
    "qlmdm_core.api.values",
    "qlmdm_core.client",
    "qlmdm_core.client.release",
    "qlmdm_core.client.release.files",
    "qlmdm_core.client.release.launchers",
    "qlmdm_core.client.release.layout",
    "qlmdm_core.client.release.real_files",
    "qlmdm_core.client.release.supervise",
    "qlmdm_core.client.release.trial",
    "qlmdm_core.client.release.verify",
    "qlmdm_core.errors",
    "qlmdm_core.manifest",
    "qlmdm_core.rootdoc",
    "qlmdm_core.searchpath",
    "qlmdm_core.signedtext",
    "qlmdm_core.signing",
    "qlmdm_core.signing.gpg",
    "qlmdm_core.signing.interface",
    "qlmdm_core.signing.packets",
    "qlmdm_core.strictjson",
)
"""What the launcher imports from `launcher/lib`."""

BOOTSTRAP_MODULES = (
    *LAUNCHER_MODULES,
    "qlmdm_core.cli",
    "qlmdm_core.client.release.bootstrap",
    "qlmdm_core.client.release.bootstrap_cli",
    "qlmdm_core.client.release.install",
    "qlmdm_core.client.release.launcher",
    "qlmdm_core.client.release.selftest",
    "qlmdm_core.client.release.tarreader",
    "qlmdm_core.client.release.wrappers",
    "qlmdm_core.tokens",
)
"""What `client-setup` imports from `lib` in the folder that a new machine unpacks."""

CLIENT_SETUP = b"""\
#!/bin/sh
# Installs the qlmdm client from the files beside this one, and enrols this machine.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 3
exec python3 -I -S -B -c '
import sys
sys.path.insert(0, sys.argv[1] + "/lib")
from qlmdm_core.client.release.bootstrap_cli import main
sys.exit(main(sys.argv[1], sys.argv[2:]))
' "$here" "$@"
"""


def launcher_files(package: str | None = None) -> dict[str, bytes]:
    """The files of a release below `launcher/`, by their paths in it ("launcher/launcher.py").

    `package` is the folder of the package `qlmdm_core` that they are taken from; this one's own
    unless given.
    """
    folder = package or _package()
    script = os.path.join(folder, "client", "release", "launcher.py")
    found = {"launcher/launcher.py": _read(script)}
    for path, content in _modules(folder, LAUNCHER_MODULES):
        found[f"launcher/lib/{path}"] = content
    return found


def bootstrap_files(package: str | None = None) -> dict[str, bytes]:
    """What a new machine needs beside `root.json`, `manifest.json`, `release.tar`, `enrol.yml`.

    `client-setup` is to be executable.
    """
    found = {"client-setup": CLIENT_SETUP}
    for path, content in _modules(package or _package(), BOOTSTRAP_MODULES):
        found[f"lib/{path}"] = content
    return found


def _modules(folder: str, names: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    for name in names:
        parts = name.split(".")
        path = os.path.join(folder, *parts[1:])
        if os.path.isdir(path):
            yield "/".join([*parts, "__init__.py"]), _of_package(path)
        else:
            yield "/".join(parts) + ".py", _read(path + ".py")


def _of_package(path: str) -> bytes:
    """A package's own module; some folders have none."""
    script = os.path.join(path, "__init__.py")
    return _read(script) if os.path.exists(script) else b""


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
