"""`qlmdm-server-setup`: unattended, safe to run again, honest about what it can't do."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import rootdoc
from qlmdm_core import settings as settings_files
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.errors import KeyringError, NotSetUpError, SettingsError, StoreCorruptError
from qlmdm_core.server import crypto
from qlmdm_core.server.context import open_context
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.setup import Answers, example_answers, set_up
from qlmdm_core.signing import keys
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.store.open import open_store
from qlmdm_core.store.records import RootDocument
from qlmdm_core.testing.server import prepare_server

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
COMMAND = str(Path(sys.executable).parent / "qlmdm-server-setup")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "QLMDM_SETTINGS"}
    return subprocess.run(
        [COMMAND, *args], capture_output=True, text=True, check=False, env=environment
    )


def answers_in(folder: Path, **more: str) -> str:
    lines = {"url": "https://qlmdm.example.com", "directory": str(folder / "state"), **more}
    path = folder / "answers.yml"
    path.write_text("".join(f'{key}: "{value}"\n' for key, value in lines.items()))
    return str(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_command_that_it_says_can_be_copied_also_with_a_space_in_the_path(
    tmp_path: Path,
) -> None:
    settings_file = tmp_path / "my server/server.yml"
    done = run("--answers", answers_in(tmp_path), "--settings", str(settings_file))
    assert done.stdout.endswith(f"qlmdm-server --settings '{settings_file}'\n"), done.stderr


def test_a_server_is_made_out_of_answers(tmp_path: Path) -> None:
    settings_file = tmp_path / "etc/server.yml"
    done = run("--answers", answers_in(tmp_path), "--settings", str(settings_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"done. Start it with: qlmdm-server --settings {settings_file}\n")
    settings = settings_files.load(str(settings_file), ServerSettings).core
    assert settings.url == "https://qlmdm.example.com"
    assert "# workers: 2" in settings_file.read_text()
    assert mode(settings_file) == 0o600
    assert mode(settings_file.parent) == 0o700
    store = open_store(settings.store)
    store.check()
    found = store.root()
    server_id = store.meta("server_id")
    store.close()
    assert found is not None
    root = rootdoc.load(found.document, SequoiaVerifier())
    assert (root.version, root.server_id) == (1, server_id)
    assert root.expires_at - root.issued_at == timedelta(days=365)
    for role in rootdoc.ROLES:
        (key,) = keys.list_keys(f"{settings.keys}/{role}")
        assert root.roles[role].fingerprints == (key.fingerprint,)
        assert root.roles[role].threshold == 1
        assert mode(Path(settings.keys, role)) == 0o700
    crypto.check_online_key(root, crypto.open_crypto(settings, "pysequoia").signer)
    assert mode(Path(settings.keys)) == 0o700
    assert mode(Path(settings.keys, "online.key")) == 0o600
    assert mode(tmp_path / "state") == 0o700
    for path in Path(settings.keys).rglob("*"):
        assert mode(path) & 0o077 == 0, path


def test_running_it_again_changes_nothing_and_says_so(tmp_path: Path) -> None:
    args = ("--answers", answers_in(tmp_path), "--settings", str(tmp_path / "s.yml"))
    assert run(*args).returncode == 0
    before = snapshot(tmp_path)
    again = run(*args)
    assert again.returncode == 0
    assert again.stdout == "everything is there already; nothing was changed\n"
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    kept = ("state/keys", "s.yml")
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and any(part in str(path) for part in kept)
    }


def set_up_in(folder: Path, **changes: Any) -> list[str]:
    said: list[str] = []
    answers = Answers(url="https://qlmdm.example.com", directory=str(folder / "server"), **changes)
    set_up(answers, str(folder / "settings.yml"), now=NOW, say=said.append)
    return said


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    online = tmp_path / "server/keys/online.key"
    before = online.read_bytes()
    online.unlink()
    assert set_up_in(tmp_path) == [f"online key: exported to {online}"]
    assert crypto.read_online_key(str(online)).encode() == before
    (tmp_path / "settings.yml").unlink()
    assert set_up_in(tmp_path) == [f"settings: wrote {tmp_path}/settings.yml"]


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_an_interrupted_setup_is_finished_by_the_next(tmp_path: Path, fails_at: int) -> None:
    class StoppedError(Exception):
        pass

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == fails_at:
            raise StoppedError

    answers = Answers(url="https://x", directory=str(tmp_path / "server"))
    settings_file = str(tmp_path / "settings.yml")
    with pytest.raises(StoppedError):
        set_up(answers, settings_file, now=NOW, say=say)
    later: list[str] = []
    set_up(answers, settings_file, now=NOW, say=later.append)
    made = [line.split(":")[0] for line in said + later if ": made" in line and "key" in line]
    assert sorted(made) == ["online key", "operator key", "release key", "root key"]
    assert set_up_in(tmp_path, organisation="other")[-1:] != ["root document: version 1"]


def test_existing_settings_are_kept_and_differences_told(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    before = (tmp_path / "settings.yml").read_text()
    said = set_up_in(tmp_path, listen="127.0.0.1:9999", trusted_proxies=("10.0.0.1",))
    kept = "settings: kept {} of " + f"{tmp_path}/settings.yml, which differs from the answers"
    assert said == [kept.format("listen"), kept.format("trusted_proxies")]
    assert (tmp_path / "settings.yml").read_text() == before


def test_keys_that_clients_trust_are_never_replaced(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    online = tmp_path / "server/keys/online.key"
    online.unlink()
    (tmp_path / "server/keys/online").rename(tmp_path / "lost")
    with pytest.raises(KeyringError, match="restore that folder"):
        set_up_in(tmp_path)
    assert not online.exists()
    (tmp_path / "server/keys/root").rename(tmp_path / "offline")  # where it should be
    (tmp_path / "lost").rename(tmp_path / "server/keys/online")
    assert set_up_in(tmp_path) == [f"online key: exported to {online}"]
    assert not (tmp_path / "server/keys/root").exists()


def test_a_damaged_root_document_is_said_and_left_alone(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    settings = settings_files.load(str(tmp_path / "settings.yml"), ServerSettings).core
    store = open_store(settings.store)
    store.put_root(RootDocument(version=2, document=b'{"signed":"{}","sigs":[]}'))
    store.close()
    with pytest.raises(StoreCorruptError, match="root document 2"):
        set_up_in(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda keys: (keys / "online.key").chmod(0o640), KeyringError, "chmod 600"),
        (lambda keys: (keys / "online.key").unlink(), NotSetUpError, "missing"),
        (lambda keys: (keys / "online.key").write_text("x"), KeyringError, "not a usable"),
        (lambda keys: (keys / "online.key").write_bytes(b"\xff"), KeyringError, "can't be read"),
    ],
)
def test_an_online_key_that_can_not_be_used(
    tmp_path: Path, change: Callable[[Path], Any], error: type[Exception], match: str
) -> None:
    prepare_server(tmp_path)
    settings = settings_files.load(str(tmp_path / "settings.yml"), ServerSettings).core
    change(Path(settings.keys))
    with pytest.raises(error, match=match):
        crypto.open_crypto(settings, "pysequoia")


def test_an_online_key_that_no_client_would_believe(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    settings = settings_files.load(str(tmp_path / "settings.yml"), ServerSettings).core
    other = keys.make_key(str(tmp_path / "o"), "x")
    secret = keys.export_secret(str(tmp_path / "o"), other.fingerprint)
    Path(settings.keys, "online.key").write_text(secret)
    store = open_store(settings.store)
    opened = crypto.open_crypto(settings, "pysequoia")
    root = crypto.newest_root(store, opened.verifier)
    store.close()
    with pytest.raises(KeyringError, match="clients would refuse"):
        crypto.check_online_key(root, opened.signer)


# --- a password in the settings ---------------------------------------------------------------


def test_the_settings_with_a_password_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "server.yml"
    store = "mongodb://ada:secret@127.0.0.1:1/fleet?serverSelectionTimeoutMS=1"
    done = run("--answers", answers_in(tmp_path, store=store), "--settings", str(path))
    assert done.returncode == 3  # nothing listens there
    assert "secret" in path.read_text()
    assert mode(path) == 0o600
    assert mode(folder) == 0o755
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "store",
    [
        "mongodb://ada:secret@db.example.com/fleet",
        "mongodb+srv://ada:s/e@db.example.com/fleet",
        "mongodb://ada:secret@one:27017,two:27018/fleet?replicaSet=r",
        "mongodb://db.example.com/fleet?tlsCertificateKeyFilePassword=secret",
        "acmedb://:secret@db.example.com",
    ],
)
def test_a_password_that_others_can_read_is_refused(tmp_path: Path, store: str) -> None:
    path = tmp_path / "server.yml"
    path.write_text(f"url: https://x\nstore: {store}\n")
    path.chmod(0o600)
    assert open_context(str(path)).settings.store == store
    for others in (0o640, 0o604, 0o620):
        path.chmod(others)
        with pytest.raises(SettingsError, match=r"store: .*chmod 600") as caught:
            open_context(str(path))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "store",
    ["sqlite:///var/a:b@c", "mongodb://db.example.com/fleet", "mongodb://ada@db.example.com/x"],
)
def test_settings_without_a_password_may_be_read_by_all(tmp_path: Path, store: str) -> None:
    path = tmp_path / "server.yml"
    path.write_text(f"url: https://x\nstore: {store}\n")
    path.chmod(0o644)
    assert open_context(str(path)).settings.store == store


# --- the command ----------------------------------------------------------------------------


def test_the_example_is_a_valid_file_of_answers(tmp_path: Path) -> None:
    done = run("--example")
    assert (done.returncode, done.stdout) == (0, example_answers())
    found = settings_files.parse(done.stdout, Answers).core
    assert found == Answers(url="https://qlmdm.example.com")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url: ftp://x\n", "answers.yml:1: url: expected a URL"),
        ("", "answers.yml: url: required"),
        ("url: https://x\nurll: y\n", "answers.yml:2: urll: unknown key; did you mean url?"),
        ("url: https://x\ndirectory: here\n", "directory: expected an absolute path"),
        ("url: https://x\ntls_key: /k\n", "expected both tls_certificate and tls_key"),
        ("url: https://x\nroot_expires_after: 5\n", "answers.yml:2: root_expires_after"),
    ],
)
def test_answers_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "answers.yml"
    path.write_text(text)
    done = run("--answers", str(path), "--settings", str(tmp_path / "s.yml"))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "s.yml").exists()


def test_no_answers() -> None:
    done = run()
    assert done.returncode == 2
    assert "--example" in done.stderr


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answers = Answers(url="https://x", directory=str(tmp_path / "file/x"))
    with pytest.raises(SettingsError, match="directory"):
        set_up(answers, str(tmp_path / "s.yml"), now=NOW, say=lambda _: None)
    with pytest.raises(SettingsError, match="can't be written"):
        set_up(answers, str(tmp_path / "file/s.yml"), now=NOW, say=lambda _: None)


def test_what_releases_ship_to_clients_is_ready_to_be_changed(tmp_path: Path) -> None:
    prepare_server(tmp_path)
    shipped = tmp_path / "client" / "settings.yml"
    assert settings_files.load(str(shipped), ClientSettings).core.server_url == (
        "https://qlmdm.example.com"
    )
    assert (tmp_path / "client" / "commands").is_dir()
    shipped.write_text("server_url: https://new.example.com\n")
    prepare_server(tmp_path)
    assert "new.example.com" in shipped.read_text()  # what somebody wrote stays
