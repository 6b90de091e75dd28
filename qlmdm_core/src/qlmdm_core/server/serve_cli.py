"""`qlmdm-server`: serves clients until it is told to stop."""

from __future__ import annotations

from collections.abc import Sequence

from qlmdm_core import cli
from qlmdm_core.server.context import open_context

EXAMPLES = """\
  qlmdm-server                                with the settings in the installed place
  qlmdm-server --settings /srv/qlmdm.yml      with others
Send SIGTERM to stop it: requests that have begun are finished first."""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-server")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser("qlmdm-server", "Serve the clients of a fleet.", EXAMPLES)
    args = parser.parse_args(argv)
    context = open_context(args.settings)
    # gunicorn and Falcon take a while to load; whoever mistyped a name need not wait for that.
    from qlmdm_core.server.serve import serve

    serve(context)
    return 0
