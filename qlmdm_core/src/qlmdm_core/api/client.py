"""What a plugin gives to clients: collectors. (Adapters to distributions are in `machine`.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qlmdm_core.api.machine import Host
from qlmdm_core.api.values import JSON


@dataclass(frozen=True, kw_only=True)
class Collector:
    """One kind of fact about a machine.

    `run(host)` returns a JSON object with at least `state` (see the table of values in
    docs/data-model.md). It holds no policy: it reports what is so, with the evidence, and
    `unknown(reason)` when it can't tell. It runs in a process of its own.
    """

    name: str
    run: Callable[[Host], JSON]
    timeout: float = 30.0
    """Seconds after which it is killed, with all that it started."""
    max_bytes: int = 256 << 10
    """The most that its value may take, as JSON."""
    interval: float | None = None
    """Seconds between runs; None: each collect."""
    private: bool = False
    """The whole value is personal: never logged, not kept in the history, hashed with a key
    that stays on the client, and encrypted to the site's secret-keepers, all but `state` and
    `reason`. If there are no keepers it is not collected, and its state is "off"."""
    private_paths: tuple[str, ...] = ()
    """The parts of the value that are personal, such as `serial` or `sessions.*.user`; `*` is
    every element of a list or object. If there are secret-keepers, these parts are encrypted
    to them, and a pseudonym stands in their place; without keepers, they are as they are."""
    volatile: tuple[str, ...] = ()
    """Fields of the value whose change alone is no news, such as an age in seconds. The server
    then keeps the value it has: a check must not go by them."""
    help: str = ""
    """One sentence for the person at the machine: what is collected, and why."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What each field of the value says, besides `state` and `reason`, for the same person."""
    api: int = 1
