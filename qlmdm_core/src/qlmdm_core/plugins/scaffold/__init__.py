"""Writes a distribution to begin one's own with: `qlmdm-plugins new NAME`.

It collects the label in a file and checks that there is one: little, but with settings, a
check, tests and a README, and it passes its tests and `qlmdm-plugins check` as it is written.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from importlib import resources

from qlmdm_core.errors import QlmdmError, UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_LONGEST = 40
_OURS = ("core", "plugins")
"""Names of which qlmdm has distributions of its own."""

FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.txt",
    "README.md": "readme.txt",
    "src/{module}/__init__.py": "package.txt",
    "src/{module}/py.typed": "",
    "src/{module}/client.py": "client.txt",
    "src/{module}/server.py": "server.txt",
    "tests/test_{snake}_client.py": "test_client.txt",
    "tests/test_{snake}_server.py": "test_server.txt",
}
"""What is written, and the template of each; empty: an empty file."""


def write_project(name: str, directory: str) -> list[str]:
    """Write the distribution `qlmdm-NAME` into a new folder; what to do next, in lines.

    Raises `UsageError` for a name that can't be one, and for a folder that is there already.
    """
    words = _words(name)
    folder = os.path.join(directory, words["module"])
    if not os.path.isdir(directory):
        raise UsageError(f"{directory}: there is no such folder")
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already; nothing was written")
    try:
        for path, template in FILES.items():
            _write(os.path.join(folder, path.format(**words)), _filled(template, words))
    except OSError as error:
        raise QlmdmError(f"{error.filename}: can't be written: {error.strerror}") from None
    return [
        f"{folder}: a distribution that collects, checks and tests; change it to what you need",
        "try it:",
        f"  cd {shlex.quote(folder)}",
        '  pip install -e . "qlmdm-core[testing]"',
        "  pytest",
        f"  qlmdm-plugins check {words['distribution']}",
    ]


def _words(name: str) -> dict[str, str]:
    """What stands for what in the templates."""
    short = name.removeprefix("qlmdm-")
    if not _NAME.match(short) or len(short) > _LONGEST:
        wanted = f"lower-case words joined by - (at most {_LONGEST} letters), such as acme-badge"
        raise UsageError(f"{name!r} can't be the name of a distribution; expected {wanted}")
    if short.split("-")[0] in _OURS or short == "agent":  # as the client calls its own report
        raise UsageError(f"{name!r} is taken; begin with a name of your own, such as acme-")
    snake = short.replace("-", "_")
    return {
        "name": short,
        "snake": snake,
        "camel": "".join(word.capitalize() for word in short.split("-")),
        "module": f"qlmdm_{snake}",
        "distribution": f"qlmdm-{short}",
    }


def _filled(template: str, words: Mapping[str, str]) -> str:
    if not template:
        return ""
    text = resources.files(__package__).joinpath("templates").joinpath(template).read_text("utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
