"""The life of a client on a real system: installed, enrolled, updated, cut off, rolled back, wiped.

One machine goes through all of it, in the order of the tests; each says what it needs of the ones
before. The server is the real one, on this machine, which the guest sees at 10.0.2.2.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import vm_image
from throwaway import HARDWARE, SERIAL
from vm_guest import Guest, copy_started

from qlmdm_core.store.open import open_store
from qlmdm_core.testing.server import prepare_server
from qlmdm_core.testing.wheels import repack_all

BIN = Path(sys.executable).parent
STATE = "/var/lib/qlmdm/client"
CUTS = int(os.environ.get("QLMDM_VM_CUTS", "10"))


@dataclass
class Site:
    """A server, its administrator, and one machine."""

    folder: Path
    image: vm_image.Built
    port: int
    guest: Guest
    releases: int = 0

    def admin(self, *argv: str, typed: str = "", status: int | None = 0) -> str:
        """A command on the server; what it said."""
        command, *rest = argv
        done = subprocess.run(
            [str(BIN / command), *rest],
            env={**os.environ, "QLMDM_SETTINGS": str(self.folder / "settings.yml")},
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert status in (None, done.returncode), f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def build(self, **settings: str) -> str:
        """A release with other client settings; its version."""
        self.releases += 1
        known = {"server_url": f"http://10.0.2.2:{self.port}", "poll_interval": "10s", **settings}
        known["collect_interval"] = f"{self.releases + 10}m"  # each differs from the one before
        text = "".join(f"{name}: {value}\n" for name, value in known.items())
        (self.folder / "client" / "settings.yml").write_text(text)
        said = self.admin("qlmdm-client-release", "build", "--yes")
        found = re.search(r"release (\S+) is published", said)
        assert found is not None, said
        return found[1]

    def restart(self) -> None:
        """Pull the plug, and switch it on again."""
        self.guest.close()
        folder = self.folder / "machine"
        self.guest = Guest(self.image, folder, HARDWARE, again=True)

    @property
    def running(self) -> str:
        """The release that `current` leads to, whole or not."""
        return self.guest.run(f"basename $(readlink {STATE}/current)").decode().strip()

    @property
    def on_trial(self) -> bool:
        return b"yes" in self.guest.run(f"[ -e {STATE}/trial.json ] && echo yes || true")

    def cycles(self, until: Callable[[], bool], most: int = 8) -> None:
        """Let the agent run until something is so."""
        for _ in range(most):
            self.guest.run("qlmdm-client-cron --now >>/root/cron.log 2>&1 || true")
            if until():
                return
        raise AssertionError(self.guest.run("tail -n 40 /root/cron.log").decode())

    def report(self) -> dict[str, Any]:
        """The client's report, as the server has it."""
        store = open_store(f"sqlite:///{self.folder}/server/qlmdm.sqlite")
        try:
            (client,) = store.clients().clients
            report: dict[str, Any] = json.loads(store.report(client.cid) or b"{}")
        finally:
            store.close()
        return {name: entry.get("value") for name, entry in report.items()}


