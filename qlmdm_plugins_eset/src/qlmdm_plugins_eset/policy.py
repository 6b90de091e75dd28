"""What a site expects of its machines: `plugins: {eset: …}` in the server's settings."""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting

SECTION = "eset"


@dataclass(frozen=True, kw_only=True)
class EsetPolicy:
    """Which of the products must be there. Whoever installs this plugin expects both."""

    require_eset: bool = setting(
        True,
        "Machines without an ESET antivirus fail eset-absent. Set it to false on a site that "
        "does not use it, or only on some machines.",
    )
    require_eraagent: bool = setting(
        True,
        "Machines without the ESET Management Agent fail eraagent-absent. Set it to false on a "
        "site without ESET PROTECT.",
    )
