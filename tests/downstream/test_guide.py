"""The plugin guide, word for word: its files are written, its commands run, their output compared.

`pip` and `pytest` are started by the interpreter of the suite, offline; everything else is as
the guide's reader has it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs/plugins.md"
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w./-]+)`:\n\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
TOOLS = ("hatchling", "editables", "build")
"""What `pip install -e .` and `python -m build` fetch, where there is a network."""
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Block:
    """A fenced block of the guide."""

    file: str | None
    kind: str
    text: str


def blocks() -> Iterator[Block]:
    for found in BLOCK.finditer(GUIDE.read_text(encoding="utf-8")):
        yield Block(found["file"], found["kind"], found["text"])


def test_each_listing_names_its_file() -> None:
    kinds = [block.kind for block in blocks()]
    assert kinds.count("console") >= 5
    assert {block.kind for block in blocks()} == {"python", "console", "toml"}
    assert [block.text for block in blocks() if block.kind == "python" and not block.file] == []


def test_each_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", GUIDE.read_text(encoding="utf-8")):
        assert (GUIDE.parent / target).exists(), target


class Reader:
    """Somebody who does what the guide says, in a folder and an environment of their own."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self._bin = bin_folder
        self._at = folder
        python = bin_folder / "python"
        self._wrap("pip", f"'{sys.executable}' -m pip --python '{python}'")
        self._wrap("pytest", f"'{python}' -m pytest -p no:cacheprovider")
        self._environ = {
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "QLMDM_STATE_DIR": str(folder / "state"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's own spelling of "without"
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def _wrap(self, name: str, command: str) -> None:
        script = self._bin / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)

    def write(self, file: str, text: str) -> None:
        path = self._at / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace_table(self, text: str) -> None:
        """Let a table of pyproject.toml be as the guide shows it."""
        path = self._at / "pyproject.toml"
        header, _, _ = text.partition("\n")
        before, found, rest = path.read_text(encoding="utf-8").partition(header)
        assert found, f"pyproject.toml has no {header}"
        _, _, after = rest.partition("\n\n")
        path.write_text(f"{before}{text}\n{after}", encoding="utf-8")

    def type(self, command: str) -> str:
        """Run one line of the guide; what it printed."""
        words = command.split()
        if words[0] == "cd":
            self._at = self._at / words[1]
            assert self._at.is_dir()
            return ""
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._at,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ line` of a console block, with the output that follows it there."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(shown: str, printed: str) -> bool:
    """Whether the output is what the guide shows; `…` stands for whatever comes there."""
    pieces = [re.escape(" ".join(piece.split())) for piece in shown.split("…")]
    return re.search(".*".join(pieces), " ".join(printed.split()), re.S) is not None


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("…\n8 passed…\n", "........ [100%]\n8 passed in 0.1s\n", True),
        ("…\n8 passed…\n", "7 passed in 0.1s\n", False),
        ('"a": 1,\n', '  "a": 1,\n  "b": 2\n', True),
        ('"a": 1,\n', '"a": 2,\n', False),
    ],
)
def test_output_is_compared(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_the_guide_works_word_for_word(environment: Callable[..., Path], tmp_path: Path) -> None:
    ours = ["qlmdm_core-*.whl", "qlmdm_plugins_*.whl"]
    reader = Reader(environment(ours, testing=True, tools=TOOLS), tmp_path)
    done = 0
    for block in blocks():
        if block.file:
            reader.write(block.file, block.text)
            continue
        if block.kind == "toml":
            reader.replace_table(block.text)
        for command, shown in commands(block.text):
            printed = reader.type(command)
            assert matches(shown, printed), f"$ {command}\nshown:\n{shown}\nprinted:\n{printed}"
            done += 1
    assert done >= 10
    assert os.listdir(tmp_path / "qlmdm_acme_backup/tests/machines/laptop7")
