"""Attacks on a client by way of its commands, each with the guard, and with the guard taken out.

The client's parts are the real ones, keys are real; only the network is not there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc, rootdoc, signedtext
from qlmdm_core.client import identity
from qlmdm_core.client.commands import accept, payload, places, runner
from qlmdm_core.client.commands.journal import Entry, Journal, Outcome
from qlmdm_core.client.commands.runner import CUT_OFF, _recover
from qlmdm_core.client.commands.work import Worker, end, later
from qlmdm_core.client.disk import Directory
from qlmdm_core.client.state import State
from qlmdm_core.commanddoc import Command
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import SpoolError, TrustError
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing.trust import SERVER_ID, Ring, make_ring, whole_second

CID = "cid-me"
NOW = whole_second(datetime.now(timezone.utc))
VERIFIER = SequoiaVerifier()


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    home = str(tmp_path_factory.mktemp("k") / "h")
    return make_ring(home, ["root", "release", "operator", "operator2", "online", "client"])


class Server:
    """Where payloads come from."""

    def __init__(self) -> None:
        self.content = b""

    def fetch(self, command_id: str, *, to: int, max_bytes: int) -> Answer | None:
        os.write(to, self.content)
        return None


class Memory:
    server_at = 0.0


class Wire:
    """What `accept` needs of a `Link`; nobody is told anything."""

    cid = CID
    memory = Memory()

    def ask(self, typ: str, body: Any, **_: Any) -> Answer:
        raise TrustError("nobody is there")


class Client:
    """A client with its disk, its keys and its clock."""

    def __init__(self, folder: Path, ring: Ring) -> None:
        self.state = folder / "c"
        with Directory(str(self.state)):
            pass
        self.ring = ring
        self.root = ring.root(now=NOW)
        self.server = Server()
        self.clock = NOW + timedelta(minutes=1)
        self.wire = Wire()
        self.wire.memory = Memory()
        self.journal = Journal(str(self.state))
        self.wiped: list[str] = []

    def command(self, **changes: Any) -> Command:
        """A script that leaves a mark beside the state, once for each run."""
        content = changes.pop("content", f"echo x >> {self.mark}\n".encode())
        self.server.content = content
        made = Command(
            server_id=SERVER_ID,
            id=hashlib.md5(os.urandom(8), usedforsecurity=False).hexdigest(),
            part=1,
            kind="script",
            hosts=(CID,),
            issued_at=NOW,
            not_before=NOW,
            expires_at=NOW + timedelta(days=7),
            requested_by="alice",
            payload_sha256=hashlib.sha256(content).hexdigest(),
            payload_size=len(content),
        )
        return replace(made, **changes)

    @property
    def mark(self) -> Path:
        return self.state.parent / "mark"

    @property
    def runs(self) -> int:
        return len(self.mark.read_text().splitlines()) if self.mark.exists() else 0

    def signed(self, command: Command, *names: str) -> bytes:
        return self.ring.sign(commanddoc.build(command), *(names or ("operator",)))

    def worker(self) -> Worker:
        def wipe(worker: Worker, entry: Entry) -> Outcome:
            self.wiped.append(entry.id)
            return Outcome(state="done", result={})

        return Worker(
            journal=self.journal,
            state_path=str(self.state),
            cid=CID,
            root=self.root,
            verifier=VERIFIER,
            now=lambda: later(self.clock.timestamp(), self.wire.memory.server_at),
            source=self.server,
            wipe=wipe,
            tell=lambda _: None,
        )

    def give(self, document: bytes) -> None:
        """The server's answer to a poll holds this document; all that waits is carried out."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(identity, "verifier", lambda: VERIFIER)
            patch.setattr(time, "time", self.clock.timestamp)
            accept.accept(self.wire, str(self.state), self.root, [document.decode()])  # type: ignore[arg-type]
        self.carry_out()

    def carry_out(self) -> None:
        for entry in self.journal.entries():
            if self.journal.outcome(entry) is None:
                self.worker().carry_out(entry)

    def outcome(self, command: Command) -> Outcome | None:
        return self.journal.outcome(self.journal.entry(command.id))


