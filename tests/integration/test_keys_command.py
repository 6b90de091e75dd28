"""`qlmdm-keys` on a server that is really set up: each action, the drafts, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import commanddoc, rootdoc
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import TrustError
from qlmdm_core.server import crypto, online_key
from qlmdm_core.server.context import open_context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keys_summary import summary
from qlmdm_core.server.setup import Answers, set_up
from qlmdm_core.server.trust_notes import trust_notes
from qlmdm_core.signing import keys
from qlmdm_core.store.open import open_store
from qlmdm_core.store.records import Enrolment
from qlmdm_core.testing.office import Elsewhere, Office
from qlmdm_core.testing.server import prepare_server, simulated_server

FIELDS = sorted(Command.__dataclass_fields__)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder:
        yield prepare_server(Path(folder))


@pytest.fixture
def office(prepared: Path, tmp_path: Path) -> Iterator[Office]:
    with simulated_server(tmp_path / "s", prepared=prepared) as server:
        yield Office(server)


# --- looking ----------------------------------------------------------------------------------


def test_list_says_who_may_sign_and_where_the_secrets_are(office: Office) -> None:
    said = office.do("list")
    assert re.search(r"^root document 1, valid until .* \(expires in 36\d days\)$", said, re.M)
    for role in rootdoc.ROLES:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{role} (1 of 1)")]
        assert office.only(role) in line
        assert ("here, in use" if role == "online" else "here") in line
    found = json.loads(office.do("list", "--json"))
    assert found["root"]["version"] == 1
    assert {key["role"]: key["fingerprint"] for key in found["keys"]} == {
        role: office.only(role) for role in rootdoc.ROLES
    }
    assert found["drafts"] == []


def test_show_finds_a_key_by_role_fingerprint_or_name(office: Office) -> None:
    release = office.only("release")
    for name in ("release", release, release[-16:].lower(), "release key"):
        assert f"release: {release}" in office.do("show", name)
    assert office.run("show", "nobody").status == 1
    assert office.run("show", "qlmdm").status == 2  # all of them
    shown = office.do("show", "root-document")
    assert f"signed by {office.only('root')}" in shown
    assert json.loads(office.do("show", "root-document", "--json"))["version"] == 1
    assert office.run("show", "root-document", "--version-of-root", "7").status == 1


def test_expire_soon_is_for_monitoring(office: Office) -> None:
    assert office.run("expire-soon").status == 0
    done = office.run("expire-soon", "--within", "400 days")
    assert done.status == 1
    assert "root document: expires at" in done.out
    assert office.run("expire-soon", "--within", "soon").status == 2
    (found,) = json.loads(office.run("expire-soon", "--within", "400 days", "--json").out)
    assert found["what"] == "root document"


def test_expire_soon_tells_of_keys_that_expire(office: Office, tmp_path: Path) -> None:
    card = Elsewhere(tmp_path / "card")
    office.do("add", "release", "--key", card.make("ada", expire="10d"), "--yes")
    done = office.run("expire-soon")
    assert done.status == 1
    assert re.search(r"^release key [0-9A-F]{40}: expires at .*qlmdm-keys rotate", done.out, re.M)


# --- changing who is trusted --------------------------------------------------------------------


def test_nothing_changes_before_somebody_said_yes(office: Office) -> None:
    asked = office.run("renew", types="no\n")
    assert asked.status == 1
    assert "root document 2 would follow 1" in asked.out
    assert "nothing was changed" in asked.out
    assert office.run("renew").status == 2  # nobody to ask
    assert office.root.version == 1
    assert office.run("renew", types="yes\n").status == 0
    assert office.root.version == 2
    for action in (("rotate", "release"), ("add-operator", "ada"), ("forget", "release")):
        before = {role: office.here(role) for role in rootdoc.ROLES}
        assert office.run(*action, types="\n").status == 1
        assert {role: office.here(role) for role in rootdoc.ROLES} == before


@pytest.mark.parametrize("role", ["root", "release", "operator"])
def test_rotating_replaces_a_key(office: Office, role: str) -> None:
    old, before = office.only(role), office.root
    said = office.do("rotate", role, "--yes")
    assert office.only(role) != old
    assert f"{role}: - {old}" in said
    assert f"qlmdm-keys forget {old}" in said
    assert office.root.keys.keys() == {
        name for r in office.root.roles.values() for name in r.fingerprints
    }
    found = office.server.store.root(2)
    assert found
    assert rootdoc.advance(before, found.document, office.server.crypto.verifier) == office.root
    office.do("forget", old, "--yes")
    assert office.here(role) == [office.only(role)]


def test_rotating_the_online_key_overlaps_and_switches_the_servers_file(office: Office) -> None:
    old = office.only("online")
    office.do("rotate", "online", "--yes")
    first, second = office.root.roles["online"].fingerprints
    assert first == old
    assert online_key.in_file(office.server.settings) == second
    path = crypto.online_key_path(office.server.settings)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert office.run("revoke", second, "--yes").status == 0  # back to the old one
    assert online_key.in_file(office.server.settings) == old
    assert office.run("revoke", old, "--yes").status == 2
    assert office.only("online") == old


def test_an_interrupted_switch_of_the_online_key_is_finished_by_the_next_change(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = office.only("online")
    with monkeypatch.context() as patch:
        patch.setattr("qlmdm_core.server.root_changes.settle_online", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            office.run("rotate", "online", "--yes")
    assert online_key.in_file(office.server.settings) == old
    assert len(office.root.roles["online"].fingerprints) == 2
    office.do("renew", "--yes")
    assert online_key.in_file(office.server.settings) == office.root.roles["online"].fingerprints[1]


def test_operators_are_added_by_name_and_revoked_by_name(office: Office) -> None:
    office.do("add-operator", "ada", "--yes")
    office.do("add-operator", "bob", "--yes")
    assert office.run("add-operator", "bob", "--yes").status == 2
    assert len(office.root.roles["operator"].fingerprints) == 3
    office.do("rotate", "operator", "ada", "--yes")
    assert office.run("rotate", "operator", "--yes").status == 2  # which?
    office.do("revoke", "ada", "--yes")
    names = [keys.user_id(key) for key in office.root.public_keys("operator")]
    assert len(names) == 2
    assert not any("ada" in name for name in names)


def test_a_role_is_never_left_without_enough_keys(office: Office) -> None:
    done = office.run("revoke", office.only("release"), "--yes")
    assert done.status == 2
    assert "add another key first" in done.err
    for wrong in ("release=2", "release=0", "nobody=1", "release", "online=2"):
        assert office.run("policy", "--threshold", wrong, "--yes").status == 2
    assert office.run("policy", "--wipe-operators", "2", "--yes").status == 1
    assert office.run("policy", "--wipe-operators", "0", "--yes").status == 2
    assert office.root.version == 1


def enrolled(office: Office, tmp_path: Path) -> tuple[str, str]:
    key = keys.make_key(str(tmp_path / "client"), "client")
    token = office.server.invite()
    made: Any = office.server.store.enrol(
        Enrolment(
            cid="11111111-1111-4111-8111-111111111111",
            fingerprint=key.fingerprint,
            public_key=key.armoured,
            invitation_id=token.invitation_id,
            hostname="build1",
            mid="0" * 64,
            enrolled_at=office.server.clock(),
            status="active",
        )
    )
    return made.cid, key.fingerprint


def test_a_clients_key_is_revoked_elsewhere(office: Office, tmp_path: Path) -> None:
    cid, fingerprint = enrolled(office, tmp_path)
    done = office.run("revoke", fingerprint, "--yes")
    assert done.status == 2
    assert f"qlmdm-clients revoke {cid}" in done.err


def test_policy(office: Office, tmp_path: Path) -> None:
    cid, _ = enrolled(office, tmp_path)
    office.do("add-operator", "ada", "--yes")
    said = office.do(
        *("policy", "--threshold", "operator=2", "--wipe-operators", "2"),
        *("--never-wipe", "build1", "--raise-epoch", "--yes"),
    )
    assert f"never to be wiped: + {cid}" in said
    root = office.root
    assert (root.version, root.epoch, root.wipe_threshold) == (3, 2, 2)
    assert root.roles["operator"].threshold == 2
    assert root.never_wipe == (cid,)
    assert "never to be wiped: build1" in office.do("policy")
    office.do("policy", "--may-wipe", "build1", "--yes")
    assert office.root.never_wipe == ()
    assert office.run("policy", "--may-wipe", "build1", "--yes").status == 2
    assert office.root.version == 4


def test_a_public_key_that_can_not_serve_is_refused(office: Office, tmp_path: Path) -> None:
    card = Elsewhere(tmp_path / "card")
    good = Path(card.make("ada"))
    secret = tmp_path / "secret"
    secret.write_text(card.gpg("--armor", "--export-secret-keys", "ada"))
    card.gpg(
        *("--passphrase", "", "--quick-generate-key", "carol <c@example.com>", "ed25519", "cert")
    )
    certifies = tmp_path / "certifies"
    certifies.write_text(card.gpg("--armor", "--export", "carol"))
    old = tmp_path / "old"
    card.gpg(
        *("--faked-system-time", "20200101T000000", "--passphrase", "", "--quick-generate-key"),
        *("old <o@example.com>", "ed25519", "sign", "1d"),
    )
    old.write_text(card.gpg("--armor", "--export", "old"))
    two = tmp_path / "two"
    two.write_text(good.read_text() + certifies.read_text())
    empty = tmp_path / "empty"
    empty.write_text("")
    for path, reason in (
        (secret, "is a secret key"),
        (certifies, "can't sign"),
        (old, "expired or revoked"),
        (two, "expected one public key, found 2"),
        (empty, "expected one public key, found 0"),
        (tmp_path / "missing", "can't be read"),
    ):
        done = office.run("add", "release", "--key", str(path), "--yes")
        assert (done.status, office.root.version) == (2, 1), path
        assert reason in done.err
    done = office.run("rotate", "online", "--new-key", str(good), "--yes")
    assert done.status == 2


def test_what_changes_is_told_whatever_it_is(office: Office) -> None:
    """Whoever signs sees each thing that is not as it was."""
    root = office.root
    key = keys.make_key(str(office.server.folder / "more"), "more")
    name = key.fingerprint
    more = {**root.keys, name: key.armoured}
    operator = replace(root.roles["operator"], fingerprints=(office.only("operator"), name))
    renewed = {**root.keys, office.only("release"): key.armoured}
    other = {
        name: replace(root, keys=more, roles={**root.roles, "operator": operator}),
        "secret-keepers": replace(root, keys=more, keepers=(name,)),
        "never to be wiped: + c1": replace(root, never_wipe=("c1",)),
        "epoch of releases: 2": replace(root, epoch=2),
        "operators who must sign a wipe: 2": replace(root, wipe_threshold=2),
        "server: elsewhere": replace(root, server_id="elsewhere"),
        "another certificate": replace(root, keys=renewed),
        "beyond": replace(root, extra={"beyond": 1}),
        "expires at 2099": replace(root, expires_at=datetime(2099, 1, 1, tzinfo=timezone.utc)),
    }
    from qlmdm_core.server.root_changes import differences

    for expected, changed in other.items():
        assert expected in "\n".join(differences(root, changed))


# --- secrets ------------------------------------------------------------------------------------


def test_a_secret_key_is_written_to_a_private_file_and_never_printed(
    office: Office, tmp_path: Path
) -> None:
    secret = keys.export_secret(office.home("release"), office.only("release"))
    canaries = [line for line in secret.splitlines() if len(line) == 64]
    assert canaries
    out = tmp_path / "release.key"
    assert office.run("export", "release", "--secret").status == 2
    office.do("export", "release", "--secret", "--output", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text() == secret
    again = office.run("export", "release", "--secret", "--output", str(out))
    assert (again.status, out.read_text()) == (2, secret)
    office.do("export", "release")
    office.do("forget", "release", "--yes")
    assert office.here("release") == []
    assert office.run("forget", "release", "--yes").status == 1
    for text in office.printed:
        assert "PRIVATE KEY" not in text
        assert not any(canary in text for canary in canaries)
    assert not any(canary in line for canary in canaries for line in argv_of_everything())


def argv_of_everything() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_text(errors="replace"))
        except OSError:  # it has ended
            continue
    return found


def test_gpg_is_started_without_secrets_in_its_arguments(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    real = subprocess.Popen

    def watched(argv: Any, *args: Any, **more: Any) -> Any:
        started.append(" ".join(map(str, argv)) + str(more.get("env")))
        return real(argv, *args, **more)

    secret = keys.export_secret(office.home("root"), office.only("root"))
    monkeypatch.setattr(subprocess, "Popen", watched)
    monkeypatch.setattr("gnupg.Popen", watched)
    office.do("export", "root", "--secret", "--output", str(tmp_path / "r"), "--remove", "--yes")
    office.do("rotate", "release", "--yes")
    keys.import_secret(office.home("root"), (tmp_path / "r").read_text())
    assert any("--import" in argv for argv in started)
    for line in secret.splitlines():
        if len(line) > 16:
            assert not any(line in argv for argv in started)


def test_the_online_key_stays(office: Office, tmp_path: Path) -> None:
    out = str(tmp_path / "o")
    assert office.run("forget", "online", "--yes").status == 2
    assert office.run("export", "online", "--secret", "--output", out, "--remove").status == 2
    assert not Path(out).exists()
    assert office.here("online") == [office.only("online")]


def test_public_keys_are_for_everybody(office: Office, tmp_path: Path) -> None:
    text = office.do("export", "release")
    assert text == office.root.public_keys("release")[0].armoured.rstrip("\n") + "\n"
    out = tmp_path / "all"
    office.do("export", office.only("root"), "--output", str(out))
    assert "PUBLIC KEY" in out.read_text()


# --- signed elsewhere ---------------------------------------------------------------------------


def test_the_root_key_is_offline_and_a_change_is_signed_there(
    office: Office, tmp_path: Path
) -> None:
    card = office.move_away("root", tmp_path)
    assert office.here("root") == []
    said = office.do("rotate", "release", "--yes")
    assert "root-2 waits: 1 by root (of version 1) keys, 1 by root (of version 2) keys" in said
    assert office.root.version == 1
    assert "root-2" in office.do("list")
    out = tmp_path / "out"
    told = office.do("sign", "--export", str(out))
    assert f"--local-user {office.only('root')}!" in told
    assert "release: + " in told
    text = out / "root-2.json"
    assert text.read_text() == office.server.store.drafts()[0].texts[0]
    read = office.do("read", str(text))
    assert "root document 2 of server" in read
    sig = card.sign(text)
    old = office.only("release")
    said = office.do("sign", "--import", sig)
    assert "root document: version 2" in said
    assert office.only("release") != old
    assert office.server.store.drafts() == []
    assert office.do("drafts") == "nothing waits for signatures\n"


def test_the_offline_machine_sees_what_changes(office: Office, tmp_path: Path) -> None:
    office.move_away("root", tmp_path)
    current = tmp_path / "current.json"
    found = office.server.store.root()
    assert found
    current.write_bytes(found.document)
    office.do("add-operator", "mallory", "--yes")
    office.do("sign", "--export", str(tmp_path / "out"))
    text = str(tmp_path / "out/root-2.json")
    assert "operator: + " in office.do("read", text, "--current", str(current))
    assert office.run("read", str(current)).status == 1
    assert office.run("read", str(tmp_path / "missing")).status == 2


def test_a_smart_cards_key_takes_over_a_role(office: Office, tmp_path: Path) -> None:
    card = Elsewhere(tmp_path / "card")
    said = office.do("rotate", "root", "--new-key", card.make("ada"), "--yes")
    assert "root-2 waits: 1 by root (of version 2) keys" in said
    office.do("sign", "--export", str(tmp_path))
    office.do("sign", "root-2", "--import", card.sign(tmp_path / "root-2.json"))
    assert keys.user_id(office.root.public_keys("root")[0]) == "ada <ada@example.com>"
    done = office.run("renew", "--yes")
    assert "root-3 waits" in done.out  # the old key here counts no more


def two_root_keys_elsewhere(office: Office, tmp_path: Path) -> tuple[Elsewhere, Elsewhere]:
    ada, bob = Elsewhere(tmp_path / "ada"), Elsewhere(tmp_path / "bob")
    for card, name in ((ada, "ada"), (bob, "bob")):
        office.do("add", "root", "--key", card.make(name), "--yes")
    office.do("policy", "--threshold", "root=2", "--yes")
    for sig in office.server.store.drafts():
        office.do("sign", sig.name, "--export", str(tmp_path))
        office.do("sign", sig.name, "--import", ada.sign(tmp_path / f"{sig.name}.json"))
    assert office.root.roles["root"].threshold == 2
    office.do("forget", "root", "--yes")
    office.do("renew", "--yes")
    office.do("sign", "--export", str(tmp_path))
    return ada, bob


def test_m_of_n_with_signatures_that_come_one_by_one(office: Office, tmp_path: Path) -> None:
    ada, bob = two_root_keys_elsewhere(office, tmp_path)
    version = office.root.version
    text = tmp_path / f"root-{version + 1}.json"
    first = ada.sign(text)
    assert "waits" in office.do("sign", "--import", first)
    again = office.do("sign", "--import", first)
    assert "signed root-" in again
    assert "already" in again
    assert office.root.version == version
    second = ada.sign(text)  # another signature by the same key
    assert "already" in office.do("sign", "--import", second)
    assert office.root.version == version
    assert "root document: version" in office.do("sign", "--import", bob.sign(text))
    assert office.root.version == version + 1


def test_both_signatures_at_once(office: Office, tmp_path: Path) -> None:
    ada, bob = two_root_keys_elsewhere(office, tmp_path)
    version = office.root.version
    text = tmp_path / f"root-{version + 1}.json"
    first = tmp_path / "first.asc"
    shutil.copy(ada.sign(text), first)
    office.do("sign", "--import", str(first), bob.sign(text))
    assert office.root.version == version + 1


def test_signatures_that_prove_nothing_are_refused_with_their_reason(
    office: Office, tmp_path: Path
) -> None:
    card = office.move_away("root", tmp_path)
    stranger = Elsewhere(tmp_path / "stranger")
    stranger.make("eve")
    office.do("renew", "--yes")
    office.do("sign", "--export", str(tmp_path))
    text = tmp_path / "root-2.json"

    def refused(path: str, reason: str) -> None:
        done = office.run("sign", "--import", path)
        assert done.status == 1, done
        assert reason in done.err
        assert "nothing was imported" in done.err
        assert office.root.version == 1
        assert office.server.store.drafts()[0].sigs == ((),)

    refused(stranger.sign(text), "not an allowed key")
    other = tmp_path / "other.json"
    other.write_text(text.read_text() + "\n")
    refused(card.sign(other), "not a good signature")
    refused(card.sign(text, "--textmode"), "class 0x01")
    refused(card.sign(text, "--default-sig-expire", "1d"), "expiry of its own")
    card.gpg("--yes", "--clearsign", "--output", str(tmp_path / "c"), str(text))
    refused(str(tmp_path / "c"), "make it with gpg --armor --detach-sign")
    (tmp_path / "empty").write_text("")
    refused(str(tmp_path / "empty"), "not exactly one")
    assert office.run("sign", "--import", str(tmp_path / "missing")).status == 2
    good = card.sign(text)
    done = office.run("sign", "--import", good, str(tmp_path / "empty"))
    assert done.status == 1
    assert office.root.version == 1, "all of the files or none"
    office.do("sign", "--import", good)
    assert office.root.version == 2


def test_a_signature_by_a_subkey_does_not_count(office: Office, tmp_path: Path) -> None:
    card = office.move_away("root", tmp_path)
    card.gpg("--passphrase", "", "--quick-add-key", office.only("root"), "ed25519", "sign")
    office.do("renew", "--yes")
    office.do("sign", "--export", str(tmp_path))
    text = tmp_path / "root-2.json"
    assert office.run("sign", "--import", card.sign(text)).status == 1
    office.do("sign", "--import", card.sign(text, "--local-user", f"{office.only('root')}!"))
    assert office.root.version == 2


def test_a_draft_that_was_altered_in_the_database(office: Office, tmp_path: Path) -> None:
    """What was exported and signed is not what lies there now: nothing comes of it."""
    card = office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    office.do("sign", "--export", str(tmp_path))
    sig = card.sign(tmp_path / "root-2.json")
    (draft,) = office.server.store.drafts()
    key = keys.make_key(str(tmp_path / "eve"), "eve")
    root = rootdoc.parse(draft.texts[0])
    evil = replace(
        root,
        roles={
            **root.roles,
            "release": replace(root.roles["release"], fingerprints=(key.fingerprint,)),
        },
        keys={**root.keys, key.fingerprint: key.armoured},
    )
    office.server.store.drop_draft(draft.name)
    office.server.store.put_draft(replace(draft, texts=(rootdoc.build(evil),), revision=0))
    done = office.run("sign", "--import", sig)
    assert done.status == 1
    assert office.root.version == 1
    # Whoever exports it again is shown what it says now.
    assert f"release: + {key.fingerprint}" in office.do("sign", "--export", str(tmp_path / "x"))


def test_without_the_check_the_altered_draft_would_have_got_through(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: were signatures taken as they lie there, this is what happened."""
    from qlmdm_core import signedtext

    card = office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    monkeypatch.setattr(
        signedtext, "signers", lambda signed, allowed, verifier: {k.fingerprint for k in allowed}
    )
    (draft,) = office.server.store.drafts()
    document = signedtext.SignedText(text=draft.texts[0], sigs=()).pack()
    assert rootdoc.advance(office.root, document, office.server.crypto.verifier).version == 2
    assert card.home.is_dir()