@pytest.fixture(scope="module")
def site(image: vm_image.Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prepare_server(folder)
    wheels = repack_all(folder / "wheels", ["qlmdm-core", "qlmdm-plugins-builtin"])
    settings = folder / "settings.yml"
    text = re.sub(r"(?m)^listen:.*\n", "", settings.read_text())
    settings.write_text(
        f"{text}\nlisten: 127.0.0.1:{port}\nworkers: 1\nwipe:\n  cancel_window: 0\n"
        f"release:\n  wheels: {wheels}\n  distributions: [qlmdm-plugins-builtin]\n"
    )
    (folder / "client").mkdir(exist_ok=True)
    copy_started(image.folder / "tests", folder / "machine")
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(BIN / "qlmdm-server"), "--settings", str(settings)], stdout=output, stderr=output
        )
    try:
        until(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        made = Site(folder, image, port, Guest(image, folder / "machine", HARDWARE))
        try:
            yield made
        finally:
            made.guest.close()
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until(condition: Callable[[], object]) -> None:
    while not condition():
        threading.Event().wait(0.05)


def test_1_a_machine_is_installed_from_the_tar_and_enrols(site: Site) -> None:
    assert site.build() == "1.1"
    tar = site.folder / "client.tar"
    site.admin("qlmdm-client-release", "bootstrap", "--output", str(tar), "--invite", "1")
    site.guest.run("tar -xf - -C /root", stdin=tar.read_bytes())
    site.guest.run("cd /root/qlmdm-client* && ./client-setup --hostname laptop7 >/root/setup.log")
    assert site.running == "1.1"
    # From here on the tests start it, instead of cron.
    assert b"qlmdm" in site.guest.run("grep -rl qlmdm /etc/cron.d /etc/systemd/system || true")
    site.guest.run("systemctl stop 'qlmdm*.timer' || true; systemctl mask --now cron")
    site.guest.run("systemctl disable 'qlmdm*.timer' || true")
    site.guest.run("qlmdm-verify --all")


def test_2_it_finds_its_root_encrypted_and_says_so(site: Site) -> None:
    site.cycles(lambda: "hd_encryption" in site.report())
    report = site.report()
    assert report["hd_encryption"]["state"] == "encrypted"
    assert report["os_info"]["id"] == "debian"
    plan = report["wipe_plan"]
    assert plan["state"] == "known", plan
    assert plan["disks"] == [
        {
            "device": "/dev/vda",
            "model": "",
            "serial": SERIAL,
            "size_bytes": plan["disks"][0]["size_bytes"],
        }
    ]
    assert [header["device"] for header in plan["luks"]] == ["/dev/vda2"]
    assert plan["accounts"] == [{"name": "ada", "uid": 1000, "home": "/home/ada"}]


def test_3_it_updates_itself(site: Site) -> None:
    version = site.build()
    site.cycles(lambda: site.running == version and not site.on_trial)
    site.guest.run("qlmdm-verify --all")


def test_4_the_plug_is_pulled_ten_times_while_it_updates(site: Site) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before = site.running
    trial = "qlmdm-client-cron --now; qlmdm-client-cron --now"
    update = f"qlmdm-update; {trial}"
    version = site.build()
    began = time.monotonic()
    site.guest.run("qlmdm-update >>/root/cron.log 2>&1 || true")
    installing = time.monotonic() - began
    site.guest.run(f"({trial}) >>/root/cron.log 2>&1 || true")
    whole = time.monotonic() - began
    site.cycles(lambda: site.running == version and not site.on_trial)
    for number in range(CUTS):
        before, version = version, site.build()
        site.guest.run(f"setsid sh -c '{update}' >>/root/cron.log 2>&1 </dev/null &")
        # Every other time while it is still being installed, which is the shorter part.
        moment = chance.uniform(0.0, installing if number % 2 else whole)
        threading.Event().wait(moment)
        site.restart()
        now = site.running
        print(f"cut {number + 1} after {moment:.1f} of {whole:.1f} s: {now} of {before}, {version}")
        assert now in (before, version)
        site.guest.run("qlmdm-verify")
        site.cycles(lambda: site.running == version and not site.on_trial)  # noqa: B023 - at once
        site.guest.run("qlmdm-verify --all")


def test_5_a_release_that_breaks_the_cycle_is_given_up(site: Site) -> None:
    before = site.running
    broken = site.build(server_url="http://10.0.2.2:9")
    site.guest.run("qlmdm-update >>/root/cron.log 2>&1 || true")
    site.cycles(lambda: site.running == before and not site.on_trial, most=12)
    state = json.loads(site.guest.run(f"cat {STATE}/release.json"))
    assert broken in state["bad"]
    # The next one is taken all the same.
    version = site.build()
    site.cycles(lambda: site.running == version and not site.on_trial)
    assert site.report()["agent"]["release"]["bad"].keys() == {broken}


def test_6_a_wipe_reaches_it_by_the_whole_way(site: Site) -> None:
    passphrase = site.guest.run("cat /etc/keys/root.key")
    site.admin("qlmdm-client-wipe", "laptop7", "--method", "erase", typed="laptop7\n")
    site.guest.run("setsid qlmdm-client-cron --now >>/root/cron.log 2>&1 </dev/null &")
    site.guest.wait_until_off(300)
    said = site.admin("qlmdm-client-wipe", "--status", "laptop7", status=None)
    print(said)
    assert "done, by erase" in said
    assert "no key slot left" in said
    target = site.folder / "root.luks"
    skip, size = vm_image.ROOT_AT // vm_image.MIB, vm_image.ROOT_SIZE // vm_image.MIB
    argv = ["qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", "bs=1M", f"skip={skip}"]
    argv += [f"count={skip + size}", f"if={site.folder}/machine/vda.qcow2", f"of={target}"]
    subprocess.run(argv, check=True)
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", str(target)]
    assert subprocess.run(argv, input=passphrase, capture_output=True).returncode != 0
