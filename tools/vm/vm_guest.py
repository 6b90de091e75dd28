"""Starts a machine in qemu, by software emulation, and runs commands in it.

Commands go over qemu's guest agent, so that the machine needs neither a network nor a login.
A machine is started once and its state kept; whoever needs it again has that state within
seconds (`Guest.restore`, or a copy of its folder: `copy_started`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vm_image import Built

MEMORY_MIB = 640
START_SECONDS = 900.0
COMMAND_SECONDS = 900.0
DISKS = ("vdb", "vdc", "vdd")
"""Empty disks to build layouts on, beside vda, which the system is on."""
DISK_SIZE = "1G"
PATHS = "multipath"
"""One more disk, that the machine sees twice, as sda and sdb."""
STARTED = "started"
"""The name of the state that a machine has once it is started."""


class GuestError(RuntimeError):
    """A command failed in the machine, or the machine did."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a machine has, beside its own disk vda."""

    disks: tuple[str, ...] = DISKS
    """Empty disks."""
    paths: bool = True
    """Whether it has the disk that it sees twice."""
    network: bool = False
    """Whether it reaches the services of this machine, at 10.0.2.2; nothing beyond is promised."""
    vda: str = ""
    """What its own disk is said to be: options of a virtio-blk device, as in ",serial=4711"."""


class Guest:
    """A running machine."""

    def __init__(
        self,
        built: Built,
        folder: Path,
        hardware: Hardware = Hardware(),
        *,
        again: bool = False,
        until: str = "",
    ) -> None:
        """Start it; `folder` gets its disks, sockets and console.

        `again`: switch on a machine that was there before, with its disks as they are. `until`
        waits for a text on its console, instead of for all that starts with it.
        """
        self._folder = folder
        self._hardware = hardware
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("agent", "monitor"):
            (folder / name).unlink(missing_ok=True)
        argv = self._argv(built)
        # Only the very same machine can be put into a state that was kept.
        kept = folder / "kept"
        known = _without(folder, argv)
        started = not again and kept.exists() and kept.read_text() == known
        if not started and not again:
            kept.unlink(missing_ok=True)
            self._make_disks(built)
        with open(folder / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(
                [*argv, *(["-loadvm", STARTED] if started else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._agent: _Channel | None = None
        self._monitor: _Channel | None = None
        try:
            self._monitor = _Channel(self._connect("monitor"))
            self._monitor.receive(30.0)  # the greeting
            self._monitor.ask("qmp_capabilities", {}, 30.0)
            if until:
                self.wait_for_console(until, START_SECONDS)
                return
            self._wait_for_agent(START_SECONDS)
            if not started:
                self._settle()
            if not started and not again:
                self.keep(STARTED)
                kept.write_text(known)
            if started:
                self._set_clock()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off at once."""
        self._process.kill()
        self._process.wait()
        for channel in (self._agent, self._monitor):
            if channel is not None:
                channel.close()

    def wait_until_off(self, seconds: float) -> None:
        """Wait until it has switched itself off. Raises `GuestError` if it doesn't in time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise GuestError(f"still on after {seconds:.0f} s") from None

    def wait_for_console(self, text: str, seconds: float) -> None:
        """Wait until it has printed a text. Raises `GuestError` if it doesn't in time."""
        for pause in _pauses(seconds):
            if text in self.console:
                return
            if self._process.poll() is not None:
                break
            time.sleep(pause)
        raise GuestError(f"no {text!r} on its console: {self.console[-2000:]}")

    @property
    def console(self) -> str:
        """What it printed to its serial console since it was switched on."""
        return (self._folder / "console.log").read_text(encoding="utf-8", errors="replace")

    # --- starting ------------------------------------------------------------------------

    def _argv(self, built: Built) -> list[str]:
        line = (
            f"console=ttyS0 root={built.root} rw quiet mitigations=off no_timer_check"
            " tsc=reliable systemd.show_status=0 net.ifnames=0 random.trust_cpu=1"
        )
        argv = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35"),
            *("-accel", "tcg,thread=multi", "-cpu", "Westmere"),
            *("-smp", "1", "-m", str(MEMORY_MIB), "-display", "none", "-no-reboot"),
            *("-kernel", str(built.kernel), "-initrd", str(built.initrd)),
            *("-append", line),
            *("-serial", f"file:{self._folder}/console.log"),
            *("-qmp", f"unix:{self._folder}/monitor,server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self._folder}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=cable{'' if self._hardware.network else ',restrict=on'}"),
            *("-device", "virtio-net-pci,netdev=cable,romfile="),
        ]
        for number, name in enumerate(("vda", *self._hardware.disks)):
            drive = f"file={self._disk(name)},format=qcow2,if=none,id=d{number}"
            argv += [
                "-drive",
                f"{drive},cache=unsafe,discard=unmap",
                "-device",
                f"virtio-blk-pci,drive=d{number}{self._hardware.vda if number == 0 else ''}",
            ]
        return argv + (self._paths() if self._hardware.paths else [])

    def _paths(self) -> list[str]:
        argv = [
            "-blockdev",
            f"driver=qcow2,node-name=paths,file.driver=file,file.filename={self._disk(PATHS)}",
            *("-device", "virtio-scsi-pci,id=scsi"),
        ]
        for number in (0, 1):
            same = "drive=paths,share-rw=on,serial=4711,wwn=0x5000c50015ea71aa"
            argv += ["-device", f"scsi-hd,bus=scsi.0,scsi-id={number},{same}"]
        return argv

    def _disk(self, name: str) -> Path:
        return self._folder / f"{name}.qcow2"

    def _make_disks(self, built: Built) -> None:
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        system = [*create, "-b", str(built.disk), "-F", "raw", str(self._disk("vda"))]
        subprocess.run(system, check=True)
        more = (PATHS,) if self._hardware.paths else ()
        for name in (*self._hardware.disks, *more):
            subprocess.run([*create, str(self._disk(name)), DISK_SIZE], check=True)

    def _connect(self, name: str) -> socket.socket:
        deadline = time.monotonic() + 30.0
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._folder / name))
            except OSError:
                connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "qemu.log").read_text(errors="replace")
                    raise GuestError(f"qemu did not start: {log[-2000:]}") from None
                time.sleep(0.05)
                continue
            return connection

    def _wait_for_agent(self, seconds: float) -> None:
        """Wait until the agent answers; what was said before is not listened to."""
        if self._agent is None:
            self._agent = _Channel(self._connect("agent"))
        deadline = time.monotonic() + seconds
        number = random.randrange(1 << 30)
        self._agent.send("guest-sync", {"id": number})
        while self._agent.receive(deadline - time.monotonic()).get("return") != number:
            pass

    # --- its state -----------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until all is started that starts with the machine."""
        self.run("systemctl is-system-running --wait || true; systemctl --failed --no-legend")

    def keep(self, name: str) -> None:
        """Keep the state that it has now, memory and disks, under a name."""
        self._human(f"savevm {name}")

    def restore(self, name: str) -> None:
        """Go back to a state that was kept, but for the clock."""
        self._human(f"loadvm {name}")
        self._wait_for_agent(120.0)
        self._set_clock()

    def _set_clock(self) -> None:
        """The clock goes on from when the state was kept."""
        self.run(f"date -s @{int(time.time())}")

    def _human(self, line: str) -> None:
        arguments = {"command-line": line}
        assert self._monitor is not None
        said = self._monitor.ask("human-monitor-command", arguments, COMMAND_SECONDS)
        if said:
            raise GuestError(f"{line}: {said}")

    # --- commands ------------------------------------------------------------------------

    def run(self, script: str, *, stdin: bytes = b"") -> bytes:
        """Run a script of bash in the machine, as root, up to its first error; what it printed."""
        assert self._agent is not None
        arguments: dict[str, Any] = {
            "path": "/bin/bash",
            "arg": ["-euo", "pipefail", "-c", script],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"],
            "capture-output": True,
        }
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        pid = self._agent.ask("guest-exec", arguments, 60.0)["pid"]
        for waited in _pauses(COMMAND_SECONDS):
            status = self._agent.ask("guest-exec-status", {"pid": pid}, 60.0)
            if status["exited"]:
                break
            time.sleep(waited)
        else:
            raise GuestError(f"not done after {COMMAND_SECONDS:.0f} s: {script}")
        printed = base64.b64decode(status.get("out-data", ""))
        if status.get("exitcode") != 0:
            said = base64.b64decode(status.get("err-data", "")).decode(errors="replace")
            out = printed.decode(errors="replace")[-1500:]
            raise GuestError(f"{script}\n… failed ({status.get('exitcode')}): {out}{said[-3000:]}")
        return printed


