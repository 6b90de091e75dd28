"""Says in words what a wipe would do, as the person who will be blamed for it wants to read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from qlmdm_core.commanddoc import Method
from qlmdm_core.server.tables import ago, clean, when
from qlmdm_core.server.wipe.reported import Reported
from qlmdm_core.units import say_duration

OLD = timedelta(days=3)
"""A plan that is older may be out of date."""

DOES: dict[Method, Sequence[str]] = {
    "accounts": (
        "ends the processes of the people above, deletes their homes, mail, timed jobs and",
        "temporary files, and takes their accounts away. Other accounts, the system and the",
        "machine's own data stay; so does whatever lies elsewhere on the disks.",
        "THIS IS NOT ERASURE: what was deleted can be found on the disk with the right tools.",
    ),
    "erase": (
        "destroys all key slots of the LUKS headers above and switches the machine off at once.",
        "Nobody can open what is encrypted there any more, with whatever passphrase or recovery",
        "key, ourselves included, unless a copy of a header was kept. The machine needs a new",
        "system. What is not encrypted stays readable.",
    ),
}


def lines(found: Reported, now: datetime) -> list[str]:
    """The client, and what is on it."""
    client, plan = found.client, found.plan
    yield_ = [
        f"{client.hostname} ({client.cid})",
        f"  owner         {client.user_email or 'not known'}",
        f"  tags          {', '.join(client.tags) or 'none'}",
        f"  machine       {found.product or 'not known'}",
        f"  machine-id    {plan.machine_id or 'not known'}",
        f"  last seen     {when(client.last_seen_at)} ({ago(client.last_seen_at, now)})",
        f"  plan from     {when(found.collected_at)} ({ago(found.collected_at, now)})",
    ]
    if found.collected_at is None or now - found.collected_at > OLD:
        yield_.append("  THE PLAN IS OLD: what is on the machine may be another by now")
    yield_ += [f"  DUPLICATE     {name}" for name in client.flags if "duplicate" in name]
    yield_ += _list("built-in disks", [_disk(d) for d in plan.disks])
    yield_ += _list(
        "LUKS headers", [f"{h.uuid} at {h.device}, on {', '.join(h.disks)}" for h in plan.luks]
    )
    yield_ += _list("not encrypted, stays readable after erase", plan.not_encrypted)
    yield_ += _list("left alone: can be pulled out, or elsewhere", plan.left_alone, always=False)
    yield_ += _list("people", [f"{a.name} ({a.uid}), {a.home}" for a in plan.accounts])
    yield_ += _list("homes of others", plan.other_homes, always=False)
    yield_ += _list("left alone: in the network", plan.network_homes, always=False)
    yield_ += _list(
        "NOT KNOWN", [f"{what}: {why}" for what, why in plan.unknown.items()], always=False
    )
    return [clean(line) for line in yield_]


def method_lines(method: Method) -> list[str]:
    """What a method does and does not do."""
    return [f"{method}:", *(f"  {line}" for line in DOES[method])]


def when_lines(
    *, now: datetime, not_before: datetime, expires_at: datetime, operators: int
) -> list[str]:
    """When it happens, and until when it can be called off."""
    window = (not_before - now).total_seconds()
    return [
        "operators     one must sign"
        if operators == 1
        else f"operators     {operators} different ones must sign",
        f"called off    until {when(not_before)} ({say_duration(window)} from now) for certain;"
        if window > 0
        else "called off    there is no cancel window (settings: wipe.cancel_window);",
        "              later only as long as the client has not asked for its commands",
        f"waits         for the client's next check-in, until {when(expires_at)}",
        "refuses       if machine-id, disks or LUKS headers are others than those above",
    ]


def _disk(disk: object) -> str:
    device, serial = getattr(disk, "device", ""), getattr(disk, "serial", "")
    size, model = getattr(disk, "size_bytes", 0), getattr(disk, "model", "")
    about = ", ".join(text for text in (model, f"{size / 1e9:.0f} GB" if size else "") if text)
    return f"{device}: {serial or 'serial number not known'}" + (f" ({about})" if about else "")


def _list(title: str, entries: Sequence[str], *, always: bool = True) -> list[str]:
    if not entries:
        return [f"  {title}: none"] if always else []
    return [f"  {title}:", *(f"    {entry}" for entry in entries)]
