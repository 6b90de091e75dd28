"""A client that releases install: from the folder that is unpacked on it, to the next release.

Real files, the real launcher started as cron starts it, and the real server's application over
HTTP; only which release is offered is said by the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.gate import Gate
from qlmdm_core.store.records import RootDocument
from qlmdm_core.testing import releases
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.releases import Built, Shop
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server
from qlmdm_core.testing.trust import Ring, make_ring, whole_second

PLUGIN = """
from qlmdm_core import Collector, hookimpl

@hookimpl
def qlmdm_register_collectors():
    return [Collector(name="site", run=lambda host: {"state": "NAME"})]
"""


@dataclass
class Machine:
    """A client's machine, its server, and what that server has on offer."""

    folder: Path
    server: SimulatedServer
    wire: Wire
    shop: Shop
    ring: Ring
    root_document: bytes
    root: Root
    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "c"

    def build(self, version: str, plugin: str | None = None, **changes: Any) -> Built:
        settings = changes.pop("settings", f"server_url: {self.wire.url}\n")
        text = PLUGIN.replace("NAME", version) if plugin is None else plugin
        files = {**releases.agent_files(settings, text), **changes.pop("files", {})}
        now = whole_second(datetime.now(timezone.utc))
        changes.setdefault("server_id", self.root.server_id)
        ring = changes.pop("ring", self.ring)
        return releases.build(ring, version, files, now=now, **changes)

    def bootstrap(self, built: Built, *argv: str, token: str | None = None) -> tuple[int, str]:
        """Unpack and run `client-setup`."""
        folder = releases.unpack_bootstrap(
            str(self.folder / "new"),
            built,
            self.root_document,
            token or str(self.server.invite()),
        )
        where = ["--dir", str(self.state), "--bin-dir", str(self.folder / "bin"), "--no-cron"]
        return self._run([f"{folder}/client-setup", *where, *argv])

    def cron(self, *argv: str) -> tuple[int, str]:
        """What cron starts, with something due."""
        (self.state / "due").unlink(missing_ok=True)
        return self.command("qlmdm-client-cron", *argv)

    def command(self, name: str, *argv: str) -> tuple[int, str]:
        launcher = str(self.state / "launcher" / "launcher.py")
        return self._run([sys.executable, "-I", "-S", launcher, name, *argv])

    def _run(self, argv: list[str]) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            argv,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def json(self, name: str) -> Any:
        path = self.state / name
        return json.loads(path.read_text()) if path.exists() else None

    def without(self, file: str, guard: str, instead: str) -> None:
        """Take a guard out of the installed launcher."""
        (path,) = (self.state / "launchers").rglob(file)
        text = path.read_text()
        assert text.count(guard) == 1
        path.write_text(text.replace(guard, instead))

    def publish_root(self, version: int) -> None:
        """Have the server tell that there is a newer root document."""
        self.shop.root = version

    @property
    def current(self) -> str:
        return os.readlink(self.state / "current")

    def report(self) -> Any:
        """What the server has of this client."""
        cid = self.json("identity.json")["cid"]
        return json.loads(self.server.store.report(cid) or b"{}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_server(tmp_path_factory.mktemp("s"))


@pytest.fixture
def machine(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with simulated_server(tmp_path, prepared=prepared) as server:
        shop = Shop(server.app)
        monkeypatch.setattr(Gate, "answer", shop.answer(Gate.answer))
        with served(shop) as wire:
            ring = releases.site_ring(str(tmp_path / "server"))
            stored = server.store.root(1)
            assert stored is not None
            document = stored.document
            text = signedtext.unpack(document, max_bytes=rootdoc.MAX_BYTES).text
            yield Machine(tmp_path, server, wire, shop, ring, document, rootdoc.parse(text))


@pytest.fixture
def client(machine: Machine) -> Machine:
    status, said = machine.bootstrap(machine.build("1.1"))
    assert status == 0, said
    return machine


def test_a_new_machine_is_installed_enrolled_and_reports(machine: Machine) -> None:
    status, said = machine.bootstrap(machine.build("1.1"))
    assert status == 0, said
    assert "release 1.1 is installed" in said
    assert machine.current == "slots/1.1"
    assert machine.cron("--now") == (0, "")
    assert machine.report()["site"]["value"] == {"state": "1.1"}
    assert machine.report()["agent"]["value"]["release"]["installed"] == "1.1"


def test_a_release_that_is_offered_is_installed_tried_and_committed(client: Machine) -> None:
    client.shop.put(client.build("1.3"))
    assert client.cron() == (0, "")
    assert client.json("trial.json") == {"previous": "1.1", "slot": "1.3", "tries_left": 3}
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    assert client.json("release.json") == {"bad": {}, "high": "1.3", "previous": "1.1"}
    assert client.current == "slots/1.3"
    assert client.report()["site"]["value"] == {"state": "1.3"}


def bad_cycle(machine: Machine) -> dict[str, bytes]:
    """A release that can be imported, and fails as soon as it is to send something."""
    path = "lib/qlmdm_core/client/submit.py"
    good = releases.agent_files("")[path]
    return {path: good + b"\n\ndef submit(link, spool):\n    raise RuntimeError('no, not today')\n"}


def test_a_release_that_breaks_the_cycle_is_given_up_and_never_taken_again(
    client: Machine,
) -> None:
    bad = client.build("1.2", files=bad_cycle(client))
    client.shop.put(bad)
    assert client.cron() == (0, "")
    for left in (2, 1):
        status, said = client.cron()
        assert status != 0
        assert "no, not today" in said
        assert client.json("trial.json")["tries_left"] == left
        assert client.current == "slots/1.2"
    status, said = client.cron()
    assert "release 1.2 was given up, 1.1 is back" in said
    assert client.json("trial.json") is None
    assert client.current == "slots/1.1"
    assert "no, not today" in client.json("release.json")["bad"]["1.2"]
    # It is offered still, and not taken; the server is told.
    assert client.cron("--now") == (0, "")
    assert client.current == "slots/1.1"
    agent = client.report()["agent"]["value"]["release"]
    assert agent["installed"] == "1.1"
    assert "no, not today" in agent["bad"]["1.2"]
    # The next one is.
    client.shop.put(client.build("1.3"))
    client.cron("--now")  # it has just asked, and would wait for its next second
    assert client.cron() == (0, "")
    assert client.report()["site"]["value"] == {"state": "1.3"}


def test_while_the_network_is_away_no_try_counts(client: Machine) -> None:
    client.shop.put(client.build("1.2"))
    client.cron()
    client.wire.meddle = lambda path, body: ("503 Service Unavailable", b"")
    for _ in range(5):
        status, _ = client.cron()
        assert status != 0
        assert client.json("trial.json")["tries_left"] == 3
        assert client.current == "slots/1.2"
    client.wire.meddle = None
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    assert client.current == "slots/1.2"


def test_without_the_question_to_the_one_before_a_network_that_is_away_costs_the_release(
    client: Machine,
) -> None:
    client.shop.put(client.build("1.2"))
    client.cron()
    client.without(
        "supervise.py", "previous_got_through=self._polls(before)", "previous_got_through=True"
    )
    client.wire.meddle = lambda path, body: ("503 Service Unavailable", b"")
    for _ in range(3):
        client.cron()
    assert client.current == "slots/1.1"


def test_a_release_that_moves_the_server_to_where_it_never_answers_is_given_up(
    client: Machine,
) -> None:
    client.shop.put(client.build("1.2", settings="server_url: http://127.0.0.1:9\n"))
    client.cron()
    for _ in range(3):
        client.cron()
    assert client.current == "slots/1.1"
    assert "1.2" in client.json("release.json")["bad"]
    assert client.cron("--now") == (0, "")


def test_a_release_that_moves_the_server_is_committed_by_an_answer_from_there(
    client: Machine,
) -> None:
    with served(client.shop) as moved:
        client.shop.put(client.build("1.2", settings=f"server_url: {moved.url}\n"))
        client.cron()
        client.wire.requests.clear()
        assert client.cron() == (0, "")
        assert client.json("trial.json") is None
        assert client.wire.requests == []
        assert "/qlmdm/v1/submit" in moved.requests


# --- what is not what was signed ----------------------------------------------------------------


def tamper(client: Machine, slot: str) -> None:
    path = client.state / "slots" / slot / "lib" / "qlmdm_core" / "client" / "cron.py"
    path.write_text("def main():\n    print('owned')\n    return 0\n")


def test_a_changed_slot_is_not_run_and_fetched_anew_by_the_one_before(client: Machine) -> None:
    client.shop.put(client.build("1.2"))
    client.cron()
    client.cron()
    tamper(client, "1.2")
    client.wire.requests.clear()
    status, said = client.cron()
    assert status == 0
    assert "owned" not in said
    assert "release 1.2 is not what was signed: lib/qlmdm_core/client/cron.py" in said
    assert "release 1.1 is run instead" in said
    assert client.json("trial.json") == {"previous": "1.1", "slot": "1.2", "tries_left": 3}
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    assert client.current == "slots/1.2"
    assert client.command("qlmdm-verify")[0] == 0


def test_an_added_file_is_a_difference(client: Machine) -> None:
    client.cron()
    (client.state / "slots/1.1/lib/sitecustomize.py").write_text("print('owned')\n")
    status, said = client.cron()
    assert status == 1
    assert "NOTHING WAS RUN" in said
    assert "lib/sitecustomize.py: added" in said
    assert "owned" not in said


def test_where_no_slot_is_whole_nothing_runs_and_it_is_said(client: Machine) -> None:
    client.cron()
    tamper(client, "1.1")
    status, said = client.cron()
    assert (status, "owned" in said) == (1, False)
    assert "NOTHING WAS RUN" in said


def test_without_the_look_at_stamps_a_changed_slot_would_run(client: Machine) -> None:
    client.cron()
    tamper(client, "1.1")
    client.without("launcher.py", 'if f"{stamp} {path}" != line:', "if False:")
    assert client.cron() == (0, "owned\n")


def test_bytes_that_changed_under_the_same_stamps_are_found_within_a_day(client: Machine) -> None:
    client.cron()
    stamps = client.state / "stamps/1.1"
    head, _, rest = stamps.read_text().partition("\n")
    tamper(client, "1.1")
    path = "lib/qlmdm_core/client/cron.py"
    now = os.lstat(client.state / "slots/1.1" / path)
    stamp = f"{now.st_ino} {now.st_size} {now.st_mtime_ns} {now.st_ctime_ns} {path}"
    lines = [stamp if line.endswith(" " + path) else line for line in rest.splitlines()]
    word, at, count = head.split()
    text = "\n".join([f"{word} {int(at) - 86401} {count}", *lines, ""])
    stamps.write_text(text)
    status, said = client.cron()
    assert (status, "owned" in said) == (1, False)


def test_what_else_is_installed_on_the_machine_is_not_run(client: Machine) -> None:
    """Without -S, as somebody may start it by hand."""
    launcher = str(client.state / "launcher" / "launcher.py")
    code = f"import sys; sys.argv = [{launcher!r}, 'qlmdm-client-cron', '--help']\n"
    code += f"exec(compile(open({launcher!r}).read(), {launcher!r}, 'exec'))\n"
    code = code.replace("exec(", "__file__ = sys.argv[0]\nexec(", 1)
    code = f"import atexit, sys; atexit.register(lambda: print(sys.path))\n{code}"
    client.cron()
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert "Run the agent's cycle" in done.stdout
    assert "site-packages" not in done.stdout


# --- what says no -------------------------------------------------------------------------------


def test_a_release_that_does_not_run_here_is_not_tried(client: Machine) -> None:
    files = {"lib/qlmdm_core/client/backoff.py": b"import no_such_module\n"}
    client.shop.put(client.build("1.2", files=files))
    status, said = client.cron()
    assert status == 0
    assert "its self-test failed" in said
    assert "no_such_module" in said
    assert client.json("trial.json") is None
    assert client.current == "slots/1.1"
    assert not (client.state / "slots/1.2").exists()
    client.cron("--now")
    assert "no_such_module" in client.report()["agent"]["value"]["release"]["problem"]


OBJECTS = """
from qlmdm_core import Objection, hookimpl

@hookimpl
def qlmdm_release_objections(release, stage):
    return [Objection(reason=f"{stage}: not {release['version']}, it is Friday")]
"""


def test_a_plugin_can_object_to_a_release(machine: Machine) -> None:
    machine.bootstrap(machine.build("1.1", OBJECTS))
    machine.shop.put(machine.build("1.2"))
    status, said = machine.cron()
    assert status == 0
    assert "qlmdm_site: install: not 1.2, it is Friday" in said.replace("-", "_")
    assert machine.current == "slots/1.1"
    assert machine.cron() == (0, ""), "it is said once"
    status, said = machine.command("qlmdm-update")
    assert status == 1
    assert "it is Friday" in said


RAISES = """
from qlmdm_core import hookimpl

@hookimpl
def qlmdm_release_objections(release, stage):
    raise ValueError("can not tell")
"""


def test_a_plugin_that_raises_objects(machine: Machine) -> None:
    machine.bootstrap(machine.build("1.1", RAISES))
    machine.shop.put(machine.build("1.2"))
    assert "can not tell" in machine.cron()[1]
    assert machine.current == "slots/1.1"


def test_a_plugin_that_can_not_be_imported_does_not_keep_its_own_mend_away(
    machine: Machine,
) -> None:
    machine.bootstrap(machine.build("1.1", "import no_such_module\n"))
    machine.shop.put(machine.build("1.2"))
    assert machine.cron() == (0, "")
    assert machine.current == "slots/1.2"


INSTALLED = (
    PLUGIN
    + """
@hookimpl
def qlmdm_release_installed(update, host):
    if update != {"from": "1.1", "to": "1.2"}:
        raise ValueError(update)
    host.run(["touch", "PATH"])
    WHAT
"""
)


def test_plugins_are_told_before_a_release_is_committed(client: Machine) -> None:
    mark = client.folder / "told"
    plugin = INSTALLED.replace("PATH", str(mark)).replace("WHAT", "")
    client.shop.put(client.build("1.2", plugin))
    client.cron()
    assert not mark.exists()
    assert client.cron() == (0, "")
    assert mark.exists()


def test_a_plugin_that_raises_keeps_a_release_from_being_committed(client: Machine) -> None:
    plugin = INSTALLED.replace("PATH", str(client.folder / "told"))
    client.shop.put(client.build("1.2", plugin.replace("WHAT", "raise ValueError('no reader')")))
    client.cron()
    status, said = client.cron()
    assert status == 1
    assert "no reader" in said
    assert client.json("trial.json")["tries_left"] == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"by": ("operator",)}, "release keys"),
        ({"by": ()}, "release keys"),
        ({"server_id": "fedcba9876543210"}, "another server's"),
        ({"python_from": "3.99"}, "needs Python"),
        ({"machines": ("vax",)}, "is for vax"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "expired"),
    ],
)
def test_a_release_that_may_not_be_installed_is_not_fetched(
    client: Machine, changes: dict[str, Any], why: str
) -> None:
    built = client.build("1.2", **changes)
    client.shop.put(built)
    client.wire.requests.clear()
    _, said = client.cron()
    assert why in said
    assert client.current == "slots/1.1"
    assert f"/qlmdm/v1/blob/{built.manifest.tar_sha256}" not in client.wire.requests


