"""`./dev demo`: a server, this machine and four recorded ones, and an audit, in ten seconds.

Everything lives in one temporary folder, which is gone afterwards (but for `--keep`). Only
the real commands are used, as an administrator would type them; each is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

BIN = Path(sys.executable).parent
MACHINES = Path(__file__).parent / "machines"
STEPS = 7

SERVER_SETTINGS = """\
# The demo's server: SQLite, loopback only, and no grace periods, so that every finding is
# told at once. A real server leaves `audit` out and gets the checks' own.
url: http://127.0.0.1:{port}
listen: 127.0.0.1:{port}
store: sqlite://{folder}/server/qlmdm.sqlite
keys: {folder}/server/keys
workers: 1
audit:
  grace_period: 0s
  unknown_grace_period: 0s
"""


class DemoError(Exception):
    """A step failed; the message says which and what it printed."""


class Demo:
    """The folder and the server process of one demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("QLMDM_")},
            "QLMDM_SETTINGS": str(folder / "server" / "settings.yml"),
            "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "no_proxy": "127.0.0.1",
        }
        self._step = 0

    def say(self, text: str) -> None:
        """Announce the next step."""
        self._step += 1
        print(f"\n[{self._step}/{STEPS}] {text}", flush=True)

    def run(
        self, *argv: str, ok: Sequence[int] = (0,), environ: Mapping[str, str] | None = None
    ) -> str:
        """Run one of qlmdm's commands and return what it printed."""
        print(f"  $ {shlex.join(argv)}", flush=True)
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]],
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if done.returncode not in ok:
            raise DemoError(
                f"{shlex.join(argv)}\nended with status {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        for line in done.stderr.splitlines():
            print(f"    {line}")
        return done.stdout

    # --- the steps -----------------------------------------------------------------------

    def set_up_server(self) -> None:
        """Keys, root document, database; then gunicorn on loopback."""
        self.say("set up a server (keys, root document, SQLite) and start it")
        home = self.folder / "server"
        home.mkdir()
        (home / "settings.yml").write_text(
            SERVER_SETTINGS.format(port=self.port, folder=self.folder)
        )
        (home / "answers.yml").write_text(f"url: http://127.0.0.1:{self.port}\n")
        self.run("qlmdm-server-setup", "--answers", str(home / "answers.yml"))
        print("  $ qlmdm-server", flush=True)
        with (home / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [str(BIN / "qlmdm-server")],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready(home / "server.log")

    def _wait_until_ready(self, log: Path) -> None:
        assert self.server is not None
        url = f"http://127.0.0.1:{self.port}/readyz"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.server.poll() is None:
            with contextlib.suppress(urllib.error.URLError, OSError), opener.open(url, timeout=2):
                return
            time.sleep(0.1)
        raise DemoError(f"the server did not start; its log:\n{log.read_text()}")

    def invite(self, machines: Sequence[Path]) -> Path:
        """One invitation for all the machines of the demo."""
        token = self.folder / "token"
        uses = str(len(machines) + 1)
        self.run(
            "qlmdm-clients", "invite", "--uses", uses, "--expires", "1h", "--output", str(token)
        )
        return token

    def enrol(self, name: str | None, token: Path) -> dict[str, str]:
        """Enrol a client with a key of its own; the environment that its commands need."""
        home = self.folder / "clients" / (name or "this-machine")
        home.mkdir(parents=True)
        environ = {
            "QLMDM_STATE_DIR": str(home / "state"),
            "QLMDM_SETTINGS": str(home / "settings.yml"),
        }
        argv = ["qlmdm-client-setup", "--server", f"http://127.0.0.1:{self.port}"]
        argv += ["--token-file", str(token)]
        if name:
            argv += ["--hostname", name]
        self.run(*argv, environ=environ)
        return environ

    def this_machine(self, token: Path) -> None:
        """The real client cycle on the machine in front of us."""
        root = os.geteuid() == 0
        self.say(
            "enrol this machine and run its client cycle"
            + ("" if root else " (not as root: what needs root is reported as unknown)")
        )
        environ = self.enrol(None, token)
        self.run("qlmdm-client-cron", "--now", environ=environ)

    def recorded_machines(self, machines: Sequence[Path], token: Path) -> None:
        """The same cycle, with recorded machines in place of the real one."""
        self.say("enrol four recorded machines and replay them")
        for machine in machines:
            environ = self.enrol(machine.name, token)
            self.run("qlmdm-client-cron", "--now", "--replay", str(machine), environ=environ)

    def audit(self) -> None:
        """What the administrator sees."""
        self.say("judge the fleet (no grace periods here; a real fleet has them)")
        lines = self.run("qlmdm-audit", ok=(0, 1))
        self.say("the fleet")
        print(self.run("qlmdm-clients", "list"), end="")
        self.say("the issues, as cron would mail them (each again after an hour, while it is open)")
        for line in lines.splitlines():
            print(f"  {line}")

    def stop(self) -> None:
        """End the server and all it started, and wait for it."""
        if self.server is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(timeout=10)
                return


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def epilogue(demo: Demo, keep: bool) -> str:
    """What to try next."""
    if not keep:
        return (
            "\nThat was all of it; the server is stopped and its folder is gone. Try next:\n"
            "  ./dev demo --keep                              leave it running and look around\n"
            "  ./dev run qlmdm-collect --stdout               this machine's report, nothing sent\n"
            "  ./dev run qlmdm-collect --explain firewall     what it asked and concluded\n"
            "  docs/getting-started.md                        a real server and a real client"
        )
    assert demo.server is not None
    home = shlex.quote(str(demo.folder))
    here = "this-machine"
    return (
        f"\nThe server runs on http://127.0.0.1:{demo.port} (pid {demo.server.pid}). Try:\n"
        f"  export PATH={shlex.quote(str(BIN))}:$PATH QLMDM_SETTINGS={home}/server/settings.yml\n"
        "  qlmdm-clients list\n"
        "  qlmdm-issues list\n"
        f"  QLMDM_STATE_DIR={home}/clients/{here}/state "
        f"QLMDM_SETTINGS={home}/clients/{here}/settings.yml qlmdm-client-cron --now\n"
        "Stop it and remove its folder with:\n"
        f"  kill {demo.server.pid}; rm -r {home}"
    )


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; 0 when all of it worked."""
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="See qlmdm work, in a throw-away folder."
    )
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    keep = parser.parse_args().keep
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    machines = sorted(path for path in MACHINES.iterdir() if path.is_dir())
    # A short path: gpg's sockets live below it, and their paths have 107 bytes at most.
    demo = Demo(Path(tempfile.mkdtemp(prefix="qlmdm-demo-")))
    done = False
    try:
        demo.set_up_server()
        demo.say("invite the machines that may join")
        token = demo.invite(machines)
        demo.this_machine(token)
        demo.recorded_machines(machines, token)
        demo.audit()
        done = True
    except DemoError as error:
        print(f"\n./dev demo: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\n./dev demo: interrupted; cleaning up", file=sys.stderr)
        return 130
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if not (done and keep):
            demo.stop()
            shutil.rmtree(demo.folder, ignore_errors=True)
    print(epilogue(demo, keep))
    return 0


if __name__ == "__main__":
    sys.exit(main())
