"""`./dev demo`: a server, this machine and four recorded ones, an audit, releases and commands.

Everything lives in one temporary folder, which is gone afterwards (but for `--keep`). Only
the real commands are used, as an administrator would type them; each is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import releases
from children import Children, StoppedError, end_stranger
from screen import bold, show, show_issues

BIN = Path(sys.executable).parent
HERE = Path(__file__).resolve().parent
DEV = HERE.parent.parent / "dev"
PREFIX = "qlmdm-demo-"
STEPS = 10
WAIT_SECONDS = 60.0
START_SECONDS = 60.0


class Machine(NamedTuple):
    """A recorded machine, and whose it is."""

    name: str
    email: str
    what: str

    @property
    def recording(self) -> str:
        """Where it is."""
        return str(HERE / "machines" / self.name)


MACHINES = (
    Machine("ada-laptop", "ada@example.com", "Ubuntu with GNOME, in good order"),
    Machine("bob-desktop", "bob@example.com", "Linux Mint, breaks most rules"),
    Machine("carol-arch", "carol@example.com", "Arch with sway, has updates to install"),
    Machine("dave-partly-unknown", "dave@example.com", "Void Linux, whose agent is not root"),
)

ANSWERS = """\
url: {url}
listen: {listen}
directory: {directory}
"""
SERVER_SETTINGS = """\
# The demo's server: SQLite, loopback only, and no grace periods, so that every finding is
# told at once. A real server leaves `audit` out and gets the checks' own.
url: {url}
listen: {listen}
store: {store}
keys: {keys}
workers: 1
audit:
  grace_period: 0s
  unknown_grace_period: 0s