def test_a_clock_set_back_makes_no_expired_release_fresh(client: Machine) -> None:
    """Time is the later of the clock and the highest that a signed answer named."""
    client.cron("--now")
    link = client.json("link.json")
    ahead = datetime.now(timezone.utc).timestamp() + 200 * 86400
    (client.state / "link.json").write_text(json.dumps({**link, "server_at": ahead}))
    client.shop.put(client.build("1.2"))
    _, said = client.cron("--now")
    assert "release 1.2 expired on" in said
    assert client.current == "slots/1.1"


def test_an_expired_root_document_stops_releases_and_not_reports(client: Machine) -> None:
    client.cron("--now")
    link = client.json("link.json")
    ahead = client.root.expires_at.timestamp() + 1
    (client.state / "link.json").write_text(json.dumps({**link, "server_at": ahead}))
    far = client.root.expires_at + timedelta(days=90)
    client.shop.put(client.build("1.2", expires_at=far))
    status, said = client.cron("--now")
    assert status == 0
    assert "root document 1 has expired; no release is installed" in said
    assert client.current == "slots/1.1"
    assert client.report()["site"]["value"] == {"state": "1.1"}


def test_an_older_release_is_not_even_looked_at(client: Machine) -> None:
    client.shop.put(client.build("1.5"))
    client.cron()
    client.cron()
    for version in ("1.4", "1.5"):
        client.shop.put(client.build(version, ""))
        client.wire.requests.clear()
        assert client.cron("--now") == (0, "")
        assert client.current == "slots/1.5"
        assert not [path for path in client.wire.requests if "blob" in path]


