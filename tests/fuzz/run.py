"""Fuzz everything that reads foreign bytes, for a while each: `nox -s fuzz -- --seconds 60 tar`.

With atheris, code coverage leads to new input: raw bytes that begin as a valid document, and
the bytes from which hypothesis draws (`fuzz_one_input`), so that both work on one corpus.
Each reader has a process of its own, with limits on the time for one input and on memory.
atheris has wheels for some versions of Python only; without it hypothesis draws until the
time is over. Input that broke something is written to `.fuzz/`, for a test to be made of it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".fuzz"
INPUT_SECONDS = 10
MEMORY_MB = 1024


def main(argv: Sequence[str]) -> int:
    """Fuzz the readers that are named, or all; 1 if one of them broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20, help="for each reader (default 20)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="READER")
    options = parser.parse_args(argv)
    if options.child:
        return _child(options.child, options.seconds)
    sys.path.insert(0, str(HERE))
    from test_fuzz import NAMES

    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    broken = [name for name in options.names or NAMES if _fuzz(name, options.seconds)]
    print(f"broken: {', '.join(broken)}; see above, and {FOUND}" if broken else "nothing broke")
    return 1 if broken else 0


def _fuzz(name: str, seconds: int) -> bool:
    print(f"--- {name}, {seconds} seconds", flush=True)
    command = [sys.executable, __file__, "--child", name, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    print("\n".join(lines[-60 if done.returncode else -2 :]), flush=True)
    return done.returncode != 0


def _child(name: str, seconds: int) -> int:
    sys.path.insert(0, str(HERE))
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print(f"no atheris for Python {sys.version_info[0]}.{sys.version_info[1]}: hypothesis")
        return _by_hypothesis(name, seconds)
    with atheris.instrument_imports(include=["qlmdm_core"]):
        import fuzz_targets
    target = next(target for target in fuzz_targets.make() if target.name == name)
    drawn = _property(target, examples=1).hypothesis.fuzz_one_input

    def one_input(data: bytes) -> None:
        # The first byte says which way the rest is meant.
        if data[:1] == b"d":
            drawn(data[1:])
        else:
            target.check(data[1:])

    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="qlmdm-fuzz-") as corpus:
        for number, seed in enumerate(target.seeds):
            Path(corpus, f"seed{number}").write_bytes(b"r" + seed)
        Path(corpus, "drawn").write_bytes(b"d" + bytes(range(64)))
        words = [
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_SECONDS}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-max_len={fuzz_targets.MAX_INPUT}",
            f"-artifact_prefix={FOUND}/{name.replace(' ', '-')}-",
            "-print_final_stats=1",
            corpus,
        ]
        atheris.Setup([sys.argv[0], *words], one_input)
        atheris.Fuzz()  # ends the process
    return 0


def _property(target: Any, examples: int) -> Any:
    from hypothesis import HealthCheck, given, settings

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.strategy)
    def check(data: bytes) -> None:
        target.check(data)

    return check


def _by_hypothesis(name: str, seconds: int) -> int:
    import fuzz_targets

    target = next(target for target in fuzz_targets.make() if target.name == name)
    until = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < until:
        _property(target, examples=200)()
        rounds += 1
    print(f"{rounds} times 200 examples")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(sys.argv[1:]))
