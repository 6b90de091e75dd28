"""An administrator for tests: types `qlmdm-keys` at a simulated server, and has keys elsewhere."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qlmdm_core import cli
from qlmdm_core.errors import KeyringError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import crypto, keys_cli
from qlmdm_core.signing import Signer, keys
from qlmdm_core.signing.gpg import program, stop_agent
from qlmdm_core.signing.sequoia import SequoiaSigner
from qlmdm_core.testing.server import SimulatedServer


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


class _Keyboard(io.StringIO):
    """Standard input, as a terminal or not."""

    def __init__(self, typed: str | None) -> None:
        super().__init__(typed or "")
        self._terminal = typed is not None

    def isatty(self) -> bool:
        return self._terminal


@dataclass
class Office:
    """A server, and the administrator at it."""

    server: SimulatedServer
    printed: list[str] = field(default_factory=list)
    """All that was ever printed."""

    def run(self, *argv: str, types: str | None = None) -> Done:
        """`qlmdm-keys`; `types`: what is typed, on a terminal (else nobody is there)."""
        out, err = io.StringIO(), io.StringIO()
        args = ["--settings", self.server.settings_file, *argv]
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _typing(types),
        ):
            try:
                status = cli.run(keys_cli.command, "qlmdm-keys", args)
            except SystemExit as end:  # argparse's
                status = int(end.code or 0)
        self.printed += [out.getvalue(), err.getvalue()]
        return Done(status, out.getvalue(), err.getvalue())

    def do(self, *argv: str) -> str:
        """What a command that must succeed says."""
        done = self.run(*argv)
        if done.status != 0:
            raise AssertionError(f"qlmdm-keys {' '.join(argv)}: {done}")
        return done.out

    @property
    def root(self) -> Root:
        """The newest root document."""
        return crypto.newest_root(self.server.store, self.server.crypto.verifier)

    def only(self, role: str) -> str:
        """The fingerprint of the one key of a role."""
        (fingerprint,) = self.root.roles[role].fingerprints
        return fingerprint

    def home(self, role: str) -> str:
        """The gpg home of a role on the server."""
        return crypto.role_home(self.server.settings, role)

    def here(self, role: str) -> list[str]:
        """The secret keys of a role that are on the server."""
        return [key.fingerprint for key in keys.list_keys(self.home(role))]

    def stolen(self, role: str) -> Signer:
        """What a thief has who copied the one secret key of a role from the server."""
        return SequoiaSigner(keys.export_secret(self.home(role), self.only(role)))

    def move_away(self, role: str, folder: Path) -> Elsewhere:
        """Take a role's key off the server, as docs/keys.md tells it."""
        out = folder / f"{role}.key"
        self.do("export", role, "--secret", "--output", str(out), "--remove", "--yes")
        elsewhere = Elsewhere(folder / f"{role}-gpg")
        elsewhere.gpg("--import", str(out))
        return elsewhere

    def sign_elsewhere(self, elsewhere: Elsewhere, folder: Path) -> str:
        """Carry the one draft to another machine, sign it there, carry the signature back."""
        self.do("sign", "--export", str(folder))
        (draft,) = self.server.store.drafts()
        return self.do("sign", "--import", elsewhere.sign(folder / f"{draft.name}.json"))


@contextlib.contextmanager
def _typing(typed: str | None) -> Iterator[None]:
    before, sys.stdin = sys.stdin, _Keyboard(typed)
    try:
        yield
    finally:
        sys.stdin = before


@dataclass
class Elsewhere:
    """Another machine, or a smart card: a gpg home that the server can't reach."""

    home: Path

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)

    def gpg(self, *args: str) -> str:
        """Plain gpg, as a person types it; what it printed."""
        gpg = program("gpg")
        if gpg is None:
            raise KeyringError("gpg is not installed; install GnuPG")
        argv = [gpg, "--homedir", str(self.home), "--batch", "--no-tty", *args]
        try:
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        finally:
            stop_agent(str(self.home))

    def make(self, name: str, expire: str = "0") -> str:
        """Make a key as a person would; the file with its public part."""
        self.gpg(
            *("--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.com>"),
            *("ed25519", "sign", expire),
        )
        path = self.home / f"{name}.asc"
        path.write_text(self.gpg("--armor", "--export", name))
        return str(path)

    def sign(self, path: Path, *more: str) -> str:
        """Plain `gpg --armor --detach-sign`; the file of the signature."""
        self.gpg("--yes", "--armor", "--detach-sign", *more, str(path))
        return f"{path}.asc"
