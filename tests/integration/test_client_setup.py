"""`qlmdm-client-setup`, as a person calls it: rightly, wrongly, twice."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qlmdm_core import settings
from qlmdm_core.client import setup_cli
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server

Setup = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedServer]:
    with simulated_server(tmp_path) as made:
        yield made


@pytest.fixture
def wire(server: SimulatedServer) -> Iterator[Wire]:
    with served(server.app) as made:
        yield made


@pytest.fixture
def setup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Setup:
    monkeypatch.setenv("QLMDM_SETTINGS", str(tmp_path / "etc" / "client.yml"))
    monkeypatch.setenv("QLMDM_STATE_DIR", str(tmp_path / "c"))

    def call(*argv: str, stdin: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qlmdm-client-setup", *argv])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin or ""))
        status = setup_cli.main()
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def token(server: SimulatedServer, tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{server.invite(uses=5)}\n")
    return str(path)


def test_a_machine_is_enrolled_and_its_settings_are_written(
    setup: Setup, wire: Wire, server: SimulatedServer, token: str, tmp_path: Path
) -> None:
    status, out, _ = setup("--server", wire.url, "--token-file", token)
    assert status == 0
    assert "enrolled as" in out
    loaded = settings.load(str(tmp_path / "etc" / "client.yml"), ClientSettings)
    assert loaded.core == ClientSettings(server_url=wire.url)
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700
    assert server.store.count_clients() == {"active": 1}


def test_the_token_may_come_by_standard_input(
    setup: Setup, wire: Wire, server: SimulatedServer
) -> None:
    assert setup("--server", wire.url, "--token-file", "-", stdin=str(server.invite()))[0] == 0


def test_settings_that_are_there_are_kept(
    setup: Setup, wire: Wire, token: str, tmp_path: Path
) -> None:
    file = tmp_path / "etc" / "client.yml"
    file.parent.mkdir()
    file.write_text(f"server_url: {wire.url}\npoll_interval: 7m\n")
    assert setup("--token-file", token)[0] == 0
    assert "7m" in file.read_text()
    status, _, err = setup("--server", "https://other.example.com", "--token-file", token)
    assert status == 2
    assert "but" in err
    assert str(file) in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--server is needed"),
        (["--server", "ftp://x", "--token-file", "TOKEN"], "expected https://"),
        (["--server", "http://127.0.0.1:1", "--token-file", "/nowhere"], "/nowhere: No such"),
        (["--server", "http://127.0.0.1:1"], "--token-file is needed when nobody can be asked"),
        (["--server", "http://127.0.0.1:1", "--token-file", "-"], "not an invitation token"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(setup: Setup, argv: list[str], message: str) -> None:
    status, _, err = setup(*argv, stdin="nonsense")
    assert status == 2
    assert message in err


def test_a_token_that_is_mistyped_is_never_repeated(setup: Setup, server: SimulatedServer) -> None:
    token = server.invite()
    wrong = str(token).replace("qlmdm1", "qlmdm9")
    _, out, err = setup("--server", "http://127.0.0.1:1", "--token-file", "-", stdin=wrong)
    assert token.secret not in out + err


def test_a_second_enrolment_is_refused(setup: Setup, wire: Wire, token: str) -> None:
    setup("--server", wire.url, "--token-file", token)
    status, _, err = setup("--token-file", token)
    assert status == 2
    assert "is enrolled already" in err


def test_a_server_that_is_not_there_is_exit_3(setup: Setup, token: str) -> None:
    status, _, err = setup("--server", "http://127.0.0.1:1", "--token-file", token)
    assert status == 3
    assert "refused" in err


def test_who_installed_a_release_is_not_told_to_write_a_cron_line(
    setup: Setup, wire: Wire, token: str, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir(mode=0o700)
    (tmp_path / "c" / "current").symlink_to("slots/1.1")
    _, out, _ = setup("--server", wire.url, "--token-file", token)
    assert "enrolled as" in out
    assert "cron" not in out


def test_who_did_not_is_told(setup: Setup, wire: Wire, token: str) -> None:
    assert "let cron or a systemd timer" in setup("--server", wire.url, "--token-file", token)[1]
