"""Starts pip, which knows the package index and its passwords, and says what it said.

pip runs in a process of its own, as its authors ask (pip's user guide, "Using pip from your
program"). What it prints stays out of sight unless it fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.errors import QlmdmError

TIMEOUT_SECONDS = 1800
_NO_MATCH = re.compile(r"No matching distribution found for ([^\s;]+)")

WITHOUT_EXTENSION: Mapping[str, Mapping[str, str]] = {
    "pyyaml": {"PYYAML_FORCE_LIBYAML": "0"},
    "charset-normalizer": {"CHARSET_NORMALIZER_USE_MYPYC": "0"},
    "markupsafe": {"CIBUILDWHEEL": "0"},
    "wrapt": {"WRAPT_INSTALL_EXTENSIONS": "false"},
}
"""What tells the build of a package, from its source, to leave out its optional extension."""


class PipError(QlmdmError):
    """pip could not do it; the message has what it said."""

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        found = _NO_MATCH.search(said)
        self.missing = found[1] if found else None
        """The requirement for which there is no wheel that fits, if that is what it said."""


@dataclass(frozen=True, kw_only=True)
class Pip:
    """pip, and where it takes packages from."""

    wheels: str | None = None
    """A folder; None: the index that pip is configured for."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run

    def download(
        self, folder: str, wanted: Sequence[str], *, find: str, tags: Sequence[str]
    ) -> None:
        """Wheels of these requirements and of all that they need, into a folder."""
        self._call(
            ["download", "--only-binary=:all:", "--dest", folder, "--find-links", find, *tags],
            wanted,
        )

    def build(self, folder: str, source: str, *, isolated: bool = True) -> None:
        """Make a wheel of a source folder or URL, without what it needs."""
        words = ["wheel", "--no-deps", "--wheel-dir", folder]
        self._call(words if isolated else [*words, "--no-build-isolation"], [source])

    def build_pure(self, folder: str, name: str, wanted: str, *, cached: bool = True) -> None:
        """Make a wheel of a package's published source, without its optional extension.

        pip's cache may hold one that was made with it.
        """
        # Of this package alone: what builds it may come as wheels.
        words = ["wheel", "--no-deps", "--wheel-dir", folder, "--no-binary", name]
        words += [] if cached else ["--no-cache-dir"]
        self._call(words, [wanted], WITHOUT_EXTENSION.get(name, {}))

    def _call(
        self, words: Sequence[str], wanted: Sequence[str], extra: Mapping[str, str] | None = None
    ) -> None:
        where = ["--no-index", "--find-links", self.wheels] if self.wheels else []
        argv = [sys.executable, "-m", "pip", *words, *where]
        argv += ["--no-input", "--disable-pip-version-check", "--quiet", "--", *wanted]
        environment = {
            **os.environ,
            **(extra or {}),
            "LC_ALL": "C.UTF-8",
            # The oldest time that a zip can hold: builds that look at it give the same bytes.
            "SOURCE_DATE_EPOCH": "315532800",
        }
        try:
            done = self.run(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PipError(f"pip {words[0]}: {error}") from None
        if done.returncode:
            raise PipError(_message(words[0], wanted, done.stderr or done.stdout), said=done.stderr)


def _message(what: str, wanted: Sequence[str], said: str) -> str:
    if "No module named pip" in said:
        return f"{sys.executable} has no pip; run: {sys.executable} -m ensurepip"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-5:]
    names = ", ".join(os.path.basename(word) for word in wanted)
    return f"pip {what} failed for {names}:\n" + "\n".join(
        f"  {line[:300]}" for line in errors[:10]
    )
