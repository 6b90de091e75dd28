"""Does a new release run here at all? Asked of it in a process of its own, before its trial.

The process imports every module of the client from the new slot, reads its settings, finds its
commands and plugins, and looks for gpg. It has the slot's code and nothing else, and it has
a deadline. What it can't tell (whether the server answers) is what the trial is for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from qlmdm_core.errors import TrustError

SECONDS = 120.0
COMMANDS = ("qlmdm-client-cron", "qlmdm-collect", "qlmdm-submit", "qlmdm-update", "qlmdm-verify")
"""What every release must have."""

_START = """
import sys
sys.path[:] = [path for path in sys.path if not path.endswith("-packages")]
sys.path.insert(0, sys.argv[1] + "/lib")
from qlmdm_core.client.release.selftest import main
sys.exit(main(sys.argv[1]))
"""


def run(slot: str, *, seconds: float = SECONDS, python: str = sys.executable) -> None:
    """Let the release in the folder `slot` test itself. Raises `TrustError` if it does not run."""
    with subprocess.Popen(
        [python, "-I", "-S", "-B", "-c", _START, slot],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        cwd="/",
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TrustError(f"its self-test took longer than {seconds:.0f} seconds") from None
    if process.returncode != 0:
        lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise TrustError(f"its self-test failed: {lines[-1][:300]}")


# --- in that process, by the new release's own code ----------------------------------------------


def main(slot: str) -> int:
    """Test the release in `slot`, whose code this is; what is wrong goes to standard error."""
    problems = list(_problems(slot))
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1 if problems else 0


def _problems(slot: str) -> Sequence[str]:
    import importlib

    import qlmdm_core
    from qlmdm_core import plugins, settings
    from qlmdm_core.client.settings import ClientSettings
    from qlmdm_core.errors import QlmdmError
    from qlmdm_core.hookspecs import CLIENT_GROUP
    from qlmdm_core.signing import gpg

    problems: list[str] = []
    if not os.path.abspath(qlmdm_core.__file__).startswith(os.path.join(slot, "lib", "")):
        problems.append(f"the code that runs is {qlmdm_core.__file__}")
    for module in _client_modules():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a module may raise anything
            problems.append(f"{module}: {type(error).__name__}: {error}")
    path = os.path.join(slot, "settings.yml")
    if os.path.exists(path):
        try:
            settings.load(path, ClientSettings)
        except QlmdmError as error:
            problems.append(str(error))
    from qlmdm_core.client.release import launcher

    for command in COMMANDS:
        if not launcher.console_script(os.path.join(slot, "lib"), command)[0]:
            problems.append(f"there is no command {command}")
    problems += [
        f"{entry.owner}: {entry.error}" for entry in plugins.discover(CLIENT_GROUP) if entry.error
    ]
    if gpg.program("gpg") is None:
        problems.append("gpg is not installed on this machine")
    return problems


def _client_modules() -> Sequence[str]:
    """Every module below `qlmdm_core.client`, found in its folders: not all are packages."""
    import qlmdm_core.client

    names: list[str] = []
    for top in qlmdm_core.client.__path__:
        for folder, below, files in os.walk(top):
            below.sort()
            package = "qlmdm_core.client" + folder[len(top) :].replace("/", ".")
            names += [f"{package}.{file[:-3]}" for file in sorted(files) if file.endswith(".py")]
    return [name.removesuffix(".__init__") for name in names]
