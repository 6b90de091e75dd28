"""A wipe of a real machine: signed by an operator, carried out by an installed client.

The client's code lies where a release has it, and only there it has the power to do this.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pluggy
import pytest
from throwaway import SERIAL, Start
from vm_guest import Guest, GuestError

import qlmdm_core
from qlmdm_core import commanddoc, rootdoc
from qlmdm_core.commanddoc import Command, Method, WipeOrder
from qlmdm_core.testing.trust import SERVER_ID, Ring, make_ring, whole_second

CID = "6c0ce0a5-5d0f-4b6c-9b5f-0a4c8e1f7d11"
SLOT = "/var/lib/qlmdm/client/slots/1.0/lib"
WIPE = f"""
import json, os, sys
from datetime import datetime, timezone
sys.path.insert(0, "{SLOT}")
from qlmdm_core import rootdoc
from qlmdm_core.client.wipe import act, power
from qlmdm_core.host.real import RealHost
from qlmdm_core.signing.gpg import GpgVerifier

class Reporter:
    def started(self, stages):
        self.say({{"stages": stages}})
    def finished(self, outcome):
        self.say({{"state": outcome.state, "reason": outcome.reason, "stages": outcome.stages}})
    def say(self, value):
        with open("/var/tmp/said", "a") as file:
            print(json.dumps(value), file=file)
        with open("/dev/ttyS0", "w") as console:
            print("SAID " + json.dumps(value), file=console)

class Journal:
    def is_started(self, command_id):
        return True

try:
    given, command, plan = power.from_order(
        open("/root/order", "rb").read(), root=rootdoc.parse(open("/root/root").read()),
        verifier=GpgVerifier(), cid="{CID}", now=datetime.now(timezone.utc), journal=Journal(),
        host=RealHost(), environ=os.environ)
    act.carry_out(command, plan, given, Reporter(), cid="{CID}")
except Exception as error:
    Reporter().say({{"state": "refused", "reason": repr(error)}})
"""


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    return make_ring(
        str(tmp_path_factory.mktemp("k") / "h"), ["root", "release", "operator", "online"]
    )


def install(guest: Guest) -> None:
    """Put core where an installed release has it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for module in (qlmdm_core, pluggy):
            folder = Path(module.__file__ or "").parent
            tar.add(folder, folder.name, filter=_but_bytecode)
    guest.run(f"mkdir -p {SLOT}; tar -xzf - -C {SLOT}", stdin=packed.getvalue())
    guest.run("cat > /root/wipe.py", stdin=WIPE.encode())


def _but_bytecode(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.name.endswith("__pycache__") else member


def send(guest: Guest, ring: Ring, method: Method, **changes: Any) -> None:
    """Sign a wipe of this machine, and begin it."""
    now = whole_second(datetime.now(timezone.utc))
    luks = guest.run("cryptsetup luksUUID /dev/vda2").decode().strip()
    machine_id = guest.run("cat /etc/machine-id").decode().strip()
    order = {"machine_id": machine_id, "disk_serials": (SERIAL,), "luks_uuids": (luks,), **changes}
    command = Command(
        server_id=SERVER_ID,
        id="0f" * 16,
        part=1,
        kind="wipe",
        hosts=(CID,),
        issued_at=now - timedelta(minutes=1),
        not_before=now - timedelta(minutes=1),
        expires_at=now + timedelta(days=1),
        requested_by="ada",
        wipe=WipeOrder(method=method, **order),
    )
    root = rootdoc.build(ring.root(now=now - timedelta(days=1)))
    guest.run("cat > /root/root", stdin=root.encode())
    guest.run("cat > /root/order", stdin=ring.sign(commanddoc.build(command), "operator"))
    guest.run("QLMDM_SLOT=1.0 setsid python3 -I /root/wipe.py >/root/wipe.log 2>&1 </dev/null &")


def opens(container: Path, passphrase: bytes) -> bool:
    """Whether the passphrase opens a container."""
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", str(container)]
    return subprocess.run(argv, input=passphrase, capture_output=True).returncode == 0


def test_after_erase_nobody_opens_the_disk_and_the_machine_is_off(
    ring: Ring, start: Start, root_container: Callable[[], Path]
) -> None:
    guest = start()
    install(guest)
    passphrase = guest.run("cat /etc/keys/root.key")
    assert opens(root_container(), passphrase)
    send(guest, ring, "erase")
    guest.wait_until_off(300)
    said = [line for line in guest.console.splitlines() if "SAID" in line]
    assert '"state": "done"' in said[-1]
    assert "no key slot left" in said[-1]
    container = root_container()
    assert not opens(container, passphrase)
    dump = subprocess.run(["cryptsetup", "luksDump", container], capture_output=True, text=True)
    assert "Keyslots:\nTokens:" in dump.stdout
    # Nor does the machine itself, which has the passphrase in its initrd.
    start(again=True, until="No usable keyslot is available")


def test_after_accounts_no_home_is_left_and_the_system_is(ring: Ring, start: Start) -> None:
    guest = start()
    install(guest)
    guest.run(
        "useradd -m -s /bin/bash bob; useradd -r service; mkdir -p /srv/kept;"
        "echo x > /srv/kept/x; mkdir -p /home/ada/mnt; mount --bind /srv/kept /home/ada/mnt;"
        "ln -s /srv/kept /home/bob/kept; echo x > /var/mail/bob;"
        "setsid setpriv --reuid bob --clear-groups sleep 1000 </dev/null >/dev/null 2>&1 &"
    )
    send(guest, ring, "accounts")
    wait_for(guest, "grep state /var/tmp/said || true")
    told = json.loads(guest.run("tail -n 1 /var/tmp/said"))
    assert told["state"] == "failed", told  # because of what is mounted in a home
    assert guest.run("ls -A /home; ls -A /home/ada").split() == [b"ada", b"mnt"]
    assert guest.run("cat /srv/kept/x") == b"x\n"
    names = {line.split(":")[0] for line in guest.run("cat /etc/passwd").decode().splitlines()}
    assert {"root", "daemon", "service", "nobody", "systemd-network"} <= names
    assert not {"ada", "bob"} & names
    assert guest.run("pgrep -c sleep || true").strip() == b"0"
    assert guest.run("ls /var/mail") == b""
    assert guest.run("systemctl is-active cron").strip() == b"active"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"machine_id": "f" * 32}, "machine-id"),
        ({"disk_serials": ("another",)}, "serial numbers"),
        ({"luks_uuids": ("3f1f6b0c-52cf-4d0e-8f6c-2f2d6f3a0b01",)}, "LUKS headers"),
    ],
)
def test_another_machines_wipe_is_refused(
    ring: Ring, start: Start, changes: dict[str, Any], why: str
) -> None:
    guest = start()
    install(guest)
    send(guest, ring, "erase", **changes)
    wait_for(guest, "cat /var/tmp/said || true")
    told = json.loads(guest.run("tail -n 1 /var/tmp/said"))
    assert told["state"] == "refused"
    assert why in told["reason"]
    assert b"0: luks2" in guest.run("cryptsetup luksDump /dev/vda2")
    assert guest.run("ls /home").split() == [b"ada"]


def wait_for(guest: Guest, script: str) -> None:
    """Wait until a script prints something."""
    loop = f'for i in $(seq 300); do out=$({script}); [ -n "$out" ] && exit 0; sleep 0.2; done'
    try:
        guest.run(f"{loop}; exit 1")
    except GuestError as error:
        raise AssertionError(guest.run("cat /root/wipe.log").decode()) from error
