"""Nothing in the suite can touch the machine that it runs on: each guard, by itself."""

from __future__ import annotations

import ast
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc, rootdoc
from qlmdm_core.client.wipe import match, own_root, power
from qlmdm_core.client.wipe.blockdevices import LSBLK
from qlmdm_core.client.wipe.own_root import NotOwnRootError
from qlmdm_core.client.wipe.power import NoPowerError, Power
from qlmdm_core.commanddoc import Command, WipeOrder
from qlmdm_core.errors import QlmdmError, TrustError
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing import RecordedMachine
from qlmdm_core.testing.trust import SERVER_ID, Ring, make_ring

CLIENT = Path(power.__file__).parents[1]
HOME = Path(power.__file__).parent
CID = "6c0ce0a5-5d0f-4b6c-9b5f-0a4c8e1f7d11"
ID = "5ad7b7a6f64f4e0f9f1c6a1b1c5f3d01"
NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
VERIFIER = SequoiaVerifier()

# --- no power in a test -------------------------------------------------------------------------


def test_power_is_made_in_no_other_way() -> None:
    with pytest.raises(NoPowerError, match="not made like this"):
        Power(object(), "machine")


def test_this_process_is_in_no_throw_away_root() -> None:
    with pytest.raises(NotOwnRootError, match="not in a throw-away root"):
        power.in_own_root()


OUTSIDE = dict.fromkeys(own_root.NAMESPACES, "other:[1]")
NONCE = "0" * 32
PROOFS: dict[str, Callable[[], Any]] = {
    "the marker": own_root._marker,
    "the first process": lambda: own_root._check_first_process(NONCE),
    "the root": lambda: own_root._check_root([os.stat("/").st_dev, os.stat("/").st_ino]),
    "what is mounted": lambda: own_root._check_mounts(NONCE),
    "namespaces": lambda: own_root._check_namespaces(
        {name: os.readlink(f"/proc/self/ns/{name}") for name in own_root.NAMESPACES}
    ),
}


@pytest.mark.parametrize("proof", PROOFS)
def test_each_proof_by_itself_refuses_this_machine(proof: str) -> None:
    with pytest.raises((OSError, ValueError)):
        PROOFS[proof]()


def test_capabilities_by_which_one_could_leave_refuse_it() -> None:
    status = Path("/proc/self/status").read_text()
    bounding = int(status.split("CapBnd:")[1].split()[0], 16)
    if not any(bounding >> number & 1 for number in own_root.FORBIDDEN_CAPABILITIES.values()):
        pytest.skip("this suite runs without any of them")
    with pytest.raises(ValueError, match="is among Cap"):
        own_root._check_capabilities()


def test_a_false_marker_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    marker.write_text(json.dumps({"nonce": NONCE, "outside": OUTSIDE, "root": [0, 0]}))
    monkeypatch.setattr(own_root, "MARKER", str(marker))
    with pytest.raises(NotOwnRootError):
        own_root.prove()


def test_a_test_has_no_power_by_an_order() -> None:
    with pytest.raises(NoPowerError, match="QLMDM_NEVER_WIPE is set"):
        power.check_installed(os.environ)


def test_nor_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLMDM_NEVER_WIPE")
    with pytest.raises(NoPowerError, match="a test is running"):
        power.check_installed({"QLMDM_SLOT": "1.0"})


