"""The launcher's own parts, and what is written outside the client's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qlmdm_core.client.release import launcher, launcher_files, verify, wrappers
from qlmdm_core.errors import UsageError


def unpack(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def loaded(lib: Path, statement: str) -> set[str]:
    """Which modules of ours are loaded by a statement, with nothing but `lib`."""
    code = f"import sys; sys.path.insert(0, {str(lib)!r})\n{statement}\n"
    code += "print(*[n for n in sys.modules if n.startswith('qlmdm_core')])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_launcher_travels_with_exactly_the_modules_that_it_takes(tmp_path: Path) -> None:
    unpack(tmp_path, launcher_files.launcher_files())
    found = loaded(
        tmp_path / "launcher/lib", "from qlmdm_core.client.release.supervise import supervise"
    )
    assert found == set(launcher_files.LAUNCHER_MODULES)


def test_client_setup_travels_with_exactly_the_modules_that_it_takes(tmp_path: Path) -> None:
    unpack(tmp_path, launcher_files.bootstrap_files())
    found = loaded(tmp_path / "lib", "from qlmdm_core.client.release.bootstrap_cli import main")
    late = {"qlmdm_core.client.release.supervise"}
    assert found == set(launcher_files.BOOTSTRAP_MODULES) - late


def test_an_idle_start_loads_nothing_at_all(tmp_path: Path) -> None:
    unpack(tmp_path, launcher_files.launcher_files())
    code = "import os, sys; before = set(sys.modules); sys.argv = ['x', 'qlmdm-client-cron']\n"
    path = tmp_path / "launcher/launcher.py"
    code += f"import time; time.time = lambda: 2.0\n__file__ = {str(path)!r}\n"
    (tmp_path / "due").write_text("1 3600\n")
    code += "source = open(__file__).read().replace('sys.exit(main())', 'print(main())')\n"
    code += "exec(compile(source, __file__, 'exec'))\n"
    code += "print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["0", "[]"]


@pytest.mark.parametrize(
    ("text", "now", "wait"),
    [
        ("100 150", 120.0, 30.0),
        ("100 150", 160.0, 0.0),
        ("100 500", 120.0, None),
        ("100 500", 50.0, 0.0),  # the clock was set back
        ("100 999999999", 120.0, 0.0),  # a release that wants to be left alone for ever
        ("100 nan", 120.0, 0.0),
        ("100 inf", 120.0, 0.0),
        ("garbage", 120.0, 0.0),
        ("", 120.0, 0.0),
    ],
)
def test_when_something_is_due(tmp_path: Path, text: str, now: float, wait: float | None) -> None:
    (tmp_path / "due").write_text(text)
    assert launcher.pause(str(tmp_path / "due"), now) == wait


def test_the_launcher_makes_the_same_stamps_as_the_verification(tmp_path: Path) -> None:
    (tmp_path / "slots/1.7/lib").mkdir(parents=True)
    (tmp_path / "slots/1.7/lib/a b.py").write_text("x")
    (tmp_path / "current").symlink_to("slots/1.7")
    (tmp_path / "stamps").mkdir()
    from qlmdm_core.client.release import layout
    from qlmdm_core.client.release.real_files import RealFiles
    from qlmdm_core.manifest import Version

    with RealFiles(str(tmp_path)) as files:
        found, _ = verify.compare_tree(files, "slots/1.7", [])
        verify.write_stamps(files, Version(1, 7), found, 1000.0)
        assert launcher.settled(str(tmp_path), 1001.0) == "1.7"
        assert launcher.settled(str(tmp_path), 1000.0 + 86401) is None
        assert launcher.settled(str(tmp_path), 999.0) is None
        layout.write_file(files, "trial.json", b"{}")
        assert launcher.settled(str(tmp_path), 1001.0) is None
        files.unlink("trial.json")
        text = (tmp_path / "stamps/1.7").read_text()
        for other in ("", "qlmdm-stamps-1 1000 0\n", text.rsplit("\n", 2)[0], "x" + text):
            (tmp_path / "stamps/1.7").write_text(other)
            assert launcher.settled(str(tmp_path), 1001.0) is None


def test_commands_are_found_in_our_own_metadata_only(tmp_path: Path) -> None:
    for name in ("qlmdm_core-1.0", "evil-1.0"):
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info/entry_points.txt").write_text(
            f"[other]\nqlmdm-collect = no:no\n[console_scripts]\nqlmdm-{name[:4]} = {name}:main\n"
        )
    (tmp_path / "qlmdm_x-1.dist-info").mkdir()
    assert launcher.console_scripts(str(tmp_path)) == [("qlmdm-qlmd", "qlmdm_core-1.0:main")]
    assert launcher.console_script(str(tmp_path), "qlmdm-evil") == ("", "")


# --- outside ------------------------------------------------------------------------------------


def test_where_there_is_cron_it_starts_the_agent(tmp_path: Path) -> None:
    (tmp_path / "cron.d").mkdir()
    (path,) = wrappers.write_schedule(str(tmp_path), "/usr/bin/python3", "/a 100%")
    line = Path(path).read_text().splitlines()[1]
    assert line == (
        "* * * * * root /usr/bin/python3 -I -S '/a 100\\%/launcher/launcher.py' qlmdm-client-cron"
    )
    assert wrappers.remove(str(tmp_path / "bin"), str(tmp_path)) == [path]


def test_without_cron_a_timer_does(tmp_path: Path) -> None:
    (tmp_path / "systemd/system").mkdir(parents=True)
    service, timer = wrappers.write_schedule(str(tmp_path), "/usr/bin/python3", "/var/q")
    assert "ExecStart=/usr/bin/python3 -I -S /var/q/launcher" in Path(service).read_text()
    assert "OnCalendar=minutely" in Path(timer).read_text()
    assert len(wrappers.remove(str(tmp_path / "bin"), str(tmp_path))) == 2


def test_without_either_nothing_is_written(tmp_path: Path) -> None:
    assert wrappers.write_schedule(str(tmp_path), "/usr/bin/python3", "/var/q") == []


def test_somebody_elses_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "qlmdm-collect").write_text("mine")
    with pytest.raises(UsageError, match="not ours"):
        wrappers.write_commands(str(tmp_path), "python3", "/q", ["qlmdm-collect"])
    assert wrappers.remove(str(tmp_path), str(tmp_path)) == []
    assert (tmp_path / "qlmdm-collect").read_text() == "mine"


def test_a_command_hands_its_words_on(tmp_path: Path) -> None:
    state = tmp_path / "a $b"
    (state / "launcher").mkdir(parents=True)
    (state / "launcher/launcher.py").write_text("import sys; print(sys.argv[1:])")
    (path,) = wrappers.write_commands(str(tmp_path), sys.executable, str(state), ["qlmdm-x"])
    done = subprocess.run([path, "a b", "--c"], capture_output=True, text=True, check=True)
    assert done.stdout == "['qlmdm-x', 'a b', '--c']\n"
    assert os.stat(path).st_mode & 0o777 == 0o755
