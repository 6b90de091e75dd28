"""The second half of the demo: a client made of a release, a command, a wipe that is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from screen import show, show_indented

if TYPE_CHECKING:
    from __main__ import Demo

NAME = "erin-laptop"
SCRIPT = "#!/bin/sh\necho 'this ran once, because a release brought it'\n"


class Installed:
    """A client without pip, in a folder of its own: this machine once more."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self.home = demo.folder / "clients" / NAME
        self._state = self.home / "state"

    @property
    def environ(self) -> Mapping[str, str]:
        """Nothing of the demo's own settings: those come with the release."""
        return {"QLMDM_SETTINGS": "", "QLMDM_STATE_DIR": ""}

    def run(self, command: str, *args: str, quiet: bool = False) -> str:
        """Run one of its commands, as cron or a person would."""
        program = str(self.home / "bin" / command)
        return self._demo.run(program, *args, environ=self.environ, quiet=quiet)


def install(demo: Demo) -> Installed:
    """Build release 1.1, and install a client from the tar that goes to new machines."""
    demo.say(
        "A client release: code, plugins and settings in one signed tar",
        "A client needs python3 and gpg; no pip, no compiler, no internet.",
    )
    demo.run("qlmdm-client-release", "build", "--yes")
    client = Installed(demo)
    client.home.mkdir(parents=True)
    tar = str(client.home / "new-machine.tar")
    demo.run("qlmdm-client-release", "bootstrap", "--output", tar, "--invite", "1")
    show(f"    $ tar xf new-machine.tar    # on {NAME}")
    demo.untar(Path(tar))
    demo.run(
        str(client.home / "qlmdm-client" / "client-setup"),
        *("--dir", str(client.home / "state"), "--bin-dir", str(client.home / "bin")),
        *("--no-cron", "--hostname", NAME),
        environ=client.environ,
    )
    client.run("qlmdm-client-cron", "--now")
    return client


def update(demo: Demo, client: Installed) -> None:
    """A second release reaches the client by itself, on trial first."""
    demo.say(
        "The next release installs itself: verified, tried, and kept only if it works",
        "It has one more script, which each client runs once.",
    )
    script = demo.folder / "server" / "client" / "commands" / "hello"
    script.write_text(SCRIPT)
    show_indented(demo.run("qlmdm-client-release", "build", "--yes").splitlines()[-3:])
    show_indented(client.run("qlmdm-update").splitlines())
    client.run("qlmdm-client-cron", "--now")
    show_indented(client.run("qlmdm-verify").splitlines())
    client.run("qlmdm-client-cron", "--now", quiet=True)  # its next report is the new release's
    show_indented(demo.run("qlmdm-client-release", "list").splitlines())


def command(demo: Demo, client: Installed) -> None:
    """A one-time command, signed by an operator, and what it printed."""
    demo.say("A one-time command: signed by an operator, run once, its output sent back")
    demo.run(
        *("qlmdm-client-command", "run", "uname -sr; id -un", "--host", NAME, "--yes"),
        *("--reason", "to see it work"),
    )
    client.run("qlmdm-client-cron", "--now")
    listed = demo.run("qlmdm-client-command", "list", "--json", quiet=True)
    number = str(json.loads(listed.splitlines()[0])["command_id"])[:8]
    demo.wait_for(lambda: _is_over(demo, client, number))
    show_indented(demo.run("qlmdm-client-command", "output", number).splitlines())


def _is_over(demo: Demo, client: Installed, number: str) -> bool:
    """It runs beside the agent; a later cycle tells the server what became of it."""
    client.run("qlmdm-client-cron", "--now", quiet=True)
    listed = demo.run("qlmdm-client-command", "list", "--json", quiet=True)
    ours = [json.loads(line) for line in listed.splitlines()]
    return any(c["command_id"].startswith(number) and "done" in c["states"] for c in ours)


def refused_wipe(demo: Demo, machine: str) -> None:
    """Somebody who is no operator asks for a wipe of a recorded machine, which can't be wiped."""
    demo.say(
        "A wipe, asked for by somebody who is no operator, is refused",
        f"{machine} is a recording: nobody's disk is at stake.",
    )
    home = demo.folder / "mallory"
    settings = demo.folder / "server" / "settings.yml"
    text = settings.read_text().replace(str(demo.folder / "server" / "keys"), str(home / "keys"))
    home.mkdir()
    (home / "settings.yml").write_text(text)
    (home / "settings.yml").chmod(0o600)
    show("    # with keys of mallory's own, which no client knows")
    fingerprint = make_operator(home / "keys" / "operator")
    environ = {"QLMDM_SETTINGS": str(home / "settings.yml")}
    plan = demo.run("qlmdm-client-wipe", machine, environ=environ).splitlines()
    show_indented([*plan[: plan.index("accounts:")], "…"])
    demo.run(
        *("qlmdm-client-wipe", machine, "--method", "accounts", "--operator", fingerprint),
        ok=(1, 2),
        environ=environ,
        answer=f"{machine}\n",
    )


def make_operator(home: Path) -> str:
    """A key that looks like an operator's."""
    from qlmdm_core.signing import keys

    home.parent.mkdir(mode=0o700)
    return keys.make_key(str(home), "mallory").fingerprint
