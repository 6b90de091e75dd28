"""`qlmdm-update`: asks the server for news now, and installs the release that it names."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from qlmdm_core import cli, settings
from qlmdm_core.client import agent, schedule
from qlmdm_core.client.cycle import open_link
from qlmdm_core.client.link import Link
from qlmdm_core.client.release import layout
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.client.release.update import Outcome, Updater, read_offer
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.errors import NotSetUpError

EXAMPLES = """\
  qlmdm-update            ask, and install what is there; it is tried within a minute
  qlmdm-update --check    only ask; exit status 1 if there is a newer release
  qlmdm-update --json

exit status: 0 done, or nothing to do; 1 a release may not be installed, or (--check) there is
one; 2 settings, or no release installed this client; 3 the server is away"""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-update")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser(
        "qlmdm-update", "Ask the server for a newer release of this client.", EXAMPLES, json=True
    )
    parser.add_argument("--check", action="store_true", help="only say whether there is one")
    args = parser.parse_args(argv)
    loaded = settings.load(settings.find_file("client", args.settings), ClientSettings)
    with State.open(create=False) as state, state.lock(), open_link(state, loaded.core) as link:
        if not agent.is_installed_by_release(state):
            raise NotSetUpError(
                "no release installed this client; update it by what did, such as pip"
            )
        offered = _ask(state, link)
        if args.check:
            return _say_offer(state, offered, as_json=args.json)
        outcome = Updater(state, loaded, link).take(offered, at_once=True)
        if outcome.state == "installed":
            # What the launcher reads first: there is something to try.
            now = time.time()
            state.write(schedule.DUE_FILE, f"{now:.3f} {now:.3f}\n".encode())
        return _say_outcome(state, outcome, as_json=args.json)


def _ask(state: State, link: Link) -> Any:
    """What is offered, after the newest root document was followed."""
    body = {"root": link.root_version, **agent.release_status(state)}
    news = link.ask("update", {"update": body}).details
    link.follow_root(news.get("root"))
    return news.get("release")


def _installed(state: State) -> str:
    with RealFiles(state.path) as files:
        trial = layout.read_trial(files)
        current = layout.current(files)
    return f"{current}" + (" (on trial)" if trial is not None else "")


def _say_offer(state: State, offered: Any, *, as_json: bool) -> int:
    offer = read_offer(offered)
    version = None if offer is None else str(offer.version)
    installed = _installed(state)
    if as_json:
        print(json.dumps({"installed": installed, "offered": version}))
    elif version is None:
        print(f"release {installed} is installed, and the server has none that is newer")
    else:
        print(f"release {installed} is installed; the server offers {version}")
    return 0 if version is None else 1


def _say_outcome(state: State, outcome: Outcome, *, as_json: bool) -> int:
    version = None if outcome.version is None else str(outcome.version)
    if as_json:
        value = {"state": outcome.state, "version": version, "why": outcome.why}
        print(json.dumps({"installed": _installed(state), **value}))
    elif outcome.state == "installed":
        print(f"release {version} is installed, and is tried at the next start (within a minute)")
    elif outcome.state == "nothing":
        print(f"release {_installed(state)} is installed, and there is nothing newer to take")
    else:
        print(f"release {version} is not installed: {outcome.why}")
    return {"refused": 1, "later": 3}.get(outcome.state, 0)
