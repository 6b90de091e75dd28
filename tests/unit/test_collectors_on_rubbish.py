"""A machine on which every file and every command says the same rubbish, or misbehaves.

Whatever they say, a collector gives a state, and a reason where that is unknown.
"""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_core.api import JSON, CommandResult, FileStat, Host, HttpResponse, Process
from qlmdm_plugins_builtin.collectors import (
    dmidecode,
    hd_encryption,
    ip_addresses,
    network_devices,
    os_info,
)
from qlmdm_plugins_builtin.collectors.geolocation import GeolocationSettings
from qlmdm_plugins_builtin.collectors.geolocation import collect as geolocation
from qlmdm_plugins_eset.collectors import eraagent, eset, prey

STATES: dict[Callable[[Host], JSON], set[str]] = {
    hd_encryption.collect: {"encrypted", "not_encrypted", "unknown"},
    dmidecode.collect: {"available", "not_available", "unknown"},
    os_info.collect: {"available", "unknown"},
    ip_addresses.collect: {"available", "unknown"},
    network_devices.collect: {"available", "unknown"},
    eset.collect: {"running", "stopped", "absent", "unknown"},
    eraagent.collect: {"running", "stopped", "absent", "unknown"},
    prey.collect: {"running", "stopped", "absent", "unknown"},
}


class Rubbish:
    """`Host`, where everything there is says `text`, and what is a command ends as `how`."""

    distro = None
    is_root = True

    def __init__(self, text: str, how: str, names: Sequence[str]) -> None:
        self._text, self._how, self._names = text, how, list(names)

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=timezone.utc)

    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        words = tuple(argv)
        if self._how == "missing":
            return CommandResult(argv=words, found=False)
        if self._how == "hangs":
            return CommandResult(argv=words, timed_out=True, stdout=self._text)
        if self._how == "too much":
            return CommandResult(argv=words, returncode=-9, truncated=True, stdout=self._text)
        code = 0 if self._how == "fine" else 1
        return CommandResult(argv=words, returncode=code, stdout=self._text, stderr=self._text)

    def which(self, program: str) -> str | None:
        return None if self._how == "missing" else f"/usr/bin/{program}"

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        if self._how == "vanished":
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        if self._how == "refused":
            raise PermissionError(errno.EACCES, "refused", path)
        if self._how == "no file":
            raise OSError(errno.EINVAL, "not a regular file", path)
        return self._text[:max_bytes]

    def exists(self, path: str) -> bool:
        return self._how != "vanished" and path != "/run/systemd/container"

    def glob(self, pattern: str) -> list[str]:
        return [pattern.replace("*", name) for name in self._names]

    def listdir(self, path: str) -> list[str]:
        if self._how in ("vanished", "refused", "no file"):
            raise NotADirectoryError(errno.ENOTDIR, "no folder", path)
        return self._names

    def stat(self, path: str) -> FileStat:
        self.read(path)
        return FileStat(mode=stat.S_IFREG | 0o644, mtime=1e9)

    def readlink(self, path: str) -> str:
        return self.read(path).split("\n")[0].replace("\0", "") or "x"

    def processes(self) -> list[Process]:
        return [Process(pid=1, argv=tuple(self._text.split()[:3]), exe=self._text[:50])]

    def http(self, method: str, url: str, **options: Any) -> HttpResponse:
        return HttpResponse(status=200, body=self._text)

    def recall(self) -> JSON:
        try:
            return json.loads(self._text)
        except ValueError:
            return self._text

    def remember(self, value: JSON) -> None:
        json.dumps(value, allow_nan=False)


WORDS = [
    *("NAME", "TYPE", "MOUNTPOINT", "sda", "sda1", "dm-0", "crypt", "lvm", "/", "/home", "8:1"),
    *("0:31", " - ", "btrfs", "zfs", "overlay", "lowerdir=/a:/b", "\n", " ", "\t", "\0", "\\"),
    *("\\040", "{", "}", "[", "]", '"', ":", "=", "NAME=", "blockdevices", "addr_info", "inet"),
    *("192.0.2.1/24", "eth0", "<UP>", "1: ", "Handle ", "DMI type 1", "Serial Number: x", "ID="),
    *("EM002", "(20261101)", "Active: active", "LoadState=loaded", "device_key = k", "\ufffd"),
    *("BSS 00:11:22:33:44:55(on wlan0)", "signal: -50 dBm", "[SWAP]", "resume=", "is active"),
]
texts = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(WORDS), max_size=25).map("".join))
names = st.lists(
    st.sampled_from(["sda", "sda1", "dm-0", "loop0", "md0", "zram0", "eth0", "\ufffd"]),
    max_size=4,
    unique=True,
)
hows = st.sampled_from(
    ["fine", "fails", "hangs", "missing", "too much", "vanished", "refused", "no file"]
)


@pytest.mark.parametrize("collect", STATES, ids=lambda collect: collect.__module__.split(".")[-1])
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(texts, hows, names)
def test_a_state_comes_out_and_unknown_has_a_reason(
    collect: Callable[[Host], JSON], text: str, how: str, names: list[str]
) -> None:
    check(collect(Rubbish(text, how, names)), STATES[collect])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(texts, hows, names)
def test_geolocation_of_rubbish_is_nowhere_or_on_earth(
    text: str, how: str, names: list[str]
) -> None:
    config = GeolocationSettings(enabled=True, provider_url="https://geo.example.net/")
    value = geolocation(Rubbish(text, how, names), config)
    check(value, {"located", "unknown"})
    if value["state"] == "located":
        assert abs(value["latitude"]) <= 90


def check(value: Mapping[str, JSON], states: set[str]) -> None:
    json.dumps(value, allow_nan=False)
    assert value["state"] in states
    assert value["state"] != "unknown" or value["reason"]
