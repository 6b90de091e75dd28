"""Writes a recorded machine again, with other names for who and what it is about."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.host.recorded import read_recording
from qlmdm_core.host.redaction.find import find
from qlmdm_core.host.redaction.names import Names

LISTS = ("machine.json", "commands.json", "processes.json", "http.json")


def rewrite(source: str, target: str, known: Iterable[tuple[str, str]] = ()) -> Names:
    """Copy a recording, renamed, into a new folder; what was renamed, and how often.

    `known` are names (kind, name) to be replaced beside those that are found in it. Raises
    `RecordingError` if `source` is no recording, `OSError` if it can't be written.
    """
    names = find(read_recording(source), dict(texts(source)))
    for kind, name in known:
        names.add(kind, name)
    os.mkdir(target, 0o700)
    for name in LISTS:
        path = os.path.join(source, name)
        if os.path.lexists(path):
            with open(path, encoding="utf-8") as file:
                value = _renamed(json.load(file), names)
            with open(os.path.join(target, name), "x", encoding="utf-8") as file:
                file.write(json.dumps(value, indent=1) + "\n")
    root = os.path.join(source, "files")
    os.mkdir(os.path.join(target, "files"))
    for folder, folders, files in os.walk(root):
        for name in sorted([*folders, *files]):
            path = os.path.join(folder, name)
            inside = names.replace(path[len(root) :])
            _copy(path, os.path.join(target, "files") + inside, names)
    return names


def texts(source: str) -> Iterator[tuple[str, str]]:
    """The recorded files, by their paths on the machine: texts, and targets of links."""
    root = os.path.join(source, "files")
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield path[len(root) :], os.readlink(path)
            elif os.path.isfile(path):
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    yield path[len(root) :], file.read()


def _copy(path: str, to: str, names: Names) -> None:
    if os.path.islink(path):
        os.symlink(names.replace(os.readlink(path)), to)
    elif os.path.isdir(path):
        os.mkdir(to)
    else:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = names.replace(file.read())
        with open(to, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(to, stat.S_IMODE(os.lstat(path).st_mode))


def _renamed(value: Any, names: Names) -> JSON:
    if isinstance(value, dict):
        return {names.replace(key): _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.replace(value) if isinstance(value, str) else value


def move(source: str, target: str) -> None:
    """Put a finished recording into a folder that is there, and empty. Raises `OSError`."""
    os.listdir(target)  # shutil would make it anew, for everybody to read
    for name in sorted(os.listdir(source), key=lambda name: name == "machine.json"):
        # machine.json last: without it a folder that was half copied is no recording.
        shutil.move(os.path.join(source, name), os.path.join(target, name))
