"""`qlmdm-client-setup`: enrols this machine with a server and writes its settings."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence

from qlmdm_core import cli, settings, tokens
from qlmdm_core.client.enrol import enrol
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import SettingsError, UsageError
from qlmdm_core.settings import Loaded
from qlmdm_core.settings_template import template
from qlmdm_core.tokens import Token

EXAMPLES = """\
  qlmdm-client-setup --server https://qlmdm.example.com --token-file token
  ssh server qlmdm-clients invite | qlmdm-client-setup --server URL --token-file -
  qlmdm-client-setup --server URL          asks for the token

Then let cron (or a systemd timer) run qlmdm-client-cron each minute, as root."""

HEADING = "Settings of the qlmdm client. What is not set here has the default beside it."


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-client-setup")


def _main(argv: Sequence[str]) -> int:
    parser = cli.base_parser(
        "qlmdm-client-setup", "Enrol this machine with a qlmdm server.", EXAMPLES
    )
    parser.add_argument("--server", metavar="URL", help="the server; else the settings' own")
    parser.add_argument(
        "--token-file", metavar="FILE", help="the invitation ('-': standard input; else asked for)"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="a certificate authority of your own")
    parser.add_argument("--hostname", help="what to call this machine (its hostname)")
    args = parser.parse_args(argv)
    path = settings.find_file("client", args.settings)
    loaded = _settings(path, args.server, args.ca_file)
    token = _token(args.token_file)
    transport = Transport(
        loaded.core.server_url, ca_file=loaded.core.ca_file, timeout=loaded.core.network_timeout
    )
    with State.open() as state, state.lock():
        identity = enrol(state, transport, token, args.hostname or "")
        where = state.path
    if not os.path.exists(path):
        _write(path, loaded.core)
    print(f"enrolled as {identity.cid}")
    print(f"  settings {path}, state {where}")
    print("  next: let cron or a systemd timer run qlmdm-client-cron each minute")
    return 0


def _settings(path: str, server: str | None, ca_file: str | None) -> Loaded[ClientSettings]:
    """The settings that are there, which must agree with the options; else the options."""
    if os.path.exists(path):
        loaded = settings.load(path, ClientSettings)
        if server and server != loaded.core.server_url:
            raise UsageError(
                f"--server says {server}, but {path} says {loaded.core.server_url}; "
                "change the file, or name another with --settings"
            )
        if ca_file and ca_file != loaded.core.ca_file:
            raise UsageError(f"--ca-file: {path} has another one; change the file")
        return loaded
    if not server:
        raise UsageError(f"--server is needed, since there is no {path} yet")
    if not server.startswith(("https://", "http://")):
        raise UsageError(f"--server: expected https://… or http://…, not {server!r}")
    return settings.parse(_template(server, ca_file), ClientSettings, "--server")


def _template(server: str, ca_file: str | None) -> str:
    values = {"server_url": server}
    if ca_file:
        values["ca_file"] = os.path.abspath(ca_file)
    return template(ClientSettings, values, HEADING)


def _write(path: str, core: ClientSettings) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(_template(core.server_url, core.ca_file))
    except OSError as error:
        raise SettingsError(
            f"could not be written: {error.strerror}; this machine is enrolled, "
            "write the file by hand",
            file=path,
        ) from None


def _token(file: str | None) -> Token:
    """The invitation; never from the command line, where everybody could read it."""
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError(
                "--token-file is needed when nobody can be asked ('-': standard input)"
            )
        return tokens.parse(getpass.getpass("Invitation token: "))
    if file == "-":
        return tokens.parse(sys.stdin.read(4096))
    try:
        with open(file, encoding="ascii", errors="replace") as source:
            return tokens.parse(source.read(4096))
    except OSError as error:
        raise UsageError(f"--token-file: {file}: {error.strerror}") from None
