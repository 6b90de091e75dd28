"""What the launcher does when it is not plain what to run: verify, try, go back, or refuse.

It runs from the launcher's own copy of the few modules that it takes, never from a slot, and
hands over by starting Python anew. A slot that is not what was signed is not run: the one
before it is verified and run instead, and fetches the release anew. Where neither is whole,
nothing runs, and cron mails why.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.client.release import launchers, layout, trial, verify
from qlmdm_core.client.release.layout import Trial
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.errors import QlmdmError, SpoolError
from qlmdm_core.manifest import Manifest, Version
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgVerifier

CRON = "qlmdm-client-cron"
LOCK = "launcher.lock"
TRIAL_SECONDS = 1800.0
"""How long a cycle on trial may take; a collect alone may take five minutes."""
POLL_SECONDS = 300.0
BUSY, REFUSED = 3, 1


def supervise(root: str, here: str, argv: Sequence[str]) -> int:
    """Run a command by whichever slot may be run; the exit status. `here` is the launcher's."""
    try:
        with RealFiles(root) as files:
            return Supervisor(files, here).run(list(argv))
    except QlmdmError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{root}: {error.strerror}: {error.filename or ''}")


def _refuse(why: str) -> int:
    sys.stderr.write(f"qlmdm: NOTHING WAS RUN: {why}\n")
    return REFUSED


