"""Signing by the system's gpg and verifying by gpgv, as clients do.

Each call starts one program: no shell, no options file, no configuration, an environment and
a search path of our own, results on a status descriptor of its own. Keys, signatures and data
go through anonymous files, so nothing is left behind whenever the power fails. What gpg prints
for people is read for error messages only. Sources: gpg(1), gpgv(1), and GnuPG's doc/DETAILS
for the status lines.

Importing this module loads little: clients do it every minute.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from types import TracebackType

from qlmdm_core.errors import KeyringError, SignatureError
from qlmdm_core.searchpath import SEARCH_PATH
from qlmdm_core.signing import packets
from qlmdm_core.signing.interface import Armour, PublicKey, Signature

TIMEOUT_SECONDS = 30.0
# unix(7): sun_path has 108 bytes; gpg-agent's longest socket needs one to spare.
_SOCKET_PATH_MAX = 106
_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


def program(name: str) -> str | None:
    """The absolute path of a program on the fixed search path, or None."""
    for folder in SEARCH_PATH:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


class GpgVerifier:
    """Verifies with gpgv or, where that is missing, with gpg. See `interface` for the rules."""

    def __init__(self, gpgv: str | None = None, gpg: str | None = None) -> None:
        """`gpgv` and `gpg`: absolute paths; by default they are searched on first use."""
        self._gpgv, self._gpg = gpgv, gpg

    def verify(self, data: bytes, signature: Armour, allowed: Sequence[PublicKey]) -> Signature:
        """The signature's facts. Raises `SignatureError`, or `KeyringError` without a gpg."""
        facts = packets.facts_of(signature)
        key = next((key for key in allowed if key.fingerprint == facts.issuer), None)
        if key is None:
            raise SignatureError(f"signed by {facts.issuer}, which is not an allowed key")
        certificate = packets.dearmour(key.armoured, "PUBLIC KEY BLOCK")
        if packets.primary_fingerprint(certificate) != key.fingerprint:
            raise SignatureError(f"the certificate for {key.fingerprint} is another key's")
        status = self._ask(data, facts.raw, certificate)
        return _judge(status, facts)

    def _ask(self, data: bytes, signature: bytes, certificate: bytes) -> bytes:
        gpgv = self._gpgv or (None if self._gpg else program("gpgv"))
        with contextlib.ExitStack() as stack:
            ring = stack.enter_context(anonymous(certificate))
            detached = stack.enter_context(anonymous(signature))
            status = stack.enter_context(anonymous(b""))
            source = stack.enter_context(anonymous(data))
            files = ["--", f"/proc/self/fd/{detached}", "-"]
            if gpgv:
                # Without --ignore-time-conflict a client whose clock is slow could not
                # verify the answer that tells it so.
                argv = [gpgv, "--homedir", "/nonexistent", "--ignore-time-conflict"]
            else:
                gpg = self._gpg or program("gpg")
                if gpg is None:
                    raise KeyringError("neither gpgv nor gpg is installed; install GnuPG")
                home = stack.enter_context(tempfile.TemporaryDirectory(prefix="qlmdm-gpg-"))
                argv = [gpg, "--homedir", home, *QUIET, "--no-default-keyring", "--lock-never"]
                argv += ["--no-auto-check-trustdb", "--trust-model", "always"]
                files = ["--verify", *files]
            argv += ["--keyring", f"/proc/self/fd/{ring}", "--status-fd", str(status), *files]
            run_program(argv, source, (ring, detached, status))
            return content_of(status)


