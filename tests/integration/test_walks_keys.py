"""Keys are replaced, and stolen: the real client, the real server, and what each then believes.

The walks of docs/security.md: what a thief can do, what the administrator types, and what clients
refuse afterwards. Where a guard refuses something, it is shown to get through without the guard.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc, envelope, manifest, rootdoc, signedtext
from qlmdm_core.client import enrol, identity, link
from qlmdm_core.client.cycle import open_link
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.server import crypto, root_changes
from qlmdm_core.server.app import create_app
from qlmdm_core.server.desk import Desk
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import Signer, keys
from qlmdm_core.signing.sequoia import SequoiaSigner
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.office import Elsewhere, Office
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server

GPGV = identity.verifier()


@dataclass
class Laptop:
    """An enrolled client, which is off unless it is `on`."""

    state: State
    settings: ClientSettings

    @contextlib.contextmanager
    def on(self) -> Iterator[link.Link]:
        with open_link(self.state, self.settings) as opened:
            yield opened

    def poll(self) -> Root:
        """What `qlmdm-client-cron` does about trust: ask for news, follow the root document."""
        with self.on() as opened:
            answer = opened.ask("update", {"update": {"root": opened.root_version}})
            opened.follow_root(answer.details.get("root"))
        return self.root

    @property
    def root(self) -> Root:
        return identity.load_root(self.state)

    @property
    def cid(self) -> str:
        return identity.load_identity(self.state).cid


@dataclass
class Fleet:
    """A server on the network, its administrator, and one laptop."""

    server: SimulatedServer
    office: Office
    wire: Wire
    laptop: Laptop
    folder: Path
    apps: list[Any]

    def restart(self, signer: Signer | None = None) -> None:
        """Start the server again: with the online key that is in its file, or a thief's."""
        opened = crypto.open_crypto(self.server.settings, "pysequoia")
        self.apps[0] = create_app(
            self.server.store,
            self.server.settings,
            signer=signer or opened.signer,
            verifier=opened.verifier,
            clock=lambda: datetime.now(timezone.utc),
        )

    def rotate_online(self) -> None:
        old = self.office.only("online")
        self.office.do("rotate", "online", "--yes")
        self.restart()
        self.office.do("revoke", old, "--yes")

    def publish(self, root: Root) -> None:
        """A root document that `qlmdm-keys` would not make, signed by the keys that are here."""
        server = self.server
        now = datetime.now(timezone.utc)
        desk = Desk(server.settings, server.store, server.crypto.verifier, now=now)
        root_changes.issue(desk, root, created_by="test")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder:
        yield prepare_server(Path(folder))


@pytest.fixture
def fleet(prepared: Path, tmp_path: Path) -> Iterator[Fleet]:
    with simulated_server(tmp_path / "s", prepared=prepared) as server:
        apps: list[Any] = [server.app]

        def app(environ: Any, start_response: Any) -> Any:
            return apps[0](environ, start_response)

        with served(app) as wire, State(str(tmp_path / "c")) as state:
            enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
            laptop = Laptop(state, ClientSettings(server_url=wire.url))
            made = Fleet(server, Office(server), wire, laptop, tmp_path, apps)
            made.restart()
            yield made


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def signed(text: str, *signers: Signer) -> bytes:
    return SignedText(text=text, sigs=tuple(s.sign(text.encode()) for s in signers)).pack()


def release(root: Root, number: int, *signers: Signer, epoch: int = 1) -> bytes:
    text = manifest.build(
        Manifest(
            server_id=root.server_id,
            version=Version(epoch, number),
            issued_at=now(),
            expires_at=now() + timedelta(days=30),
            tar_sha256="0" * 64,
            tar_size=512,
            files=(File("settings.yml", "0" * 64, 1, 0o644),),
        )
    )
    return signed(text, *signers)


def command(root: Root, cid: str, *signers: Signer) -> bytes:
    text = commanddoc.build(
        Command(
            server_id=root.server_id,
            id="0" * 32,
            part=1,
            kind="script",
            hosts=(cid,),
            issued_at=now(),
            not_before=now(),
            expires_at=now() + timedelta(days=1),
            requested_by="somebody",
            payload_sha256="0" * 64,
            payload_size=1,
        )
    )
    return signed(text, *signers)


def installs(laptop: Laptop, document: bytes, above: Version | None = None) -> bool:
    """Whether the client would install a release; all that its code asks."""
    root = laptop.root
    try:
        made = manifest.verify(document, root, GPGV)
        manifest.check_installable(made, root, now=now(), above=above)
    except TrustError:
        return False
    return True


