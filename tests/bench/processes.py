"""What commands cost as whole processes: CPU and wall time, processes, memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one run, children included."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    """Seconds."""
    peak_rss: int
    """Bytes: the largest sum, at one moment, of the proportional memory (PSS) of the process
    and all that it started; 0 if it was not watched."""


def run(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, *, watch: bool = False
) -> Cost:
    """Run a command to its end; raises if it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        argv,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    watcher = _Watcher(process.pid) if watch else None
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = watcher.stop() if watcher else 0
    assert process.stderr is not None
    said = process.stderr.read().decode("utf-8", "replace")
    process.stderr.close()
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {said}")
    return Cost(cpu=usage.ru_utime + usage.ru_stime, wall=wall, peak_rss=peak)


def bare_python() -> Sequence[str]:
    """The yardstick: an interpreter that starts and ends."""
    return [sys.executable, "-I", "-c", "pass"]


def against_bare_python(
    argv: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    rounds: int = 11,
    before: object = None,
) -> tuple[tuple[float, ...], float, float]:
    """CPU as a multiple of `bare_python`, pair by pair; and both medians in seconds."""
    ratios, ours, bare = [], [], []
    for _ in range(rounds):
        if callable(before):
            before()
        b = run(bare_python()).cpu
        a = run(argv, environ).cpu
        ratios.append(a / b)
        ours.append(a)
        bare.append(b)
    return tuple(ratios), statistics.median(ours), statistics.median(bare)


def cpu_of_tree(pid: int) -> float:
    """Seconds that a process and its descendants took so far, with those that ended.

    proc(5), /proc/PID/stat: utime, stime, cutime, cstime.
    """
    ticks = 0
    for member in _tree(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class _Watcher:
    """Adds up the memory of a process tree every few milliseconds."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(0.004):
            self._peak = max(self._peak, sum(map(_pss, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            tasks = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in tasks.split()]
    return found


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