class GpgSigner:
    """Signs with one secret key (without a passphrase) in a gpg home of its own.

    gpg starts an agent to hold the key; `close` (or leaving the `with` block) ends it.
    """

    def __init__(self, home: str, fingerprint: str, gpg: str | None = None) -> None:
        """`home` is private: owned by the user that signs, mode 0700."""
        self._home, self._fingerprint, self._gpg = home, fingerprint, gpg
        self.clock_offset = 0.0
        """Seconds to add to this machine's clock when a signature is dated: the server told
        that the clock is wrong, and takes no message that is signed by a wrong one."""

    @property
    def fingerprint(self) -> str:
        """Of the key that signs."""
        return self._fingerprint

    def __enter__(self) -> GpgSigner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def sign(self, data: bytes) -> str:
        """A detached, ASCII-armoured signature with SHA-256. Raises `KeyringError`."""
        gpg = self._gpg or program("gpg")
        if gpg is None:
            raise KeyringError("gpg is not installed; install GnuPG")
        check_home(self._home)
        with anonymous(data) as source, anonymous(b"") as status, anonymous(b"") as out:
            # "!": this very key, not a subkey that gpg prefers
            argv = [gpg, "--homedir", self._home, *QUIET, "--pinentry-mode", "error"]
            argv += ["--local-user", self._fingerprint + "!", "--digest-algo", "SHA256"]
            argv += ["--no-emit-version", "--no-comments", "--armor", "--detach-sign"]
            if self.clock_offset:
                argv += ["--faked-system-time", str(int(time.time() + self.clock_offset))]
            argv += ["--status-fd", str(status), "--output", "-", "--", "-"]
            code, said = run_program(argv, source, (status,), stdout=out)
            created = [line for line in _status(content_of(status)) if line[0] == "SIG_CREATED"]
            signature = content_of(out)
        if code != 0 or len(created) != 1:
            raise KeyringError(f"gpg could not sign with {self._fingerprint}: {said}")
        try:
            facts = packets.read_signature(signature)
        except SignatureError as error:
            raise KeyringError(f"gpg made a signature that we would refuse: {error}") from None
        if facts.issuer != self._fingerprint:
            raise KeyringError(f"gpg signed with {facts.issuer}, not with {self._fingerprint}")
        return signature.decode("ascii")

    def close(self) -> None:
        """End the agent that gpg started for this home."""
        stop_agent(self._home)


QUIET = (
    "--no-options",
    "--batch",
    "--no-tty",
    "--no-greeting",
    "--disable-dirmngr",
    "--no-auto-key-locate",
    "--no-auto-key-retrieve",
    "--ignore-time-conflict",
    "--ignore-valid-from",
)


def check_home(home: str) -> None:
    """Raise `KeyringError` unless `home` is a folder that only we can look into."""
    try:
        found = os.lstat(home)
    except OSError as error:
        raise KeyringError(f"{home}: the keyring can't be used: {error.strerror}") from None
    if not os.path.isdir(home) or os.path.islink(home):
        raise KeyringError(f"{home}: the keyring must be a folder, not a link or a file")
    if found.st_uid != os.geteuid():
        raise KeyringError(
            f"{home}: the keyring belongs to uid {found.st_uid}, but we run as {os.geteuid()}"
        )
    if found.st_mode & 0o077:
        raise KeyringError(
            f"{home}: others may read this keyring (mode {found.st_mode & 0o777:04o}); "
            f"run: chmod 700 {home}"
        )
    if len(os.fsencode(f"{home}/S.gpg-agent.browser")) > _SOCKET_PATH_MAX:
        raise KeyringError(f"{home}: the path is too long for the socket of gpg's agent")


def stop_agent(home: str, wait_seconds: float = 5.0) -> None:
    """End the gpg-agent of this home, if one runs, and wait until it has ended."""
    path = next((path for path in _agent_sockets(home) if os.path.exists(path)), None)
    if path is None:
        return
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as agent:
        # The Assuan protocol: the agent greets, then answers each line.
        agent.settimeout(wait_seconds)
        agent.connect(path)
        lines = agent.makefile("rwb")
        lines.readline()
        lines.write(b"GETINFO pid\n")
        lines.flush()
        pid = int(lines.readline().removeprefix(b"D "))
        lines.readline()
        with _pidfd(pid) as process:
            lines.write(b"KILLAGENT\n")
            lines.flush()
            lines.readline()
            agent.close()
            lines.close()
            if process is not None:
                select.select([process], [], [], wait_seconds)