def obeys(laptop: Laptop, document: bytes) -> bool:
    """Whether the client would carry out a command; all that its code asks."""
    root = laptop.root
    try:
        made = commanddoc.verify(document, root, GPGV)
        commanddoc.check_acceptable(made, root, cid=laptop.cid, now=now())
    except TrustError:
        return False
    return True


# --- a client that was off for three months -----------------------------------------------------


def test_a_client_that_slept_through_everything_is_not_lost(fleet: Fleet) -> None:
    """Each role changes its keys while the client is off, and its root document expires."""
    office = fleet.office
    fleet.publish(replace(fleet.laptop.root, version=2, expires_at=now() + timedelta(seconds=1)))
    fleet.laptop.poll()
    before = {role: office.only(role) for role in rootdoc.ROLES}
    fleet.rotate_online()
    for role in ("release", "operator", "root", "root"):
        office.do("rotate", role, "--yes")
    fleet.rotate_online()
    office.do("renew", "--yes")
    for role in rootdoc.ROLES:
        for name in office.here(role):
            if role != "online" and name != office.only(role):
                office.do("forget", name, "--yes")
    root = fleet.laptop.poll()
    assert root == office.root
    assert root.version == 11
    for role in rootdoc.ROLES:
        assert root.roles[role].fingerprints != (before[role],)
    fleet.wire.requests.clear()
    fleet.laptop.poll()
    assert fleet.wire.requests == [envelope.UPDATE], "nothing is walked twice"


@pytest.mark.parametrize("role", rootdoc.ROLES)
def test_after_a_rotation_the_new_key_counts_and_the_old_one_does_not(
    fleet: Fleet, role: str
) -> None:
    office, laptop = fleet.office, fleet.laptop
    old = office.stolen(role)
    if role == "online":
        fleet.rotate_online()
    else:
        office.do("rotate", role, "--yes")
    new = office.stolen(role)
    root = laptop.poll()
    assert root.roles[role].fingerprints == (new.fingerprint,)

    def counts(signer: Signer) -> bool:
        if role == "release":
            return installs(laptop, release(root, 7, signer))
        if role == "operator":
            return obeys(laptop, command(root, laptop.cid, signer))
        if role == "root":
            following = rootdoc.build(replace(root, version=root.version + 1))
            with contextlib.suppress(TrustError):
                rootdoc.advance(root, signed(following, signer), GPGV)
                return True
            return False
        fleet.restart(signer)
        with contextlib.suppress(TrustError):
            laptop.poll()
            return True
        return False

    assert counts(new)
    assert not counts(old)


