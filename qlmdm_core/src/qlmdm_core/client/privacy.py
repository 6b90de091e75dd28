"""Decides what may be collected of what is private here, and has it sealed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence

from qlmdm_core.api import JSON
from qlmdm_core.client.identity import IDENTITY, load_root
from qlmdm_core.client.isolation import CollectorOutcome, Outcome
from qlmdm_core.client.plan import Descriptor
from qlmdm_core.client.sealing import NO_KEEPERS, Choice, Sealer
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import PRIVATE_KEY, SEALED_BEFORE, State
from qlmdm_core.errors import NotSetUpError, SpoolError
from qlmdm_core.people import is_persons
from qlmdm_core.signing.encryption import encrypt
from qlmdm_core.signing.interface import PublicKey


class Privacy:
    """Whom private facts are for on this client, and their sealing."""

    def __init__(self, state: State, core: ClientSettings, accounts: str = "/etc/passwd") -> None:
        """`accounts` names those who have an account here (passwd(5))."""
        self._accounts = accounts
        self._state = state
        self._core = core
        self._sealer: Sealer | None = None
        try:
            self._keepers: Sequence[PublicKey] | None = load_root(state).keeper_keys()
        except NotSetUpError:
            self._keepers = None

    def allows(self, descriptor: Descriptor) -> bool:
        """Whether a collector may run: what is private as a whole needs somebody to read it."""
        return bool(self._keepers) or not self._is_private(descriptor)

    def _is_private(self, descriptor: Descriptor) -> bool:
        return descriptor.private or descriptor.name in self._core.private

    def answer_for_the_refused(
        self, outcome: Outcome, wanted: Callable[[Descriptor], bool], now: float
    ) -> None:
        """Say of the collectors that may not run why there is nothing of them."""
        for descriptor in outcome.known.values():
            if wanted(descriptor) and not self.allows(descriptor):
                outcome.results[descriptor.name] = CollectorOutcome(
                    name=descriptor.name,
                    distribution=descriptor.distribution,
                    status="ok",
                    value={"state": "off", "reason": NO_KEEPERS},
                    started_at=now,
                    seconds=0.0,
                )

    def key(self) -> bytes:
        """The secret of this client under which private things are hashed."""
        return self._state.secret(PRIVATE_KEY)

    def seal(self, outcome: Outcome) -> dict[str, bytes]:
        """Seal what is private, in place; what it had been, for its hash."""
        enrolled = self._state.read_json(IDENTITY) or {}
        self._sealer = Sealer(
            cid=str(enrolled.get("cid", "")),
            keepers=self._keepers,
            key=self.key,
            encrypt=encrypt,
            choice=Choice(private=self._core.private, not_private=self._core.not_private),
            kept=self._kept(),
            people=self._people,
        )
        return self._sealer.seal(outcome)

    def _people(self) -> Collection[str]:
        """Not those of a directory service: to ask for all of them may take minutes."""
        try:
            with open(self._accounts, encoding="utf-8", errors="replace") as file:
                lines = [line.split(":") for line in file.read(1 << 20).splitlines()]
        except OSError:
            return ()
        return {
            fields[0]
            for fields in lines
            if len(fields) >= 7 and len(fields[0]) > 1 and is_persons(fields[2])
        }

    def _kept(self) -> dict[str, JSON]:
        try:
            return self._state.read_json(SEALED_BEFORE) or {}
        except SpoolError:
            return {}  # damaged: it is encrypted anew, and the file is written anew

    def remember(self) -> None:
        """Keep what was encrypted, so that it need not be again."""
        if self._sealer is not None and self._sealer.kept != self._kept():
            # The record is stored by now; without this, it is only encrypted once more.
            with contextlib.suppress(SpoolError):
                self._state.write_json(SEALED_BEFORE, self._sealer.kept)
