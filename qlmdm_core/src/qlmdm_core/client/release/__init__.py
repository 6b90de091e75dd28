"""Client releases on the client: fetched, verified, installed, tried, committed or rolled back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qlmdm_core.api import JSON
    from qlmdm_core.client.release.files import Files


def status(files: Files) -> dict[str, JSON]:
    """What the server is told of releases with each question: see docs/updating.md.

    Raises `SpoolError` if the state is damaged.
    """
    import os
    import sys

    from qlmdm_core.client.release import layout

    release = layout.read_release(files)
    trial = layout.read_trial(files)
    committed = layout.current(files) if trial is None else trial.previous
    return {
        "release": str(committed) if committed else None,
        "high": str(release.high) if release.high else None,
        "bad": dict(release.bad),
        "trial": str(trial.slot) if trial else None,
        "broken": os.environ.get("QLMDM_BROKEN") or None,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "machine": os.uname().machine,
    }
