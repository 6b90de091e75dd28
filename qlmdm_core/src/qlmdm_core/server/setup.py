"""Sets up a server: settings, database, one key for each role, the first root document.

Each step looks first whether its work is done, so running it again changes only what is
missing, and a setup that was interrupted is finished by the next. What exists is never
replaced: keys and root document are what every client trusts.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from qlmdm_core import rootdoc
from qlmdm_core import settings as settings_files
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.errors import BusyError, KeyringError, SettingsError
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.server import crypto, root_changes
from qlmdm_core.server.context import load_private
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keepers import read_keepers
from qlmdm_core.server.private_files import private_umask, write_new
from qlmdm_core.server.root_changes import Changes
from qlmdm_core.server.root_pin import trusted_root
from qlmdm_core.server.settings import ServerSettings, shipped_commands, shipped_settings
from qlmdm_core.settings import setting
from qlmdm_core.settings_template import template
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import PublicKey, Verifier, keys
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.store.outgoing import Draft
from qlmdm_core.store.records import RootDocument
from qlmdm_core.units import Duration, parse_duration

_HEADING = (
    "Settings of the qlmdm server, written by qlmdm-server-setup. Change what you like; "
    "docs/settings.md explains every key. Restart qlmdm-server afterwards."
)
_CLIENT_HEADING = (
    "Settings of the clients, written by qlmdm-server-setup. They reach clients with the next "
    "release: qlmdm-client-release build. docs/settings.md explains every key."
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a setup must be told; the rest has defaults that fit most sites."""

    url: str = setting(help="The address that clients will use, as in https://qlmdm.example.com.")
    listen: str = setting("127.0.0.1:8421", "Address and port, or unix:/path, to listen on.")
    directory: str = setting(
        "/var/lib/qlmdm/server", "Where the keys are kept, and the database unless it is elsewhere."
    )
    store: str | None = setting(
        None, "The database: sqlite:///PATH or mongodb://HOST/NAME; else a file in `directory`."
    )
    organisation: str = setting("qlmdm", "Stands in the names of the keys.")
    root_expires_after: Duration = setting(
        parse_duration("365 days"), "How long a root document is valid.", minimum=86400
    )
    tls_certificate: str | None = setting(None, "PEM file, if the server speaks TLS by itself.")
    tls_key: str | None = setting(None, "PEM file: its private key.")
    trusted_proxies: tuple[str, ...] = setting(
        (), "Addresses of reverse proxies whose X-Forwarded-For is believed."
    )
    keepers: tuple[str, ...] = setting(
        (),
        "Files with the public keys (gpg --armor --export) of the secret-keepers: what is private, "
        "such as a location, is encrypted to each of them on the client, and the server can't "
        "read it. Keep their secret keys off the server. Setting up again with others changes "
        "the list; without any it stays as it is.",
    )

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError("url: expected a URL that starts with https:// or http://")
        if not os.path.isabs(self.directory):
            raise ValueError("directory: expected an absolute path")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("expected both tls_certificate and tls_key, or neither")


def example_answers() -> str:
    """An answers file to start from."""
    return template(
        Answers,
        {"url": "https://qlmdm.example.com"},
        "Answers for qlmdm-server-setup --answers FILE.",
    )


def set_up(
    answers: Answers, settings_file: str, *, now: datetime, say: Callable[[str], None]
) -> None:
    """Do what is missing and `say` each thing done, one line each.

    Raises `SettingsError`, `KeyringError`, `StoreError`, and `StoreCorruptError` if what is
    there contradicts itself.
    """
    with private_umask():
        _settings_file(answers, settings_file, say)
        settings = load_private(settings_file).core
        _for_clients(settings, settings_file, say)
        store = open_store(settings.store)
        try:
            for line in store.setup():
                say(f"database: {line}")
            server_id = _server_id(store, say)
            _trust(answers, settings, store, server_id, now, say)
        finally:
            store.close()


