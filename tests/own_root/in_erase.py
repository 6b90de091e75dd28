"""The wipe's method `erase`, for real, on LUKS headers in files."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from own_machine import CID, Told, order

from qlmdm_core.client.wipe import act, hands, luks, power
from qlmdm_core.client.wipe.plan import Header

pytestmark = pytest.mark.usefixtures("machine")
PASSPHRASE = b"a passphrase"


def make(path: str, kind: str) -> Header:
    """A container in a file."""
    name = str(uuid.uuid4())
    with open(path, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(
        [
            *("cryptsetup", "luksFormat", "-q", "--type", kind, "--uuid", name, "--pbkdf"),
            *("pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "-", path),
        ],
        input=PASSPHRASE,
        check=True,
    )
    assert opens(path)
    return Header(uuid=name, device=path, disks=("/srv/disk",))


def opens(path: str) -> bool:
    """Whether its passphrase still opens it."""
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", path]
    return subprocess.run(argv, input=PASSPHRASE, capture_output=True).returncode == 0


def test_no_passphrase_opens_any_of_them_and_the_machine_goes_off(told: Told) -> None:
    headers = [make("/srv/one", "luks1"), make("/srv/two", "luks2")]
    other = make("/srv/other", "luks2")
    outcome = act.carry_out(*order("erase", *headers), power.in_own_root(), told, cid=CID)
    assert outcome.state == "done"
    assert not opens("/srv/one")
    assert not opens("/srv/two")
    assert opens(other.device)
    assert os.path.exists("/switched-off")
    assert Path("/home/ada/letter").exists()
    assert "no key slot left" in outcome.stages[1]
    assert told.outcomes == [outcome]


def test_without_cryptsetup_the_header_is_overwritten(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = make("/srv/one", "luks2")
    monkeypatch.setattr(hands, "SEARCH_PATH", ("/nowhere",))
    outcome = act.carry_out(*order("erase", header), power.in_own_root(), told, cid=CID)
    assert outcome.state == "done"
    assert "overwritten" in outcome.stages[1]
    assert not opens("/srv/one")
    assert luks.header_uuid(Path("/srv/one").read_bytes()[:4096]) is None


def test_another_header_than_the_signed_one_is_left_alone(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("/srv/one", "luks2")
    signed = Header(uuid=str(uuid.uuid4()), device="/srv/one", disks=("/srv/disk",))
    outcome = act.carry_out(*order("erase", signed), power.in_own_root(), told, cid=CID)
    assert outcome.state == "failed"
    assert opens("/srv/one")
    # Nothing was destroyed, so that the machine stays on, and can be asked again.
    assert not os.path.exists("/switched-off")
    # Without the look at the header it is lost.
    monkeypatch.setattr(luks, "header_uuid", lambda _: signed.uuid)
    act.carry_out(*order("erase", signed), power.in_own_root(), told, cid=CID)
    assert not opens("/srv/one")


def test_one_that_can_not_be_erased_does_not_save_the_others(told: Told) -> None:
    gone = Header(uuid=str(uuid.uuid4()), device="/srv/gone", disks=("/srv/disk",))
    outcome = act.carry_out(
        *order("erase", gone, make("/srv/two", "luks2")), power.in_own_root(), told, cid=CID
    )
    assert outcome.state == "failed"
    assert not opens("/srv/two")
    assert os.path.exists("/switched-off")


def test_a_dry_run_erases_nothing_and_leaves_the_machine_on(told: Told) -> None:
    header = make("/srv/one", "luks2")
    act.carry_out(*order("erase", header), power.in_own_root(), told, cid=CID, dry_run=True)
    assert opens("/srv/one")
    assert not os.path.exists("/switched-off")


def test_it_goes_off_even_if_the_last_report_fails(told: Told) -> None:
    class Broken(Told):
        def finished(self, outcome: act.Outcome) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        act.carry_out(
            *order("erase", make("/srv/one", "luks2")), power.in_own_root(), Broken(), cid=CID
        )
    assert os.path.exists("/switched-off")
