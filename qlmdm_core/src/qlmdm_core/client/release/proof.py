"""Commits a release, or a launcher, that has just done a whole cycle as it should.

Plugins are told first that the release is in place; one that raises keeps it from being
committed. Only then the state says so.
"""

from __future__ import annotations

import os

from qlmdm_core.client.link import Link
from qlmdm_core.client.release import hooks, install, launchers, layout, trial, verify
from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.errors import QlmdmError
from qlmdm_core.settings import Loaded


def prove(state: State, loaded: Loaded[ClientSettings], link: Link) -> str | None:
    """Commit what is on trial in this very cycle; why it was not, or None."""
    try:
        with RealFiles(state.path) as files:
            if os.environ.get("QLMDM_LAUNCHER_TRIAL"):
                launchers.commit(files)
            if os.environ.get("QLMDM_TRIAL"):
                return _prove_release(files, loaded, link)
    except QlmdmError as error:
        return str(error)
    except OSError as error:
        return f"{state.path}: {error.strerror}"
    return None


def _prove_release(files: Files, loaded: Loaded[ClientSettings], link: Link) -> str | None:
    on_trial = layout.read_trial(files)
    if on_trial is None or str(on_trial.slot) != os.environ.get("QLMDM_SLOT"):
        return None
    before = None if on_trial.previous is None else str(on_trial.previous)
    wrong = hooks.installed(loaded, {"from": before, "to": str(on_trial.slot)})
    if wrong:
        return f"a plugin keeps release {on_trial.slot} from being committed: {wrong[0]}"
    # Before the commit, since nobody comes by here again: should that not happen any more, the
    # launcher's trial waits for it, and ends if the release turns out bad.
    manifest = verify.read_manifest(files, on_trial.slot, link.root, link.verifier)
    launchers.propose(files, manifest)
    trial.commit(files)
    install.clean_up(files)
    return None
