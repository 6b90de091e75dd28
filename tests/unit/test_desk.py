"""Where signatures are made or waited for: who signs here, what counts, what is refused."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import commanddoc, rootdoc, signedtext
from qlmdm_core.commanddoc import Command, WipeOrder
from qlmdm_core.errors import BusyError, SignatureError, TrustError, UsageError
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.server.desk import Completed, Desk, NoSuchDraftError, attached
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import keys
from qlmdm_core.signing.sequoia import SequoiaSigner, SequoiaVerifier
from qlmdm_core.store.outgoing import Draft
from qlmdm_core.store.records import RootDocument
from qlmdm_core.testing.trust import Ring

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
HERE = {
    "root": ("root", "root2"),
    "release": ("release", "release2"),
    "operator": ("ada", "bob"),
    "online": ("online",),
}
ELSEWHERE = ("root3", "release3", "carol", "stranger")


class Drafts:
    """The part of a store that a desk needs, in memory."""

    def __init__(self, root: bytes) -> None:
        self.document = root
        self.drafts_by_name: dict[str, Draft] = {}
        self.before_update: Any = None

    def root(self, version: int | None = None) -> RootDocument:
        return RootDocument(version=1, document=self.document)

    def put_draft(self, draft: Draft) -> bool:
        if draft.name in self.drafts_by_name:
            return False
        self.drafts_by_name[draft.name] = draft
        return True

    def draft(self, name: str) -> Draft | None:
        return self.drafts_by_name.get(name)

    def update_draft(self, draft: Draft) -> bool:
        if self.before_update is not None:
            meanwhile, self.before_update = self.before_update, None
            meanwhile()
        stored = self.drafts_by_name.get(draft.name)
        if stored is None or stored.revision != draft.revision:
            return False
        self.drafts_by_name[draft.name] = replace(draft, revision=draft.revision + 1)
        return True

    def drop_draft(self, name: str) -> bool:
        return self.drafts_by_name.pop(name, None) is not None


@dataclass
class Site:
    """Keys in the homes of a server, and some elsewhere."""

    folder: Path
    ring: Ring

    def name(self, who: str) -> str:
        return self.ring.public[who].fingerprint

    def root(self, **changes: Any) -> Root:
        thresholds = changes.pop("thresholds", {})
        members = {
            "root": ("root", "root2", "root3"),
            "release": ("release", "release2", "release3"),
            "operator": ("ada", "bob", "carol"),
            "online": ("online",),
        }
        root = self.ring.root(now=NOW, **{**members, **changes})
        roles = {
            role: Role(fingerprints=found.fingerprints, threshold=thresholds.get(role, 1))
            for role, found in root.roles.items()
        }
        return replace(root, roles=roles)

    def desk(self, *, now: datetime = NOW, **changes: Any) -> Desk:
        root = self.root(**changes)
        document = self.ring.sign(rootdoc.build(root), "root", "root2", "root3")
        store: Any = Drafts(document)
        shutil.rmtree(self.folder / "roots", ignore_errors=True)  # of the desk before, if any
        settings = ServerSettings(url="https://x", keys=str(self.folder))
        return Desk(settings, store, SequoiaVerifier(), now=now)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder:
        public, signers = {}, {}
        homes = {**HERE, "elsewhere": ELSEWHERE}
        for role, names in homes.items():
            for name in names:
                home = f"{folder}/{role}"
                public[name] = keys.make_key(home, name)
                signers[name] = SequoiaSigner(keys.export_secret(home, public[name].fingerprint))
        yield Site(Path(folder), Ring(signers=signers, public=public))


def ask(desk: Desk, **changes: Any) -> Completed | Draft:
    wanted: dict[str, Any] = {
        "name": "release-1.7",
        "kind": "release",
        "role": "release",
        "texts": ["one"],
        "attach": {"of": "the caller"},
        "created_by": "ada",
    }
    return desk.sign(**{**wanted, **changes})


def draft_of(desk: Desk, **changes: Any) -> Draft:
    made = ask(desk, **changes)
    assert isinstance(made, Draft)
    return made


def signers_of(desk: Desk, document: bytes, role: str) -> set[str]:
    signed = signedtext.unpack(document, max_bytes=1 << 20)
    return signedtext.signers(signed, desk.root.public_keys(role), desk.verifier)


def elsewhere(site: Site, draft: Draft, *names: str) -> Draft:
    """The draft with signatures that were made on other machines."""
    sigs = tuple(
        (*old, *(site.ring.signers[name].sign(text.encode()) for name in names))
        for text, old in zip(draft.texts, draft.sigs, strict=True)
    )
    return replace(draft, sigs=sigs)


def test_what_the_keys_here_can_sign_is_signed_at_once(site: Site) -> None:
    desk = site.desk()
    done = ask(desk, texts=["one", "two"])
    assert isinstance(done, Completed)
    assert len(done.documents) == 2
    for text, document in zip(("one", "two"), done.documents, strict=True):
        assert signedtext.unpack(document, max_bytes=1 << 20).text == text
        rootdoc.require(
            signedtext.unpack(document, max_bytes=1 << 20), desk.root, "release", desk.verifier
        )
    assert desk.store.draft("release-1.7") is None


def test_no_more_keys_sign_than_are_asked_for(site: Site) -> None:
    for threshold in (1, 2):
        desk = site.desk(thresholds={"release": threshold})
        done = ask(desk)
        assert isinstance(done, Completed)
        assert len(signers_of(desk, done.documents[0], "release")) == threshold


def test_administrators_who_sign_at_once_do_not_disturb_each_other(site: Site) -> None:
    ready = threading.Barrier(3)

    def sign(_: int) -> Completed | Draft:
        desk = site.desk()
        ready.wait(30)
        return ask(desk, texts=[f"text {number}" for number in range(8)])

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(sign, range(3)))
    assert [type(one) for one in done] == [Completed] * 3


def test_a_draft_waits_for_what_is_signed_elsewhere(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    standing = desk.standing(draft)
    assert standing.signed_by == {site.name("release"), site.name("release2")}
    assert standing.missing == ("1 by release keys",)
    assert standing.useful == {site.name("release3")}
    assert attached(draft).attach == {"of": "the caller"}
    kept = desk.keep(elsewhere(site, draft, "release3"))
    assert desk.standing(kept).complete
    assert desk.store.draft("release-1.7") == kept


def test_what_was_asked_for_beyond_the_role_is_asked_for_again_later(site: Site) -> None:
    desk = site.desk()
    draft = draft_of(desk, threshold=3)
    again = desk.get("release-1.7")
    assert desk.standing(again).missing == ("1 by release keys",)
    assert draft == again


def test_signatures_that_prove_nothing_are_not_kept(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    wrong_text = site.ring.signers["release3"].sign(b"another text")
    altered = replace(draft, sigs=((*draft.sigs[0], wrong_text, "nonsense"),))
    stranger = elsewhere(site, draft, "stranger", "ada")
    twice = replace(draft, sigs=(draft.sigs[0] * 2,))
    again = elsewhere(site, draft, "release", "release")
    for attempt in (altered, stranger, twice, again):
        assert desk.keep(attempt).sigs == draft.sigs
    assert desk.standing(desk.get(draft.name)).missing == ("1 by release keys",)


def test_whose_signature_it_is_or_why_it_does_not_count(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    assert desk.whose(draft, 0, site.ring.signers["release3"].sign(b"one")) == site.name("release3")
    with pytest.raises(SignatureError, match="not an allowed key"):
        desk.whose(draft, 0, site.ring.signers["stranger"].sign(b"one"))
    with pytest.raises(SignatureError, match="not a good signature"):
        desk.whose(draft, 0, site.ring.signers["release3"].sign(b"two"))


def test_a_text_that_was_changed_in_the_database_has_lost_its_signatures(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = elsewhere(site, draft_of(desk), "release3")
    store: Any = desk.store
    store.drafts_by_name[draft.name] = replace(desk.get(draft.name), texts=("evil",))
    with pytest.raises(TrustError, match="says something else now"):
        desk.keep(draft)
    assert desk.standing(desk.get(draft.name)).signed_by == frozenset()
    with pytest.raises(TrustError, match="lacks signatures: 3 by release keys"):
        desk.finish(Any, desk.get(draft.name))  # type: ignore[arg-type] # not reached


def test_a_lower_threshold_in_the_database_does_not_lower_that_of_the_role(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    stored: Any
    for stored in ({"threshold": 0}, {"threshold": "1"}, None, [], {"threshold": True}):
        assert not desk.standing(replace(draft, attach=stored)).complete


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "online"},
        {"role": "operator"},
        {"kind": "root"},
        {"kind": "command"},
        {"kind": "else"},
        {"texts": (), "sigs": ()},
        {"sigs": ()},
        {"name": "../../etc/cron.d/x"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "x\x1b[2J"},
    ],
)
def test_a_draft_that_nobody_here_would_have_stored_is_refused(
    site: Site, changes: dict[str, Any]
) -> None:
    """As by somebody who broke into the database and has the online key."""
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    forged = replace(draft, **changes)
    evil = tuple((site.ring.signers["online"].sign(b"one"),) for _ in forged.sigs)
    with pytest.raises(TrustError):
        desk.standing(replace(forged, sigs=evil))


def test_two_who_sign_at_the_same_moment_both_count(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk, threshold=3, only=[site.name("release")])
    store: Any = desk.store
    store.before_update = lambda: desk.keep(elsewhere(site, draft, "release3"))
    written = desk.keep(elsewhere(site, draft, "release2"))
    assert desk.standing(written).complete
    assert len(written.sigs[0]) == 3


def test_a_second_draft_of_a_name_is_refused(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft_of(desk)
    with pytest.raises(BusyError, match=r"a draft release-1\.7 by ada waits for signatures"):
        ask(desk, texts=["other"])
    other = site.desk(thresholds={"release": 3})
    store: Any = other.store
    store.draft = lambda name: None
    store.drafts_by_name["release-1.7"] = desk.get("release-1.7")
    with pytest.raises(BusyError, match="waits for signatures"):
        ask(other, texts=["other"])


def test_a_draft_that_is_gone(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = draft_of(desk)
    desk.store.drop_draft(draft.name)
    with pytest.raises(NoSuchDraftError, match=r"no draft is called 'release-1\.7'"):
        desk.keep(draft)


# --- operators ------------------------------------------------------------------------------


def command_text(site: Site, desk: Desk, **changes: Any) -> str:
    values: dict[str, Any] = {
        "server_id": desk.root.server_id,
        "id": "0" * 32,
        "part": 1,
        "kind": "cancel",
        "cancels": "1" * 32,
        "hosts": ("c1",),
        "issued_at": NOW,
        "not_before": NOW,
        "expires_at": NOW + timedelta(days=1),
        "requested_by": "ada",
        **changes,
    }
    return commanddoc.build(Command(**values))


def operate(desk: Desk, text: str, *only: str, **changes: Any) -> Completed | Draft:
    return ask(
        desk, name="command-0", kind="command", role="operator", texts=[text], only=only, **changes
    )


def test_an_operator_signs_in_their_own_name(site: Site) -> None:
    desk = site.desk()
    text = command_text(site, desk)
    with pytest.raises(UsageError, match="say with --operator") as caught:
        operate(desk, text)
    assert site.name("ada") in str(caught.value)
    assert site.name("carol") not in str(caught.value)
    done = operate(desk, text, desk.find("operator", "bob"))
    assert isinstance(done, Completed)
    assert signers_of(desk, done.documents[0], "operator") == {site.name("bob")}


def test_the_only_operator_need_not_be_named(site: Site) -> None:
    desk = site.desk(operator=("ada", "carol"))
    done = operate(desk, command_text(site, desk))
    assert isinstance(done, Completed)
    assert signers_of(desk, done.documents[0], "operator") == {site.name("ada")}


def test_an_operator_whose_key_is_elsewhere_gets_a_draft(site: Site) -> None:
    desk = site.desk()
    draft = operate(desk, command_text(site, desk), site.name("carol"))
    assert isinstance(draft, Draft)
    assert draft.sigs == ((),)


def test_a_key_that_is_no_operators_can_not_be_named(site: Site) -> None:
    desk = site.desk()
    with pytest.raises(UsageError, match="none of the keys that can sign"):
        operate(desk, command_text(site, desk), site.name("release"))


def test_a_wipe_waits_for_the_second_operator_whatever_the_draft_says(site: Site) -> None:
    desk = site.desk(wipe_threshold=2)
    order = WipeOrder(method="accounts", machine_id="m", disk_serials=("s",), luks_uuids=())
    text = command_text(site, desk, kind="wipe", cancels=None, wipe=order)
    draft = operate(desk, text, site.name("ada"))
    assert isinstance(draft, Draft)
    assert desk.standing(replace(draft, attach=None)).missing == ("1 by operator keys",)
    assert desk.standing(desk.sign_draft(draft, [site.name("ada")])).signed_by == {site.name("ada")}
    assert desk.standing(desk.sign_draft(draft, [site.name("bob")])).complete


def test_more_keys_than_there_are_can_not_sign(site: Site) -> None:
    with pytest.raises(TrustError, match="4 release keys must sign"):
        ask(site.desk(), threshold=4)


# --- the root document behind it ---------------------------------------------------------------


def test_an_expired_root_document_signs_nothing_but_its_successor(site: Site) -> None:
    desk = site.desk(now=NOW + timedelta(days=366), thresholds={"release": 3})
    with pytest.raises(TrustError, match=r"expired at .*qlmdm-keys renew"):
        ask(desk)
    following = replace(desk.root, version=2, expires_at=NOW + timedelta(days=800))
    done = ask(desk, name="root-2", kind="root", role="root", texts=[rootdoc.build(following)])
    assert isinstance(done, Completed)


def test_a_root_document_needs_the_old_and_the_new_keys(site: Site) -> None:
    desk = site.desk(thresholds={"root": 2})
    following = replace(site.root(root=("root3",)), version=2)
    draft = ask(desk, name="root-2", kind="root", role="root", texts=[rootdoc.build(following)])
    assert isinstance(draft, Draft)
    assert desk.standing(draft).missing == ("1 by root (of version 2) keys",)
    done = desk.keep(elsewhere(site, draft, "root3"))
    (document,) = [SignedText(text=done.texts[0], sigs=done.sigs[0]).pack()]
    assert rootdoc.advance(desk.root, document, desk.verifier).version == 2


def test_a_draft_of_a_root_document_that_came_too_late(site: Site) -> None:
    desk = site.desk(thresholds={"root": 3})
    text = rootdoc.build(replace(desk.root, version=3))
    with pytest.raises(TrustError, match="was to follow root document 2, and the newest is 1"):
        ask(desk, name="root-3", kind="root", role="root", texts=[text])


def test_a_key_that_was_taken_out_meanwhile_counts_no_more(site: Site) -> None:
    desk = site.desk(thresholds={"release": 3})
    draft = elsewhere(site, draft_of(desk), "release3")
    assert desk.standing(draft).complete
    later = site.desk(release=("release", "release2"), thresholds={"release": 2})
    assert later.standing(draft).signed_by == {site.name("release"), site.name("release2")}


# --- names ------------------------------------------------------------------------------------


def test_keys_are_found_by_fingerprint_its_end_or_a_name(site: Site) -> None:
    desk = site.desk()
    name = site.name("ada")
    spaced = " ".join(name[i : i + 4] for i in range(0, 40, 4)).lower()
    for said in (name, name.lower(), name[-16:], spaced, "Ada"):
        assert desk.find("operator", said) == name
    for said in ("", "nobody-here", "release", "12345678"):
        with pytest.raises(UsageError, match="no operator key is called"):
            desk.find("operator", said)
    with pytest.raises(UsageError, match="2 operator keys are called 'a'"):
        desk.find("operator", "a")
    with pytest.raises(UsageError, match="no operator key is called 'nobody'"):
        desk.find("operator", "nobody")
