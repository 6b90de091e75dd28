"""`qlmdm-client-wipe` on a server that is really set up: what it shows, refuses and signs."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc
from qlmdm_core.client import enrol, identity
from qlmdm_core.client.commands import lanes
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.client.wipe import plan as plans
from qlmdm_core.client.wipe.people import Account
from qlmdm_core.client.wipe.plan import Disk, Header, Plan
from qlmdm_core.server.commands import delivery, publish
from qlmdm_core.server.context import open_context
from qlmdm_core.server.wipe import cli, ordering, reported, states
from qlmdm_core.signing import keys
from qlmdm_core.testing.client import SimulatedClient, make_key_pair
from qlmdm_core.testing.http import served
from qlmdm_core.testing.office import Office
from qlmdm_core.testing.server import SimulatedServer, simulated_server

ID = "5ad7b7a6f64f4e0f9f1c6a1b1c5f3d01"
PLAN = Plan(
    machine_id=ID,
    disks=(Disk(device="/dev/nvme0n1", serial="S4EWNX0R1", size_bytes=512 * 10**9, model="980"),),
    left_alone=("/dev/sda",),
    luks=(Header(uuid="8d0f1f5e", device="/dev/nvme0n1p3", disks=("/dev/nvme0n1",)),),
    not_encrypted=("/dev/nvme0n1p1 (vfat) on /boot/efi",),
    accounts=(Account(name="ada", uid=1000, home="/home/ada"),),
    unknown={},
)


@dataclass
class Said:
    status: int
    out: str


@dataclass
class Site:
    """A server, a client that lives in the test, and an administrator's keyboard."""

    server: SimulatedServer
    client: SimulatedClient
    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def office(self) -> Office:
        return Office(self.server)

    @property
    def cid(self) -> str:
        assert self.client.cid is not None
        return self.client.cid

    def wipe(self, *argv: str, typed: str = "", json_: bool = False) -> Said:
        command = ["qlmdm-client-wipe", "--settings", self.server.settings_file, *argv]
        self.monkeypatch.setattr(sys, "argv", command)
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\n"))
        try:
            status = cli.main()
        except SystemExit as error:
            status = int(error.code or 0)
        said = self.capsys.readouterr()
        return Said(status, said.out if json_ else said.out + said.err)

    def settings(self, text: str) -> None:
        """Add to the settings file."""
        path = Path(self.server.settings_file)
        path.write_text(f"{path.read_text()}\n{text}\n")

    def report(self, plan: Plan = PLAN) -> None:
        self.client.submit(self.client.report(wipe_plan={"state": "known", **plans.to_json(plan)}))

    def given(self, **later: float) -> list[commanddoc.Command]:
        """What the client would be given with a poll, so much later."""
        assert self.client.root is not None
        key = self.server.store.key(self.client.key.signer.fingerprint)
        assert key is not None
        now = self.server.clock() + timedelta(**later)
        return [
            commanddoc.verify(text.encode(), self.client.root, self.client.verifier)
            for text in delivery.for_client(self.server.store, key, now)
        ]

    def state(self) -> str:
        said = self.wipe("--status", "laptop7", "--json", json_=True)
        return str(json.loads(said.out.splitlines()[0])["state"])

    def ordered(self, method: str = "erase") -> str:
        said = self.wipe("laptop7", "--method", method, typed="laptop7")
        assert said.status == 0, said.out
        found = re.search(r"wipe ([0-9a-f]{32}) is held until", said.out)
        assert found is not None
        return found[1]