@pytest.fixture
def client(tmp_path: Path, ring: Ring) -> Client:
    return Client(tmp_path, ring)


def no_guard(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, result: Any = None) -> None:
    monkeypatch.setattr(module, name, lambda *_, **__: result)


def test_a_signed_command_is_carried_out(client: Client) -> None:
    command = client.command()
    client.give(client.signed(command))
    assert client.runs == 1
    outcome = client.outcome(command)
    assert outcome is not None
    assert (outcome.state, outcome.result["exit_status"]) == ("done", 0)


@pytest.mark.parametrize("name", ["client", "online", "release", "root"])
def test_a_command_by_a_key_of_another_role(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = client.signed(client.command(), name)
    client.give(document)
    assert client.runs == 0
    no_guard(monkeypatch, rootdoc, "require", set())
    client.give(document)
    assert client.runs == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"hosts":["cid-other"]', f'"hosts":["{CID}"]'),
        ('"path":"a.conf"', '"path":"b.conf"'),
        ('"kind":"file"', '"kind":"remove"'),
        ('"requested_by":"alice"', '"requested_by":"mallory"'),
    ],
)
def test_a_command_moved_to_another_host_path_kind_or_date(
    client: Client, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command(kind="file", path="a.conf")
    if "cid-other" in old:
        command = replace(command, hosts=("cid-other",))
    signed = signedtext.unpack(client.signed(command), max_bytes=1 << 20)
    moved = replace(signed, text=signed.text.replace(old, new))
    if "remove" in new:
        for name in ("payload_sha256", "payload_size"):
            value = "null" if name == "payload_sha256" else "0"
            actual = f'"{command.payload_sha256}"' if value == "null" else str(command.payload_size)
            moved = replace(
                moved, text=moved.text.replace(f'"{name}":{actual}', f'"{name}":{value}')
            )
    assert moved.text != signed.text
    client.give(moved.pack())
    assert not client.journal.entries()
    no_guard(monkeypatch, rootdoc, "require", set())
    client.give(moved.pack())
    assert client.journal.entries()


def test_a_command_for_another_host(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    document = client.signed(client.command(hosts=("cid-other",)))
    client.give(document)
    assert client.runs == 0
    no_guard(monkeypatch, commanddoc, "check_acceptable")
    client.give(document)
    assert client.runs == 1


def test_a_command_of_another_server(client: Client) -> None:
    """Keys may be the same, as after a site was copied."""
    document = client.signed(client.command(server_id="another-server"))
    client.give(document)
    assert client.runs == 0
    client.root = replace(client.root, server_id="another-server")  # nothing else is in its way
    client.give(document)
    assert client.runs == 1


def test_a_command_that_is_given_again_is_not_carried_out_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    document = client.signed(command)
    for _ in range(3):
        client.give(document)
    client.journal.retire(client.journal.entry(command.id))
    client.give(document)
    assert client.runs == 1
    no_guard(monkeypatch, Journal, "knows", False)
    client.give(document)
    assert client.runs == 2


def test_two_signatures_by_one_operator_where_two_are_needed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("operator", "operator2")
    fingerprints = tuple(client.ring.public[name].fingerprint for name in names)
    roles = {**client.root.roles, "operator": Role(fingerprints=fingerprints, threshold=2)}
    keys = {key.fingerprint: key.armoured for key in client.ring.public.values()}
    client.root = replace(client.root, roles=roles, keys=keys)
    command = client.command()
    twice = client.signed(command, "operator", "operator")
    client.give(twice)
    assert client.runs == 0
    with monkeypatch.context() as patch:
        real = signedtext.signers

        def counted(signed: Any, allowed: Any, verifier: Any) -> Any:
            return [name for _ in signed.sigs for name in real(signed, allowed, verifier)]

        patch.setattr(signedtext, "signers", counted)
        client.give(twice)
    assert client.runs == 1
    other = client.command()
    client.give(client.signed(other, *names))
    assert client.runs == 2


def test_an_operator_who_was_revoked_after_the_command_came(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    client.journal.add(command, client.signed(command))
    before = client.root
    client.root = client.ring.root(now=NOW, operator=("operator2",))
    client.carry_out()
    outcome = client.outcome(command)
    assert client.runs == 0
    assert outcome is not None
    assert outcome.state == "refused"
    second = client.command()
    client.journal.add(second, client.signed(second))
    monkeypatch.setattr(client, "root", before)
    client.carry_out()
    assert client.runs == 1


def test_an_operator_who_is_revoked_while_another_command_is_at_work(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner's first script takes a day; meanwhile a cycle follows the root document."""
    now = {"issued_at": NOW, "not_before": NOW}
    old, new = client.state / "root.json", client.state.parent / "new.json"

    def runs() -> int:
        old.write_bytes(client.ring.sign(rootdoc.build(client.root), "root"))
        new.write_bytes(
            client.ring.sign(
                rootdoc.build(client.ring.root(now=NOW, version=2, operator=("operator2",))), "root"
            )
        )
        slow = f"cp {new} {old}\n".encode()
        for number, content in enumerate((slow, None)):
            made: dict[str, Any] = {"content": content} if content else {}
            command = client.command(**made, **now, id=f"{number}{os.urandom(15).hex()}0")
            client.journal.add(command, client.signed(command))
            Path(client.journal.entry(command.id).payload).write_bytes(client.server.content)
        with State(str(client.state)) as state:
            runner._carry_out_all(state, client.journal, "work", client.wire)  # type: ignore[arg-type]
        return client.runs

    assert runs() == 0
    monkeypatch.setattr(identity, "load_root", lambda _: client.root)
    assert runs() == 1


def test_a_forged_command_does_not_block_the_real_one_of_its_id(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    client.give(client.signed(command, "client"))
    client.give(client.signed(command))
    assert client.runs == 1
    other = client.command()
    with monkeypatch.context() as patch:  # were it written down before it is verified
        patch.setattr(commanddoc, "verify", lambda document, *_: other)
        patch.setattr(Client, "carry_out", lambda _: None)
        client.give(client.signed(other, "client"))
    client.give(client.signed(other))
    assert client.runs == 1


def test_a_clock_that_was_set_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    command = client.command()
    client.wire.memory.server_at = (command.expires_at + timedelta(days=1)).timestamp()
    client.clock = NOW + timedelta(minutes=1)
    client.give(client.signed(command))
    assert client.runs == 0
    monkeypatch.setattr(client.wire.memory, "server_at", 0.0)
    client.give(client.signed(command))
    assert client.runs == 1


def test_a_clock_set_forward_and_back_makes_no_id_be_forgotten(client: Client) -> None:
    command = client.command()
    client.give(client.signed(command))
    client.journal.retire(client.journal.entry(command.id))
    client.wire.memory.server_at = NOW.timestamp()
    client.clock = NOW + timedelta(days=4000)
    assert client.journal.forget(client.wire.memory.server_at) == 0
    client.clock = NOW
    client.give(client.signed(command))
    assert client.runs == 1
    far = (command.expires_at + timedelta(days=31)).timestamp()
    assert client.journal.forget(far) == 1, "the server's own signed time lets it be forgotten"
    client.give(client.signed(command))
    assert client.runs == 2, "had the clock been enough, it would have been run again"


def test_too_early_it_waits_and_too_late_it_is_expired(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = client.command(not_before=NOW + timedelta(hours=1))
    client.give(client.signed(early))
    assert client.runs == 0
    client.clock = NOW + timedelta(hours=2)
    client.give(client.signed(early))
    assert client.runs == 1
    waited = client.command()
    client.journal.add(waited, client.signed(waited))
    client.clock = NOW + timedelta(days=8)
    client.carry_out()
    outcome = client.outcome(waited)
    assert outcome is not None
    assert (outcome.state, client.runs) == ("expired", 1)
    no_guard(monkeypatch, commanddoc, "check_acceptable")
    for when in (NOW - timedelta(days=1), NOW + timedelta(days=8)):
        client.clock = when
        client.give(client.signed(client.command()))
    assert client.runs == 3


def test_an_expired_root_document_stops_commands_until_its_successor_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    client.journal.add(command, client.signed(command))
    valid: Root = client.root
    client.root = replace(valid, expires_at=NOW)
    client.carry_out()
    assert client.runs == 0
    client.root = valid
    client.carry_out()
    assert client.runs == 1
    client.root = replace(valid, expires_at=NOW)
    monkeypatch.setattr(Root, "is_expired", lambda *_: False)
    client.give(client.signed(client.command()))
    assert client.runs == 2


def test_an_altered_payload(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    command = client.command()
    client.server.content = f"echo evil >> {client.mark}\n".encode()
    client.give(client.signed(command))
    assert client.runs == 0
    assert client.journal.claimed(client.journal.entry(command.id)) is None
    no_guard(monkeypatch, payload, "_is_right", True)
    (client.state / "commands" / command.id / "payload").write_bytes(client.server.content)
    client.carry_out()
    assert client.runs == 1


@pytest.mark.parametrize("where", ["files", "files/acme", "files/acme/x.conf"])
def test_a_link_on_the_way_of_a_file(
    client: Client, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.conf").write_text("theirs")
    link = client.state / where
    link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    link.symlink_to(elsewhere / "x.conf" if where.endswith("conf") else elsewhere)
    command = client.command(kind="file", path="acme/x.conf", content=b"ours")
    client.give(client.signed(command))
    assert (elsewhere / "x.conf").read_text() == "theirs"
    assert not (elsewhere / "acme").exists()
    if where.endswith("conf"):
        assert (client.state / "files/acme/x.conf").read_bytes() == b"ours"
        assert not link.is_symlink()
        return
    outcome = client.outcome(command)
    assert outcome is not None
    assert outcome.state in ("failed", "refused")
    # Without the guard it is put where the link leads.
    monkeypatch.setattr(places, "_OPEN", os.O_RDONLY | os.O_DIRECTORY)
    monkeypatch.setattr(Directory, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Directory, "close", lambda _: None)
    (tmp_path / "source").write_text("ours")
    places.put(str(client.state), "acme/x.conf", str(tmp_path / "source"), 0o600)
    there = elsewhere / ("acme/x.conf" if where == "files" else "x.conf")
    assert there.read_text() == "ours"


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//x", ""])
def test_a_path_that_leads_elsewhere(
    client: Client, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    with pytest.raises(OSError, match="leads elsewhere"):
        places.put(str(client.state), path, str(source), 0o600)
    with pytest.raises(OSError, match="leads elsewhere"):
        places.remove(str(client.state), path)
    if path == "../x":
        no_guard(monkeypatch, commanddoc, "is_safe_path", True)
        places.put(str(client.state), path, str(source), 0o600)
        assert (client.state / "x").exists()
        assert places.remove(str(client.state), path)


def test_a_folder_is_removed_and_no_link_in_it_followed(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    folder = client.state / "files/acme"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "link").symlink_to(kept)
    os.chmod(client.state / "files", 0o700)
    assert places.remove(str(client.state), "acme")
    assert not folder.exists()
    assert (kept / "file").exists()
    assert not places.remove(str(client.state), "acme")
    folder.mkdir(mode=0o700)
    (folder / "link").symlink_to(kept)
    monkeypatch.setattr(shutil, "rmtree", _follows_links)
    places.remove(str(client.state), "acme")
    assert not (kept / "file").exists()


def _follows_links(path: str) -> None:
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            os.unlink(os.path.join(folder, name))


# --- cut off --------------------------------------------------------------------------------------


STEPS = ["claim", "_do", "finish", "none"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_it_is_run_once_or_called_indeterminate(
    client: Client, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    client.journal.add(command, client.signed(command))
    owner: Any = Worker if step == "_do" else Journal

    def killed(real: Any) -> Any:
        def method(*args: Any) -> Any:
            if when == "after":
                real(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        return method

    child = os.fork()
    if child == 0:
        if step != "none":
            setattr(owner, step, killed(getattr(owner, step)))
        client.carry_out()
        os._exit(0)
    os.waitpid(child, 0)
    ran = client.runs
    entry = client.journal.entry(command.id)
    _recover(client.journal, "work", client.wire)  # type: ignore[arg-type]
    client.carry_out()
    outcome = client.journal.outcome(entry)
    assert outcome is not None
    assert client.runs <= 1
    if (step, when) == ("claim", "before"):
        assert (ran, client.runs, outcome.state) == (0, 1, "done")
    elif step == "none" or (step, when) == ("finish", "after"):
        assert (client.runs, outcome.state) == (1, "done")
    else:
        assert (outcome.state, outcome.result["reason"]) == ("indeterminate", CUT_OFF)


def test_two_runners_that_race_begin_a_command_once(client: Client) -> None:
    command = client.command()
    client.journal.add(command, client.signed(command))
    entry = client.journal.entry(command.id)
    assert [client.journal.claim(entry, word) for word in ("started", "cancelled")] == [True, False]
    assert client.journal.claimed(entry) == "started"


def test_a_cancellation_that_comes_before_its_command(client: Client) -> None:
    command = client.command()
    document = client.signed(command)
    plain: dict[str, Any] = {"payload_sha256": None, "payload_size": 0}
    cancel = client.command(kind="cancel", cancels=command.id, **plain)
    client.give(client.signed(cancel))
    client.give(document)
    assert client.runs == 0
    assert client.journal.knows(command.id)


# --- a disk that does not do what it should -------------------------------------------------------


@pytest.mark.parametrize("full", [1, 2, 3])
def test_on_a_full_disk_nothing_is_begun(
    client: Client, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command()
    client.journal.add(command, client.signed(command))

    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if full == 1:
            patch.setattr(client.server, "fetch", no_room)
        elif full == 2:
            patch.setattr(os, "posix_fallocate", no_room)
        else:
            patch.setattr(Directory, "append", no_room)
        try:
            client.carry_out()
        except SpoolError as error:
            assert "No space left" in str(error)  # noqa: PT017 - it may also just wait
    assert client.runs == 0
    client.carry_out()
    assert client.runs == 1


def test_a_disk_that_is_full_at_the_end_keeps_how_it_ended(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command(content=b"seq 10000")
    client.journal.add(command, client.signed(command))
    real = Directory.append

    def small(self: Directory, fd: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, fd, data)

    monkeypatch.setattr(Directory, "append", small)
    client.carry_out()
    outcome = client.outcome(command)
    assert outcome is not None
    assert (outcome.state, outcome.result["exit_status"]) == ("done", 0)
    assert "stdout" not in outcome.result


def test_a_damaged_entry_holds_up_no_other(client: Client) -> None:
    broken, sound = client.command(), client.command()
    for command in (broken, sound):
        client.journal.add(command, client.signed(command))
    (client.state / "commands" / broken.id / "about.json").write_text("{")
    client.carry_out()
    assert client.runs == 1
    assert client.journal.knows(broken.id)


def test_what_a_script_mounted_in_its_folder_is_not_cleared(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = client.command(content=b"touch precious")
    client.journal.add(command, client.signed(command))
    entry = client.journal.entry(command.id)
    (client.state / "commands" / command.id / "run").mkdir()
    (Path(entry.run_folder) / "precious").touch()
    monkeypatch.setattr(
        "qlmdm_core.client.commands.journal.mounted_below", lambda path: f"{path}/home"
    )
    outcome = end(client.journal, entry, Outcome(state="done", result={}))
    assert "is mounted there" in outcome.result["reason"]
    assert (Path(entry.run_folder) / "precious").exists()
