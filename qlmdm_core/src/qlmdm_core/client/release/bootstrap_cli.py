"""`client-setup`, in the folder that a new machine unpacks: installs the client and enrols it.

Beside it lie `root.json`, `manifest.json` and `release.tar`, as a release server made them, and
`enrol.yml` with an invitation. Nothing but `python3` and GnuPG is needed.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from qlmdm_core import cli, tokens
from qlmdm_core.client.release import bootstrap, layout, wrappers
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.errors import UsageError
from qlmdm_core.tokens import Token

STATE = "/var/lib/qlmdm/client"
BIN = "/usr/local/bin"
ENROL_FILE = "enrol.yml"
EXIT_LATER = 3
EXAMPLES = """\
  ./client-setup                        install, enrol, and let cron start it each minute
  ./client-setup --token-file -         the invitation from standard input
  ./client-setup --no-cron --dir DIR --bin-dir DIR
  ./client-setup --uninstall            take away what starts it; the state stays

exit status: 0 done, 1 something is not what was signed, 2 usage, 3 try again later"""


def main(folder: str, argv: Sequence[str]) -> int:
    """The command; `folder` is where the release lies."""
    return cli.run(lambda words: _main(folder, words), "client-setup", argv)


def _main(folder: str, argv: Sequence[str]) -> int:
    args = _parse(argv)
    os.umask(0o077)
    if args.uninstall:
        for path in wrappers.remove(args.bin_dir, args.etc):
            print(f"removed {path}")
        print(f"left as it is: {args.dir}")
        return 0
    enrolled = os.path.exists(os.path.join(args.dir, "identity.json"))
    token = None if enrolled else _token(folder, args.token_file)
    release = bootstrap.read_release(folder, bootstrap.pinned(args.dir) if token is None else token)
    wrappers.check_ours(sys.executable)
    _make_state(args.dir)
    with RealFiles(args.dir) as files:
        said = bootstrap.put_in_place(files, release)
    print(said)
    for path in _write_outside(args):
        print(f"wrote {path}")
    if token is None:
        print("this machine is enrolled already")
        return 0
    return _enrol(args, token)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.base_parser(
        "client-setup", "Install the qlmdm client on this machine.", EXAMPLES, settings=False
    )
    default = os.environ.get("QLMDM_STATE_DIR") or STATE
    parser.add_argument("--dir", default=default, help="where all of it lives (%(default)s)")
    parser.add_argument("--bin-dir", default=BIN, help="where commands go (%(default)s)")
    parser.add_argument("--etc", default="/etc", help=argparse.SUPPRESS)
    parser.add_argument("--no-cron", action="store_true", help="let nothing start it")
    parser.add_argument(
        "--token-file", metavar="FILE", help="the invitation ('-': standard input), not enrol.yml's"
    )
    parser.add_argument("--hostname", help="what to call this machine (its hostname)")
    parser.add_argument("--uninstall", action="store_true", help="take commands and cron away")
    args = parser.parse_args(argv)
    args.dir, args.bin_dir = os.path.abspath(args.dir), os.path.abspath(args.bin_dir)
    return args


def _token(folder: str, file: str | None) -> Token:
    """The invitation; never from the command line, where everybody could read it."""
    if file == "-":
        return tokens.parse(sys.stdin.read(4096))
    if file is not None:
        return tokens.parse(bootstrap.read(file, 4096).decode("ascii", "replace"))
    path = os.path.join(folder, ENROL_FILE)
    if os.path.exists(path):
        for line in bootstrap.read(path, 1 << 16).decode("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "token":
                return tokens.parse(value.strip().strip("'\""))
    if not sys.stdin.isatty():
        raise UsageError("--token-file is needed when nobody can be asked ('-': standard input)")
    return tokens.parse(getpass.getpass("Invitation token: "))


def _make_state(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        wrappers.check_ours(path)
        os.chmod(path, 0o700)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; run it as root, or give --dir") from None


def _write_outside(args: argparse.Namespace) -> list[str]:
    """Commands, and what starts the agent."""
    with RealFiles(args.dir) as files:
        current = layout.current(files)
    lib = os.path.join(args.dir, layout.SLOTS, str(current), "lib")
    names = wrappers.commands(lib)
    written = wrappers.write_commands(args.bin_dir, sys.executable, args.dir, names)
    if args.no_cron:
        return written
    schedule = wrappers.write_schedule(args.etc, sys.executable, args.dir)
    if any(path.endswith(".timer") for path in schedule) and args.etc == "/etc":
        subprocess.run(
            ["systemctl", "enable", "--now", f"{wrappers.TIMER}.timer"],
            check=False,
        )
    if not schedule:
        sys.stderr.write(
            "client-setup: there is neither cron nor systemd; let something start this each "
            f"minute: {' '.join(wrappers.start(sys.executable, args.dir, 'qlmdm-client-cron'))}\n"
        )
    return [*written, *schedule]


def _enrol(args: argparse.Namespace, token: Token) -> int:
    """Enrol by the installed release's own command; the token goes through a pipe."""
    argv = wrappers.start(sys.executable, args.dir, "qlmdm-client-setup")
    argv += ["--token-file", "-"]
    if args.hostname:
        argv += ["--hostname", args.hostname]
    sys.stdout.flush()
    done = subprocess.run(
        argv,
        input=str(token).encode("ascii"),
        env={**os.environ, "QLMDM_STATE_DIR": args.dir},
        check=False,
    )
    if done.returncode == EXIT_LATER:
        sys.stderr.write(
            "client-setup: installed, and not enrolled yet; run the same again when the server "
            "can be reached\n"
        )
    elif done.returncode == 0 and args.no_cron:
        start = shlex.join(wrappers.start(sys.executable, args.dir, "qlmdm-client-cron"))
        print(f"  next: let something start this each minute: {start}")
    return done.returncode