def test_without_walking_unasked_a_client_that_slept_would_be_lost(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that tells of news is signed by a key that such a client does not know."""
    fleet.rotate_online()
    with monkeypatch.context() as patch:
        patch.setattr(link.Link, "_walk", lambda _: False)
        with pytest.raises(TrustError, match="not signed by the server's online key"):
            fleet.laptop.poll()
    assert fleet.laptop.poll() == fleet.office.root


def test_a_false_successor_does_not_stop_the_client_and_is_not_followed(fleet: Fleet) -> None:
    """Whoever sits in between hands out a root document of their own, under a false answer."""
    thief = SequoiaSigner(
        keys.export_secret(
            str(fleet.folder / "t"), keys.make_key(str(fleet.folder / "t"), "thief").fingerprint
        )
    )
    root = fleet.laptop.root
    false = signed(rootdoc.build(replace(root, version=2)), thief)

    def meddle(path: str, body: bytes) -> tuple[str, bytes]:
        if path == "/qlmdm/v1/root/2":
            return "200 OK", false
        return "200 OK", body.replace(b"update", b"updabe", 1)

    fleet.wire.meddle = meddle
    with pytest.raises(TrustError, match="not signed by the server's online key"):
        fleet.laptop.poll()
    assert fleet.laptop.root == root
    fleet.wire.meddle = None
    assert fleet.laptop.poll() == root


def test_a_running_server_takes_up_another_online_key(fleet: Fleet) -> None:
    """Without a restart: within seconds, and clients notice nothing."""
    from qlmdm_core.server.online_signer import LOOK_SECONDS, FollowingSigner

    settings = fleet.server.settings
    path = crypto.online_key_path(settings)
    at = [0.0]
    signer = FollowingSigner(
        path,
        lambda: SequoiaSigner(crypto.read_online_key(path)),
        monotonic=lambda: at[0],
    )
    fleet.restart(signer)
    old = signer.fingerprint
    fleet.office.do("rotate", "online", "--yes")
    fleet.laptop.poll()
    assert signer.fingerprint == old
    at[0] += LOOK_SECONDS
    fleet.laptop.poll()
    assert signer.fingerprint == fleet.office.root.roles["online"].fingerprints[1]
    fleet.office.do("revoke", old, "--yes")
    fleet.restart(signer)  # each process looks for the newest version every half minute
    assert fleet.laptop.poll() == fleet.office.root


@pytest.mark.parametrize("spoil", ["", "nonsense", None])
def test_a_spoilt_online_key_file_does_not_stop_a_running_server(
    fleet: Fleet, spoil: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    from qlmdm_core.server.online_signer import LOOK_SECONDS, FollowingSigner

    path = Path(crypto.online_key_path(fleet.server.settings))
    good, at = path.read_text(), [0.0]
    signer = FollowingSigner(
        str(path),
        lambda: SequoiaSigner(crypto.read_online_key(str(path))),
        monotonic=lambda: at[0],
    )
    if spoil is None:
        path.unlink()
    else:
        path.write_text(spoil)
    for _ in range(3):
        at[0] += LOOK_SECONDS
        signer.sign(b"x")
    assert caplog.text.count("the online key stays as it was") == 1
    path.write_text(good)
    path.chmod(0o600)


def test_gpg_takes_up_another_online_key_too(fleet: Fleet) -> None:
    opened = crypto.open_crypto(fleet.server.settings, "gpg")
    try:
        old = opened.signer.fingerprint
        fleet.office.do("rotate", "online", "--yes")
        signer: Any = opened.signer
        signer._looked_at = float("-inf")
        signer.sign(b"x")
        assert signer.fingerprint != old
        assert signer.fingerprint in fleet.office.root.roles["online"].fingerprints
    finally:
        opened.close()


# --- a root document that has expired -----------------------------------------------------------


@pytest.fixture
def expired(fleet: Fleet) -> Fleet:
    """Nobody renewed it; the client has the newest one there is."""
    past = now() - timedelta(days=1)
    fleet.publish(
        replace(fleet.laptop.root, version=2, issued_at=past - timedelta(days=1), expires_at=past)
    )
    assert fleet.laptop.poll().is_expired(now())
    return fleet


def test_an_expired_root_document_stops_releases_and_commands(
    expired: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, office = expired.laptop, expired.office
    new = release(laptop.root, 7, office.stolen("release"))
    order = command(laptop.root, laptop.cid, office.stolen("operator"))
    assert not installs(laptop, new)
    assert not obeys(laptop, order)
    with monkeypatch.context() as patch:
        patch.setattr(Root, "is_expired", lambda *_: False)
        assert installs(laptop, new)
        assert obeys(laptop, order)


def test_an_expired_root_document_never_stops_reporting(expired: Fleet) -> None:
    report: Any = {"hostname": "laptop7", "release": None, "collectors": {}}
    with expired.laptop.on() as opened:
        answer = opened.ask(
            "submit",
            {"report": report},
            rid="11111111-1111-4111-8111-111111111111",
            seq=opened.next_seq(),
        )
    assert answer.status == envelope.OK
    found = expired.server.store.client(expired.laptop.cid)
    assert found is not None
    assert found.reported_at is not None


def test_the_successor_of_an_expired_root_document_is_taken(expired: Fleet) -> None:
    expired.office.do("renew", "--yes")
    expired.restart()
    root = expired.laptop.poll()
    assert root.version == 3
    new = release(root, 7, expired.office.stolen("release"))
    assert installs(expired.laptop, new)


def test_the_server_signs_nothing_under_an_expired_root_document(expired: Fleet) -> None:
    server = expired.server
    desk = Desk(server.settings, server.store, server.crypto.verifier, now=now())
    for kind, role in (("release", "release"), ("command", "operator")):
        wanted: Any = {"kind": kind, "role": role, "texts": ["x"], "attach": None}
        with pytest.raises(TrustError, match="renew it first"):
            desk.sign(name="x", created_by="ada", **wanted)


# --- the walk "the server was broken into" --------------------------------------------------------


@dataclass
class Breach:
    """The site as docs/keys.md recommends it: root, release and operator keys are elsewhere."""

    fleet: Fleet
    root_card: Elsewhere
    release_key: Signer
    operator_key: Signer
    thief: Signer
    """The online key, which is all that was there to be copied."""


@pytest.fixture
def breach(fleet: Fleet) -> Breach:
    office = fleet.office
    others = {role: office.stolen(role) for role in ("release", "operator")}
    thief = office.stolen("online")
    root_card = office.move_away("root", fleet.folder)
    for role in others:
        office.do("forget", role, "--yes")
    assert [office.here(role) for role in ("root", "release", "operator")] == [[], [], []]
    return Breach(fleet, root_card, others["release"], others["operator"], thief)


def test_who_broke_in_can_lie_about_receipts_and_keep_news_back(breach: Breach) -> None:
    """What is not defended: the client believes the stolen online key, until it is replaced."""
    laptop = breach.fleet.laptop
    breach.fleet.restart(breach.thief)
    with laptop.on() as opened:
        assert opened.ask("update", {"update": {"root": 1}}).status == envelope.OK


def test_who_broke_in_can_not_run_anything_on_a_client(breach: Breach) -> None:
    laptop, thief = breach.fleet.laptop, breach.thief
    root = laptop.root
    assert not installs(laptop, release(root, 99, thief, thief))
    assert not obeys(laptop, command(root, laptop.cid, thief))
    # Not vacuous: by the right keys they would have been taken.
    assert installs(laptop, release(root, 99, breach.release_key))
    assert obeys(laptop, command(root, laptop.cid, breach.operator_key))


@pytest.mark.parametrize("role", ["root", "release", "operator", "keepers"])
def test_who_broke_in_can_not_let_other_keys_count(breach: Breach, role: str) -> None:
    """A root document of the thief's own making is not followed, whoever it names."""
    fleet, thief = breach.fleet, breach.thief
    root = fleet.laptop.root
    made = keys.make_key(str(fleet.folder / "t"), "thief")
    own = SequoiaSigner(keys.export_secret(str(fleet.folder / "t"), made.fingerprint))
    changes: dict[str, Any] = {"keys": {**root.keys, made.fingerprint: made.armoured}}
    if role == "keepers":
        changes["keepers"] = (made.fingerprint,)
    else:
        changes["roles"] = {**root.roles, role: Role(fingerprints=(made.fingerprint,))}
    false = signed(rootdoc.build(replace(root, version=2, **changes)), thief, own)
    fleet.restart(thief)
    fleet.wire.meddle = lambda path, body: (
        ("200 OK", false) if path.endswith("/root/2") else ("200 OK", body)
    )
    with fleet.laptop.on() as opened, pytest.raises(TrustError, match="0 of the 1 root keys"):
        opened.follow_root(2)
    assert fleet.laptop.root == root


def test_without_the_thresholds_the_thief_would_name_the_keys(
    breach: Breach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    root = breach.fleet.laptop.root
    false = signed(rootdoc.build(replace(root, version=2)), breach.thief)
    with pytest.raises(TrustError):
        rootdoc.advance(root, false, GPGV)
    monkeypatch.setattr(rootdoc, "require", lambda *_, **__: set())
    assert rootdoc.advance(root, false, GPGV).version == 2


def test_after_the_break_in_the_administrator_gets_the_fleet_back(breach: Breach) -> None:
    """On a new server: a new online key, a higher epoch, signed by the root key elsewhere."""
    fleet, office = breach.fleet, breach.fleet.office
    office.do("rotate", "online", "--old", "drop", "--yes")
    said = office.sign_elsewhere(breach.root_card, fleet.folder / "out")
    assert "online key: " in said
    office.do("policy", "--raise-epoch", "--yes")
    office.sign_elsewhere(breach.root_card, fleet.folder / "out")
    fleet.restart()
    root = fleet.laptop.poll()
    assert root == office.root
    # What the thief kept is worth nothing any more.
    fleet.restart(breach.thief)
    with pytest.raises(TrustError, match="not signed by the server's online key"):
        fleet.laptop.poll()
    # And numbers begin again above whatever was shown to clients.
    fleet.restart()
    again = release(root, 1, breach.release_key, epoch=2)
    assert installs(fleet.laptop, again, above=Version(1, 99))
    assert not installs(fleet.laptop, release(root, 100, breach.release_key), above=Version(1, 99))


def test_release_and_operator_keys_that_lay_on_the_server_are_replaced_as_well(
    fleet: Fleet,
) -> None:
    """Only the root key was elsewhere: the thief owns the clients until they hear of new keys."""
    office, laptop = fleet.office, fleet.laptop
    card = office.move_away("root", fleet.folder)
    thief = {role: office.stolen(role) for role in ("release", "operator", "online")}
    assert installs(laptop, release(laptop.root, 99, thief["release"]))
    assert obeys(laptop, command(laptop.root, laptop.cid, thief["operator"]))
    for argv in (("release",), ("operator",), ("online", "--old", "drop")):
        office.do("rotate", *argv, "--yes")
        office.sign_elsewhere(card, fleet.folder / "out")
    fleet.restart()
    root = laptop.poll()
    assert not installs(laptop, release(root, 99, thief["release"]))
    assert not obeys(laptop, command(root, laptop.cid, thief["operator"]))
    assert installs(laptop, release(root, 99, office.stolen("release")))


def test_who_has_the_root_key_has_the_fleet(fleet: Fleet) -> None:
    """What is not defended: a root key that lay on the server as well. So move it away."""
    root, thief = fleet.laptop.root, fleet.office.stolen("root")
    made = keys.make_key(str(fleet.folder / "t"), "thief")
    own = SequoiaSigner(keys.export_secret(str(fleet.folder / "t"), made.fingerprint))
    roles = {role: Role(fingerprints=(made.fingerprint,)) for role in ("root", "release")}
    taken = replace(
        root,
        version=2,
        roles={**root.roles, **roles},
        keys={**root.keys, made.fingerprint: made.armoured},
    )
    document = signed(rootdoc.build(taken), thief, own)
    assert rootdoc.advance(root, document, GPGV).version == 2


# --- the walk "the release key leaked" ------------------------------------------------------------


def offered_by(fleet: Fleet, signer: Signer, document: bytes) -> Callable[[], Any]:
    """A forged answer to a poll, that offers a release."""

    def meddle(path: str, body: bytes) -> tuple[str, bytes]:
        if path != envelope.UPDATE:
            return "200 OK", body
        answer = json.loads(json.loads(body)["signed"])
        answer["release"] = {"version": "1.99", "manifest": {"sha256": "0" * 64, "size": 1}}
        return "200 OK", signed(json.dumps(answer), signer)

    fleet.wire.meddle = meddle

    def poll() -> Any:
        with fleet.laptop.on() as opened:
            return opened.ask("update", {"update": {"root": 1}}).details["release"]

    return poll


def test_with_the_release_key_alone_nothing_can_be_offered_to_a_client(fleet: Fleet) -> None:
    """A release is offered in an answer by the online key; the network can't put one there."""
    thief = fleet.office.stolen("release")
    document = release(fleet.laptop.root, 99, thief)
    with pytest.raises(TrustError, match="not signed by the server's online key"):
        offered_by(fleet, thief, document)()
    # Not vacuous: with the online key as well, the offer arrives, and would be installed.
    assert offered_by(fleet, fleet.office.stolen("online"), document)()["version"] == "1.99"
    assert installs(fleet.laptop, document)


def test_the_release_key_signs_nothing_else(fleet: Fleet) -> None:
    laptop, thief = fleet.laptop, fleet.office.stolen("release")
    assert not obeys(laptop, command(laptop.root, laptop.cid, thief))
    with pytest.raises(TrustError, match="0 of the 1 root keys"):
        rootdoc.advance(
            laptop.root, signed(rootdoc.build(replace(laptop.root, version=2)), thief), GPGV
        )


def test_a_second_release_key_makes_one_that_leaked_worthless(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a threshold of two, one stolen key signs nothing, not even twice."""
    office, laptop = fleet.office, fleet.laptop
    thief = office.stolen("release")
    card = Elsewhere(fleet.folder / "card")
    office.do("add", "release", "--key", card.make("ada"), "--yes")
    office.do("policy", "--threshold", "release=2", "--yes")
    root = laptop.poll()
    forged = release(root, 99, thief, thief)
    assert not installs(laptop, forged)
    monkeypatch.setattr(signedtext, "signers", lambda found, *_: set(range(len(found.sigs))))
    assert installs(laptop, forged), "were signatures counted, and not keys"


def test_after_the_release_key_leaked_it_is_replaced(fleet: Fleet) -> None:
    """The administrator types `qlmdm-keys rotate release`, and builds a release."""
    office, laptop = fleet.office, fleet.laptop
    thief = office.stolen("release")
    before = laptop.root
    assert installs(laptop, release(before, 99, thief))
    office.do("rotate", "release", "--yes")
    office.do("forget", thief.fingerprint, "--yes")
    root = laptop.poll()
    assert not installs(laptop, release(root, 100, thief))
    assert installs(laptop, release(root, 2, office.stolen("release")), above=Version(1, 1))


def test_clients_that_took_the_thiefs_number_are_led_past_it_by_the_epoch(fleet: Fleet) -> None:
    office, laptop = fleet.office, fleet.laptop
    took = Version(1, 999999999)
    office.do("rotate", "release", "--yes")
    office.do("policy", "--raise-epoch", "--yes")
    root = laptop.poll()
    good = office.stolen("release")
    assert not installs(laptop, release(root, 3, good), above=took)
    assert installs(laptop, release(root, 3, good, epoch=2), above=took)