def test_setting_up_again_with_other_keepers_waits_for_a_root_key_that_is_elsewhere(
    office: Office, tmp_path: Path
) -> None:
    card = office.move_away("root", tmp_path)
    keeper = Elsewhere(tmp_path / "keeper")
    keeper.gpg("--passphrase", "", "--quick-generate-key", "carol <c@example.com>")
    path = tmp_path / "keeper.asc"
    path.write_text(keeper.gpg("--armor", "--export", "carol"))
    answers = Answers(
        url="https://qlmdm.example.com",
        directory=str(office.server.folder / "server"),
        keepers=(str(path),),
    )

    def set_up_again() -> str:
        said: list[str] = []
        set_up(
            answers, office.server.settings_file, now=datetime.now(timezone.utc), say=said.append
        )
        return "\n".join(said)

    assert "waits for signatures: qlmdm-keys sign root-2" in set_up_again()
    assert "secret-keepers stay as they are: a draft root-2" in set_up_again()
    said = office.do("sign", "--export", str(tmp_path / "out"))
    assert "secret-keepers: + " in said
    office.sign_elsewhere(card, tmp_path / "out")
    (name,) = office.root.keepers
    assert "secret-keeper" not in set_up_again(), "nothing is left to do"
    assert f"keeper: {name}" in office.do("show", "keeper")