def copy_started(source: Path, folder: Path) -> None:
    """Copy a machine that was started and kept, to be started from there by its own `Guest`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("kept", *(path.name for path in source.glob("*.qcow2"))):
        shutil.copy(source / name, folder / name)


def _without(folder: Path, argv: list[str]) -> str:
    """A command line, but for the folder that it names."""
    return repr(argv).replace(str(folder), "FOLDER")


class _Channel:
    """JSON in lines, over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def close(self) -> None:
        self._connection.close()

    def ask(self, what: str, arguments: dict[str, Any], seconds: float) -> Any:
        self.send(what, arguments)
        while True:
            answer = self.receive(seconds)
            if "error" in answer:
                raise GuestError(f"{what}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def send(self, what: str, arguments: dict[str, Any]) -> None:
        self._connection.sendall(
            json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n"
        )

    def receive(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self._unread:
                line, self._unread = self._unread.split(b"\n", 1)
                with contextlib.suppress(ValueError):  # of what was cut off by a restored state
                    answer = json.loads(line.lstrip(b"\xff"))
                    if isinstance(answer, dict):
                        return answer
            self._connection.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                got = self._connection.recv(1 << 20)
            except TimeoutError:
                raise GuestError(f"no answer after {seconds:.0f} s") from None
            if not got:
                raise GuestError("the machine is gone")
            self._unread += got


def _pauses(seconds: float) -> Iterator[float]:
    """How long to wait between looks, until the time is over."""
    deadline = time.monotonic() + seconds
    pause = 0.05
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 1.5, 1.0)
