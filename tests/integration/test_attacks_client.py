"""Attacks on a client by who has the online key, a mirror, or an account on the laptop.

Each is the real exploit against the real client; where a guard stops it, it is shown to succeed
once that guard is taken out.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope, signedtext
from qlmdm_core.client import enrol, identity, link, submit
from qlmdm_core.client.commands.work import later
from qlmdm_core.client.cycle import open_link, open_spool
from qlmdm_core.client.release import wrappers
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.rootdoc import Role
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server
from qlmdm_core.testing.trust import make_ring, whole_second

FAR = 4102444800
"""2100-01-01."""


class Thief:
    """Has the online key, and stands between a client and its server."""

    def __init__(self, server: SimulatedServer, wire: Wire) -> None:
        self._server = server
        self._wire = wire

    def lies(self, **changes: Any) -> None:
        """Change these fields of every answer, and sign it."""

        def meddle(path: str, body: bytes) -> tuple[str, bytes]:
            del path
            signed = signedtext.unpack(body, max_bytes=1 << 20)
            text = json.dumps({**json.loads(signed.text), **changes})
            signature = self._server.crypto.signer.sign(text.encode())
            return "200 OK", replace(signed, text=text, sigs=(signature,)).pack()

        self._wire.meddle = meddle

    def is_gone(self) -> None:
        self._wire.meddle = None


class Laptop:
    """An enrolled client."""

    def __init__(self, state: State, settings: ClientSettings) -> None:
        self.state = state
        self._settings = settings

    def asks(self, typ: str = "update", seq: int = 0) -> str:
        """One question by a new process; the status of its answer."""
        with open_link(self.state, self._settings) as opened:
            return opened.ask(typ, {"update": {"root": 1}}, seq=seq).status

    def reports(self) -> tuple[int, str]:
        at = "2026-11-01T12:00:00+00:00"
        result = {"status": "ok", "value": {}, "collected_at": at, "seconds": 0.1}
        record = {
            "rid": str(uuid.uuid4()),
            "collected_at": at,
            "collectors": {"firewall": result},
        }
        with (
            open_link(self.state, self._settings) as opened,
            open_spool(self.state, self._settings) as spool,
        ):
            spool.put(record)
            sent = submit.submit(opened, spool)
        return sent.sent, sent.problem

    @property
    def memory(self) -> link.LinkState:
        return link.load_link(self.state)


@pytest.fixture
def server(tmp_path: Path, prepared: Path) -> Iterator[SimulatedServer]:
    with simulated_server(tmp_path, prepared=prepared) as made:
        yield made


@pytest.fixture
def wire(server: SimulatedServer) -> Iterator[Wire]:
    with served(server.app) as made:
        yield made


@pytest.fixture
def thief(server: SimulatedServer, wire: Wire) -> Thief:
    return Thief(server, wire)


@pytest.fixture
def laptop(server: SimulatedServer, wire: Wire, tmp_path: Path) -> Iterator[Laptop]:
    with State(str(tmp_path / "client")) as state:
        enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
        yield Laptop(state, ClientSettings(server_url=wire.url))


# --- the online key was stolen: its lies end with it ----------------------------------------------


@pytest.mark.parametrize("at", [0, -1, 1, FAR, 2**32, 2**40, 2**53, 2**63 - 1, -(2**63)])
def test_a_lie_about_the_time_does_not_outlast_the_liar(
    laptop: Laptop, thief: Thief, at: int
) -> None:
    """A signature by gpg can't be dated with any time: the client would never ask again."""
    thief.lies(at=at, status="stale")
    for _ in range(2):
        try:
            laptop.asks()
        except link.CANT_ASK:
            continue
    thief.is_gone()
    assert "ok" in (laptop.asks(), laptop.asks())
    assert laptop.reports() == (1, "")


