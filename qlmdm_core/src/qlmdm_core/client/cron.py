"""`qlmdm-client-cron`: what cron, or a systemd timer, starts each minute.

Most starts find nothing due, and must cost next to nothing: this module reads one small file
and imports the rest only when there is work. Work is done at the client's own second of the
minute (see `schedule`), in this one interpreter, under a lock.
"""

from __future__ import annotations

import os
import sys
import time

from qlmdm_core.client import schedule

STATE_DIR = "/var/lib/qlmdm/client"
UNTIL_NEXT_START = 58.0
"""Seconds; what is due later than this is left to the next minute's start."""


def main() -> int:
    """The command; see `cycle` for what it does when something is due."""
    argv = sys.argv[1:]
    if not argv:
        state_dir = os.environ.get("QLMDM_STATE_DIR") or STATE_DIR
        wait = schedule.pause(
            os.path.join(state_dir, schedule.DUE_FILE), time.time(), UNTIL_NEXT_START
        )
        if wait is None:
            return 0
        time.sleep(wait)
    from qlmdm_core.client import cycle

    return cycle.main(argv)
