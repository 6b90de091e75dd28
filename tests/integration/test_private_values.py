"""What is private reaches the secret-keepers, and nobody on the way.

A real server, a client that is really enrolled, gpg for both, and the real command; facts come
from a small recorded machine and a plugin of the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import rootdoc
from qlmdm_core.client import enrol
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import KeyringError, SettingsError
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.server import crypto, roots
from qlmdm_core.server.keepers import read_keepers
from qlmdm_core.server.setup import Answers, set_up
from qlmdm_core.signing.encryption import encrypt
from qlmdm_core.signing.gpg import stop_agent
from qlmdm_core.strictjson import canonical
from qlmdm_core.testing import RecordedMachine, write_distribution
from qlmdm_core.testing.http import served
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server

CRON = str(Path(sys.executable).parent / "qlmdm-client-cron")
CANARY = "canary-7f3a"
"""Stands for a person's name: it must not be found anywhere but with the keepers."""
SOURCE = """
    import sys
    from qlmdm_core import Collector, hookimpl

    def who(host):
        return {"state": "available", "user": "canary-7f3a", "home": "/home/canary-7f3a",
                "age_seconds": 3}

    def where(host):
        return {"state": "located", "latitude": 51.75, "by": "canary-7f3a"}

    def broken(host):
        print("canary-7f3a")
        raise ValueError("canary-7f3a")

    @hookimpl
    def qlmdm_register_collectors(settings):
        return [
            Collector(name="who", run=who, private_paths=("user",), volatile=("age_seconds",)),
            Collector(name="where", run=where, private=True),
            Collector(name="broken", run=broken, private=True),
        ]
"""


class Keeper:
    """Somebody who keeps secrets: a gpg home of their own, which the server never sees."""

    def __init__(
        self, folder: Path, name: str, usage: str = "default", kind: str = "default"
    ) -> None:
        self.home = str(folder / name)
        os.mkdir(self.home, 0o700)
        primary = {"cv25519": "ed25519", "default": "default"}.get(kind, kind)
        if usage == "sign" or kind != "default":
            self.gpg("--quick-generate-key", name, primary, "sign")
        else:
            self.gpg("--quick-generate-key", name, "default", usage)
        if kind != "default":
            shown = self.gpg("--with-colons", "--list-keys", name)
            (fingerprint, *_) = (r.split(":")[9] for r in shown.splitlines() if r[:4] == "fpr:")
            self.gpg("--quick-add-key", fingerprint, kind, "encr")
        self.file = folder / f"{name}.asc"
        self.file.write_text(self.gpg("--armor", "--export", name))

    def gpg(self, *argv: str, data: str = "") -> str:
        command = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--pinentry-mode"]
        done = subprocess.run(
            [*command, "loopback", "--passphrase", "", *argv],
            input=data,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def read(self, sealed: str) -> Any:
        return json.loads(self.gpg("--decrypt", data=sealed))


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path, "kay")
    yield made
    stop_agent(made.home)


@dataclass
class Site:
    """A server with secret-keepers, or without, and one client."""

    folder: Path
    server: SimulatedServer
    cid: str
    environ: dict[str, str]

    def cycle(self) -> str:
        """One cycle of the agent; all that it said."""
        machine = str(self.folder / "machine")
        done = subprocess.run(
            [CRON, "--now", "--replay", machine],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def report(self) -> dict[str, Any]:
        return json.loads(self.server.store.report(self.cid) or b"{}")

    def values(self) -> dict[str, Any]:
        """The values that are stored, and since when."""
        kept = {
            name: (found.get("value"), found["changed_at"]) for name, found in self.report().items()
        }
        del kept["agent"]  # it tells how much waits to be sent
        return kept

    def written(self) -> bytes:
        """All that the server and the client have on disk."""
        folders = (self.folder / "server", self.folder / "c")
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() for path in files)


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    has_keeper = "keeper" in request.fixturenames
    keepers = (str(request.getfixturevalue("keeper").file),) if has_keeper else ()
    prepared = prepare_server(tmp_path / "prepared", keepers=keepers)
    RecordedMachine(tmp_path / "machine").file("/etc/os-release", "ID=arch\n").write()
    plugin = tmp_path / "plugin"
    write_distribution(
        plugin,
        "acme-people",
        entry_points={CLIENT_GROUP: "main = acme_people"},
        modules={"acme_people": textwrap.dedent(SOURCE)},
    )
    with (
        simulated_server(tmp_path, prepared=prepared) as server,
        served(server.app) as wire,
    ):
        with State(str(tmp_path / "c")) as state:
            cid = enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7").cid
        (tmp_path / "client.yml").write_text(f"server_url: {wire.url}\n")
        environ = {
            **os.environ,
            "PYTHONPATH": str(plugin),
            "QLMDM_STATE_DIR": str(tmp_path / "c"),
            "QLMDM_SETTINGS": str(tmp_path / "client.yml"),
        }
        yield Site(tmp_path, server, cid, environ)


