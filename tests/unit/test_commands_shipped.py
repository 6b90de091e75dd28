"""Scripts that come with a release run once on a client, for their name and content."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from qlmdm_core import manifest
from qlmdm_core.client.commands import shipped
from qlmdm_core.client.disk import Directory
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.submit import report_of
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.signedtext import SignedText

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


class Machine:
    """A client with slots and a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "c"
        self.said: list[str] = []
        with Directory(str(self.state)):
            pass

    def release(self, number: int, **scripts: str) -> None:
        folder = self.state / f"slots/1.{number}"
        (folder / "commands").mkdir(parents=True, mode=0o700)
        for part in (self.state / "slots", folder, folder / "commands"):
            part.chmod(0o700)
        files = []
        for name, text in scripts.items():
            (folder / "commands" / name).write_text(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            files.append(File(f"commands/{name}", digest, len(text), 0o755))
        made = Manifest(
            server_id="0123456789abcdef",
            version=Version(1, number),
            issued_at=NOW,
            expires_at=NOW + timedelta(days=30),
            tar_sha256="ab" * 32,
            tar_size=10,
            files=tuple(sorted(files)),
        )
        text = manifest.build(made)
        (folder / "manifest.json").write_bytes(SignedText(text=text, sigs=()).pack())

    def environ(self, number: int, **more: str) -> dict[str, str]:
        return {"QLMDM_SLOT": f"1.{number}", **more}

    def run(self, number: int, **more: str) -> None:
        environ = self.environ(number, **more)
        if shipped.waiting(str(self.state), environ):
            shipped.run_all(str(self.state), environ, self.said.append)

    def news(self, number: int) -> dict[str, dict[str, object]] | None:
        with Spool(str(self.state / "spool"), max_bytes=10**6, max_age=10**6) as spool:
            if not (self.state / "commands/shipped").exists():
                return None
            shipped.add_news(str(self.state), spool, self.environ(number))
            entries = spool.pending()
            if not entries:
                return None
            record = spool.load(entries[0])
            spool.remove(entries[0])
        assert record is not None
        report = report_of(record, "laptop7")
        assert list(report["collectors"]) == [shipped.COLLECTOR], "nothing is said of the agent"
        commands: dict[str, dict[str, object]] = report["collectors"][shipped.COLLECTOR]["value"][
            "commands"
        ]
        return commands


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_script_runs_once_for_its_name_and_content(machine: Machine, tmp_path: Path) -> None:
    mark = f"echo x >> {tmp_path}/mark\n"
    machine.release(1, a=mark)
    machine.release(2, a=mark, b=mark)
    machine.release(3, a=mark + "true\n", b=mark)
    counts = []
    for number in (1, 1, 2, 3, 2, 1):
        machine.run(number)
        counts.append(len((tmp_path / "mark").read_text().splitlines()))
    assert counts == [1, 1, 2, 3, 3, 3]
    assert machine.said == []


def test_what_it_said_is_reported_once(machine: Machine) -> None:
    machine.release(1, fine="echo well", wrong="echo bad >&2; exit 3")
    assert machine.news(1) is None
    machine.run(1)
    news = machine.news(1)
    assert news is not None
    assert (news["fine"]["state"], news["fine"]["stdout"]) == ("done", "well\n")
    assert (news["wrong"]["state"], news["wrong"]["exit_status"]) == ("failed", 3)
    assert machine.news(1) is None


def test_on_trial_nothing_is_run(machine: Machine, tmp_path: Path) -> None:
    machine.release(1, a=f"echo x >> {tmp_path}/mark\n")
    machine.run(1, QLMDM_TRIAL="1")
    assert not (tmp_path / "mark").exists()
    machine.run(1)
    assert (tmp_path / "mark").exists()


def test_what_the_manifest_does_not_name_is_not_run(machine: Machine, tmp_path: Path) -> None:
    mark = f"echo x >> {tmp_path}/mark\n"
    machine.release(1, a="true")
    (machine.state / "slots/1.1/commands/b").write_text(mark)
    (machine.state / "slots/1.1/commands/a").write_text(mark)
    machine.run(1)
    assert not (tmp_path / "mark").exists()
    assert "not what the release's manifest names" in machine.said[0]


def test_one_that_was_cut_off_is_indeterminate_and_not_run_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.release(1, a=f"echo x >> {tmp_path}/mark\n")

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shipped, "_run", cut_off)
        with pytest.raises(KeyboardInterrupt):
            machine.run(1)
    machine.run(1)
    assert not (tmp_path / "mark").exists()
    news = machine.news(1)
    assert news is not None
    assert news["a"]["state"] == "indeterminate"