"""


class DemoError(Exception):
    """A step failed; the message says which and what it printed."""


class Demo:
    """The folder and the server process of one demo."""

    def __init__(self, folder: Path, children: Children) -> None:
        self.folder = folder
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        self._children = children
        self._step = 0
        (folder / "tmp").mkdir()
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("QLMDM_")},
            "QLMDM_SETTINGS": str(folder / "server" / "settings.yml"),
            "TMPDIR": str(folder / "tmp"),
            "no_proxy": "127.0.0.1",
        }

    @property
    def url(self) -> str:
        """The server's."""
        return f"http://127.0.0.1:{self.port}"

    def client_environ(self, name: str) -> dict[str, str]:
        """What makes a command that of one client."""
        home = self.folder / "clients" / name
        return {
            "QLMDM_STATE_DIR": str(home / "state"),
            "QLMDM_SETTINGS": str(home / "settings.yml"),
        }

    # --- showing and running -----------------------------------------------------------------

    def say(self, title: str, *details: str) -> None:
        """Announce the next step."""
        self._step += 1
        show("\n" + bold(f"[{self._step}/{STEPS}] {title}"))
        for line in details:
            show(f"      {line}")

    def run(
        self,
        *argv: str,
        ok: Sequence[int] = (0,),
        environ: Mapping[str, str] | None = None,
        quiet: bool = False,
        answer: str = "",
    ) -> str:
        """Run one of qlmdm's commands (or one at its own path) and return what it printed.

        A variable that is empty in `environ` is not set at all. `answer` is what is typed.
        """
        typed = shlex.join(argv)
        if not quiet:
            show("    $ " + typed.replace(str(self.folder), "$DEMO"))
        command = [str(BIN / argv[0]), *argv[1:]]
        variables = {**self._environ, **(environ or {})}
        variables = {name: value for name, value in variables.items() if value}
        done = self._children.run(command, variables, self.folder, answer)
        if done.status not in ok:
            raise DemoError(
                f"{typed}\nended with status {done.status}:\n{done.stdout}{done.stderr}"
            )
        for line in done.stderr.splitlines() if not quiet else ():
            show("      " + line.replace(str(self.folder), "$DEMO"))
        return done.stdout

    def untar(self, tar: Path) -> None:
        """What a person does by hand."""
        done = self._children.run(["tar", "xf", str(tar), "-C", str(tar.parent)], {}, self.folder)
        if done.status:
            raise DemoError(f"tar xf {tar}\n{done.stderr}")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so. Raises `DemoError` if it does not come about."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError("what was waited for did not come about")
            self._children.pause(0.2)

    # --- the steps ---------------------------------------------------------------------------

    def set_up_server(self) -> None:
        """Keys, root document, database; then gunicorn on loopback."""
        self.say("A server: one key for each role, the root document that clients trust, SQLite")
        home = self.folder / "server"
        home.mkdir()
        # Quoted as JSON, which is YAML too.
        values = {
            "url": self.url,
            "listen": f"127.0.0.1:{self.port}",
            "directory": json.dumps(str(home)),
            "store": json.dumps(f"sqlite://{home}/qlmdm.sqlite"),
            "keys": json.dumps(f"{home}/keys"),
        }
        (home / "settings.yml").write_text(SERVER_SETTINGS.format(**values))
        (home / "answers.yml").write_text(ANSWERS.format(**values))
        self.run("qlmdm-server-setup", "--answers", str(home / "answers.yml"))
        show("    $ qlmdm-server")
        log = home / "server.log"
        self.server = self._children.start([str(BIN / "qlmdm-server")], self._environ, log, log)
        (self.folder / "server.pid").write_text(f"{self.server.pid}\n")
        self._wait_until_ready(log)

    def _wait_until_ready(self, log: Path) -> None:
        assert self.server is not None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.server.poll() is None:
            with contextlib.suppress(OSError), opener.open(f"{self.url}/readyz", timeout=2):
                return
            self._children.pause(0.05)
        raise DemoError(f"the server did not start; its log:\n{log.read_text()}")

    def enrol(self, name: str, email: str, *, recording: str = "", quiet: bool = False) -> None:
        """Invite a machine, let it join with a key of its own, and run its cycle once."""
        environ = self.client_environ(name)
        Path(environ["QLMDM_SETTINGS"]).parent.mkdir(parents=True)
        token = str(self.folder / f"{name}.token")
        self.run("qlmdm-clients", "invite", "--email", email, "--output", token, quiet=quiet)
        setup = ["qlmdm-client-setup", "--server", self.url, "--token-file", token]
        cycle = ["qlmdm-client-cron", "--now"]
        if recording:
            setup += ["--hostname", name]
            cycle += ["--replay", recording]
        self.run(*setup, environ=environ, quiet=quiet)
        self.run(*cycle, environ=environ, quiet=quiet)

    def this_machine(self) -> None:
        """The real client cycle on the machine in front of us."""
        details = ["It makes its key, collects, signs, sends, and verifies the server's receipt."]
        if os.geteuid() != 0:
            details.append("Not as root: what needs root is reported as unknown, with the reason.")
        self.say(f"This machine joins, as {os.uname().nodename}", *details)
        self.enrol("this-machine", "you@example.com")

    def recorded_machines(self) -> None:
        """The same cycle, with recorded machines in place of the real one."""
        self.say("Four recorded machines join in the same way (tools/demo/machines)")
        for machine in MACHINES:
            show(f"    {machine.name:20} {machine.what}")
            self.enrol(machine.name, machine.email, recording=machine.recording, quiet=True)

    def audit(self) -> None:
        """What the administrator sees."""
        self.say(
            "Every report is judged by every check",
            "The demo's settings have no grace periods: each finding is told at once. A real",
            "fleet has them: a restart that is due for an hour is nobody's business.",
        )
        told = self.run("qlmdm-audit", ok=(0, 1))
        self.say("The fleet", "A check fails, passes, or is unknown; unknown is never a pass.")
        table = self.run("qlmdm-clients", "list")
        show("\n" + textwrap.indent(table, "    ").rstrip())
        self.say(
            "The issues, as cron would mail them",
            "Each is told again after an hour, for as long as it is open and not snoozed.",
        )
        show_issues(told.splitlines())


# --- what is said at the end --------------------------------------------------------------------


def epilogue(demo: Demo) -> str:
    """What to try next."""
    return (
        f"\nThat was all of it; the server is stopped, and {demo.folder} is gone. Try next:\n"
        "    ./dev demo --keep                            leave it running and look around\n"
        "    ./dev run qlmdm-collect --stdout             this machine's report; nothing is sent\n"
        "    ./dev run qlmdm-collect --explain firewall   what it asked, and what it concluded\n"
        "    docs/getting-started.md                      a real server and a real client"
    )