def test_two_administrators_change_something_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlmdm_core.server import root_changes

    real = root_changes.publish

    def later(*args: Any) -> list[str]:
        monkeypatch.setattr(root_changes, "publish", real)
        office.do("policy", "--raise-epoch", "--yes")  # the other one is faster
        return real(*args)

    monkeypatch.setattr(root_changes, "publish", later)
    done = office.run("add-operator", "ada", "--yes")
    assert done.status in (1, 3)
    assert office.root.version == 2
    assert office.root.epoch == 2
    assert len(office.root.roles["operator"].fingerprints) == 1
    office.do("add-operator", "bob", "--yes")
    assert office.root.version == 3


def test_a_draft_waits_so_a_second_change_is_refused_before_a_key_is_made(
    office: Office, tmp_path: Path
) -> None:
    office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    here = office.here("release")
    done = office.run("rotate", "release", "--yes")
    assert done.status == 3
    assert "a draft root-2" in done.err
    assert office.here("release") == here
    assert office.run("discard", "root-2", types="no\n").status == 1
    office.do("discard", "root-2", "--yes")
    assert office.run("discard", "root-2", "--yes").status == 1
    office.do("rotate", "release", "--yes")


def test_a_draft_that_came_too_late_is_told_and_can_not_be_signed(
    office: Office, tmp_path: Path
) -> None:
    card = office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    office.do("sign", "--export", str(tmp_path))
    (draft,) = office.server.store.drafts()
    office.do("sign", "--import", card.sign(tmp_path / "root-2.json"))
    late = replace(draft, name="root-2b", texts=(draft.texts[0].replace('"epoch"', '"epoch"'),))
    root = rootdoc.parse(draft.texts[0])
    late = replace(late, texts=(rootdoc.build(replace(root, wipe_threshold=1, extra={"x": 1})),))
    office.server.store.put_draft(late)
    assert "was to follow root document 1, and the newest is 2" in office.do("drafts")
    assert office.run("sign", "root-2b", "--yes").status == 1


