"""Shows a recording to the person it is about: what is in it in a few lines, or all of it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping

from qlmdm_core.host.recorded import read_recording
from qlmdm_core.host.redaction.rewrite import texts


def summary(directory: str, renamed: Mapping[str, int] | None) -> Iterator[str]:
    """What a person should know before it is handed on; `renamed` is None if nothing was."""
    recording = read_recording(directory)
    files = dict(texts(directory))
    size = sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(directory)
        for name in names
    )
    yield (
        f"{len(recording.commands)} commands with their output, {len(files)} files, "
        f"{len(recording.processes)} processes with their command lines; {size / 1000:.0f} kB"
    )
    yield "taken out: private keys, passwords and their hashes, tokens"
    if renamed is None:
        yield "left as they are: names of people and machines, addresses, serial numbers"
        return
    counts = ", ".join(f"{kind} {times} times" for kind, times in sorted(renamed.items()))
    yield f"renamed: {counts or 'nothing that names somebody was found'}"
    yield "left as they are: versions, settings, mount points, UUIDs of file systems"


def everything(directory: str) -> Iterator[str]:
    """All that is in it, as text, one part after the other."""
    recording = read_recording(directory)
    for command in recording.commands:
        who = f" (as {command.user})" if command.user else ""
        yield f"$ {shlex.join(command.argv)}{who}\n{command.stdout}{command.stderr}\n"
    for path, text in sorted(texts(directory)):
        yield f"--- {path}\n{text}\n"
    for name in ("processes.json", "http.json", "machine.json"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                yield f"--- {name}\n{json.dumps(json.load(file), indent=1)}\n"