def test_a_tar_of_other_bytes_is_not_taken(client: Machine) -> None:
    built = client.build("1.2")
    client.shop.put(built)
    client.shop.blobs[built.manifest.tar_sha256] = built.tar[:-1] + b"x"
    _, said = client.cron()
    assert "what came was something else" in said
    assert not (client.state / "slots/1.2").exists()


def test_a_download_goes_on_where_it_was_cut_off_and_a_mirror_will_do(client: Machine) -> None:
    built = client.build("1.2")
    client.shop.put(built)
    part = client.state / "download" / f"{built.manifest.tar_sha256}.part"
    part.parent.mkdir(mode=0o700)
    part.write_bytes(built.tar[:1000])
    asked: list[str] = []
    inner = client.shop

    def mirror(environ: dict[str, Any], start_response: Any) -> Any:
        asked.append(environ.get("HTTP_RANGE", ""))
        environ["PATH_INFO"] = environ["PATH_INFO"].replace("/m/", "/qlmdm/v1/blob/")
        return inner(environ, start_response)

    with served(mirror) as other:
        client.shop.offer = built.offer(f"{other.url}/m/")
        assert client.cron() == (0, "")
    assert any(one.startswith("bytes=1000-") for one in asked)
    assert client.current == "slots/1.2"
    assert not list((client.state / "download").iterdir())


