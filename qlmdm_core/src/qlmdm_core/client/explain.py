"""Tells the person at the machine what is collected of it, why, and how it was concluded."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from qlmdm_core.api import JSON, Host
from qlmdm_core.client.collect import check_names, collect, host_maker, result_of
from qlmdm_core.client.isolation import CollectorOutcome
from qlmdm_core.client.plan import Descriptor, FindDistro
from qlmdm_core.client.sealing import Choice
from qlmdm_core.client.tracing import TracingHost, read_trace
from qlmdm_core.settings import Loaded
from qlmdm_core.units import say_duration

WIDTH = 100
BESIDE = (
    (
        "hostname",
        "What lists and alerts call the machine; `qlmdm-client-setup` can give another.",
    ),
    ("a hash of machine-id and product UUID", "To notice that a machine was cloned."),
    (
        "the agent's and Python's version, whether it runs as root, how much waits to be sent",
        "To notice an agent that does not work.",
    ),
    ("when it was last heard of", "To notice machines that are silent."),
    ("the address that a request came from", "In the server's log only."),
    (
        "failures of plugins, what collectors printed as they failed",
        "To mend them; of private ones only that they failed.",
    ),
)
"""What the server gets to know beside what collectors say, and why."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One explanation, for a person and for a program."""

    text: str
    data: JSON


# --- what is collected --------------------------------------------------------------------------


def overview(loaded: Loaded[Any]) -> Explained:
    """Every collector that could run here. Nothing is asked of the machine."""
    core = loaded.core
    outcome = collect(loaded, due=lambda _: False)
    known = sorted(outcome.known.values(), key=lambda descriptor: descriptor.name)
    choice = Choice(private=core.private, not_private=core.not_private)
    data = [_described(descriptor, choice, core.collectors_off) for descriptor in known]
    parts = ["\n".join(_paragraph(entry, core.collect_interval)) for entry in data]
    parts += [f"failed: {failure}" for failure in outcome.failures]
    beside = ["Beside what collectors say, the server gets to know:"]
    for what, why in BESIDE:
        line = f"{what}: {why[0].lower()}{why[1:]}".replace("`", "")
        beside += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    parts.append("\n".join(beside))
    parts.append(
        "To see what one of them says now: qlmdm-collect --stdout --only NAME\n"
        "and how it came to that:           qlmdm-collect --explain NAME"
    )
    return Explained(
        text="\n\n".join(parts),
        data={
            "collectors": data,
            "beside": [{"what": what, "why": why} for what, why in BESIDE],
            "failures": [asdict(failure) for failure in outcome.failures],
        },
    )


def _described(descriptor: Descriptor, choice: Choice, off: tuple[str, ...]) -> dict[str, JSON]:
    return {
        "name": descriptor.name,
        "distribution": descriptor.distribution,
        "help": descriptor.help,
        "fields": dict(descriptor.fields),
        "interval": descriptor.interval,
        "private": choice.is_private(descriptor.name, descriptor.private),
        "private_paths": list(choice.paths(descriptor.name, descriptor.private_paths)),
        "off": descriptor.name in off,
    }


def _paragraph(entry: dict[str, Any], interval: float) -> Iterator[str]:
    every = say_duration(entry["interval"] or interval)
    when = "off in the settings" if entry["off"] else f"every {every}"
    yield f"{entry['name']} ({entry['distribution']}; {when})"
    if entry["help"]:
        yield from textwrap.wrap(entry["help"], WIDTH, initial_indent="  ", subsequent_indent="  ")
    for name, sentence in entry["fields"].items():
        yield from textwrap.wrap(
            f"{name}: {sentence}", WIDTH, initial_indent="    ", subsequent_indent="      "
        )
    if entry["private"]:
        yield "  Private: only the secret-keepers can read it; without any, it is not collected."
    elif entry["private_paths"]:
        yield f"  Private, if there are secret-keepers: {', '.join(entry['private_paths'])}"


# --- how one of them came to its conclusion -----------------------------------------------------


def one(loaded: Loaded[Any], name: str, *, replay: str | None) -> Explained:
    """Run one collector and tell what it asked. Raises `UsageError` if there is none such."""
    make = host_maker(replay)
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder:
        path = os.path.join(folder, "trace")

        def trace(name: str, find_distro: FindDistro) -> Host:
            return TracingHost(make(name, find_distro), path)

        outcome = collect(loaded, only=[name], make_host=trace)
        check_names(outcome)
        steps = read_trace(path)
    result = outcome.results[name]
    known = outcome.known.get(name)
    said = f" {known.help}" if known and known.help else ""
    lines = [f"{result.name}, a collector of {result.distribution}.{said}"]
    lines.append("\nIt asked:" if steps else "\nIt asked nothing.")
    for number, (question, answer) in enumerate(steps, start=1):
        line = f"{number:4}. {question}: {answer}"
        lines.append(line if len(line) <= WIDTH else f"{number:4}. {question}:\n          {answer}")
    lines += _conclusion(result)
    data = {"asked": [list(step) for step in steps], **result_of(result)}
    return Explained(text="\n".join(lines), data=data)


def _conclusion(result: CollectorOutcome) -> list[str]:
    if result.status != "ok":
        lines = [f"\nIt failed after {result.seconds:.2f} s ({result.status}): {result.error}"]
        if result.printed:
            lines += ["\nIt printed:", *(f"    {line}" for line in result.printed.splitlines())]
        return lines
    return [f"\nIt concluded, after {result.seconds:.2f} s:", *_outline(result.value, "    ")]


def _outline(value: JSON, indent: str) -> list[str]:
    """A value for a person: one line for each fact, indented by depth."""
    lines: list[str] = []
    pairs = value.items() if isinstance(value, dict) else (("-", item) for item in value)
    for key, item in pairs:
        label = f"{indent}{key}" + ("" if key == "-" else ":")
        short = f"{label} {_brief(item)}"
        if len(short) <= WIDTH or not isinstance(item, (dict, list)):
            lines.append(short)
        else:
            lines += [label, *_outline(item, indent + "    ")]
    return lines


def _brief(item: JSON) -> str:
    """A fact on one line."""
    if isinstance(item, dict):
        return ", ".join(f"{key} {_brief(inner)}" for key, inner in item.items()) or "none"
    if isinstance(item, list):
        return ", ".join(map(_brief, item)) or "none"
    words = {None: "not known", True: "yes", False: "no"}
    return words[item] if item is None or isinstance(item, bool) else str(item)
