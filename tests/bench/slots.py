"""Releases on a client and in the making: verifying a slot, starting through it, building it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import processes
import server
from client import Agent
from figures import Figure

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc, signedtext
from qlmdm_core import settings as settings_files
from qlmdm_core.client.release import verify
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.manifest import Version
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.invitations import invite
from qlmdm_core.server.releases import tree
from qlmdm_core.server.releases.build import Built, manifest_of, pack
from qlmdm_core.server.releases.tree import Tree
from qlmdm_core.server.releases.wheels import read_wheel
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signing.gpg import GpgVerifier
from qlmdm_core.store.open import open_store
from qlmdm_core.testing import releases
from qlmdm_core.testing.trust import SERVER_ID, whole_second
from qlmdm_core.testing.wheels import repack, write_wheel

FILES = 600
BYTES = 30_000_000
VERSION = Version(1, 1)
SETTINGS = "server_url: {}\npoll_interval: 1 day\ncollect_interval: 7 days\n"
"""Intervals so long that no moment of the client's own falls into the benchmark."""


def figures(quick: bool) -> list[Figure]:
    """The figures of slots."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name, installed(Path(name)) as made:
        return [_verify(made, rounds), *_starts(made, rounds), *_build(3 if quick else 5)]


def padding(files: int, size: int) -> dict[str, bytes]:
    """So many modules with so many bytes together, the same each time, hard to compress."""
    noise = random.Random(1)
    return {
        f"bench_padding/part{number % 20}/module{number}.py": noise.randbytes(size // files)
        for number in range(files)
    }


@dataclass(frozen=True)
class Installed:
    """A client that was installed by a release, and what launches it."""

    agent: Agent
    root: Root

    def launch(self) -> list[str]:
        """What cron starts, but for the command's name."""
        launcher = self.agent.state / "launcher" / "launcher.py"
        return [sys.executable, "-I", "-S", str(launcher)]


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[Installed]:
    """A server, and a client that runs a release of 600 files and 30 MB from it."""
    with server.running("real", folder) as (port, settings_file, _):
        settings = settings_files.load(settings_file, ServerSettings).core
        store = open_store(settings.store)
        now = datetime.now(timezone.utc)
        _, token = invite(store, now=now, expires_at=now + timedelta(hours=1))
        stored = store.root(1)
        store.close()
        if stored is None:
            raise RuntimeError("the server has no root document")
        root = rootdoc.parse(signedtext.unpack(stored.document, max_bytes=rootdoc.MAX_BYTES).text)
        files = releases.agent_files(SETTINGS.format(f"http://127.0.0.1:{port}"))
        more = padding(FILES - len(files), BYTES - sum(map(len, files.values())))
        files |= {f"lib/{path}": content for path, content in more.items()}
        ring = releases.site_ring(os.path.dirname(settings.keys))
        built = releases.build(
            ring, str(VERSION), files, now=whole_second(now), server_id=root.server_id
        )
        new = releases.unpack_bootstrap(str(folder / "new"), built, stored.document, str(token))
        state = folder / "c"
        where = ["--dir", str(state), "--bin-dir", str(folder / "bin"), "--no-cron"]
        environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(
            [f"{new}/client-setup", *where], env=environ, check=True, capture_output=True
        )
        made = Installed(Agent(state, {}), root)
        processes.run([*made.launch(), "qlmdm-client-cron", "--now"])
        yield made


# --- on the client ------------------------------------------------------------------------------


def _verify(made: Installed, rounds: int) -> Figure:
    """A full pass, against the programs that would do the least of it."""
    slot = made.agent.state / "slots" / str(VERSION)
    document = (slot / "manifest.json").read_bytes()
    listed = manifests.parse(signedtext.unpack(document, max_bytes=manifests.MAX_BYTES).text)
    paths = [str(slot / file.path) for file in listed.files]
    size = sum(file.size for file in listed.files)
    ratios, ours, theirs = [], [], []
    with RealFiles(str(made.agent.state)) as files:
        for _ in range(rounds):
            before = _cpu()
            processes.run(["sha256sum", *paths])
            least = _cpu() - before + _one_gpgv(document, made.root)
            before = _cpu()
            verify.check(files, VERSION, made.root, GpgVerifier(), now=time.time())
            ours.append(_cpu() - before)
            theirs.append(least)
            ratios.append(ours[-1] / least)
    return Figure(
        what=f"verifying a slot of {len(paths)} files, against sha256sum of them and one gpgv",
        values=tuple(ratios),
        budget=1.5,
        detail=f"{statistics.median(ours) * 1000:.0f} ms of CPU against "
        f"{statistics.median(theirs) * 1000:.0f} ms, {size / 1e6:.0f} MB",
    )


