"""What plugins can say of a release, and what becomes of those that misbehave while asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlmdm_core import settings
from qlmdm_core.client.release import hooks
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.plugins import PluginEntry

HEAD = "import os, signal, sys, time\nfrom qlmdm_core import Objection, hookimpl\n"
OBJECTS = """
@hookimpl
def qlmdm_release_objections(release, stage):
    return [Objection(reason=f"{stage} {release['version']}: no")]
"""
AGREES = """
@hookimpl
def qlmdm_release_objections():
    return []
"""
SILENT = """
@hookimpl
def qlmdm_register_collectors():
    return []
"""
MISBEHAVES = """
@hookimpl
def qlmdm_release_objections():
    WHAT
"""


def ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *texts: str, timeout: float = 60.0
) -> list[hooks.Reply]:
    monkeypatch.syspath_prepend(str(folder))
    entries: list[PluginEntry] = []
    for number, text in enumerate(texts):
        name = f"release_hook_{folder.name.replace('-', '_')}_{number}"
        (folder / f"{name}.py").write_text(HEAD + text)
        entries.append(
            PluginEntry(distribution=f"d{number}", name="p", target=name, group=CLIENT_GROUP)
        )
    loaded = settings.parse("server_url: https://x", ClientSettings)
    return hooks.ask(
        loaded,
        hooks.OBJECTIONS,
        {"release": {"version": "1.7"}, "stage": "install"},
        entries=entries,
        timeout=timeout,
    )


def test_each_distribution_is_asked_and_answers_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ask(tmp_path, monkeypatch, OBJECTS, AGREES, SILENT)
    assert replies == [
        hooks.Reply(distribution="d0", objections=("install 1.7: no",)),
        hooks.Reply(distribution="d1"),
        hooks.Reply(distribution="d2"),
    ]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("raise ValueError('hm')", "ValueError: hm"),
        ("sys.exit(0)", "SystemExit"),
        ("os._exit(0)", "exited with status 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("return 'no'", "expected a list"),
        ("return [1]", "expected Objection"),
        ("os.write(3, b'x' * 100)", "bytes"),
        ("print('x' * 20_000_000)", "printed more than"),
    ],
)
def test_one_that_misbehaves_objects_by_that_and_costs_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, why: str
) -> None:
    bad, good = ask(tmp_path, monkeypatch, MISBEHAVES.replace("WHAT", what), OBJECTS)
    assert why in bad.failure
    assert good == hooks.Reply(distribution="d1", objections=("install 1.7: no",))


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = MISBEHAVES.replace("WHAT", "time.sleep(3600)")
    (reply,) = ask(tmp_path, monkeypatch, hangs, timeout=3.0)
    assert reply.failure == "it took longer than 3 seconds"


def test_one_that_can_not_be_imported_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("import no_such_module", "import os; os._exit(1)", "no python"):
        (reply,) = ask(tmp_path, monkeypatch, text)
        assert reply == hooks.Reply(distribution="d0")


def test_no_process_is_left_of_one_that_leaves_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    what = (
        "import subprocess; p = subprocess.Popen(['sleep', '1000'], start_new_session=True); "
        f"open({str(pid)!r}, 'w').write(str(p.pid)); return []"
    )
    (reply,) = ask(tmp_path, monkeypatch, MISBEHAVES.replace("WHAT", what))
    assert reply == hooks.Reply(distribution="d0")
    assert not Path(f"/proc/{pid.read_text()}").exists()