# --- the launcher -------------------------------------------------------------------------------


def launcher_files(text: bytes) -> dict[str, bytes]:
    good = releases.agent_files("")["launcher/launcher.py"]
    return {"launcher/launcher.py": good.replace(b"def main() ->", text + b"\n\ndef main() ->", 1)}


def test_a_new_launcher_has_a_trial_of_its_own(client: Machine) -> None:
    client.shop.put(client.build("1.2", files=launcher_files(b"NEW = 1\n")))
    client.cron()
    assert client.cron() == (0, "")
    assert client.json("launcher_trial.json")["slot"] == "1.2"
    assert os.readlink(client.state / "launcher") == "launchers/1.1"
    assert client.cron() == (0, "")
    assert client.json("launcher_trial.json") is None
    assert os.readlink(client.state / "launcher") == "launchers/1.2"
    assert client.cron("--now") == (0, "")


def test_a_launcher_that_does_not_work_is_given_up(client: Machine) -> None:
    broken = launcher_files(b"sys.stderr.write('I am ill')\nsys.exit(7)\n")
    client.shop.put(client.build("1.2", files=broken))
    client.cron()
    client.cron()
    for left in (2, 1, None):
        _, said = client.cron()
        assert "I am ill" in said
        trial = client.json("launcher_trial.json")
        assert (trial and trial["tries_left"]) == left
    assert os.readlink(client.state / "launcher") == "launchers/1.1"
    assert "I am ill" in client.json("release.json")["bad_launchers"]["1.2"]
    assert client.cron("--now") == (0, "")


