"""Finds the answer to a command among recorded ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from qlmdm_core.host.recorded import RecordedCommand
from qlmdm_core.host.redact import redact_argv
from qlmdm_core.searchpath import SEARCH_PATH


class Programs:
    """The recorded commands, and how a question finds its answer among them."""

    def __init__(self, commands: Sequence[RecordedCommand]) -> None:
        self._by_name: dict[str, list[RecordedCommand]] = {}
        for command in commands:
            self._by_name.setdefault(os.path.basename(command.argv[0]), []).append(command)

    def _same_program(self, program: str) -> list[RecordedCommand]:
        """The recordings of a program: by this spelling, or by the only other one there is."""
        named = self._by_name.get(os.path.basename(program), [])
        exact = [command for command in named if command.argv[0] == program]
        if exact:
            return exact
        spellings = {command.argv[0] for command in named}
        if len(spellings) != 1:
            return []
        (other,) = spellings
        return named if _may_be_same(program, other) else []

    def find(
        self,
        argv: tuple[str, ...],
        user: str | None,
        env: Mapping[str, str] | None,
        stdin: str | None,
    ) -> RecordedCommand | None:
        """The answer to a command, or None. Of several, the one asked most alike."""
        if not argv:
            return None
        same = self._same_program(argv[0])
        arguments = (argv[1:], redact_argv(argv)[1:])

        def by_argv(command: RecordedCommand) -> bool:
            return command.argv[1:] in arguments

        def by_user(command: RecordedCommand) -> bool:
            return command.user == user

        exact = [command for command in same if by_argv(command) and by_user(command)]
        if exact:
            return max(
                exact,
                # max() keeps the first of equals: what was asked first.
                key=lambda c: (dict(c.env or {}) == dict(env or {})) + (c.stdin == stdin),
            )
        words = [tuple(w for w in list_ if not w.startswith("-")) for list_ in arguments]
        similar = [command for command in same if command.words in words and command.found]
        return _only(similar, by_user, by_argv)

    def knows(self, program: str) -> bool:
        """Whether the program ran, in this spelling or the only other one there is."""
        return any(command.found for command in self._same_program(program))

    def ran_at(self, path: str) -> bool:
        """Whether a program of exactly this path ran."""
        named = self._by_name.get(os.path.basename(path), [])
        return any(command.argv[0] == path and command.found for command in named)


def _only(
    similar: list[RecordedCommand], *closer: Callable[[RecordedCommand], bool]
) -> RecordedCommand | None:
    """The only one; of several, the only one that is closer in one more way."""
    for is_closer in closer:
        if len(similar) > 1:
            similar = [command for command in similar if is_closer(command)] or similar
    return similar[0] if len(similar) == 1 else None


def _may_be_same(program: str, other: str) -> bool:
    """Whether a program that was asked for may be one that is recorded in another spelling.

    A bare name means a place on the PATH, and any such place may mean any other (merged
    /usr). A recorded bare name may also be the file elsewhere that is asked for.
    """
    if "/" not in other:
        return True
    return os.path.dirname(other) in SEARCH_PATH and (
        "/" not in program or os.path.dirname(program) in SEARCH_PATH
    )
