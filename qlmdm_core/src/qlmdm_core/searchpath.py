"""Where programs are looked for, whatever the environment says. Cheap: every cycle loads it."""

from __future__ import annotations

SEARCH_PATH = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    # NixOS keeps nothing in the others; the first folder has its set-uid programs.
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
)