def kept(demo: Demo) -> str:
    """How to reach what was left running, and how to stop it."""
    folder, here = shlex.quote(str(demo.folder)), "clients/this-machine"
    return (
        f"\nThe server runs at {demo.url}. As its administrator:\n"
        f"    export PATH={shlex.quote(str(BIN))}:$PATH DEMO={folder}\n"
        '    export QLMDM_SETTINGS="$DEMO/server/settings.yml"\n'
        "    qlmdm-clients show bob-desktop\n"
        "    qlmdm-issues snooze bob-desktop reboot-required --for 2d --reason 'on holiday'\n"
        "    qlmdm-audit --all\n"
        "As this machine's agent (cron would start this each minute):\n"
        f'    QLMDM_STATE_DIR="$DEMO/{here}/state" QLMDM_SETTINGS="$DEMO/{here}/settings.yml" \\\n'
        "        qlmdm-client-cron --now\n"
        "Stop the server and remove everything with:\n"
        f"    {shlex.quote(str(DEV))} demo --stop {folder}"
    )


# --- the folder --------------------------------------------------------------------------------


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_folder() -> Path:
    """A new folder with a short path: gpg's sockets lie below it (unix(7): 107 bytes)."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base if len(base) < 24 else "/tmp"))


def remove(folder: Path) -> None:
    """Remove the folder, and what gpg put elsewhere for it."""
    # gpgconf(1): sockets are below /run/user where that exists, in a folder for each home.
    sockets = Path(f"/run/user/{os.geteuid()}/gnupg")
    if sockets.is_dir():
        homes = [*folder.glob("server/keys/*"), *folder.glob("clients/*/state/gnupg")]
        for home in filter(Path.is_dir, homes):
            command = ["gpgconf", "--homedir", str(home), "--remove-socketdir"]
            subprocess.run(command, capture_output=True, check=False)
        with contextlib.suppress(OSError):  # it is not empty: somebody else's is there
            sockets.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def stop(folder: Path) -> int:
    """Stop what `--keep` left running; the exit status."""
    try:
        if not folder.name.startswith(PREFIX):
            raise ValueError(folder)
        pid = int((folder / "server.pid").read_text())
    except (OSError, ValueError):
        print(f"./dev demo: {folder} is not the folder of a demo", file=sys.stderr)
        return 2
    ended = end_stranger(pid, f"QLMDM_SETTINGS={folder / 'server' / 'settings.yml'}")
    remove(folder)
    show(f"{'stopped the server and' if ended else 'the server had ended;'} removed {folder}")
    return 0


def play(demo: Demo) -> None:
    """All steps, one after the other."""
    show(f"Everything happens in DEMO={demo.folder} and on {demo.url}.")
    demo.set_up_server()
    demo.this_machine()
    demo.recorded_machines()
    demo.audit()
    try:
        client = releases.install(demo)
    except DemoError as error:
        if "pip download failed" not in str(error):
            raise
        show("      No package index can be reached: what needs a release is left out.")
    else:
        releases.update(demo, client)
        releases.command(demo, client)
    releases.refused_wipe(demo, "bob-desktop")


def main() -> int:
    """Run the demo; 0 when all of it worked, 128 and the signal's number when stopped by one."""
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="See qlmdm work, in a throw-away folder."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="leave the server running")
    what.add_argument("--stop", metavar="FOLDER", type=Path, help="stop one that was kept")
    args = parser.parse_args()
    if args.stop:
        return stop(args.stop.absolute())
    children = Children()
    folder = make_folder()
    spared: list[int] = []
    try:
        demo = Demo(folder, children)
        play(demo)
        children.check()
        if args.keep and demo.server is not None:
            spared.append(demo.server.pid)
            show(kept(demo))
    except DemoError as error:
        print(f"\n./dev demo: {error}", file=sys.stderr)
        return 3
    except StoppedError as stopped:
        print(f"\n./dev demo: {stopped}; cleaning up", file=sys.stderr)
        return stopped.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python complains once more at exit
        return 1
    finally:
        children.end_all(spared)
        if not spared:
            remove(folder)
    if not spared:
        show(epilogue(demo))
    return 0


if __name__ == "__main__":
    sys.exit(main())
