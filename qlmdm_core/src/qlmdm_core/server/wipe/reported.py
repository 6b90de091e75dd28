"""The plan of a wipe: what the client last said of itself, and what stands against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from qlmdm_core.api import JSON
from qlmdm_core.client.wipe import plan as plans
from qlmdm_core.client.wipe.blockdevices import UnreadableError
from qlmdm_core.client.wipe.plan import Plan
from qlmdm_core.commanddoc import Method
from qlmdm_core.errors import UsageError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.settings import WipeSettings
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client

COLLECTOR = "wipe_plan"


class WipeRefusedError(UsageError):
    """This client can't be wiped, or not by this operator; the message says why."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A client's plan, and from when it is."""

    client: Client
    plan: Plan
    collected_at: datetime | None
    """By the client's clock."""
    product: str
    """What the machine is, for people: its maker, model and serial number."""


def read(store: Store, client: Client) -> Reported:
    """What the last report says. Raises `WipeRefusedError` if it has no plan."""
    report = orjson.loads(store.report(client.cid) or b"{}")
    entry = report.get(COLLECTOR) or {}
    try:
        plan = plans.from_json(entry.get("value"))
    except UnreadableError as error:
        why = entry.get("error") or entry.get("status") or "it has not reported one"
        raise WipeRefusedError(
            f"{client.hostname}: there is no plan of what would be wiped ({why}; {error}): the "
            f"client's collector {COLLECTOR} must have run. Wait for its next report."
        ) from None
    return Reported(
        client=client,
        plan=plan,
        collected_at=_time(entry.get("collected_at")),
        product=_product(report),
    )


def refusals(client: Client, settings: WipeSettings, root: Root) -> list[str]:
    """Why this client can't be wiped from here at all; empty: it can."""
    reasons = []
    if client.cid in root.never_wipe:
        reasons.append(f"root document {root.version} says that it is never to be wiped")
    for word in settings.never:
        kind, colon, name = word.partition(":")
        tagged = bool(colon) and kind == "tag" and name in client.tags
        if tagged or word in (client.cid, client.hostname):
            reasons.append(f"the settings say never to wipe {word} (wipe.never)")
    if client.status != "active":
        reasons.append(f"it is {client.status}: it would never be given a wipe")
    return reasons


def unfit(found: Reported, method: Method) -> list[str]:
    """Why the plan is not enough for a method: its client would refuse; empty: it is."""
    plan = found.plan
    needed = {"machine_id", "disks", "luks", *(("accounts",) if method == "accounts" else ())}
    reasons = [
        f"{what} is not known: {why}" for what, why in plan.unknown.items() if what in needed
    ]
    if not plan.machine_id or not all(plan.disk_serials):
        reasons.append("its machine-id, or the serial number of a disk, is not known")
    if method == "erase" and not plan.luks:
        reasons.append("it has no LUKS header on any built-in disk: erase could do nothing")
    return reasons


def _time(value: JSON) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _product(report: Mapping[str, JSON]) -> str:
    entry = report.get("dmidecode")
    value = entry.get("value") if isinstance(entry, dict) else None
    if not isinstance(value, dict):
        return ""
    words = [value.get(name) for name in ("manufacturer", "product", "version")]
    text = " ".join(str(word) for word in words if isinstance(word, str))
    serial = value.get("serial")
    return f"{text}, serial number {serial}" if isinstance(serial, str) else text
