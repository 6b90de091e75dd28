"""What the agent tells of the release that it is; nothing, if no release installed it.

This is loaded every minute: what is only needed by an agent that a release installed is
imported when there is one.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qlmdm_core.api import JSON
    from qlmdm_core.client.state import State

CURRENT = "current"
"""As in `release.layout`: the link to the slot that is run."""


def is_installed_by_release(state: State) -> bool:
    """Whether the launcher started this agent, out of a slot of this state directory."""
    return os.path.islink(os.path.join(state.path, CURRENT))


def release_status(state: State) -> dict[str, JSON]:
    """The fields of the question for news. A damaged state is told as `broken`."""
    if not is_installed_by_release(state):
        return {}
    from qlmdm_core.client import release
    from qlmdm_core.client.release.real_files import RealFiles
    from qlmdm_core.errors import SpoolError

    try:
        with RealFiles(state.path) as files:
            return release.status(files)
    except (SpoolError, OSError) as error:
        return {"release": None, "broken": str(error)[:500]}


def release_report(state: State) -> dict[str, JSON]:
    """What a report has of it: which release, and whatever is not as it should be."""
    status = release_status(state)
    if not status:
        return {}
    from qlmdm_core.client.release.pause import Pause

    return {
        "installed": status["release"],
        "trial": status.get("trial"),
        "bad": status.get("bad", {}),
        "broken": status.get("broken"),
        "problem": Pause.read(state).problem or None,
    }