# --- a year off ---------------------------------------------------------------------------------


def test_after_a_year_off_the_newest_release_is_taken_by_keys_it_never_saw(
    client: Machine,
) -> None:
    names = ["release2", "release3"]
    more = make_ring(str(client.folder / "k"), names)
    ring = Ring(
        signers={**client.ring.signers, **more.signers},
        public={**client.ring.public, **more.public},
    )
    online = client.root.roles["online"]
    root = client.root
    for version, name in ((2, "release2"), (3, "release3")):
        key = ring.public[name]
        roles = {**root.roles, "release": rootdoc.Role(fingerprints=(key.fingerprint,))}
        kept = dict(root.keys)
        root = replace(
            root, version=version, roles=roles, keys={**kept, key.fingerprint: key.armoured}
        )
        document = ring.sign(rootdoc.build(root), "root")
        client.server.store.put_root(RootDocument(version=version, document=document))
    assert root.roles["online"] == online
    client.shop.put(client.build("1.9", by=("release3",), ring=ring))
    client.publish_root(3)
    assert client.cron() == (0, "")
    assert client.current == "slots/1.9"
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    # What ran before was signed by keys that nobody trusts any more; it can be gone back to.
    status, said = client.command("qlmdm-verify", "--all")
    assert status == 0, said
    assert "release 1.1:" in said


# --- the commands -------------------------------------------------------------------------------


def test_qlmdm_update_says_what_there_is_and_what_it_did(client: Machine) -> None:
    status, said = client.command("qlmdm-update", "--check")
    assert (status, said) == (
        0,
        "release 1.1 is installed, and the server has none that is newer\n",
    )
    client.shop.put(client.build("1.2"))
    assert client.command("qlmdm-update", "--check") == (
        1,
        "release 1.1 is installed; the server offers 1.2\n",
    )
    status, said = client.command("qlmdm-update", "--json")
    assert status == 0
    assert json.loads(said) == {
        "installed": "1.2 (on trial)",
        "state": "installed",
        "version": "1.2",
        "why": "",
    }
    assert client.cron() == (0, "")