def test_a_forged_name_of_a_draft_writes_no_file_elsewhere(office: Office, tmp_path: Path) -> None:
    office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    (draft,) = office.server.store.drafts()
    office.server.store.drop_draft(draft.name)
    office.server.store.put_draft(replace(draft, name="../evil", revision=0))
    done = office.run("sign", "--export", str(tmp_path / "out"))
    assert done.status == 1
    assert not (tmp_path / "evil.json").exists()
    office.do("list")
    office.do("drafts")
    office.do("discard", "../evil", "--yes")


@pytest.mark.parametrize("stage", ["before", "after"])
def test_finishing_that_was_interrupted_half_way_is_done_by_the_next(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    card = office.move_away("root", tmp_path)
    office.do("rotate", "online", "--yes")
    office.do("sign", "--export", str(tmp_path))
    sig = card.sign(tmp_path / "root-2.json")
    target = {
        "before": "qlmdm_core.server.root_changes.finish",
        "after": "qlmdm_core.server.root_changes.settle_online",
    }[stage]
    with monkeypatch.context() as patch:
        patch.setattr(target, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            office.run("sign", "--import", sig)
    assert office.root.version == (1 if stage == "before" else 2)
    assert len(office.server.store.drafts()) == 1
    office.do("sign", "root-2", "--yes")
    assert office.root.version == 2
    assert office.server.store.drafts() == []
    assert online_key.in_file(office.server.settings) == office.root.roles["online"].fingerprints[1]


def test_signing_here_asks_and_shows_what_it_signs(office: Office, tmp_path: Path) -> None:
    office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    keys.import_secret(office.home("root"), (tmp_path / "root.key").read_text())
    asked = office.run("sign", types="no\n")
    assert asked.status == 1
    assert "root document 2 of server" in asked.out
    office.do("sign", "--yes")
    assert office.root.version == 2


def test_nothing_here_can_sign(office: Office, tmp_path: Path) -> None:
    office.move_away("root", tmp_path)
    office.do("renew", "--yes")
    assert "no secret key that could sign it is here" in office.do("sign", "--yes")
    assert office.run("sign", "nothing-of-that-name").status == 1
    office.do("discard", "root-2", "--yes")
    assert office.run("sign").status == 2


# --- an expired root document -------------------------------------------------------------------


def test_an_expired_root_document_is_succeeded_by_renew(office: Office) -> None:
    root = office.root
    old = replace(
        root,
        version=2,
        issued_at=root.issued_at,
        expires_at=datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1),
    )
    desk = Desk(
        office.server.settings,
        office.server.store,
        office.server.crypto.verifier,
        now=datetime.now(timezone.utc),
    )
    from qlmdm_core.server import root_changes

    root_changes.issue(desk, old, created_by="test")
    assert "EXPIRED: qlmdm-keys renew" in office.do("list")
    assert office.run("expire-soon").status == 1
    office.do("renew", "--yes")
    assert office.root.version == 3
    assert not office.root.is_expired(datetime.now(timezone.utc))


def test_the_audit_tells_of_a_root_document_that_expires(office: Office) -> None:
    context = open_context(office.server.settings_file)
    until = office.root.expires_at
    assert trust_notes(context, until - timedelta(days=15)) == []
    (soon,) = trust_notes(context, until - timedelta(days=13))
    assert soon.startswith("root document 1 expires at ")
    (late,) = trust_notes(context, until)
    assert late.startswith("root document 1 expired at ")
    assert "qlmdm-keys renew" in soon
    assert "qlmdm-keys renew" in late


def test_root_documents_are_put_back_after_an_old_backup(office: Office, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(office.server.folder / "server", backup)
    for argv in (("renew",), ("rotate", "root"), ("policy", "--raise-epoch")):
        office.do(*argv, "--yes")
    files = []
    for version in (4, 2, 3, 1):
        found = office.server.store.root(version)
        assert found
        files.append(tmp_path / f"root-{version}.json")
        files[-1].write_bytes(found.document)
    newest = office.root
    office.server.store.close()
    for path in (office.server.folder / "server").glob("qlmdm.sqlite*"):
        path.unlink()
    for path in backup.glob("qlmdm.sqlite*"):
        shutil.copy(path, office.server.folder / "server")
    office.server.store = open_store(office.server.settings.store)
    assert office.root.version == 1
    assert office.run("restore", str(files[0]), "--yes").status == 1  # 4 can't follow 1
    assert office.run("restore", *map(str, files), types="no\n").status == 1
    assert office.root.version == 1
    office.do("restore", *map(str, files), "--yes")
    assert office.root == newest
    assert "nothing is missing" in office.do("restore", *map(str, files))
    (tmp_path / "x").write_text("{}")
    assert office.run("restore", str(tmp_path / "x")).status == 2
    assert office.run("restore", str(tmp_path / "y")).status == 2


# --- the summary --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"typ":"answer"}', '{"typ":"root"}', "x" * 99])
def test_what_clients_would_not_take_is_not_explained(text: str) -> None:
    with pytest.raises(TrustError):
        summary(text, None)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_explained_or_refused(text: str) -> None:
    try:
        lines = summary(text, None)
    except TrustError:
        return
    raise AssertionError(lines)


@given(st.dictionaries(st.sampled_from(FIELDS), st.none() | st.integers() | st.text(), min_size=1))
def test_a_command_with_wrong_fields_is_explained_or_refused(changes: dict[str, Any]) -> None:
    at = datetime(2026, 11, 1, tzinfo=timezone.utc)
    text = commanddoc.build(
        Command(
            server_id="0123456789abcdef",
            id="0" * 32,
            part=1,
            kind="script",
            hosts=("c1",),
            issued_at=at,
            not_before=at,
            expires_at=at + timedelta(days=1),
            requested_by="ada\x1b[2J",
            payload_sha256="0" * 64,
            payload_size=1,
        )
    )
    whole = summary(text, None)
    assert "asked for by ada·[2J" in whole
    with contextlib.suppress(TrustError):
        for line in summary(json.dumps({**json.loads(text), **changes}), None):
            assert line.isprintable()


def test_wrong_calls(office: Office) -> None:
    for argv in (["renew", "--json"], [], ["rotate", "nobody"], ["export", "root", "--remove"]):
        assert office.run(*argv).status == 2
