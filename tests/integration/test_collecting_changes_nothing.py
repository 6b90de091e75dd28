"""Collecting changes nothing on the machine and asks nothing of the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlmdm_core.client.spool import Spool
from qlmdm_core.host.real import RealHost
from qlmdm_core.plugins.check.traced import CALLS, is_change, is_connection, whole_calls
from qlmdm_plugins_ubuntu import commands, pending

QLMDM_COLLECT = str(Path(sys.executable).parent / "qlmdm-collect")
APT = ("/var/log/apt", "/var/cache/apt", "/var/lib/apt", "/var/lib/dpkg", "/etc/apt")


def under(folders: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    for folder in folders:
        for path in [Path(folder), *Path(folder).rglob("*")]:
            found = path.lstat()
            yield str(path), found.st_mtime_ns, found.st_ino


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")
def test_asking_apt_changes_no_file_of_apts() -> None:
    """As root, a simulation logs what it planned; it must not for us."""
    before = set(under(APT))
    assert before
    found = pending.ask(RealHost())
    assert not found.problem
    assert set(under(APT)) == before


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")
def test_apt_keeps_no_cache_for_us(tmp_path: Path) -> None:
    """Whatever the machine's configuration says of caches, which some have switched off."""
    names = {"Dir::Cache": f"{tmp_path}/", "Dir::Log": f"{tmp_path}/"}
    names |= {"Dir::Cache::pkgcache": "p.bin", "Dir::Cache::srcpkgcache": "s.bin"}
    configured = tuple(f"-o{name}={value}" for name, value in names.items())
    program, *rest = commands.SIMULATIONS[0]
    subprocess.run((program, *configured, *rest), check=True, capture_output=True)
    assert os.listdir(tmp_path) == []
    asked = ("policy", "apt")
    subprocess.run(("apt-cache", *configured, *commands.CHANGE_NOTHING, *asked), check=True)
    assert os.listdir(tmp_path) == []
    subprocess.run(("apt-cache", *configured, *asked), check=True, capture_output=True)
    assert sorted(os.listdir(tmp_path)) == ["p.bin", "s.bin"]


# --- all collectors, system call by system call ---------------------------------------------------


def changes(trace: str) -> list[str]:
    """The calls of a strace that change something outside, or reach another machine.

    Failed calls count, too: elsewhere they may succeed.
    """
    return [call for call in whole_calls(trace) if is_change(call) or is_connection(call)]


@pytest.mark.parametrize(
    "line",
    [
        '7 openat(AT_FDCWD, "/var/log/x", O_WRONLY|O_CREAT|O_EXCL, 0644) = 8',
        '7 unlink("/var/log/x") = -1 ENOENT (No such file or directory)',
        '7 rename("/etc/a", "/b" <unfinished ...>\n8 +++ exited +++\n7 <... rename resumed>) = 0',
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("192.0.2.1")} = 0',
    ],
)
def test_a_change_is_seen(line: str) -> None:
    assert len(changes(line)) == 1


READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
awk '{ print $5 }' /proc/self/mountinfo | sort -u | while read -r place; do
    case $place in "$1"|/proc|/proc/*) continue ;; esac
    mount -o remount,bind,ro "$place" 2>/dev/null || :
done
! touch /etc/qlmdm-was-here 2>/dev/null
! touch /var/qlmdm-was-here 2>/dev/null
shift
exec "$@"
"""
"""Makes all file systems but one folder read-only, in a mount namespace of its own."""


@pytest.mark.root
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
@pytest.mark.skipif(shutil.which("strace") is None, reason="this machine has no strace")
def test_a_read_only_machine_without_a_network_is_collected_whole(tmp_path: Path) -> None:
    """With everything that settings can turn on; only the client's own state is written."""
    trace, state = tmp_path / "trace", tmp_path / "state"
    pem = tmp_path / "x.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "settings.yml").write_text(
        "server_url: https://qlmdm.example.com\n"
        f"plugins: {{packages: {{enabled: true}}, certificates: {{files: ['{pem}']}}}}\n"
    )
    environment = {**os.environ, "QLMDM_STATE_DIR": str(state), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["TMPDIR"] = str(tmp_path)
    argv = ["strace", "-f", "-qq", "-s", "300", "-o", str(trace), "-e", f"trace={CALLS}"]
    command = [*argv, QLMDM_COLLECT, "--settings", str(tmp_path / "settings.yml")]
    namespace = ["unshare", "--mount", "--net", "--", "sh", "-c", READ_ONLY, "sh", str(tmp_path)]
    done = subprocess.run(
        [*namespace, *command], env=environment, capture_output=True, text=True, check=False
    )
    if "PTRACE" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no namespaces or no tracing here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    with Spool(str(state / "spool"), max_bytes=10**8, max_age=10**8) as spool:
        (entry,) = spool.pending()
        record = spool.load(entry)
    assert record is not None
    assert {"packages", "certificates", "accounts", "firewall"} <= set(record["collectors"])
    failed = {n: r["error"] for n, r in record["collectors"].items() if r["status"] != "ok"}
    assert failed == {}
    assert record["failures"] == []
    outside = [call for call in changes(trace.read_text()) if f'"{state}' not in call]
    # The state is opened once, and what is in it by that folder's descriptor: openat(2). apt has
    # a nameless file for what it verifies (O_TMPFILE), and tries a name where that is refused.
    expected = r"at\(\d+, |/tmp/clearsigned\.message\."
    assert [call for call in outside if not re.search(expected, call)] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="this machine has no strace")
def test_all_collectors_change_nothing_and_connect_nowhere(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    environment = {**os.environ, "QLMDM_STATE_DIR": str(tmp_path / "state")}
    environment.pop("QLMDM_SETTINGS", None)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # an installation has its bytecode
    argv = ["strace", "-f", "-qq", "-s", "300", "-o", str(trace), "-e", f"trace={CALLS}"]
    done = subprocess.run(
        [*argv, QLMDM_COLLECT, "--stdout"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr:
        pytest.skip("processes can't be traced here")
    assert done.returncode == 0, done.stderr
    collectors = json.loads(done.stdout)["collectors"]
    assert {"os_updates", "firewall", "geolocation"} <= set(collectors)
    assert changes(trace.read_text()) == []
    assert not (tmp_path / "state").exists()
