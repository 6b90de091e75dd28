"""What is sealed on a client is opened by a keeper, away from the server; nobody else can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client import enrol
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import KeyringError, QlmdmError
from qlmdm_core.server import revealing
from qlmdm_core.server.revealing import SealedValue
from qlmdm_core.signing.gpg import stop_agent
from qlmdm_core.testing import RecordedMachine
from qlmdm_core.testing.http import served
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server

BIN = Path(sys.executable).parent
URL = "https://geo.example.net/v1/geolocate"
PLACE = {"location": {"lat": 52.5200066, "lng": -13.4049541}, "accuracy": 31.5}
BARE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("falcon", "orjson", "pymongo", "pysequoia", "gunicorn", "rich"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
from qlmdm_core.server.clients_cli import main
sys.argv = ["qlmdm-clients", *sys.argv[1:]]
sys.exit(main())
"""
"""`qlmdm-clients` on a machine that has nothing of what a server needs."""


class Keeper:
    """Somebody with a gpg home of their own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home = str(folder / name)
        os.mkdir(self.home, 0o700)
        self.gpg("--quick-generate-key", name, "default", "default")
        self.file = folder / f"{name}.asc"
        self.file.write_text(self.gpg("--armor", "--export", name))

    def gpg(self, *argv: str) -> str:
        command = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--pinentry-mode"]
        done = subprocess.run(
            [*command, "loopback", "--passphrase", "", *argv],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def reveal(self, *argv: str, data: str = "") -> tuple[int, str, str]:
        """`qlmdm-clients reveal`, on this keeper's own machine."""
        done = subprocess.run(
            [sys.executable, "-c", BARE, "reveal", *argv],
            env={"GNUPGHOME": self.home, "PATH": os.environ["PATH"]},
            input=data,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def keepers(tmp_path: Path) -> Iterator[tuple[Keeper, Keeper]]:
    """One that the root document names, and one that it does not."""
    made = (Keeper(tmp_path, "kay"), Keeper(tmp_path, "mal"))
    yield made
    for keeper in made:
        stop_agent(keeper.home)


@pytest.fixture
def located(
    tmp_path: Path, keepers: tuple[Keeper, Keeper]
) -> Iterator[tuple[SimulatedServer, str]]:
    """A site where geolocation is turned on, and a laptop that was located."""
    prepared = prepare_server(tmp_path / "p", keepers=(str(keepers[0].file),))
    machine = RecordedMachine(tmp_path / "machine", root=True)
    machine.directory("/sys/class/net/lo").directory("/sys/class/net/wlan0/wireless")
    heard = "".join(
        f"BSS {address}(on wlan0)\n\tfreq: 5180.0\n\tsignal: -50.00 dBm\n"
        "\tlast seen: 120 ms ago\n\tSSID: home\n"
        for address in ("00:1c:42:0a:0b:01", "a4:b1:e9:00:00:02")
    )
    machine.command(["iw", "dev", "wlan0", "scan"], heard)
    machine.http("POST", URL, body=json.dumps(PLACE))
    machine.file("/etc/os-release", "ID=arch\n").write()
    with simulated_server(tmp_path, prepared=prepared) as server, served(server.app) as wire:
        with State(str(tmp_path / "c")) as state:
            cid = enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7").cid
        (tmp_path / "client.yml").write_text(
            f"server_url: {wire.url}\n"
            f"plugins: {{geolocation: {{enabled: true, provider_url: '{URL}'}}}}\n"
        )
        done = subprocess.run(
            [str(BIN / "qlmdm-client-cron"), "--now", "--replay", str(tmp_path / "machine")],
            env={
                **os.environ,
                "QLMDM_STATE_DIR": str(tmp_path / "c"),
                "QLMDM_SETTINGS": str(tmp_path / "client.yml"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield server, cid


def command(server: SimulatedServer, *argv: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(BIN / argv[0]), *argv[1:]],
        env={**os.environ, "QLMDM_SETTINGS": server.settings_file, "GNUPGHOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_location_is_collected_judged_and_read_by_its_keeper_only(
    located: tuple[SimulatedServer, str], keepers: tuple[Keeper, Keeper], tmp_path: Path
) -> None:
    server, cid = located
    text = (server.store.report(cid) or b"").decode()
    value = json.loads(text)["geolocation"]["value"]
    assert value["state"] == "located"
    assert "52.5" not in text
    with Path(server.settings_file).open("a") as file:
        file.write("plugins: {builtin: {location_required: true}}\n")
    status, out = command(server, "qlmdm-audit", "--all")
    assert status in (0, 1), out
    assert "no-location" not in out, "it said where it is"
    # The server has no key that opens it.
    status, out = command(server, "qlmdm-clients", "reveal", "laptop7", "geolocation")
    assert (status, "not opened: gpg could not open it" in out) == (1, True)
    path = str(tmp_path / "sealed.json")
    assert command(server, "qlmdm-clients", "reveal", "laptop7", "--export", path)[0] == 0
    status, out, err = keepers[0].reveal("--file", path, "--json")
    assert status == 0, err
    found = {line["collector"]: line for line in map(json.loads, out.splitlines())}
    shown = found["geolocation"]["value"]
    assert (shown["latitude"], shown["longitude"]) == (52.52, -13.405)
    status, out, err = keepers[0].reveal("--file", "-", data=Path(path).read_text())
    assert (status, '"latitude": 52.52' in out) == (0, True), err
    status, out, err = keepers[1].reveal("--file", path)
    assert (status, "52.5" in out, "not opened" in out) == (1, False, True)


def test_what_was_put_in_another_clients_place_is_refused(
    located: tuple[SimulatedServer, str], keepers: tuple[Keeper, Keeper], tmp_path: Path
) -> None:
    server, _ = located
    path = tmp_path / "sealed.json"
    command(server, "qlmdm-clients", "reveal", "laptop7", "--export", str(path))
    made = json.loads(path.read_text())
    for changes in ({"cid": "another"}, {"values": [{**made["values"][0], "collector": "sshd"}]}):
        changed = {**made, **changes}
        changed["count"] = len(changed["values"])
        path.write_text(json.dumps(changed))
        status, out, _ = keepers[0].reveal("--file", str(path))
        assert (status, "somebody put it in another's place" in out) == (1, True)
    path.write_text(json.dumps({**made, "values": []}))
    status, _, err = keepers[0].reveal("--file", str(path))
    assert (status, "it was changed" in err) == (1, True)


# --- the parts, without gpg -------------------------------------------------------------------


def sealed(value: Any = None, **content: Any) -> SealedValue:
    made = {"cid": "c1", "collector": "who", "parts": {"/user": "ada"}, **content}
    return SealedValue(
        collector="who",
        collected_at="",
        value={"state": "ok", "user": "private:1"} if value is None else value,
        sealed=json.dumps(made),
    )


def plainly(message: bytes) -> bytes:
    return message


def test_parts_go_back_to_their_places() -> None:
    value = {"a": [{"b~c/d": "x"}], "z": 1}
    parts = {"/a/0/b~0c~1d": "ada", "/gone/0": 5, "/z": 2}
    assert revealing.put_back(value, parts) == {"a": [{"b~c/d": "ada"}], "z": 2, "/gone/0": 5}
    assert value["z"] == 1


def test_each_value_is_opened_or_says_why_not() -> None:
    def locked(_: bytes) -> bytes:
        raise KeyringError("no secret key")

    (good,) = revealing.reveal("c1", [sealed()], plainly)
    assert (good.value["user"], good.problem) == ("ada", "")
    for one, decrypt, why in (
        (sealed(cid="c2"), plainly, "another's place"),
        (sealed(parts=5), plainly, "not what a client seals"),
        (sealed(), locked, "no secret key"),
        (revealing.sealed_values({"who": {"value": {"sealed": None}}})[0], plainly, "could not"),
    ):
        (bad,) = revealing.reveal("c1", [one], decrypt)
        assert why in bad.problem
        assert "ada" not in str(bad.value)


@given(st.one_of(st.binary(max_size=100), st.from_regex(rb'\{"v": ?1.{0,60}\}', fullmatch=True)))
def test_any_bytes_are_a_file_or_an_error(data: bytes) -> None:
    with pytest.raises(QlmdmError):
        revealing.unpack(data, "x")
