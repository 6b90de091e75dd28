"""`qlmdm-submit`: sends what waits in the spool, now."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from qlmdm_core import cli, settings
from qlmdm_core.client.cycle import open_link, open_spool
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.submit import Submitted, submit
from qlmdm_core.errors import TransportError

EXAMPLES = """\
  qlmdm-submit          send all records that wait, oldest first

exit status: 0 nothing waits any more, 2 settings, 3 something could not be sent"""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-submit")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser("qlmdm-submit", "Send what waits in this client's spool.", EXAMPLES)
    args = parser.parse_args(argv)
    loaded = settings.load(settings.find_file("client", args.settings), ClientSettings)
    with (
        State.open(create=False) as state,
        state.lock(),
        open_link(state, loaded.core) as link,
        open_spool(state, loaded.core) as spool,
    ):
        result = submit(link, spool)
        if result.problem:
            link.failed(time.time(), loaded.core.backoff_max, at_least=result.retry_after)
        else:
            link.succeeded()
    return report(result)


def report(result: Submitted) -> int:
    """Say what was sent; raises `TransportError` if something was not."""
    said = f"{result.sent} sent"
    if result.set_aside:
        said += f", {result.set_aside} set aside as malformed (see quarantine in the spool)"
    if result.problem:
        raise TransportError(f"{said}, {result.left} kept for the next try: {result.problem}")
    print(said, file=sys.stderr if result.set_aside else sys.stdout)
    return 0
