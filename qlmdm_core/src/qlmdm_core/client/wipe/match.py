"""Decides whether this is the machine that was signed away: `refusals(order, plan, …)`.

Its ids, its disks and its LUKS headers must be just those that the operator signed. What cannot
be read does not match. Anything else that changed meanwhile is told and holds nothing up, or
whoever has the machine could save its data with a USB stick or a new account.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlmdm_core.client.wipe.plan import Plan
from qlmdm_core.commanddoc import Command, WipeOrder


def refusals(command: Command, plan: Plan, *, cid: str) -> list[str]:
    """Why this machine may not be wiped by that command; empty: it may."""
    order = command.wipe
    if order is None:
        return ["the command is no wipe"]
    found = []
    if command.hosts != (cid,):
        found.append("the wipe is for another client")
    found += _unreadable(order, plan)
    if plan.machine_id != order.machine_id:
        found.append(f"machine-id is {plan.machine_id or 'not known'}, not the one that was signed")
    found += _differ("serial numbers of built-in disks", order.disk_serials, plan.disk_serials)
    found += _differ("LUKS headers on them", order.luks_uuids, plan.luks_uuids)
    return found


def _unreadable(order: WipeOrder, plan: Plan) -> list[str]:
    """What must be known and is not. Accounts matter only to the method that removes them."""
    needed = {"machine_id", "disks", "luks", *(("accounts",) if order.method == "accounts" else ())}
    return [f"{what}: {why}" for what, why in plan.unknown.items() if what in needed]


def _differ(what: str, signed: Iterable[str], here: Iterable[str]) -> list[str]:
    missing, more = set(signed) - set(here), set(here) - set(signed)
    if not missing and not more:
        return []
    parts = [f"missing: {', '.join(sorted(missing))}"] if missing else []
    parts += [f"not signed: {', '.join(sorted(more))}"] if more else []
    return [f"{what} differ from those that were signed ({'; '.join(parts)})"]


def differences(then: Plan, now: Plan) -> list[str]:
    """What changed between two looks, but for what a wipe is refused for."""
    pairs = (
        ("accounts", _accounts(then), _accounts(now)),
        ("homes of others", then.other_homes, now.other_homes),
        ("disks that are left alone", then.left_alone, now.left_alone),
        ("homes in the network", then.network_homes, now.network_homes),
        ("not encrypted", then.not_encrypted, now.not_encrypted),
    )
    found = []
    for what, before, after in pairs:
        gone, new = set(before) - set(after), set(after) - set(before)
        found += [f"{what}: new: {', '.join(sorted(new))}"] if new else []
        found += [f"{what}: gone: {', '.join(sorted(gone))}"] if gone else []
    return found


def _accounts(plan: Plan) -> tuple[str, ...]:
    return tuple(f"{account.name} ({account.home})" for account in plan.accounts)
