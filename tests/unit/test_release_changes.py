"""What an administrator is shown before a release is signed: all that matters, and no more."""

from __future__ import annotations

from qlmdm_core.manifest import File
from qlmdm_core.server.releases import changes
from qlmdm_core.server.releases.changes import NOTHING, Contents

SETTINGS = "# Where the server is.\nserver_url: https://qlmdm.example.com\n\n# poll_interval: 1m\n"


def contents(*paths: str, settings: str = SETTINGS, content: str = "a") -> Contents:
    files = [File(path=path, sha256=content * 64, size=1000, mode=0o644) for path in paths]
    return Contents(files=files, distributions={"x": "1"}, settings=settings)


LAUNCHER = [f"launcher/lib/qlmdm_core/m{number}.py" for number in range(27)]
FIRST = contents("launcher/launcher.py", *LAUNCHER, "lib/x.py", "settings.yml", "commands/hello")


def test_the_first_release_is_said_in_few_lines() -> None:
    said = list(changes.lines(changes.compare(NOTHING, FIRST)))
    assert said == [
        "  + x 1",
        "  settings.yml: +server_url: https://qlmdm.example.com",
        "  + commands/hello",
        "  + settings.yml",
        "  + the launcher, 28 files",
        "  31 files, 0.0 MB unpacked",
    ]


def test_every_file_is_named_to_whom_asks_for_it() -> None:
    said = list(changes.lines(changes.compare(NOTHING, FIRST), every_file=True))
    assert [f"  + {path}" for path in LAUNCHER if f"  + {path}" not in said] == []


def test_a_later_release_shows_each_changed_line_of_the_settings_comments_too() -> None:
    after = contents(
        "launcher/launcher.py",
        *LAUNCHER[1:],
        "settings.yml",
        settings=SETTINGS.replace("# poll_interval: 1m", "poll_interval: 2m"),
        content="b",
    )
    said = list(changes.lines(changes.compare(FIRST, after)))
    assert "  settings.yml: -# poll_interval: 1m" in said
    assert "  settings.yml: +poll_interval: 2m" in said
    assert "  ~ the launcher, 27 files" in said
    assert "  - the launcher, 1 file" in said
    assert "  - commands/hello" in said


def test_code_that_changed_under_the_same_version_is_told() -> None:
    before = contents("lib/x/a.py", "lib/x/b.py", "lib/y.py")
    after = Contents(
        files=contents("lib/x/a.py", "lib/x/b.py", "lib/y.py", content="b").files,
        distributions={"x": "1"},
        settings=SETTINGS,
    )
    said = list(changes.lines(changes.compare(before, after)))
    assert said[:2] == ["  ~ lib/x, 2 files", "  ~ lib/y.py, 1 file"]


def test_code_of_a_package_with_another_version_is_told_by_its_name_alone() -> None:
    before = contents("lib/x/a.py", "lib/y.py")
    newer = contents("lib/x/a.py", "lib/x-2.dist-info/RECORD", "lib/y.py", content="b")
    after = Contents(files=newer.files, distributions={"x": "2"}, settings=before.settings)
    said = list(changes.lines(changes.compare(before, after)))
    assert said[:2] == ["  ~ x 1 -> 2", "  ~ lib/y.py, 1 file"]
