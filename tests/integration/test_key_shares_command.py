"""`qlmdm-keys split`, `combine` and `reshare`, as people call them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qlmdm_core.server import keys_cli
from qlmdm_core.signing import keys
from qlmdm_core.testing.server import SimulatedServer

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    def call(*argv: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["qlmdm-keys", *argv])
        monkeypatch.setenv("QLMDM_SETTINGS", server.settings_file)
        try:
            status = keys_cli.main()
        except SystemExit as ended:  # argparse's own
            status = int(ended.code or 0)
        return status, "".join(capsys.readouterr())

    return call


def test_the_root_key_leaves_the_server_and_comes_back(
    server: SimulatedServer, run: Run, tmp_path: Path
) -> None:
    home = Path(server.settings.keys) / "root"
    (key,) = keys.list_keys(str(home))
    folder = tmp_path / "shares"
    numbers = ("--keepers", "3", "--threshold", "2")
    status, out = run("split", "root", *numbers, "--output", str(folder), "--remove")
    assert status == 0, out
    assert not home.exists()
    shares = sorted(map(str, folder.glob("root-share-*")))
    assert len(shares) == 3
    last_line = Path(shares[0]).read_bytes().strip().splitlines()[-1]
    assert len(last_line.split()) == 3
    for path in tmp_path.joinpath("server").rglob("*"):
        assert not path.is_file() or last_line not in path.read_bytes(), "no share stays here"
    status, out = run("combine", "root", shares[0])
    assert (status, "1 of the 2 shares are here; 1 more" in out) == (1, True)
    status, out = run("combine", "root", shares[0], shares[0])
    assert (status, f"{shares[0]}: the same share" in out) == (1, True)
    status, out = run("combine", "root", shares[2], shares[0])
    assert (status, key.fingerprint in out) == (0, True)
    assert keys.list_keys(str(home)) == [key]


def test_shares_from_before_a_reshare_are_refused_by_name(
    server: SimulatedServer, run: Run, tmp_path: Path
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    numbers = ("--keepers", "2", "--threshold", "2")
    assert run("split", "release", *numbers, "--output", str(first), "--remove")[0] == 0
    old = sorted(map(str, first.glob("release-share-*")))
    status, out = run("reshare", "release", *old, *numbers, "--output", str(second))
    assert (status, "rotate the key" in out) == (0, True)
    new = sorted(map(str, second.glob("release-share-*")))
    status, out = run("combine", "release", *old)
    assert (status, old[0] in out) == (1, True)
    assert run("combine", "release", *new)[0] == 0


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["split", "online", "--keepers", "2", "--threshold", "2", "--remove"], 2, "it stays"),
        (["split", "root", "--keepers", "2", "--threshold", "1"], 2, "each keeper alone"),
        (["split", "root", "--threshold", "2"], 2, "--keepers N is needed"),
        (["split", "nobody", "--keepers", "2", "--threshold", "2"], 2, "invalid choice"),
        (["combine", "root", "nowhere.txt"], 2, "can't be read"),
    ],
)
def test_a_wrong_call_changes_nothing_and_says_why(
    server: SimulatedServer, run: Run, tmp_path: Path, argv: list[str], status: int, message: str
) -> None:
    output = ["--output", str(tmp_path / "shares")] if argv[0] == "split" else []
    got, out = run(*argv, *output)
    assert (got, message in out) == (status, True), out
    assert not (tmp_path / "shares").exists()
    assert keys.list_keys(str(Path(server.settings.keys) / "root"))