def _agent_sockets(home: str) -> Iterator[str]:
    """Where the agent of this home may listen (gpgconf(1), "socketdir")."""
    yield f"{home}/S.gpg-agent"
    # GnuPG common/homedir.c: a home other than ~/.gnupg gets a folder named by z-base-32 of
    # the first 15 bytes of the SHA-1 of its path, if /run/user/UID exists.
    import hashlib

    digest = hashlib.sha1(os.fsencode(os.path.abspath(home)), usedforsecurity=False).digest()
    number = int.from_bytes(digest[:15], "big")
    name = "".join(_ZBASE32[number >> shift & 31] for shift in range(115, -1, -5))
    for run in ("/run", "/var/run"):
        yield f"{run}/user/{os.geteuid()}/gnupg/d.{name}/S.gpg-agent"


def _judge(status: bytes, facts: packets.SignatureFacts) -> Signature:
    """Turn the status lines about one signature into its facts, or into `SignatureError`."""
    lines = _status(status)
    words = [line[0] for line in lines]
    if "REVKEYSIG" in words or "KEYREVOKED" in words:
        raise SignatureError(f"signed by {facts.issuer}, which is revoked")
    valid = [line for line in lines if line[0] == "VALIDSIG"]
    good = words.count("GOODSIG") + words.count("EXPKEYSIG")
    bad = {"BADSIG", "ERRSIG", "EXPSIG", "NODATA", "UNEXPECTED", "NO_PUBKEY"} & set(words)
    if len(valid) != 1 or good != 1 or bad or words.count("NEWSIG") > 1:
        raise SignatureError(f"not a good signature by {facts.issuer} over this data")
    # doc/DETAILS: VALIDSIG fpr date timestamp expires version reserved key-algorithm
    # hash-algorithm class primary-key-fpr
    fields = valid[0][1:]
    if len(fields) < 10 or fields[0] != facts.issuer or fields[9] != facts.issuer:
        raise SignatureError("made by a subkey, not by the key itself")
    if fields[8] != "00" or packets.HASHES.get(_number(fields[7])) != facts.hash:
        raise SignatureError("gpg and we disagree about the signature's class or hash")
    if _number(fields[2]) != int(facts.created_at.timestamp()):
        raise SignatureError("gpg and we disagree about the signature's time")
    expired: datetime | None = None
    if "EXPKEYSIG" in words:
        times = [_number(line[1]) for line in lines if line[0] == "KEYEXPIRED" and len(line) > 1]
        expired = datetime.fromtimestamp(max(times, default=0), timezone.utc)
    return Signature(
        fingerprint=facts.issuer,
        created_at=facts.created_at,
        hash=facts.hash,
        key_expired_at=expired,
    )


def _status(data: bytes) -> list[list[str]]:
    prefix = b"[GNUPG:] "
    lines = [line[len(prefix) :] for line in data.split(b"\n") if line.startswith(prefix)]
    return [line.decode("latin-1").split(" ") for line in lines if line]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1


@contextlib.contextmanager
def anonymous(content: bytes) -> Iterator[int]:
    """A descriptor of a file without a name, holding `content`, at its start."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("qlmdm")
    else:  # a Python that was built for an old C library
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def content_of(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None on old kernels."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def run_program(
    argv: list[str], stdin: int, keep: tuple[int, ...], stdout: int | None = None
) -> tuple[int, str]:
    """Run gpg or gpgv to its end; its exit status and the last thing it said to people."""
    with anonymous(b"") as errors:
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.DEVNULL if stdout is None else stdout,
                stderr=errors,
                pass_fds=keep,
                env={"PATH": ":".join(SEARCH_PATH), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
                cwd="/",
            )
        except OSError as error:
            raise KeyringError(f"{argv[0]} can't be started: {error.strerror}") from None
        try:
            with _pidfd(process.pid) as ended:
                if ended is not None:  # Popen.wait polls, with pauses
                    select.select([ended], [], [], TIMEOUT_SECONDS)
            code = process.wait(TIMEOUT_SECONDS if ended is None else 0.01)
        except subprocess.TimeoutExpired:
            raise KeyringError(
                f"{argv[0]} did not finish within {TIMEOUT_SECONDS:.0f} s; is its keyring locked?"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        said = content_of(errors).decode("utf-8", "replace").strip().splitlines()
        return code, said[-1][:200] if said else "no reason given"