def test_a_lie_about_the_time_would_outlast_the_liar(
    laptop: Laptop, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above, without the guard."""
    monkeypatch.setattr(envelope, "LATEST", 2**64)
    thief.lies(at=2**63 - 1, status="stale")
    laptop.asks()
    thief.is_gone()
    with pytest.raises(link.UnsignedAnswerError, match="403"):
        laptop.asks()


@pytest.mark.parametrize("at", [FAR, 2**32 - 1])
def test_time_as_the_thief_has_it_is_not_believed_beyond_the_root_document(
    laptop: Laptop, thief: Thief, at: int
) -> None:
    """Or no release and no command would be taken ever again, whatever the root keys sign."""
    thief.lies(at=at)
    laptop.asks()
    root = identity.load_root(laptop.state)
    assert laptop.memory.server_at == root.expires_at.timestamp()


def test_new_online_keys_end_what_the_old_ones_said_of_the_time(
    laptop: Laptop, thief: Thief, server: SimulatedServer, tmp_path: Path
) -> None:
    """The administrator's way back, see docs/security.md: a command of today is taken again."""
    thief.lies(at=FAR)
    laptop.asks()
    thief.is_gone()
    before = identity.load_root(laptop.state)
    assert before.is_expired(later(time.time(), laptop.memory.server_at))
    made = make_ring(str(tmp_path / "k"), ["online"]).public["online"]
    online = Role(fingerprints=(made.fingerprint,))
    now = whole_second(datetime.now(timezone.utc))
    root = replace(
        before,
        version=2,
        issued_at=now,
        expires_at=now + timedelta(days=365),
        roles={**before.roles, "online": online},
        keys={**before.keys, made.fingerprint: made.armoured},
    )
    kept = link.keep_root(laptop.state, before, replace(before, version=2), b"a root document")
    assert kept.server_at == before.expires_at.timestamp(), "the same keys: nothing is forgotten"
    link.keep_root(laptop.state, before, root, b"a root document")
    assert laptop.memory.server_at == root.issued_at.timestamp()
    assert not root.is_expired(later(time.time(), laptop.memory.server_at))


@pytest.mark.parametrize("last", [2**53, 2**53 - 1])
def test_a_lie_about_what_was_counted_does_not_silence_a_client(
    laptop: Laptop, thief: Thief, last: int
) -> None:
    assert laptop.reports() == (1, "")
    thief.lies(status="behind", last_seq=last)
    laptop.reports()
    thief.is_gone()
    assert laptop.reports() == (2, "")


def test_it_would_silence_a_client_that_believed_any_number(
    laptop: Laptop, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "MOST_MISSED", 2**64)
    thief.lies(status="behind", last_seq=2**53)
    laptop.reports()
    thief.is_gone()
    assert laptop.reports()[0] == 0


def test_a_lie_about_the_time_does_not_make_a_key_expire(
    server: SimulatedServer, wire: Wire, thief: Thief, tmp_path: Path
) -> None:
    """gpg signs with no key that has expired by then."""
    with State(str(tmp_path / "other")) as state:
        enrol.enrol(state, Transport(wire.url), server.invite(), "laptop8", key_days=90)
        laptop = Laptop(state, ClientSettings(server_url=wire.url))
        thief.lies(at=FAR, status="stale")
        laptop.asks()
        thief.is_gone()
        assert laptop.asks() == "stale"
        assert laptop.asks() == "ok"


# --- an account on the laptop ---------------------------------------------------------------------


def test_a_file_that_lies_ready_does_not_become_a_command(tmp_path: Path) -> None:
    """Where others write in /usr/local/bin, too: who made the file would go on writing to it."""
    theirs = tmp_path / "theirs"
    theirs.touch()
    os.link(theirs, tmp_path / ".qlmdm-verify.new")
    (made,) = wrappers.write_commands(str(tmp_path), "/usr/bin/python3", "/s", ["qlmdm-verify"])
    assert "launcher.py" in Path(made).read_text()
    assert not os.path.samefile(made, theirs)
    assert theirs.read_text() == ""
