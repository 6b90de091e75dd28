"""`qlmdm-client-setup`: enrols this machine with a server and writes its settings."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from qlmdm_core import cli, settings, tokens
from qlmdm_core.client import identity as identities
from qlmdm_core.client.enrol import enrol_and_tell
from qlmdm_core.client.rekey import rekey
from qlmdm_core.client.release import layout
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import SettingsError, UsageError
from qlmdm_core.settings import Loaded
from qlmdm_core.settings_template import template
from qlmdm_core.tokens import Token
from qlmdm_core.units import parse_duration

EXAMPLES = """\
  qlmdm-client-setup --server https://qlmdm.example.com --token-file token
  ssh server qlmdm-clients invite | qlmdm-client-setup --server URL --token-file -
  qlmdm-client-setup --server URL          asks for the token
  qlmdm-client-setup --rekey               replaces this client's key, now

exit status: 0 enrolled (or waiting for approval), 2 settings, usage, refused, 3 server away

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
    parser.add_argument(
        "--key-expires",
        metavar="TIME",
        help="how long a key of this client is good, as in '180 days' (for ever); it is replaced "
        "in time",
    )
    parser.add_argument("--rekey", action="store_true", help="replace this client's key")
    args = parser.parse_args(argv)
    path = settings.find_file("client", args.settings)
    loaded = _settings(path, args.server, args.ca_file)
    transport = Transport(
        loaded.core.server_url, ca_file=loaded.core.ca_file, timeout=loaded.core.network_timeout
    )
    days = _key_days(args.key_expires)
    if args.rekey:
        return _rekey(transport, days)
    token = _token(args.token_file)
    with State.open() as state, state.lock():
        identity, waits = enrol_and_tell(
            state, transport, token, args.hostname or "", key_days=days or 0
        )
        where = state.path
    if not os.path.exists(path):
        _write(path, loaded.core)
    print(f"enrolled as {identity.cid}")
    if waits:
        print("  waiting for approval; on the server: qlmdm-clients approve " + identity.cid)
        print("  nothing more to do here: it goes on by itself, and keeps what it collects")
    print(f"  settings {path}, state {where}")
    if not os.path.lexists(os.path.join(where, layout.CURRENT)):  # else client-setup sees to it
        print("  next: let cron or a systemd timer run qlmdm-client-cron each minute")
    return 0


def _key_days(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        days = int(parse_duration(text) // 86400)
    except ValueError as error:
        raise UsageError(f"--key-expires: {error}") from None
    if days < 1:
        raise UsageError("--key-expires: expected a day at least")
    return days


def _rekey(transport: Transport, days: int | None) -> int:
    """`--rekey`: on a machine that is enrolled already."""
    with State.open(create=False) as state, state.lock():
        identity = identities.load_identity(state)
        if days is not None:
            identity = replace(identity, key_days=str(days))
        renewed = rekey(state, transport, identity, identities.load_root(state))
    print(f"client {renewed.cid}: the key is {renewed.fingerprint} now")
    if renewed.key_expires_at:
        print(f"  until {renewed.key_expires_at[:10]}; it is replaced in time")
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