def _one_gpgv(document: bytes, root: Root) -> float:
    """The CPU of verifying the document's signature by itself."""
    signed = signedtext.unpack(document, max_bytes=manifests.MAX_BYTES)
    keys = [root.keys[name] for name in root.roles["release"].fingerprints]
    with tempfile.TemporaryDirectory() as folder:
        ring, signature, text = (os.path.join(folder, name) for name in ("ring", "sig", "text"))
        subprocess.run(
            ["gpg", "--batch", "--yes", "--dearmor", "-o", ring],
            input="\n".join(keys).encode(),
            check=True,
            capture_output=True,
        )
        Path(signature).write_text(signed.sigs[0])
        Path(text).write_bytes(signed.text.encode())
        return processes.run(["gpgv", "--keyring", ring, signature, text]).cpu


def _cpu() -> float:
    """Seconds of this process, and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _starts(made: Installed, rounds: int) -> list[Figure]:
    """As cron starts it, with stamps of today."""
    figures = []
    for what, budget, before in (
        ("nothing due", 3.0, made.agent.idle),
        ("a poll, stamps of today", 15.0, lambda: made.agent.due(poll=True, collect=False)),
        ("a poll, no stamps: a full pass first", None, lambda: _unstamped(made)),
    ):
        before()
        processes.run([*made.launch(), "qlmdm-client-cron"])  # bytecode is there, stamps are
        ratios, ours, bare = processes.against_bare_python(
            [*made.launch(), "qlmdm-client-cron"], rounds=rounds, before=before
        )
        figures.append(
            Figure(
                what=f"the launcher of a slot of {FILES} files, {what}: CPU against an interpreter",
                values=ratios,
                budget=budget,
                detail=f"{ours * 1000:.1f} ms against {bare * 1000:.1f} ms",
            )
        )
    return figures


def _unstamped(made: Installed) -> None:
    made.agent.due(poll=True, collect=False)
    (made.agent.state / "stamps" / str(VERSION)).unlink(missing_ok=True)


# --- in the making ------------------------------------------------------------------------------


def _build(rounds: int) -> list[Figure]:
    """Our own part of building: from wheels to the bytes that are signed."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        core = repack(name, "qlmdm-core")
        count = len(tree_of([str(core)]).items())
        padded = write_wheel(name, "bench-padding", files=padding(FILES - count - 1, 28_000_000))
        wheels = [str(core), str(padded)]
        ratios, ours, least, differing = [], [], [], 0
        first = _built(wheels)
        for _ in range(rounds):
            begun = time.process_time()
            again = _built(wheels)
            ours.append(time.process_time() - begun)
            begun = time.process_time()
            for _path, content, _mode in tree_of(wheels).items():
                hashlib.sha256(content).digest()
            hashlib.sha256(again[0].tar).digest()
            least.append(time.process_time() - begun)
            ratios.append(ours[-1] / least[-1])
            differing += again[0].tar != first[0].tar or again[1] != first[1]
    built = first[0]
    return [
        Figure(
            what=f"building a release of {len(built.files)} files, without pip",
            values=tuple(ours),
            unit=" s",
            detail=f"{built.size / 1e6:.0f} MB; {statistics.median(ratios):.2f}× unpacking the "
            "wheels and hashing all bytes",
        ),
        Figure(
            what=f"the same built {rounds + 1} times: builds that differ from the first",
            values=(float(differing),),
            budget=0.0,
            unit="",
        ),
    ]


def tree_of(wheels: list[str]) -> Tree:
    """The files of these wheels, and the launcher."""
    grown = Tree()
    tree.add_code(grown, [read_wheel(path) for path in wheels])
    tree.add_launcher(grown)
    return grown


def _built(wheels: list[str]) -> tuple[Built, str]:
    """The build, and the text that would be signed."""
    grown = tree_of(wheels)
    grown.add("settings.yml", b"server_url: https://qlmdm.example.com\n", "bench")
    built = pack(grown, {"qlmdm-core": "1", "bench-padding": "1"}, (), "")
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    text = manifests.build(
        manifest_of(
            built, VERSION, server_id=SERVER_ID, issued_at=at, expires_at=at + timedelta(days=1)
        )
    )
    return built, text