def test_qlmdm_verify_names_what_differs(client: Machine) -> None:
    # By hand, past the launcher, which would not run it.
    client.cron()
    slot = client.state / "slots/1.1"
    (slot / "settings.yml").unlink()
    (slot / "lib/x.py").write_text("")
    with (slot / "lib/gnupg.py").open("a") as file:
        file.write("#")
    launcher = str(client.state / "launcher" / "launcher.py")
    argv = [sys.executable, "-I", "-S", launcher, "--run", "1.1", "qlmdm-verify", "--json"]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)[0]["differences"]
    assert found[1:] == ["lib/x.py: added", "settings.yml: missing"]
    assert found[0].startswith("lib/gnupg.py: ")


# --- client-setup -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["python3", "state"])
def test_client_setup_lets_nobody_change_what_runs_as_root(machine: Machine, what: str) -> None:
    """A `python3` of somebody's own comes first in PATH; or a folder where everybody writes."""
    place = machine.folder / "open"
    place.mkdir()
    place.chmod(0o777)
    (place / "python3").symlink_to(sys.executable)
    new = releases.unpack_bootstrap(
        str(machine.folder / "new"),
        machine.build("1.1"),
        machine.root_document,
        str(machine.server.invite()),
    )
    state = place / "c" if what == "state" else machine.state
    first = place if what == "python3" else Path(sys.executable).parent
    argv = ["--dir", str(state), "--bin-dir", str(machine.folder / "bin"), "--no-cron"]

    def setup() -> tuple[int, str]:
        done = subprocess.run(
            [f"{new}/client-setup", *argv],
            env={"PATH": f"{first}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    status, said = setup()
    assert (status, f"{place} can be written by everybody" in said) == (2, True), said
    assert not (machine.folder / "bin").exists()
    script = Path(new) / "lib/qlmdm_core/client/release/wrappers.py"
    script.write_text(script.read_text().replace("if theirs or (", "if theirs and ("))
    assert setup()[0] == 0
    assert str(place) in (machine.folder / "bin/qlmdm-client-cron").read_text()


def test_client_setup_may_be_run_again(client: Machine) -> None:
    status, said = client.bootstrap(client.build("1.1"))
    assert status == 0, said
    assert "release 1.1 is installed in" in said
    assert "enrolled already" in said
    assert sorted(path.name for path in (client.folder / "bin").iterdir())[0].startswith("qlmdm-")


def test_client_setup_goes_on_where_it_was_cut_off(machine: Machine) -> None:
    """And mends what is not whole any more."""
    built = machine.build("1.1")
    token = str(machine.server.invite(uses=3))
    machine.wire.meddle = lambda path, body: ("503 Service Unavailable", b"")
    status, _ = machine.bootstrap(built, token=token)
    assert status == 3
    machine.wire.meddle = None
    (machine.state / "current").unlink()
    assert machine.bootstrap(built, token=token)[0] == 0
    assert machine.cron("--now") == (0, "")
    (machine.state / "launcher").unlink()
    tamper(machine, "1.1")
    status, said = machine.bootstrap(built, token=token)
    assert status == 0, said
    assert machine.cron("--now") == (0, "")


def test_what_starts_a_client_can_be_taken_away_again(client: Machine) -> None:
    status, said = client.bootstrap(client.build("1.1"), "--uninstall", "--etc", str(client.folder))
    assert status == 0, said
    assert list((client.folder / "bin").iterdir()) == []
    assert (client.state / "identity.json").exists()


def test_a_newer_bootstrap_on_a_client_is_tried_like_any_release(client: Machine) -> None:
    status, said = client.bootstrap(client.build("1.2"))
    assert status == 0, said
    assert "will be tried" in said
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    assert client.current == "slots/1.2"


def test_the_commands_that_client_setup_writes_work(client: Machine) -> None:
    done = subprocess.run(
        [str(client.folder / "bin" / "qlmdm-verify")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "are what was signed" in done.stdout


@pytest.mark.parametrize("name", ["root.json", "manifest.json", "release.tar"])
def test_client_setup_takes_nothing_that_the_invitation_does_not_vouch_for(
    machine: Machine, name: str
) -> None:
    built = machine.build("1.1")
    if name == "root.json":
        root = replace(machine.root, roles={**machine.root.roles})
        other = rootdoc.build(replace(root, version=2))
        machine.root_document = machine.ring.sign(other, "root")
    elif name == "manifest.json":
        built = machine.build("1.1", by=("operator",))
    else:
        built = replace(built, tar=built.tar + bytes(512))
    status, said = machine.bootstrap(built)
    assert status == 1, said
    assert not (machine.state / "slots").exists()
