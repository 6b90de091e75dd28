"""accounts, certificates, packages, reboot_required and secure_boot where nothing is as it should
be: each gives a state of its own, and says why where it does not know."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, CommandResult, FileStat, Host
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_builtin.client_settings import CertificatesSettings, PackagesSettings
from qlmdm_plugins_builtin.collectors import (
    accounts,
    certificates,
    packages,
    reboot_required,
    secure_boot,
)
from qlmdm_plugins_ubuntu.adapter import AptAdapter

FILE = "/etc/ssl/a.pem"
ADAPTERS = (AptAdapter(), PacmanAdapter(), None)
COLLECT: Mapping[str, Callable[[Host], JSON]] = {
    "accounts": accounts.collect,
    "certificates": lambda host: certificates.collect(host, CertificatesSettings(files=(FILE,))),
    "packages": lambda host: packages.collect(host, PackagesSettings(enabled=True)),
    "reboot_required": reboot_required.collect,
    "secure_boot": secure_boot.collect,
}
STATES = {
    "accounts": {"available", "unknown"},
    "certificates": {"available", "unknown"},
    "packages": {"listed", "unknown"},
    "reboot_required": {"required", "not_required", "unknown"},
    "secure_boot": {"enabled", "disabled", "not_available", "unknown"},
}


ENOUGH = (
    "/.dockerenv", "/run/.containerenv", "/run/ostree", "/run/reboot-", "/var/run/reboot-",
    "/usr/share/update-notifier", "/etc/kernel/postinst.d",
)  # fmt: skip
"""Where these are, nothing more is asked."""


class Odd(ReplayHost):
    """A machine on which each file, folder and command answers the same odd thing."""

    text = ""
    answer = CommandResult(argv=("x",))
    error: OSError | None = None

    def _refuse(self) -> None:
        if self.error is not None:
            raise self.error

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        self._refuse()
        return self.text[:max_bytes]

    def listdir(self, path: str) -> list[str]:
        self._refuse()
        return ["1", "x"]

    def glob(self, pattern: str) -> list[str]:
        return [pattern.replace("*", "x")]

    def stat(self, path: str) -> FileStat:
        self._refuse()
        return FileStat(mode=0o100644, mtime=1.0)

    def readlink(self, path: str) -> str:
        self._refuse()
        return self.text[:20]

    def exists(self, path: str) -> bool:
        return not path.startswith(ENOUGH)

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}"

    def run(self, argv: Sequence[str], **options: object) -> CommandResult:
        return self.answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return RecordedMachine(tmp_path_factory.mktemp("odd")).write()


def state_of_each(
    folder: Path,
    *,
    text: str = "",
    answer: CommandResult | None = None,
    error: OSError | None = None,
) -> dict[str, set[str]]:
    """The states that each collector gives, with each adapter."""
    found: dict[str, set[str]] = {name: set() for name in COLLECT}
    for adapter in ADAPTERS:
        host = Odd(folder, distro=adapter)
        host.text, host.error = text, error
        host.answer = answer or CommandResult(argv=("x",), returncode=0, stdout=text)
        for name, collect in COLLECT.items():
            value = collect(host)
            assert value["state"] in STATES[name]
            assert value["state"] != "unknown" or value["reason"]
            found[name].add(value["state"])
    return found


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        FileNotFoundError(2, "No such file or directory"),
        IsADirectoryError(21, "Is a directory"),
        OSError(22, "not a regular file"),
        OSError(5, "Input/output error"),
        OSError("without a number"),
    ],
)
def test_where_no_file_can_be_read_nothing_is_claimed(folder: Path, error: OSError) -> None:
    failed = CommandResult(argv=("x",), found=False)
    found = state_of_each(folder, error=error, answer=failed)
    assert found["accounts"] == found["certificates"] == found["packages"] == {"unknown"}
    assert found["secure_boot"] == found["reboot_required"] == {"unknown"}


@pytest.mark.parametrize(
    "answer",
    [
        CommandResult(argv=("x",), timed_out=True, stdout="SecureBoot"),
        CommandResult(argv=("x",), returncode=-9, truncated=True, stdout="ii \ta\t1\tall\n" * 9),
        CommandResult(argv=("x",), returncode=-11),
        CommandResult(argv=("x",), returncode=0),
        CommandResult(argv=("x",), returncode=127, stderr="Befehl nicht gefunden"),
        CommandResult(argv=("x",), error="not root"),
        CommandResult(argv=("x",), returncode=0, stdout="\ufffd\0\x1b[1m" * 999),
    ],
)
def test_commands_that_hang_are_killed_or_print_nonsense_prove_nothing(
    folder: Path, answer: CommandResult
) -> None:
    found = state_of_each(folder, answer=answer)
    assert found["packages"] == {"unknown"}
    assert found["secure_boot"] == {"unknown"}


@given(st.text(max_size=200))
def test_no_text_in_every_file_and_command_breaks_a_collector(folder: Path, text: str) -> None:
    state_of_each(folder, text=text)


@pytest.mark.parametrize("text", ["\n" * 300_000, ":" * 300_000, "a " * 150_000, "0" * 300_000])
def test_large_files_and_answers_take_no_longer_than_they_are_long(folder: Path, text: str) -> None:
    state_of_each(folder, text=text)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "gone"])
def test_a_real_file_that_is_none_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cert.pem"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path = Path("/dev/zero")
    value = certificates.collect(RealHost(), CertificatesSettings(files=(str(path),)))
    assert value["state"] == "unknown"
    assert value["failed"][0]["reason"]


def test_this_machine_gives_a_value() -> None:
    for name, collect in COLLECT.items():
        value = collect(RealHost(distro=AptAdapter()))
        assert value["state"] in STATES[name]