@pytest.fixture
def site(
    tmp_path: Path,
    prepared: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    with simulated_server(tmp_path / "s", prepared=prepared) as server:
        client = SimulatedClient(
            server.send, make_key_pair(str(tmp_path / "k")), hostname="laptop7", clock=server.clock
        )
        client.enrol(server.invite(tags=("lent",), user_email="ada@example.com"))
        site = Site(server, client, tmp_path, capsys, monkeypatch)
        site.report()
        yield site


# --- the plan ----------------------------------------------------------------------------------


def test_the_plan_is_shown_as_it_is_and_nothing_is_done(site: Site) -> None:
    said = site.wipe("laptop7")
    assert said.status == 0
    for text in (
        f"laptop7 ({site.cid})",
        "ada@example.com",
        ID,
        "/dev/nvme0n1: S4EWNX0R1 (980, 512 GB)",
        "8d0f1f5e at /dev/nvme0n1p3, on /dev/nvme0n1",
        "/dev/nvme0n1p1 (vfat) on /boot/efi",
        "/dev/sda",
        "ada (1000), /home/ada",
        "THIS IS NOT ERASURE",
        "15 minutes from now",
        "nothing was done",
    ):
        assert text in said.out, text
    assert site.server.store.commands(kind="wipe") == []
    assert site.server.store.drafts() == []
    shown = json.loads(site.wipe("laptop7", "--json", json_=True).out)
    assert shown["plan"]["disks"][0]["serial"] == "S4EWNX0R1"
    assert shown["refused"] == []


def test_words_that_a_client_chose_move_no_cursor(site: Site) -> None:
    site.report(replace(PLAN, accounts=(Account(name="\x1b[2J", uid=1000, home="/home/\r"),)))
    said = site.wipe("laptop7")
    assert "\x1b" not in said.out
    assert "\r" not in said.out


def test_without_a_plan_there_is_no_wipe(site: Site) -> None:
    other = SimulatedClient(
        site.server.send,
        make_key_pair(str(site.folder / "k2")),
        hostname="laptop8",
        clock=site.server.clock,
    )
    other.enrol(site.server.invite())
    other.submit(other.report())
    said = site.wipe("laptop8", "--method", "accounts", typed="laptop8")
    assert said.status == 1
    assert "the client's collector wipe_plan must have run" in said.out


@pytest.mark.parametrize(
    ("changes", "method", "why"),
    [
        ({"unknown": {"disks": "lsblk hangs"}}, "accounts", "disks is not known: lsblk hangs"),
        ({"machine_id": ""}, "accounts", "machine-id"),
        ({"luks": ()}, "erase", "erase could do nothing"),
        ({"unknown": {"accounts": "no"}}, "accounts", "accounts is not known"),
    ],
)
def test_a_plan_that_its_client_would_refuse_is_not_signed(
    site: Site, changes: dict[str, Any], method: str, why: str
) -> None:
    site.report(replace(PLAN, **changes))
    said = site.wipe("laptop7", "--method", method, typed="laptop7")
    assert said.status == 1
    assert why in said.out
    assert site.server.store.commands(kind="wipe") == []


def test_of_two_clients_of_one_name_the_id_is_asked_for(site: Site) -> None:
    other = SimulatedClient(
        site.server.send,
        make_key_pair(str(site.folder / "k2")),
        hostname="laptop7",
        clock=site.server.clock,
    )
    other.enrol(site.server.invite())
    said = site.wipe("laptop7", "--method", "erase", typed="laptop7")
    assert said.status == 2
    assert "use the id instead" in said.out
    assert site.wipe(site.cid, "--method", "erase", typed="laptop7").status == 0
    assert site.server.store.target(site.server.store.commands(kind="wipe")[0].command_id, site.cid)


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["", "laptop", "LAPTOP7", "yes"])
def test_the_hostname_must_be_typed(site: Site, typed: str) -> None:
    said = site.wipe("laptop7", "--method", "erase", typed=typed)
    assert said.status == 2
    assert "nothing was done" in said.out
    assert site.server.store.commands(kind="wipe") == []


def test_a_name_that_nobody_can_type_does_not_keep_a_machine_from_being_wiped(site: Site) -> None:
    """A thief who is root chooses it; the id is ours."""
    site.client.hostname = "\x1b[2J\u200blaptop7 "
    site.report()
    said = site.wipe(site.cid, "--method", "erase", typed="laptop7")
    assert said.status == 2
    assert "\x1b" not in said.out
    said = site.wipe(site.cid, "--method", "erase", typed=site.cid)
    assert said.status == 0, said.out
    assert len(site.server.store.commands(kind="wipe")) == 1


def test_who_is_no_operator_is_refused(site: Site) -> None:
    home = Path(site.server.settings.keys) / "operator"
    for path in home.glob("private-keys-v1.d/*"):
        path.unlink()
    keys.make_key(str(home), "mallory")
    said = site.wipe("laptop7", "--method", "erase", typed="laptop7")
    assert said.status == 1
    assert "none of the operator keys" in said.out
    assert list(site.server.store.drafts()) == []
    assert list(site.server.store.commands(kind="wipe")) == []
    # And had that key signed, no client would have listened: see test_wipe_guards.


@pytest.mark.parametrize("word", ["laptop7", "tag:lent", "CID"])
def test_hosts_that_the_settings_name_are_never_wiped(site: Site, word: str) -> None:
    site.settings(f"wipe:\n  never: ['{word.replace('CID', site.cid)}']")
    for argv in (("laptop7",), ("laptop7", "--method", "accounts")):
        said = site.wipe(*argv, typed="laptop7")
        assert said.status == 1
        assert "never to wipe" in said.out
    assert site.server.store.commands(kind="wipe") == []


