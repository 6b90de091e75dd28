"""Every error that qlmdm raises on purpose, in one tree, by who can do something about it.

A command prints the message and exits with `exit_status`; only an error outside this tree
is a bug and shows a traceback. Outcomes that are expected (a command that is not there, a
collector that timed out, a refused submission) are data, not exceptions.
"""

from __future__ import annotations


class QlmdmError(Exception):
    """Anything that qlmdm can explain. The message says what, where, and what to do next."""

    exit_status = 3


# --- the administrator (or the person at the machine) must mend something ------------------


class UsageError(QlmdmError):
    """The command line does not make sense."""

    exit_status = 2


class SettingsError(QlmdmError):
    """The settings can't be used: file, line, key path, what was expected."""

    exit_status = 2

    def __init__(
        self, message: str, *, file: str = "", line: int | None = None, key: str = ""
    ) -> None:
        where = ":".join(part for part in (file, str(line) if line else "") if part)
        super().__init__(": ".join(part for part in (where, key, message) if part))
        self.file, self.line, self.key = file, line, key


class NotSetUpError(QlmdmError):
    """Something that `qlmdm-server-setup` or `qlmdm-client-setup` makes is not there yet."""

    exit_status = 2


class RecordingError(QlmdmError):
    """A recorded machine can't be read: which file of it, where, what was expected."""

    exit_status = 2


class KeyringError(QlmdmError):
    """A key or keyring is missing, locked, or has permissions that gpg or we refuse."""


# --- a plugin's author must mend something ---------------------------------------------------


class PluginError(QlmdmError):
    """A plugin broke the contract: which distribution, which entry point, how.

    `place` is `file:line in function` of the plugin, where it is known and no traceback has it.
    """

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place


# --- it may work later -----------------------------------------------------------------------


class BusyError(QlmdmError):
    """Another process holds the lock; nothing was done."""


class TransportError(QlmdmError):
    """The server could not be reached, or what answered could not be understood."""


class SpoolError(QlmdmError):
    """The client's own state could not be written or read."""


class StoreError(QlmdmError):
    """The database could not do it. Nothing that was not acknowledged is kept."""


class StoreUnavailableError(StoreError):
    """The database is locked, away, full or read-only: the same request may work later."""


class StoreCorruptError(StoreError):
    """The database contradicts itself. Nothing was touched; restore a backup."""


# --- somebody may be attacking, or trust is set up wrongly ----------------------------------


class TrustError(QlmdmError):
    """Bytes are not signed by whom they must be, are stale, or are not meant for us."""

    exit_status = 1


class SignatureError(TrustError):
    """A signature is missing, doubled, malformed, or by another key."""
