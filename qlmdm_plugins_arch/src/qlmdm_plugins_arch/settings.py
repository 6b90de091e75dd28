"""What a site can set for machines with Arch Linux: `plugins: {arch: …}` on the client."""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting


@dataclass(frozen=True, kw_only=True)
class ArchSettings:
    """How the adapter to Arch Linux may ask."""

    network: bool = setting(
        False,
        "Ask the mirrors (checkupdates) and security.archlinux.org (arch-audit), each time. "
        "Without it, updates are those of the machine's last own synchronisation.",
    )
    checkupdates_db: str = setting(
        "/var/cache/qlmdm/checkupdates",
        "The folder where checkupdates keeps its own copy of the package databases; "
        "never the live one, and nothing that other users can write to.",
    )
