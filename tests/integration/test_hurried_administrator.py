"""What somebody in a hurry does wrong, and what is said then."""

from __future__ import annotations

import argparse
import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.client.release import bootstrap, bootstrap_cli
from qlmdm_core.errors import NotSetUpError, StoreUnavailableError, UsageError
from qlmdm_core.server.commands import whom
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.releases import bootstrap as bootstraps
from qlmdm_core.server.wipe.showing import when_lines
from qlmdm_core.store.sqlite.connection import connect
from qlmdm_core.testing.client import SimulatedClient, make_key_pair
from qlmdm_core.testing.server import SimulatedServer, simulated_server
from qlmdm_core.tokens import Token


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedServer]:
    with simulated_server(tmp_path) as made:
        yield made


@pytest.fixture
def reinstalled(server: SimulatedServer, tmp_path: Path) -> tuple[str, str]:
    """A machine that was retired and installed anew, under the name that it had."""
    cids = []
    for number in range(2):
        pair = make_key_pair(str(tmp_path / f"pair{number}"))
        client = SimulatedClient(server.send, pair, clock=server.clock, hostname="laptop7")
        client.enrol(server.invite())
        cids.append(str(client.cid))
    server.store.set_client(cids[0], status="retired")
    return cids[0], cids[1]


def test_a_command_for_a_reinstalled_machine_needs_its_name_only(
    server: SimulatedServer, reinstalled: tuple[str, str]
) -> None:
    args = argparse.Namespace(all=False, host=["laptop7"], tag=[])
    assert [one.cid for one in whom.chosen(server.store, args)] == [reinstalled[1]]


def test_who_wipes_a_machine_of_a_shared_name_must_say_which(
    server: SimulatedServer, reinstalled: tuple[str, str]
) -> None:
    with pytest.raises(UsageError, match="2 clients are called 'laptop7'") as caught:
        find_client(server.store, "laptop7")
    assert f"{reinstalled[0]}  retired, last seen " in str(caught.value)
    assert "+00:00" not in str(caught.value)  # times as everywhere else


def test_a_tar_for_new_machines_that_can_not_be_written_costs_no_invitation(
    tmp_path: Path,
) -> None:
    there = tmp_path / "new.tar"
    there.touch()
    with pytest.raises(UsageError, match=r"new.tar: it exists already; name a new file"):
        bootstraps.check_new(str(there))
    with pytest.raises(UsageError, match="nowhere: there is no such folder"):
        bootstraps.check_new(str(tmp_path / "nowhere" / "new.tar"))
    bootstraps.check_new(str(tmp_path / "another.tar"))


def test_who_installs_without_being_root_is_told_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refuse)
        with pytest.raises(UsageError) as caught:
            bootstrap.read(str(tmp_path / "enrol.yml"), 100)
    assert "run it as root" in str(caught.value)
    assert "unpack" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "cron", "out", "err"),
    [
        (3, False, "", "run the same again when the server can be reached"),
        (0, False, "qlmdm-client-cron", ""),
        (0, True, "", ""),
    ],
)
def test_whoever_installed_a_client_knows_what_is_next(
    status: int,
    cron: bool,
    out: str,
    err: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = argparse.Namespace(dir=str(tmp_path), hostname=None, no_cron=not cron)
    ended = subprocess.CompletedProcess[bytes]([sys.executable], status)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    token = Token(invitation_id="a" * 16, secret="c" * 64, root_sha256="b" * 64)
    assert bootstrap_cli._enrol(args, token) == status
    said = capsys.readouterr()
    assert out in said.out
    assert err in said.err
    assert bool(said.out) == bool(out)
    assert bool(said.err) == bool(err)


@pytest.mark.parametrize(
    ("operators", "said"), [(1, "one must sign"), (2, "2 different ones must sign")]
)
def test_the_plan_of_a_wipe_counts_operators_as_people_do(operators: int, said: str) -> None:
    now = datetime(2026, 11, 24, tzinfo=timezone.utc)
    lines = when_lines(now=now, not_before=now, expires_at=now, operators=operators)
    assert lines[0] == f"operators     {said}"


def test_who_may_not_see_the_database_is_not_told_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "qlmdm.sqlite")
    with pytest.raises(NotSetUpError, match="there is no database yet"):
        connect(path)

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        with pytest.raises(StoreUnavailableError, match="the user who owns the database"):
            connect(path)
