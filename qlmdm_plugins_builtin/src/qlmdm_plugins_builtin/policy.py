"""What the built-in checks demand of a machine: `plugins: {builtin: …}` in the server's settings.

The defaults are what an administrator of a mixed fleet of laptops would want on the first
day. Checks take the policy as an argument; nothing else holds a limit of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting
from qlmdm_core.units import Duration

DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The limits of the built-in checks. Times are seconds."""

    not_reporting_after: Duration = setting(
        Duration(1 * DAY),
        "A client that was not heard from for this long fails not-reporting. One day: a laptop "
        "that is used on working days is heard from on each, and the check's grace period of two "
        "days covers a weekend.",
        minimum=600.0,
    )
    release_behind_after: Duration = setting(
        Duration(3 * DAY),
        "A client that does not run the release which it has been offered for this long fails "
        "release-behind.",
        minimum=600.0,
    )
    commands_pending_after: Duration = setting(
        Duration(3 * DAY),
        "A client that has not carried out a command for this long fails pending-patches. "
        "Commands of less than a day are not looked at.",
        minimum=DAY,
    )
    screenlock_max_delay: Duration = setting(
        Duration(900.0),
        "The longest time without input after which a screen must be locked.",
        minimum=0.0,
    )
    update_cache_max_age: Duration = setting(
        Duration(7 * DAY),
        "Package lists that are older don't show that a machine is up to date. Clients give "
        "up on lists of more than 14 days (Arch: 7 days) whatever is set here.",
        minimum=3600.0,
    )
    release_support_margin: Duration = setting(
        Duration(90 * DAY),
        "How long before a release's support ends a machine must have moved to the next one.",
        minimum=0.0,
    )
    reboot_within: Duration = setting(
        Duration(0.0),
        "How long a machine may put off a restart that an update needs. The check's grace period "
        "of seven days comes on top of it.",
        minimum=0.0,
    )
    secure_boot_required: bool = setting(
        False,
        "Machines that start without UEFI Secure Boot fail secure-boot-disabled.",
    )
    unwanted_packages: tuple[str, ...] = setting(
        (),
        "Packages that must not be installed, by name or pattern (`telnetd`, `xmrig*`). Clients "
        "list theirs only if their settings say so: plugins: {packages: {enabled: true}}.",
    )
    certificate_margin: Duration = setting(
        Duration(30 * DAY),
        "How long before its end a certificate must have been renewed.",
        minimum=0.0,
    )
    location_required: bool = setting(
        False,
        "Machines that do not tell where they are fail no-location. Off: only those that try, "
        "and can't, are pointed out.",
    )