def test_only_the_keeper_can_read_what_is_private(site: Site, keeper: Keeper) -> None:
    said = site.cycle()
    report = site.report()
    who, where = report["who"]["value"], report["where"]["value"]
    assert keeper.read(who["sealed"]) == {
        "cid": site.cid,
        "collector": "who",
        "parts": {"/user": CANARY, "/home": f"/home/{CANARY}"},
    }
    assert keeper.read(where["sealed"])["parts"] == {"/latitude": 51.75, "/by": CANARY}
    assert where["state"] == "located", "checks go by the state"
    assert set(where) == {"state", "sealed"}
    assert who["user"].startswith("private:")
    assert who["home"] == f"/home/{who['user']}"
    assert CANARY not in said
    assert CANARY.encode() not in site.written()
    assert report["broken"]["status"] == "error"


def test_a_hash_of_what_is_private_can_not_be_guessed(site: Site, keeper: Keeper) -> None:
    site.cycle()
    first = site.report()["where"]["value_sha256"]
    plain = {"state": "located", "latitude": 51.75, "by": CANARY}
    (reader,) = read_keepers([str(keeper.file)])
    readers = hashlib.sha256(f"{reader.fingerprint} {reader.armoured}".encode()).digest()
    guesses = (canonical(plain), readers + canonical(plain))
    assert first not in {hashlib.sha256(guess).hexdigest() for guess in guesses}
    key = site.folder / "c/private.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    site.cycle()
    assert site.report()["where"]["value_sha256"] != first


def test_what_has_not_changed_is_no_news_to_the_server(site: Site, keeper: Keeper) -> None:
    site.cycle()
    before = site.values()
    (site.folder / "c/sealed.json").unlink()  # so that it is encrypted anew
    site.cycle()
    assert site.values() == before


def test_what_was_encrypted_need_not_be_kept(site: Site, keeper: Keeper) -> None:
    """As when there is no room for it."""
    (site.folder / "c/sealed.json").mkdir()
    site.cycle()
    assert keeper.read(site.report()["who"]["value"]["sealed"])["parts"]["/user"] == CANARY


def test_a_name_is_not_told_by_a_partly_private_collector_that_fails(
    site: Site, keeper: Keeper
) -> None:
    (module,) = site.folder.rglob("acme_people.py")
    body = '    return {"state": "available"'
    source = module.read_text()
    assert body in source
    module.write_text(source.replace(body, f"    raise KeyError({CANARY!r})\n{body}"))
    said = site.cycle()
    assert site.report()["who"]["error"].startswith("KeyError (")
    assert CANARY not in said
    assert CANARY.encode() not in site.written()


def test_without_keepers_nobody_is_located_and_names_are_as_they_are(site: Site) -> None:
    site.cycle()
    report = site.report()
    assert report["where"]["value"]["state"] == "off"
    assert "secret-keepers" in report["where"]["value"]["reason"]
    assert report["who"]["value"]["user"] == CANARY
    assert "broken" not in report or report["broken"]["value"]["state"] == "off"


def test_settings_free_a_part_but_never_the_whole(site: Site, keeper: Keeper) -> None:
    with (site.folder / "client.yml").open("a") as file:
        file.write("not_private: [who.user, where.latitude]\nprivate: [os_info.id]\n")
    site.cycle()
    report = site.report()
    assert report["who"]["value"]["user"] == CANARY
    assert "latitude" not in report["where"]["value"]
    assert keeper.read(report["os_info"]["value"]["sealed"])["parts"] == {"/id": "arch"}


@pytest.mark.parametrize("wrong", ["who", "who.", "Who.user", "who.a b", ".user"])
def test_a_part_that_is_named_wrongly_is_an_error(site: Site, wrong: str) -> None:
    with (site.folder / "client.yml").open("a") as file:
        file.write(f"not_private: ['{wrong}']\n")
    with pytest.raises(AssertionError, match="not_private"):
        site.cycle()


# --- who the keepers are --------------------------------------------------------------------


def test_setting_up_again_changes_the_keepers_and_clients_follow(
    site: Site, tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "NEWEST_SECONDS", -1.0)  # a server looks twice a minute
    site.cycle()
    other = Keeper(tmp_path, "lou")
    try:
        answers = Answers(
            url="https://qlmdm.example.com",
            directory=str(tmp_path / "server"),
            keepers=(str(other.file),),
        )
        said: list[str] = []
        now = datetime.now(timezone.utc)
        set_up(answers, site.server.settings_file, now=now, say=said.append)
        assert "root document: version 2, with other keys of secret-keepers" in said
        (new,) = read_keepers([str(other.file)])
        assert f"secret-keeper: {new.fingerprint}" in said
        site.cycle()
        sealed = site.report()["who"]["value"]["sealed"]
        assert other.read(sealed)["parts"]["/user"] == CANARY
        with pytest.raises(subprocess.CalledProcessError):
            keeper.read(sealed)
    finally:
        stop_agent(other.home)