def test_they_would_be_without_that_guard(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.settings("wipe:\n  never: [laptop7]")
    monkeypatch.setattr(reported, "refusals", lambda *args: [])
    assert site.ordered()


def test_hosts_that_the_root_document_names_are_never_wiped(site: Site) -> None:
    site.office.do("policy", "--never-wipe", "laptop7", "--yes")
    said = site.wipe("laptop7", "--method", "erase", typed="laptop7")
    assert said.status == 1
    assert "never to be wiped" in said.out


def test_two_operators_sign_where_two_are_asked_for(site: Site) -> None:
    site.office.do("add-operator", "bob", "--yes")
    site.settings("wipe:\n  operators: 2")
    said = site.wipe("laptop7", "--method", "erase", "--operator", "bob", typed="laptop7")
    assert said.status == 3, said.out
    (draft,) = site.server.store.drafts()
    assert site.server.store.commands(kind="wipe") == []
    assert site.state() == "unsigned"
    # The same one again is no second one.
    again = site.wipe("--approve", draft.name, "--operator", "bob", typed="laptop7")
    assert again.status == 1
    assert "another operator must" in again.out
    first = _other(site, "bob")
    unsure = site.wipe("--approve", draft.name, "--operator", first, typed="laptop8")
    assert unsure.status == 2
    done = site.wipe("--approve", draft.name, "--operator", first, typed="laptop7")
    assert done.status == 0, done.out
    assert site.state() == "held"


def test_the_last_signature_wipes_nobody_who_is_not_to_be_wiped(site: Site) -> None:
    site.office.do("add-operator", "bob", "--yes")
    site.settings("wipe:\n  operators: 2")
    site.wipe("laptop7", "--method", "erase", "--operator", "bob", typed="laptop7")
    (draft,) = site.server.store.drafts()
    site.settings("  never: [laptop7]")
    said = site.office.run("sign", draft.name, "--operator", _other(site, "bob"), "--yes")
    assert said.status != 0
    assert "never to wipe laptop7" in said.out + said.err
    assert site.server.store.commands(kind="wipe") == []


def test_the_window_begins_with_the_last_signature(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.office.do("add-operator", "bob", "--yes")
    site.settings("wipe:\n  operators: 2")
    site.wipe("laptop7", "--method", "erase", "--operator", "bob", typed="laptop7")
    (draft,) = site.server.store.drafts()
    later = datetime.now(timezone.utc) + timedelta(hours=3)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return later

    monkeypatch.setattr(publish, "datetime", Later)
    site.wipe("--approve", draft.name, "--operator", _other(site, "bob"), typed="laptop7")
    assert site.given(hours=3, minutes=10) == []
    assert len(site.given(hours=3, minutes=16)) == 1


def _other(site: Site, name: str) -> str:
    """The fingerprint of the operator who is not called that."""
    desk = ordering.Office(
        context=open_context(site.server.settings_file),
        store=site.server.store,
        now=datetime.now(timezone.utc),
    ).desk
    (found,) = (k for k in desk.root.public_keys("operator") if name not in keys.user_id(k))
    return found.fingerprint


def test_an_order_whose_machine_changed_meanwhile_is_not_approved(site: Site) -> None:
    site.office.do("add-operator", "bob", "--yes")
    site.settings("wipe:\n  operators: 2")
    site.wipe("laptop7", "--method", "erase", "--operator", "bob", typed="laptop7")
    (draft,) = site.server.store.drafts()
    site.report(replace(PLAN, machine_id="f" * 32))
    said = site.wipe("--approve", draft.name, "--operator", _other(site, "bob"), typed="laptop7")
    assert said.status == 1
    assert "other disks, headers or machine-id" in said.out


# --- the window, and what becomes of it -----------------------------------------------------------


def test_it_is_held_then_delivered_and_cites_the_machine(site: Site) -> None:
    command_id = site.ordered()
    assert site.state() == "held"
    assert site.given() == []
    (command,) = site.given(minutes=16)
    assert command.id == command_id
    assert command.hosts == (site.cid,)
    assert command.wipe == PLAN.order("erase")
    assert command.not_before - command.issued_at == timedelta(minutes=15)
    assert site.state() == "delivered"


def test_a_second_order_waits_for_the_first_to_end(site: Site) -> None:
    site.ordered()
    said = site.wipe("laptop7", "--method", "accounts", typed="laptop7")
    assert said.status == 3
    assert "is held already" in said.out


def test_cancelled_in_its_window_it_is_never_given(site: Site) -> None:
    site.ordered()
    said = site.wipe("--cancel", "laptop7")
    assert said.status == 0
    assert "won't be" in said.out
    assert site.given(hours=1) == []
    assert site.state() == "cancelled"
    assert site.wipe("--cancel", "laptop7").status == 1


def test_cancelled_after_that_the_client_is_told(site: Site) -> None:
    command_id = site.ordered()
    site.given(minutes=16)
    said = site.wipe("--cancel", command_id)
    assert said.status == 0
    assert "in time" in said.out
    assert [c.cancels for c in site.given(minutes=17) if c.kind == "cancel"] == [command_id]


def test_all_states_are_told_with_their_times(site: Site) -> None:
    command_id = site.ordered("accounts")
    site.given(minutes=16)
    store, now = site.server.store, datetime.now(timezone.utc)
    stages = {"stages": ["this is the machine that was signed", "3 processes ended"]}
    store.advance_target(command_id, site.cid, "started", now, stages)
    assert site.state() == "started"
    assert site.wipe("--status", "laptop7").status == 3
    store.advance_target(command_id, site.cid, "failed", now, {**stages, "reason": "left"})
    said = site.wipe("--status", "laptop7")
    assert said.status == 1
    for text in ("failed, by accounts", "ordered", "held until", "delivered", "started", "left"):
        assert text in said.out, text
    assert "2. 3 processes ended" in said.out
    assert command_id in site.wipe("--status").out


def test_who_was_given_it_and_says_nothing_is_silent(site: Site) -> None:
    command_id = site.ordered()
    site.given(minutes=16)
    store = site.server.store
    (wipe,) = states.wipes(store, site.server.clock() + timedelta(hours=2))
    assert (wipe.id, wipe.state) == (command_id, "silent")
    assert wipe.is_open
    (late,) = states.wipes(store, site.server.clock() + timedelta(minutes=10))
    assert late.state == "delivered"


def test_usage(site: Site) -> None:
    for argv in ((), ("laptop7", "--status"), ("--cancel", "a", "--approve", "b"), ("x", "--y")):
        assert site.wipe(*argv).status == 2
    assert site.wipe("nobody").status == 1
    assert site.wipe("--cancel", "laptop7").status == 1
    assert "no wipe was ordered" in site.wipe("--status").out


# --- this machine ---------------------------------------------------------------------------------


def test_the_agent_that_the_suite_runs_refuses_a_wipe(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The real cycle, on this machine. (It is not even the machine that the order names.)"""
    with simulated_server(tmp_path / "s", prepared=prepared) as server, served(server.app) as wire:
        state = tmp_path / "c"
        with State(str(state)) as opened:
            enrol.enrol(opened, Transport(wire.url), server.invite(), "laptop7")
            cid = identity.load_identity(opened).cid
        (tmp_path / "client.yml").write_text(f"server_url: {wire.url}\n")
        client = SimulatedClient(server.send, make_key_pair(str(tmp_path / "k")), hostname="x")
        site = Site(server, client, tmp_path, capsys, monkeypatch)
        monkeypatch.setattr(
            reported,
            "read",
            lambda store, client: reported.Reported(
                client=client, plan=PLAN, collected_at=None, product=""
            ),
        )
        site.settings("wipe:\n  cancel_window: 0")
        said = site.wipe(cid, "--method", "accounts", typed="laptop7")
        assert said.status == 0, said.out
        (record,) = server.store.commands(kind="wipe")
        (state / "link.json").write_text(json.dumps({"polled_at": 0.0, "collected_at": 9e9}))
        server.clock.forward(seconds=5)
        done = subprocess.run(
            [str(Path(sys.executable).parent / "qlmdm-client-cron")],
            env={
                **os.environ,
                "QLMDM_STATE_DIR": str(state),
                "QLMDM_SETTINGS": str(tmp_path / "client.yml"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

        def target() -> Any:
            return server.store.target(record.command_id, cid)

        while not target().finished_at:
            threading.Event().wait(0.01)
        for lane in lanes.LANES:
            while not lanes.is_free(str(state), lane):
                threading.Event().wait(0.01)
        assert target().state == "refused"
        assert "QLMDM_NEVER_WIPE is set" in target().result["reason"]