CHECK = """
import os, sys
from qlmdm_core.client.wipe import power
try:
    power.check_installed(os.environ)
except power.NoPowerError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "environ",
    [{}, {"QLMDM_SLOT": "1.0"}, {"QLMDM_SLOT": "../../../.."}, {"QLMDM_STATE_DIR": str(HOME)}],
)
def test_nor_has_what_a_test_starts(environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=environ, capture_output=True, text=True, check=True
    )
    assert "is no installed release below /var/lib/qlmdm/client/slots/" in done.stdout


def test_nor_has_a_slot_that_a_test_installs_elsewhere(tmp_path: Path) -> None:
    library = tmp_path / "slots" / "1.0" / "lib"
    library.mkdir(parents=True)
    os.symlink(CLIENT.parent, library / "qlmdm_core")
    environ = {
        "PYTHONPATH": str(library),
        "QLMDM_SLOT": "1.0",
        "QLMDM_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=environ, capture_output=True, text=True, check=True
    )
    assert "is no installed release" in done.stdout


# --- one module reaches out ----------------------------------------------------------------------

DESTRUCTIVE = {
    *("kill", "killpg", "pidfd_send_signal", "reboot", "umount2", "rmdir", "unlink", "rmtree"),
}


def test_only_one_module_has_hands() -> None:
    """Within the wipe, nothing but `hands` and the tree that it takes away calls what destroys."""
    for path in sorted(HOME.glob("*.py")):
        called = {
            node.func.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        writes = called & (DESTRUCTIVE | {"Popen", "rename", "system", "remove"})
        allowed = path.name in ("hands.py", "trees.py")
        assert allowed or not writes, f"{path.name}: {sorted(writes)}"


@pytest.mark.parametrize("word", ["sysrq", "cryptsetup", "/etc/shadow", "userdel"])
def test_no_other_module_of_the_client_names_what_a_wipe_uses(word: str) -> None:
    found = {
        path.relative_to(CLIENT).parts[0]
        for path in CLIENT.rglob("*.py")
        if word in path.read_text(encoding="utf-8")
    }
    assert found <= {"wipe"}


def test_hands_do_nothing_without_power() -> None:
    tree = ast.parse((HOME / "hands.py").read_text(encoding="utf-8"))
    (hands,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Hands")
    methods = {n.name: ast.unparse(n) for n in hands.body if isinstance(n, ast.FunctionDef)}
    proved = {name for name, text in methods.items() if "self._power.prove()" in text}
    through = {"kill_processes": "_signal", "remove_home": "_remove", "remove_owned": "_remove"}
    through |= {"look": "_run", "change": "_run"}
    for name in methods.keys() - proved - {"__init__"}:
        assert f"self.{through[name]}(" in methods[name]
        assert through[name] in proved
    assert len(methods) > 10


# --- which order gives power --------------------------------------------------------------------


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    home = str(tmp_path_factory.mktemp("k") / "h")
    return make_ring(home, ["root", "release", "operator", "operator2", "online", "client"])


class Journal:
    """One that has begun whatever it is asked about, or nothing."""

    def __init__(self, *, started: bool = True) -> None:
        self.started = started

    def is_started(self, command_id: str) -> bool:
        return self.started


def wipe(**changes: Any) -> Command:
    made = Command(
        server_id=SERVER_ID,
        id="0f" * 16,
        part=1,
        kind="wipe",
        hosts=(CID,),
        issued_at=NOW,
        not_before=NOW,
        expires_at=NOW + timedelta(days=7),
        requested_by="alice",
        wipe=WipeOrder(method="accounts", machine_id=ID, disk_serials=("S1",), luks_uuids=()),
    )
    return replace(made, **changes)


def machine(folder: Path, *, machine_id: str = ID) -> RecordedMachine:
    lsblk = {"blockdevices": [{"name": "vda", "kname": "vda", "type": "disk"}]}
    made = RecordedMachine(folder / secrets.token_hex(4))
    made.command(LSBLK[0], json.dumps(lsblk))
    made.file("/etc/machine-id", machine_id).file("/etc/passwd", "").file(
        "/proc/self/mountinfo", ""
    )
    made.file("/sys/devices/vda/serial", "S1").link("/sys/class/block/vda", "../../devices/vda")
    return made


def authorise(
    ring: Ring, folder: Path, document: bytes, *, machine_id: str = ID, **changes: Any
) -> Command:
    how: dict[str, Any] = {
        "root": ring.root(now=NOW),
        "cid": CID,
        "now": NOW,
        "journal": Journal(),
        "host": machine(folder, machine_id=machine_id).host(),
        **changes,
    }
    return power.authorise(document, verifier=VERIFIER, **how)[0]


def test_an_order_for_this_machine_now_gives_power(ring: Ring, tmp_path: Path) -> None:
    document = ring.sign(commanddoc.build(wipe()), "operator")
    assert authorise(ring, tmp_path, document) == wipe()


def test_an_order_that_nobody_signed_gives_none(ring: Ring, tmp_path: Path) -> None:
    for names in ((), ("operator2",), ("client",), ("online",), ("release",), ("root",)):
        document = ring.sign(commanddoc.build(wipe()), *names)
        with pytest.raises(TrustError, match="operator keys"):
            authorise(ring, tmp_path, document)


def test_two_operators_where_the_root_document_asks_for_two(ring: Ring, tmp_path: Path) -> None:
    root = ring.root(now=NOW, operator=("operator", "operator2"), wipe_threshold=2)
    text = commanddoc.build(wipe())
    for names in (("operator",), ("operator", "operator")):
        with pytest.raises(TrustError, match="1 of the 2 operator keys"):
            authorise(ring, tmp_path, ring.sign(text, *names), root=root)
    assert authorise(ring, tmp_path, ring.sign(text, "operator", "operator2"), root=root)


ORDER = wipe().wipe
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another client": ({}, {"cid": "somebody-else"}, "for other clients"),
    "too late": ({}, {"now": NOW + timedelta(days=8)}, "expired at"),
    "too early": ({"not_before": NOW + timedelta(minutes=15)}, {}, "not before"),
    "not journaled": ({}, {"journal": Journal(started=False)}, "not in the journal as started"),
    "another machine": ({}, {"machine_id": "f" * 32}, "not the one that was signed"),
    "another disk": (
        {"wipe": replace(ORDER, disk_serials=("S2",)) if ORDER else None},
        {},
        "serial numbers of built-in disks differ",
    ),
    "another header": (
        {"wipe": replace(ORDER, luks_uuids=("a-uuid",)) if ORDER else None},
        {},
        "LUKS headers on them differ",
    ),
    "another kind": (
        {"kind": "remove", "wipe": None, "path": "a"},
        {},
        "no wipe",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_order_gives_none_and_says_why(ring: Ring, tmp_path: Path, case: str) -> None:
    changes, how, why = REFUSED[case]
    document = ring.sign(commanddoc.build(wipe(**changes)), "operator")
    with pytest.raises(QlmdmError, match=why):
        authorise(ring, tmp_path, document, **how)


def test_never_means_never(ring: Ring, tmp_path: Path) -> None:
    document = ring.sign(commanddoc.build(wipe()), "operator")
    with pytest.raises(TrustError, match="never to be wiped"):
        authorise(ring, tmp_path, document, root=ring.root(now=NOW, never_wipe=(CID,)))


def test_each_would_give_power_without_its_guard(
    ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(The power to carry it out is another thing: there is none in a test.)"""
    forged = ring.sign(commanddoc.build(wipe()), "client")
    with monkeypatch.context() as patch:
        patch.setattr(rootdoc, "require", lambda *args, **how: None)
        assert authorise(ring, tmp_path / "a", forged)
    signed = ring.sign(commanddoc.build(wipe()), "operator")
    with monkeypatch.context() as patch:
        patch.setattr(commanddoc, "check_acceptable", lambda *args, **how: None)
        assert authorise(ring, tmp_path / "b", signed, now=NOW + timedelta(days=8))
        assert authorise(ring, tmp_path / "c", signed, root=ring.root(now=NOW, never_wipe=(CID,)))
    with monkeypatch.context() as patch:
        patch.setattr(match, "refusals", lambda *args, **how: [])
        assert authorise(ring, tmp_path / "d", signed, machine_id="f" * 32)
    with pytest.raises(NoPowerError, match="is set"):
        power.from_order(
            signed,
            root=ring.root(now=NOW),
            verifier=VERIFIER,
            cid=CID,
            now=NOW,
            journal=Journal(),
            host=machine(tmp_path / "e").host(),
            environ={"QLMDM_SLOT": "1.0"},
        )