def _settings_file(answers: Answers, path: str, say: Callable[[str], None]) -> None:
    values: dict[str, Any] = {
        "url": answers.url,
        "listen": answers.listen,
        "store": answers.store or f"sqlite://{answers.directory}/qlmdm.sqlite",
        "keys": f"{answers.directory}/keys",
        "root_expires_after": answers.root_expires_after,
    }
    if answers.tls_certificate:
        values["tls"] = {"certificate": answers.tls_certificate, "key": answers.tls_key}
    if answers.trusted_proxies:
        values["trusted_proxies"] = answers.trusted_proxies
    if os.path.exists(path):
        _tell_differences(values, path, say)
    else:
        text = template(ServerSettings, values, _HEADING)
        settings_files.parse(text, ServerSettings, path)  # never write what can't be read
        write_new(path, text)  # `store` may have a password
        say(f"settings: wrote {path}")
    try:
        os.makedirs(answers.directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{answers.directory}: {error.strerror}", key="directory") from None


def _for_clients(settings: ServerSettings, path: str, say: Callable[[str], None]) -> None:
    """What releases ship beside the code: the clients' settings, and scripts that run once."""
    shipped = shipped_settings(settings, path)
    if not os.path.exists(shipped):
        text = template(ClientSettings, {"server_url": settings.url}, _CLIENT_HEADING)
        write_new(shipped, text)
        say(f"settings of clients: wrote {shipped}")
    scripts = shipped_commands(settings, path)
    try:
        os.makedirs(scripts, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{scripts}: {error.strerror}", key="release.commands") from None


def _tell_differences(values: Mapping[str, Any], path: str, say: Callable[[str], None]) -> None:
    present = settings_files.load(path, ServerSettings).core
    for name, value in values.items():
        if name != "tls" and getattr(present, name) != value:
            say(f"settings: kept {name} of {path}, which differs from the answers")


def _server_id(store: Store, say: Callable[[str], None]) -> str:
    known = store.meta("server_id")
    if isinstance(known, str):
        return known
    server_id = secrets.token_hex(16)
    store.set_meta("server_id", server_id)
    say(f"server id: {server_id}")
    return server_id


def _trust(
    answers: Answers,
    settings: ServerSettings,
    store: Store,
    server_id: str,
    now: datetime,
    say: Callable[[str], None],
) -> None:
    """Keys, then the root document that names them, then the online key for the server."""
    verifier = crypto.verifier_of(crypto.best_engine())
    keepers = read_keepers(answers.keepers)
    if store.root() is None:
        made = {role: _role_key(answers, settings, role, say) for role in rootdoc.ROLES}
        document = _first_root(settings, made, keepers, server_id, now)
        rootdoc.load(document, verifier)
        store.put_root(RootDocument(version=1, document=document))
        say(f"root document: version 1, valid for {settings.root_expires_after / 86400:.0f} days")
        _tell_keepers(keepers, say)
    root = trusted_root(settings, store, verifier)
    # Their certificates are compared, too: a renewed key has the fingerprint that it had.
    if keepers and set(keepers) != set(root.keeper_keys()):
        _change_keepers(settings, store, verifier, keepers, now, say)
        root = trusted_root(settings, store, verifier)
    path = crypto.online_key_path(settings)
    if not os.path.exists(path):
        home = crypto.role_home(settings, "online")
        here = {key.fingerprint for key in keys.list_keys(home)}
        pinned = [name for name in root.roles["online"].fingerprints if name in here]
        if not pinned:
            raise KeyringError(
                f"{home} holds none of the online keys that root document {root.version} names; "
                f"restore that folder, or {path}, from a backup"
            )
        write_new(path, keys.export_secret(home, pinned[-1]))
        say(f"online key: exported to {path}")


def _role_key(
    answers: Answers, settings: ServerSettings, role: str, say: Callable[[str], None]
) -> PublicKey:
    """The one key of a role, made if there is none."""
    home = crypto.role_home(settings, role)
    os.makedirs(settings.keys, mode=0o700, exist_ok=True)
    found = keys.list_keys(home)
    if len(found) > 1:
        raise KeyringError(f"{home}: expected one secret key, found {len(found)}")
    if found:
        return keys.export_public(home, found[0].fingerprint)
    key = keys.make_key(home, answers.organisation, comment=f"qlmdm {role} key")
    say(f"{role} key: made {key.fingerprint}")
    return key


def _first_root(
    settings: ServerSettings,
    made: Mapping[str, PublicKey],
    keepers: Sequence[PublicKey],
    server_id: str,
    now: datetime,
) -> bytes:
    root = Root(
        version=1,
        server_id=server_id,
        issued_at=now.replace(microsecond=0),
        expires_at=now.replace(microsecond=0) + timedelta(seconds=settings.root_expires_after),
        roles={role: Role(fingerprints=(key.fingerprint,)) for role, key in made.items()},
        keys={key.fingerprint: key.armoured for key in [*made.values(), *keepers]},
        keepers=tuple(key.fingerprint for key in keepers),
    )
    return _sign_root(settings, root, made["root"].fingerprint)


def _sign_root(settings: ServerSettings, root: Root, fingerprint: str) -> bytes:
    text = rootdoc.build(root)
    with GpgSigner(crypto.role_home(settings, "root"), fingerprint) as signer:
        sig = signer.sign(text.encode("ascii"))
    return SignedText(text=text, sigs=(sig,)).pack()


def _tell_keepers(keepers: Sequence[PublicKey], say: Callable[[str], None]) -> None:
    for key in keepers:
        say(f"secret-keeper: {key.fingerprint}")


def _change_keepers(
    settings: ServerSettings,
    store: Store,
    verifier: Verifier,
    keepers: Sequence[PublicKey],
    now: datetime,
    say: Callable[[str], None],
) -> None:
    """The next root document, which differs in who the secret-keepers are."""
    desk = Desk(settings, store, verifier, now=now)
    following = root_changes.following(
        desk.root,
        Changes(keepers=keepers),
        now=now,
        lifetime_seconds=settings.root_expires_after,
    )
    try:
        made = root_changes.issue(desk, following, created_by="qlmdm-server-setup")
    except BusyError as error:  # the draft of a setup before, or another change
        say(f"root document: secret-keepers stay as they are: {error}")
        return
    if isinstance(made, Draft):
        say(
            f"root document: {made.name}, with other keys of secret-keepers, waits for "
            f"signatures: qlmdm-keys sign {made.name}"
        )
    else:
        say(f"root document: version {following.version}, with other keys of secret-keepers")
    _tell_keepers(keepers, say)