class Supervisor:
    """One start of the launcher that was not plain."""

    def __init__(self, files: RealFiles, here: str) -> None:
        self._files = files
        self._here = here
        self._verifier = GpgVerifier()
        self._lock = -1

    def run(self, argv: list[str]) -> int:
        """Try out what is to be tried; else hand over to the slot that may run."""
        in_charge = self._take_lock()
        if argv in ([CRON], [CRON, "--now"]):
            if not in_charge:
                return BUSY  # the cycle of a minute ago is still on trial
            try:
                tried = self._try()
            except OSError as error:
                # A start that can't be counted may not happen. Reports go on all the same.
                sys.stderr.write(f"qlmdm: what is on trial has to wait: {error}\n")
                tried = None
            if tried is not None:
                return tried
        return self._hand_over(argv, in_charge=in_charge)

    def _take_lock(self) -> bool:
        """Be the only launcher that changes anything. In its own trial, the old one holds it."""
        if os.environ.get("QLMDM_LAUNCHER_TRIAL"):
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._lock = os.open(os.path.join(self._files.root, LOCK), flags, 0o600)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return True  # a lock that can't be made is nobody's: the disk is full
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # --- what may run ---------------------------------------------------------------------------

    def _hand_over(self, argv: list[str], *, in_charge: bool) -> int:
        """Become the command of the slot that is committed, if it is whole, or the one before."""
        on_trial = layout.read_trial(self._files)
        current = layout.current(self._files)
        before = layout.read_release(self._files).previous
        if on_trial is not None:
            current, before = on_trial.previous, None
        if current is None:
            raise SpoolError(
                f"{self._files.root}: no release is installed here; run client-setup again"
            )
        try:
            manifest = self._verify(current, keep=in_charge)
        except verify.SlotError as error:
            return self._fall_back(error, before, argv, keep=in_charge)
        if in_charge and on_trial is None:
            self._propose_launcher(manifest)
        return self._become(current, argv, {})

    def _propose_launcher(self, manifest: Manifest) -> None:
        """As the release did when it was committed; the power may have failed just then."""
        try:
            launchers.propose(self._files, manifest)
        except (QlmdmError, OSError) as error:
            sys.stderr.write(f"qlmdm: the launcher stays as it is: {error}\n")

    def _fall_back(
        self, broken: verify.SlotError, before: Version | None, argv: list[str], *, keep: bool
    ) -> int:
        sys.stderr.write(f"qlmdm: {broken}; it is not run\n")
        if before is None or before == broken.version:
            return _refuse(f"{broken}, and there is no release before it to run instead")
        try:
            self._verify(before, keep=keep)
        except verify.SlotError as error:
            return _refuse(f"{broken}, and {error}")
        sys.stderr.write(f"qlmdm: release {before} is run instead, to fetch it anew\n")
        return self._become(before, argv, {"QLMDM_BROKEN": str(broken)[:500]})

    def _verify(self, version: Version, *, keep: bool = True) -> Manifest:
        """Raise `SlotError` unless a slot is what was signed."""
        root = self._root(version)
        if keep:
            return verify.check(self._files, version, root, self._verifier, now=time.time())
        return verify.inspect(self._files, version, root, self._verifier)[0]

    def _root(self, version: Version) -> Root:
        """The root document that we go by; before enrolment, the one that came with the slot."""
        for path in ("root.json", f"{layout.slot_path(version)}/{layout.ROOT_COPY}"):
            try:
                data = self._files.read(path, rootdoc.MAX_BYTES)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SpoolError(f"{path}: {error.strerror}") from None
            return rootdoc.parse(signedtext.unpack(data, max_bytes=rootdoc.MAX_BYTES).text)
        raise verify.SlotError(version, [f"{layout.ROOT_COPY}: missing"])

    def _argv(self, slot: Version, argv: Sequence[str]) -> list[str]:
        script = os.path.join(self._here, launchers.SCRIPT)
        return [sys.executable, "-I", "-S", script, "--run", str(slot), *argv]

    def _become(self, slot: Version, argv: Sequence[str], more: Mapping[str, str]) -> NoReturn:
        """Start anew, as the command of this slot; does not return."""
        sys.stderr.flush()
        argv = self._argv(slot, argv)
        os.execve(sys.executable, argv, {**os.environ, **more})  # noqa: S606 - that is the point

    # --- trials ---------------------------------------------------------------------------------

    def _try(self) -> int | None:
        """Try out what is to be tried; None if there is nothing."""
        tried = self._try_launcher()
        if tried is not None:
            return tried
        on_trial = trial.settle(self._files)
        return None if on_trial is None else self._try_slot(on_trial)

    def _try_slot(self, on_trial: Trial) -> int:
        """One counted cycle of the release on trial, and what comes of it."""
        version, before = on_trial.slot, on_trial.previous
        if on_trial.tries_left < 1:
            return self._gave_up(version, "its last try did not come to an end")
        try:
            self._verify(version)
        except verify.SlotError as error:
            trial.abandon(self._files)
            sys.stderr.write(f"qlmdm: {error}; it is fetched anew\n")
            return REFUSED
        trial.count_try(self._files)
        status, said = self._start(
            self._argv(version, [CRON, "--now"]), {"QLMDM_TRIAL": "1"}, TRIAL_SECONDS
        )
        if layout.read_trial(self._files) is None:
            return status
        why = f"its cycle failed: {said}"
        if trial.decide(self._files, previous_got_through=self._polls(before), why=why):
            return self._gave_up(version, why)
        return status or REFUSED

    def _gave_up(self, version: Version, why: str) -> int:
        trial.roll_back(self._files, why)
        present = layout.current(self._files)
        sys.stderr.write(f"qlmdm: release {version} was given up, {present} is back: {why}\n")
        return REFUSED

    def _polls(self, version: Version | None) -> bool:
        """Whether this release's poll gets a verified answer from its server."""
        if version is None:
            return False
        try:
            self._verify(version)
        except verify.SlotError as error:
            sys.stderr.write(f"qlmdm: {error}; it can't be gone back to\n")
            return False
        status, _ = self._start(self._argv(version, [CRON, "--poll"]), {}, POLL_SECONDS)
        return status == 0

    def _try_launcher(self) -> int | None:
        """One counted cycle through the launcher on trial; None if there is none to be had."""
        if os.environ.get("QLMDM_LAUNCHER_TRIAL"):
            return None  # we are it
        on_trial = launchers.settle(self._files)
        if on_trial is None or layout.read_trial(self._files) is not None:
            return None
        version = on_trial.slot
        problem = self._launcher_problem(version)
        if on_trial.tries_left < 1 or problem:
            launchers.give_up(self._files, problem or "its last try did not come to an end")
            return None
        launchers.count_try(self._files)
        script = f"{self._files.root}/{layout.LAUNCHERS}/{version}/{launchers.SCRIPT}"
        status, said = self._start(
            [sys.executable, "-I", "-S", script, CRON, "--now"],
            {"QLMDM_LAUNCHER_TRIAL": str(version)},
            TRIAL_SECONDS,
        )
        left = layout.read_trial(self._files, layout.LAUNCHER_TRIAL)
        if left is None:
            return status
        if not self._polls(layout.current(self._files)):
            launchers.give_back(self._files)
        elif left.tries_left < 1:
            launchers.give_up(self._files, f"its cycle failed: {said}")
            sys.stderr.write(f"qlmdm: the launcher of release {version} was given up: {said}\n")
        return status or REFUSED

    def _launcher_problem(self, version: Version) -> str:
        """Why a launcher may not even be tried; empty if it is the one that was signed."""
        try:
            manifest = verify.read_manifest(
                self._files, version, self._root(version), self._verifier
            )
        except QlmdmError as error:
            return f"its release can't be read any more: {error}"
        wrong = launchers.differences(self._files, version, manifest)
        return f"it is not what was signed: {wrong[0]}" if wrong else ""

    def _start(self, argv: list[str], more: Mapping[str, str], seconds: float) -> tuple[int, str]:
        """Run a command to its end; its exit status, and the last thing that it said."""
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **more},
            start_new_session=True,
        )
        late = ""
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = f"it took longer than {seconds:.0f} seconds"
            os.killpg(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
        text = errors.decode("utf-8", "replace")
        sys.stderr.write(text)
        lines = text.strip().splitlines()
        return process.returncode, late or (
            lines[-1][:300] if lines else f"exit status {process.returncode}"
        )
