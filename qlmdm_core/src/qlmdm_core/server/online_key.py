"""Which online key the server answers with, and how it changes to another while it runs.

The root document names one or more; the last of them whose secret is in the keyring `online` is
to be used. It lies in one file of its own, the only secret that the server process reads. When
`qlmdm-keys` writes another key there, running servers take it up within seconds.
"""

from __future__ import annotations

from qlmdm_core.errors import NotSetUpError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import crypto, private_files
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signing import keys


def settle_online(settings: ServerSettings, root: Root) -> list[str]:
    """Write the online key that is to be used into its file, if it is another; what was done.

    Can be repeated at any time: what was interrupted is finished. Raises `KeyringError` and
    `SettingsError`.
    """
    home = crypto.role_home(settings, "online")
    here = {key.fingerprint for key in keys.list_keys(home)}
    used = in_file(settings)
    usable = [name for name in root.roles["online"].fingerprints if name in here or name == used]
    path = crypto.online_key_path(settings)
    if not usable or used == usable[-1]:
        return []
    private_files.replace(path, keys.export_secret(home, usable[-1]))
    return [f"online key: {path} is {usable[-1]} now; running servers take it up in seconds"]


def in_file(settings: ServerSettings) -> str | None:
    """The key that a server would start with; None if there is no file yet.

    Raises `KeyringError` for a file that can't be used.
    """
    try:
        opened = crypto.open_crypto(settings, crypto.best_engine())
    except NotSetUpError:
        return None
    try:
        return opened.signer.fingerprint
    finally:
        opened.close()