def test_setting_up_again_with_a_renewed_key_hands_it_to_the_clients(
    site: Site, tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "NEWEST_SECONDS", -1.0)  # a server looks twice a minute
    site.cycle()
    (key,) = read_keepers([str(keeper.file)])
    keeper.gpg("--quick-set-expire", key.fingerprint, "3y", "*")
    keeper.gpg("--quick-set-expire", key.fingerprint, "3y")
    answers = Answers(
        url="https://qlmdm.example.com",
        directory=str(tmp_path / "server"),
        keepers=(str(keeper.file),),
    )
    said: list[str] = []
    now = datetime.now(timezone.utc)
    set_up(answers, site.server.settings_file, now=now, say=said.append)
    assert not any("secret-keepers" in line for line in said), "the file is as it was"
    keeper.file.write_text(keeper.gpg("--armor", "--export", "kay"))
    set_up(answers, site.server.settings_file, now=now, say=said.append)
    assert "root document: version 2, with other keys of secret-keepers" in said
    before = site.report()["who"]["value"]["sealed"]
    site.cycle()
    sealed = site.report()["who"]["value"]["sealed"]
    assert sealed != before, "the renewed key may have another subkey"
    assert keeper.read(sealed)["parts"]["/user"] == CANARY


@pytest.mark.parametrize("kind", ["rsa3072", "nistp256", "cv25519"])
def test_keys_of_all_kinds_can_be_keepers(tmp_path: Path, kind: str) -> None:
    made = Keeper(tmp_path, "old", kind=kind)
    try:
        keys = read_keepers([str(made.file)])
        assert made.gpg("--decrypt", data=encrypt(b"for old", keys)) == "for old"
    finally:
        stop_agent(made.home)


def test_each_of_several_keepers_can_read_it_alone(tmp_path: Path) -> None:
    several = [Keeper(tmp_path, name) for name in ("one", "two", "three")]
    try:
        message = encrypt(b"for all", read_keepers([str(each.file) for each in several]))
        assert {each.gpg("--decrypt", data=message) for each in several} == {"for all"}
    finally:
        for each in several:
            stop_agent(each.home)


def test_a_folder_for_temporary_files_that_is_full_is_a_failure_and_no_crash(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    keys = read_keepers([str(keeper.file)])
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(KeyringError, match="No space left on device"):
        encrypt(b"x", keys)


def test_a_key_that_is_damaged_is_a_failure_and_no_crash(keeper: Keeper) -> None:
    (key,) = read_keepers([str(keeper.file)])
    for text in ("", "no key", key.armoured[:100]):
        with pytest.raises(KeyringError):
            encrypt(b"x", [type(key)(fingerprint=key.fingerprint, armoured=text)])


def test_a_key_that_can_only_sign_is_refused_when_setting_up(tmp_path: Path) -> None:
    signs = Keeper(tmp_path, "sig", usage="sign")
    try:
        with pytest.raises(SettingsError, match=r"sig\.asc: keepers: is no key .* encrypted to"):
            read_keepers([str(signs.file)])
    finally:
        stop_agent(signs.home)


def test_a_secret_key_is_refused_when_setting_up(tmp_path: Path, keeper: Keeper) -> None:
    path = tmp_path / "secret.asc"
    path.write_text(keeper.gpg("--armor", "--export-secret-keys", "kay"))
    with pytest.raises(SettingsError, match="secret key"):
        read_keepers([str(path)])


@pytest.mark.parametrize("text", [None, "", "no key", "x" * 70_000])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "key.asc"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"key\.asc: keepers: "):
        read_keepers([str(path)])


def test_nothing_is_encrypted_to_an_expired_key(tmp_path: Path, keeper: Keeper) -> None:
    (key,) = read_keepers([str(keeper.file)])
    fingerprint = key.fingerprint
    keeper.gpg("--quick-set-expire", fingerprint, "seconds=1", "*")
    keeper.gpg("--quick-set-expire", fingerprint, "seconds=1")
    text = keeper.gpg("--armor", "--export", "kay")
    expired = type(key)(fingerprint=fingerprint, armoured=text)
    deadline = datetime.now(timezone.utc).timestamp() + 30
    while datetime.now(timezone.utc).timestamp() < deadline:
        try:
            encrypt(b"x", [expired])
        except KeyringError as error:
            assert "expired" in str(error) or "usable" in str(error).lower()  # noqa: PT017
            return
    raise AssertionError("it was still encrypted to")


def test_a_root_document_keeps_the_keepers_from_the_online_key(
    tmp_path: Path, keeper: Keeper
) -> None:
    with simulated_server(tmp_path) as server:
        found = server.store.root()
        assert found is not None
        root = rootdoc.load(found.document, crypto.verifier_of(crypto.best_engine()))
    online = root.roles["online"].fingerprints
    with pytest.raises(rootdoc.TrustError, match="secret-keeper"):
        rootdoc.build(type(root)(**{**vars(root), "keepers": online}))
