"""`qlmdm-client-release`, as administrators type it: build, look, roll out, take back."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.api import Alert
from qlmdm_core.cli import run as run_command
from qlmdm_core.server import keys_cli
from qlmdm_core.server.audit.rules import rules
from qlmdm_core.server.audit.run import Audit
from qlmdm_core.server.releases import bootstrap, cli, progress, publish, rollout
from qlmdm_core.server.releases.rollout import Growth, Rollout
from qlmdm_core.server.settings import AuditSettings
from qlmdm_core.store.open import open_store
from qlmdm_core.store.outgoing import CommandPart, CommandRecord
from qlmdm_core.testing.client import KeyPair, SimulatedClient
from qlmdm_core.testing.published import FILES, publish_release
from qlmdm_core.testing.server import SimulatedServer, prepare_server
from qlmdm_core.testing.wheels import repack_all
from qlmdm_plugins_builtin.checks import outgoing
from qlmdm_plugins_builtin.policy import Policy


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare_server(tmp_path_factory.mktemp("prepared"))
    wheels = repack_all(folder / "wheels", ["qlmdm-core", "qlmdm-plugins-builtin"])
    with (folder / "settings.yml").open("a") as file:
        file.write(f"release:\n  wheels: {wheels}\n  distributions: [qlmdm-plugins-builtin]\n")
    (folder / "client").mkdir(exist_ok=True)
    (folder / "client" / "settings.yml").write_text("server_url: https://qlmdm.example.com\n")
    return folder


class Shell:
    """The command, and what it said."""

    def __init__(self, server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
        self._settings, self._capsys = server.settings_file, capsys
        self.errors = ""

    def run(self, *words: str, status: int = 0) -> str:
        done = run_command(
            cli._main, "qlmdm-client-release", [words[0], "--settings", self._settings, *words[1:]]
        )
        out, self.errors = self._capsys.readouterr()
        assert done == status, (out, self.errors)
        return out


@pytest.fixture
def shell(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(server, capsys)


def client_of(server: SimulatedServer, pair: KeyPair, **details: Any) -> SimulatedClient:
    client = SimulatedClient(server.send, pair, clock=server.clock)
    assert client.enrol(server.invite(**details)).status == "ok"
    return client


def report(client: SimulatedClient, release: str | None, bad: dict[str, str] | None = None) -> None:
    body = client.report(agent={"state": "ok", "release": {"bad": bad or {}}})
    assert client.submit({**body, "release": release}).status == "ok"


# --- building -----------------------------------------------------------------------------------


def test_a_release_is_built_shown_compared_verified_and_withdrawn(
    server: SimulatedServer, shell: Shell, tmp_path: Path
) -> None:
    assert "no releases yet" in shell.run("list")
    said = shell.run("build", "--yes", "--note", "the first")
    assert "+ qlmdm-core" in said
    assert "settings.yml: +server_url: https://qlmdm.example.com" in said
    assert "release 1.1 is published" in said
    settings = tmp_path / "client" / "settings.yml"
    settings.write_text("server_url: https://qlmdm.example.com\npoll_interval: 2m\n")
    dry = shell.run("build", "--dry-run")
    assert "settings.yml: +poll_interval: 2m" in dry
    assert "~ settings.yml" in dry
    assert "0 files added, 0 removed, 1 changed" in dry
    assert "nothing was signed" in dry
    assert "release 1.2 is published" in shell.run("build", "--yes", "--hold").replace(
        ", and offered to nobody yet: qlmdm-client-release rollout 1.2 --help", ""
    )
    diff = json.loads(shell.run("diff", "1.1", "1.2", "--json"))
    assert diff["changed"] == ["settings.yml"]
    listed = [json.loads(line) for line in shell.run("list", "--json").splitlines()]
    assert [one["version"] for one in listed] == ["1.2", "1.1"]
    assert listed[1]["note"] == "the first"
    assert "as they were signed" in shell.run("verify")
    withdrawn = shell.run("withdraw", "1.2", "--yes")
    assert "offered no more. No client runs it" in withdrawn
    assert "no more" in shell.run("list").splitlines()[1]
    assert "withdrawn already" in shell.run("withdraw", "1.2", "--yes")
    shell.run("rollout", "1.2", "--all", status=2)
    assert "withdrawn" in shell.errors
    assert "withdrawn" in shell.run("list")


def test_nothing_is_published_that_nobody_agreed_to(
    server: SimulatedServer, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    shell.run("build", status=2)
    assert "--yes" in shell.errors
    assert not server.store.releases()


def test_what_a_plugin_objects_to_is_not_built(
    server: SimulatedServer, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def against(*_: object) -> list[str]:
        return ["qlmdm-acme:acme: it is Friday"]

    monkeypatch.setattr(publish, "objections", against)
    shell.run("build", "--yes", status=1)
    assert "it is Friday" in shell.errors
    assert not server.store.releases()


def test_the_number_of_a_release_that_waits_for_signatures_is_taken(
    server: SimulatedServer, shell: Shell
) -> None:
    keys = Path(server.settings.keys) / "release"
    keys.rename(keys.with_name("away"))
    said = shell.run("build", "--yes")
    assert "release-1.1 waits for signatures: qlmdm-keys sign release-1.1 --export" in said
    assert not server.store.releases()
    shell.run("build", "--yes", status=3)
    assert "waits for signatures already" in shell.errors


def test_a_tar_that_was_changed_in_the_store_is_found(
    server: SimulatedServer, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish_release(server)
    real = type(server.store).blob

    def other(self: Any, sha256: str) -> bytes | None:
        data: bytes | None = real(self, sha256)
        return data + b"\0" if sha256 == record.tar_sha256 and data is not None else data

    monkeypatch.setattr(type(server.store), "blob", other)
    assert "not the one that was signed" in shell.run("verify", "1.1", status=1)


# --- rolling out --------------------------------------------------------------------------------


def test_a_roll_out_is_widened_paused_and_resumed_and_never_narrowed(
    server: SimulatedServer, shell: Shell, pairs: list[KeyPair]
) -> None:
    client_of(server, pairs[0])
    publish_release(server, start=Rollout())
    assert "1 client" in shell.run("rollout", "1.1", "--to", "laptop1")
    said = shell.run("rollout", "1.1", "--percent", "20", "--grow", "10", "--every", "1h")
    assert "20% of all, 1 client, growing by 10%" in said
    shell.run("rollout", "1.1", "--percent", "5", status=2)
    assert "only ever widened" in shell.errors
    assert "paused: by" in shell.run("rollout", "1.1", "--pause")
    assert "growing by 10%" in shell.run("rollout", "1.1", "--resume")
    assert "everybody" in shell.run("rollout", "1.1", "--all")
    shell.run("rollout", "1.1", "--to", "nobody", status=1)
    for wrong in (
        ["1.1"],
        ["--all"],
        ["1.1", "--advance"],
        ["1.1", "--pause", "--all"],
        ["1.1", "--percent", "0"],
        ["1.1", "--tag", "x", "--grow", "5"],
        ["1.1", "--percent", "100", "--grow", "500"],
        ["1.1", "--percent", "100", "--grow", "5", "--every", "soon"],
        ["latest", "--all"],
    ):
        shell.run("rollout", *wrong, status=2)
    shell.run("rollout", "1.9", "--all", status=1)


def test_how_clients_took_it_is_shown_and_a_bad_one_stops_it(
    server: SimulatedServer, shell: Shell, pairs: list[KeyPair]
) -> None:
    well, ill = client_of(server, pairs[0]), client_of(server, pairs[1])
    server.clock.now -= timedelta(minutes=1)
    growth = Growth(step=10.0, every=3600.0)
    start = rollout.widen(
        Rollout(),
        server.clock().replace(microsecond=0),
        hosts=[str(well.cid), str(ill.cid)],
        percent=0.001,
        growth=growth,
    )
    publish_release(server, start=start)
    server.clock.now += timedelta(minutes=2)
    report(well, "1.1")
    report(ill, None)
    shown = json.loads(shell.run("show", "1.1", "--json"))
    assert shown["progress"]["healthy"] == 1
    assert shown["progress"]["waiting"] == 1
    assert progress.advance(server.store, server.clock()) == []
    report(ill, None, {"1.1": "no verified answer in 3 tries"})
    shown = json.loads(shell.run("show", "1.1", "--json"))
    assert shown["progress"]["bad"] == 1
    assert shown["trouble"] == [["laptop1", "bad", "no verified answer in 3 tries"]]
    assert "no verified answer" in shell.run("show", "1.1")
    assert "stopped: 1 clients rolled it back" in shell.run("rollout", "--advance")
    assert shell.run("rollout", "--advance") == ""
    assert "stopped" in shell.run("list")
    report(ill, "1.1")  # mended by hand: the mark goes away
    shown = json.loads(shell.run("show", "1.1", "--json"))
    assert shown["progress"]["healthy"] == 2


def test_the_audit_lets_a_roll_out_grow_and_tells_that_one_stopped(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    client = client_of(server, pairs[0])
    begun = server.clock().replace(microsecond=0) - timedelta(minutes=1)
    start = rollout.widen(
        Rollout(),
        begun,
        hosts=[str(client.cid)],
        percent=0.001,
        growth=Growth(step=10.0, every=600.0),
    )
    publish_release(server, start=start)
    report(client, "1.1")

    def audit(now: datetime) -> list[str]:
        told: list[Alert] = []
        made = Audit(
            open_store=lambda: open_store(server.settings.store),
            rules=(),
            notifiers=(),
            unknown_grace_period=86400.0,
            processes=1,
        )
        return list(made.run(now, told.extend).notes)

    def percent() -> float:
        return rollout.load(publish.find(server.store, "1.1").rollout, begun).percent

    assert audit(begun + timedelta(minutes=5)) == []
    assert percent() == 0.001
    assert audit(begun + timedelta(minutes=11)) == []
    assert percent() == 10.001
    report(client, None, {"1.1": "broken"})
    (note,) = audit(begun + timedelta(minutes=30))
    assert "release 1.1: its roll-out" in note
    assert "stopped" in note
    assert "qlmdm-client-release show 1.1" in note
    assert percent() == 10.001


def test_the_audit_tells_who_does_not_take_a_release_and_who_does_not_act_on_commands(
    server: SimulatedServer, pairs: list[KeyPair]
) -> None:
    client = client_of(server, pairs[0])
    publish_release(server)
    report(client, "1.1")
    now = server.clock()
    assert verdicts(server, now) == {}
    publish_release(server, {**FILES, "lib/b.py": b""})
    queue_command(server, str(client.cid), now)
    assert verdicts(server, now + timedelta(days=2)) == {}
    found = verdicts(server, now + timedelta(days=3, hours=1))
    assert set(found) == {"release-behind", "pending-patches"}
    assert "runs release 1.1 and does not take 1.2" in found["release-behind"]
    assert "true (pending)" in found["pending-patches"]
    # Neither changes a value of the client: time, and what was given, are enough.
    server.store.cancel_command("c" * 32, now + timedelta(days=4))
    publish.change(server.store, publish.find(server.store, "1.2"), status="withdrawn")
    assert verdicts(server, now + timedelta(days=4)) == {}


def queue_command(server: SimulatedServer, cid: str, now: datetime) -> None:
    command = CommandRecord(
        command_id="c" * 32,
        kind="script",
        summary="true",
        created_at=now,
        created_by="ada",
        not_before=now,
        expires_at=now + timedelta(days=20),
        hosts=1,
    )
    part = CommandPart(part=0, document=b"{}", hosts=(cid,))
    assert server.store.put_command(command, [part])


def verdicts(server: SimulatedServer, now: datetime) -> dict[str, str]:
    made = rules([("builtin", check) for check in outgoing.checks(Policy())], AuditSettings(), "x")
    audit = Audit(
        open_store=lambda: open_store(server.settings.store),
        rules=made,
        notifiers=(),
        unknown_grace_period=86400.0,
        processes=1,
    )
    audit.run(now, None)
    return {verdict.check: verdict.message for verdict in server.store.verdicts()}


# --- new machines -------------------------------------------------------------------------------


def test_the_tar_for_new_machines_holds_all_that_they_need_and_is_private(
    server: SimulatedServer, shell: Shell, tmp_path: Path
) -> None:
    shell.run("build", "--yes")
    output = tmp_path / "new.tar"
    said = shell.run("bootstrap", "--output", str(output), "--invite", "3", "--tag", "lab")
    assert "holds an invitation" in said
    assert output.stat().st_mode & 0o777 == 0o600
    with tarfile.open(output) as tar:
        names = {member.name: member.mode for member in tar}
        tar.extractall(tmp_path / "there", **_plainly())
    assert {f"qlmdm-client/{name}" for name in ("release.tar", "manifest.json", "root.json")} < set(
        names
    )
    assert names["qlmdm-client/client-setup"] == 0o755
    assert names["qlmdm-client/enrol.yml"] == 0o600
    folder = tmp_path / "there" / "qlmdm-client"
    done = subprocess.run(
        [str(folder / "client-setup"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "client-setup" in done.stdout
    (invitation,) = server.store.invitations()
    assert (invitation.uses, invitation.tags) == (3, ("lab",))
    assert (folder / "enrol.yml").read_text().startswith("token: qlmdm1.")
    shell.run("bootstrap", "--output", str(output), status=2)  # is there already
    assert "name a new file" in shell.errors


def test_a_release_that_only_an_old_key_signed_is_not_for_new_machines(
    server: SimulatedServer, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_release(server)
    words = ["qlmdm-keys", "rotate", "release", "--yes", "--settings", server.settings_file]
    monkeypatch.setattr(sys, "argv", words)
    assert keys_cli.main() == 0
    shell.run("bootstrap", "--output", str(tmp_path / "new.tar"), "--invite", "3", status=1)
    assert "signed by 0 of the 1 release keys" in shell.errors
    assert "qlmdm-client-release build" in shell.errors
    assert server.store.invitations() == []


def _plainly() -> dict[str, Any]:
    return {"filter": "data"} if sys.version_info >= (3, 12) else {}


def test_without_an_invitation_the_tar_holds_no_secret(
    server: SimulatedServer, shell: Shell, tmp_path: Path
) -> None:
    shell.run("bootstrap", "--output", str(tmp_path / "x.tar"), status=2)
    assert "there is no release yet" in shell.errors
    shell.run("build", "--yes")
    shell.run("bootstrap", "1.1", "--output", str(tmp_path / "x.tar"))
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert "qlmdm-client/enrol.yml" not in tar.getnames()
    assert not server.store.invitations()


def test_an_invitation_from_a_file_must_name_the_root_document_that_travels(
    server: SimulatedServer, shell: Shell, tmp_path: Path
) -> None:
    shell.run("build", "--yes")
    token = str(server.invite())
    file = tmp_path / "token"
    file.write_text(token + "\n")
    shell.run("bootstrap", "--output", str(tmp_path / "a.tar"), "--token-file", str(file))
    with tarfile.open(tmp_path / "a.tar") as tar:
        held = tar.extractfile("qlmdm-client/enrol.yml")
        assert held is not None
        assert held.read().decode() == f"token: {token}\n"
    file.write_text(token[:-4] + ("0000" if token[-4:] != "0000" else "1111"))
    shell.run("bootstrap", "--output", str(tmp_path / "b.tar"), "--token-file", str(file), status=2)
    assert "another root document" in shell.errors
    assert token[20:40] not in shell.errors
    file.write_text("rubbish")
    shell.run("bootstrap", "--output", str(tmp_path / "b.tar"), "--token-file", str(file), status=2)
    assert not (tmp_path / "b.tar").exists()


def test_a_file_that_can_not_be_written_whole_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        bootstrap.write_private(str(tmp_path / "x"), b"data")
    assert not (tmp_path / "x").exists()


def test_a_release_that_expired_goes_to_no_new_machine(
    server: SimulatedServer, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.clock.now = datetime.now(timezone.utc) - timedelta(days=181)
    publish_release(server, FILES)
    shell.run("bootstrap", "--output", str(tmp_path / "x.tar"), status=2)
    assert "has expired" in shell.errors
    assert "expired: no client installs it" in shell.run("verify")
