"""The permission to touch what is not the client's own: `Power`, and the two ways to get one.

Nothing in `hands` does anything without it. One way is the real one: a wipe order that enough
operators signed, for this client, now, journaled as started, matching this machine, in a
process that runs the installed release from its installed place. The other is for tests, inside
a proved throw-away root (`own_root`). There is no third, no setting and no option.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Protocol

from qlmdm_core import commanddoc
from qlmdm_core.api import Host
from qlmdm_core.client.wipe import match, own_root
from qlmdm_core.client.wipe import plan as plans
from qlmdm_core.client.wipe.plan import Plan
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import QlmdmError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier

INSTALLED = "/var/lib/qlmdm/client/slots/"
"""Where the code of an installed release is; `QLMDM_STATE_DIR` does not move this."""
NEVER = "QLMDM_NEVER_WIPE"
"""If this is in the environment, nothing is ever wiped: the suite sets it for its children."""

_KEY = object()


class NoPowerError(QlmdmError):
    """This process may not wipe this machine, and why."""

    exit_status = 1


class Journal(Protocol):
    """What the runner of commands has on the disk about them."""

    def is_started(self, command_id: str) -> bool:
        """Whether it is there, durably, that this command was begun and is not finished."""


class Power:
    """The permission. Made by `from_order` and `in_own_root`, and by nobody else."""

    __slots__ = ("kind",)

    def __init__(self, key: object, kind: Literal["machine", "own_root"]) -> None:
        if key is not _KEY:
            raise NoPowerError("power is not made like this")
        self.kind = kind

    def prove(self) -> None:
        """Show again, before each reach, that it holds. Raises `QlmdmError`."""
        if self.kind == "own_root":
            own_root.prove()
        else:
            check_installed(os.environ)


def in_own_root() -> Power:
    """Power over a throw-away root. Raises `own_root.NotOwnRootError` anywhere else."""
    own_root.prove()
    return Power(_KEY, "own_root")


def from_order(
    document: bytes,
    *,
    root: Root,
    verifier: Verifier,
    cid: str,
    now: datetime,
    journal: Journal,
    host: Host,
    environ: Mapping[str, str],
) -> tuple[Power, Command, Plan]:
    """Power over this machine, the command that gives it, and what the machine is.

    Everything is verified here once more, whatever the caller did before. Raises `TrustError`
    or `NoPowerError`; both say why, and the command is then refused.
    """
    check_installed(environ)
    command, plan = authorise(
        document, root=root, verifier=verifier, cid=cid, now=now, journal=journal, host=host
    )
    return Power(_KEY, "machine"), command, plan


def authorise(
    document: bytes,
    *,
    root: Root,
    verifier: Verifier,
    cid: str,
    now: datetime,
    journal: Journal,
    host: Host,
) -> tuple[Command, Plan]:
    """The wipe in a signed document, and the machine, if the one is for the other, now.

    It gives no power. Raises `TrustError` or `NoPowerError`.
    """
    command = commanddoc.verify(document, root, verifier)
    if command.kind != "wipe":
        raise TrustError("the command is no wipe")
    commanddoc.check_acceptable(command, root, cid=cid, now=now)
    if not journal.is_started(command.id):
        raise NoPowerError("the wipe is not in the journal as started")
    plan = plans.read(host)
    if reasons := match.refusals(command, plan, cid=cid):
        raise NoPowerError("; ".join(reasons))
    return command, plan


def check_installed(environ: Mapping[str, str]) -> None:
    """Raise `NoPowerError` unless this is an installed release, as root, and no test."""
    if environ.get(NEVER) or os.environ.get(NEVER):
        raise NoPowerError(f"{NEVER} is set: nothing is wiped from here")
    if "pytest" in sys.modules or "_pytest" in sys.modules:
        raise NoPowerError("a test is running: nothing is wiped from here")
    slot = environ.get("QLMDM_SLOT", "")
    here = os.path.realpath(__file__)
    if not slot or "/" in slot or not here.startswith(f"{INSTALLED}{slot}/lib/"):
        raise NoPowerError(f"{here} is no installed release below {INSTALLED}")
    if os.geteuid() != 0:
        raise NoPowerError("not root")
