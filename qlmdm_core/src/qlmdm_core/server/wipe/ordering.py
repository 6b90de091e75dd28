"""Orders a wipe, lets a second operator approve one, and calls one off."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from qlmdm_core.commanddoc import Method
from qlmdm_core.errors import BusyError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import crypto
from qlmdm_core.server.commands import publish
from qlmdm_core.server.commands.making import Order, make
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.wipe import states
from qlmdm_core.server.wipe.reported import Reported, WipeRefusedError
from qlmdm_core.server.wipe.states import Wipe
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Draft


@dataclass(frozen=True, kw_only=True)
class Office:
    """What wipes are ordered with."""

    context: Context
    store: Store
    now: datetime

    @property
    def desk(self) -> Desk:
        """Where operators sign."""
        verifier = crypto.verifier_of(crypto.best_engine())
        return Desk(self.context.settings, self.store, verifier, now=self.now)

    @property
    def not_before(self) -> datetime:
        """The end of the cancel window of a wipe that is ordered now."""
        window = int(self.context.settings.wipe.cancel_window)
        return self.now.replace(microsecond=0) + timedelta(seconds=window)

    def lifetime_seconds(self) -> float:
        """How long a wipe that is ordered now waits for its client."""
        settings = self.context.settings.wipe
        # (A wipe that could be delivered for no time at all would be none.)
        return max(settings.expires_after, settings.cancel_window + 3600.0)

    def operators(self, root: Root) -> int:
        """How many different operators must sign."""
        return max(root.wipe_threshold, self.context.settings.wipe.operators)

    # --- ordering -------------------------------------------------------------------------

    def only(self, desk: Desk, operator: str | None) -> Sequence[str]:
        """The keys that may sign here. Raises `WipeRefusedError` if none of them is an
        operator's: whoever sits here has no say."""
        if operator is not None:
            return [desk.find("operator", operator)]
        known = {key.fingerprint for key in desk.root.public_keys("operator")}
        if not known & set(desk.here("operator")):
            raise WipeRefusedError(
                f"none of the operator keys of root document {desk.root.version} is here: you "
                "can't order a wipe. Ask an operator, or name the one who will sign elsewhere "
                "(--operator NAME)"
            )
        return []

    def order(self, found: Reported, method: Method, operator: str | None) -> Order | Draft:
        """Sign and queue a wipe of just this machine: the order, or the draft that waits for
        other signatures. Raises `WipeRefusedError`, or `BusyError` if one is open already."""
        desk = self.desk
        only = self.only(desk, operator)
        for wipe in states.wipes(self.store, self.now, cid=found.client.cid):
            if wipe.is_open and wipe.state != "silent":
                raise BusyError(
                    f"{found.client.hostname}: wipe {wipe.id} is {wipe.state} already; see "
                    f"qlmdm-client-wipe --status {found.client.hostname}, or --cancel it first"
                )
        user = getpass.getuser()
        made = make(
            server_id=desk.root.server_id,
            kind="wipe",
            hosts=[found.client.cid],
            now=self.now,
            lifetime_seconds=self.lifetime_seconds(),
            not_before=self.not_before,
            requested_by=user,
            summary=f"wipe {found.client.hostname} ({method})",
            about={"method": method, "hostname": found.client.hostname},
            wipe=found.plan.order(method),
        )
        queued = publish.sign(
            desk,
            made,
            texts=made.texts(),
            by=user,
            only=only,
            threshold=self.operators(desk.root),
        )
        return queued if isinstance(queued, Draft) else made

    # --- a second operator ----------------------------------------------------------------

    def approve(self, draft: Draft, operator: str | None) -> list[str]:
        """Add a signature to a wipe that waits, and queue it if it was the last; what to say.

        Raises `WipeRefusedError` if nobody here can add one.
        """
        desk = self.desk
        before = desk.standing(draft).signed_by
        draft = desk.sign_draft(draft, self.only(desk, operator))
        standing = desk.standing(draft)
        if standing.complete:
            return desk.finish(self.context, draft)
        if standing.signed_by == before:
            raise WipeRefusedError(
                f"{draft.name} still lacks {', '.join(standing.missing)}, and the keys that are "
                "here have signed it, or may not; another operator must"
            )
        return [f"signed; {draft.name} still lacks {', '.join(standing.missing)}"]

    # --- calling it off -------------------------------------------------------------------

    def cancel(self, wipe: Wipe, operator: str | None) -> list[str]:
        """Call a wipe off; what to say. Raises `WipeRefusedError` if it is over."""
        if wipe.state == "unsigned":
            self.store.drop_draft(f"command-{wipe.id}")
            return [f"wipe {wipe.id} was not signed by all; it is dropped"]
        if not wipe.is_open:
            raise WipeRefusedError(f"wipe {wipe.id} is {wipe.state}: nothing is left to call off")
        self.store.cancel_command(wipe.id, self.now)
        target = self.store.target(wipe.id, wipe.cid)
        if target is None or target.state not in ("delivered", "started"):
            return [f"wipe {wipe.id} is cancelled: the client was not given it, and won't be"]
        told = f"wipe {wipe.id} has been given to the client, which is told now to drop it; "
        said = [f"{told}whether it is in time, --status shows"]
        desk, user = self.desk, getpass.getuser()
        made = make(
            server_id=desk.root.server_id,
            kind="cancel",
            hosts=[wipe.cid],
            now=self.now,
            lifetime_seconds=self.lifetime_seconds(),
            requested_by=user,
            summary=f"cancel wipe {wipe.id[:8]}",
            about={},
            cancels=wipe.id,
        )
        only = self.only(desk, operator)
        queued = publish.sign(desk, made, texts=made.texts(), by=user, only=only)
        if isinstance(queued, Draft):
            return [*said, f"SIGN IT FIRST: qlmdm-keys sign {queued.name}"]
        return said
