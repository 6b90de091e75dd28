"""Secret keys under M of N people: what enough shares do, and what fewer, wrong or mixed don't."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic import Share
from shamir_mnemonic.shamir import RawShare, _interpolate
from shamir_mnemonic.wordlist import WORDLIST

from qlmdm_core.errors import KeyringError, UsageError
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.server.keeping import bundle as bundles
from qlmdm_core.server.keeping import split as splits
from qlmdm_core.server.keeping import words
from qlmdm_core.server.keeping.words import ReadShare, ShareError
from qlmdm_core.signing import keys
from qlmdm_core.signing.gpg import GpgSigner, GpgVerifier

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
KEY = bytes(range(32))


def read(texts: Sequence[str]) -> list[ReadShare]:
    return [words.read_share(text, f"file {at}") for at, text in enumerate(texts, 1)]


# --- words ------------------------------------------------------------------------------------


@given(
    key=st.binary(min_size=32, max_size=32),
    numbers=st.integers(2, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(2, n))),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=25)
def test_any_m_of_n_shares_in_any_order_give_the_key(
    key: bytes, numbers: tuple[int, int], order: random.Random
) -> None:
    keepers, threshold = numbers
    set_id, made = words.split_key(key, keepers, threshold)
    shares = read(made)
    assert [share.number for share in shares] == list(range(1, keepers + 1))
    chosen = order.sample(shares, threshold)
    assert words.combine(chosen, set_id) == key
    with pytest.raises(ShareError, match=f"{threshold - 1} of the {threshold} shares"):
        words.combine(chosen[:-1], set_id)


@given(
    key=st.binary(min_size=32, max_size=32),
    other=st.binary(min_size=32, max_size=32),
    threshold=st.integers(2, 6),
)
@settings(max_examples=25)
def test_fewer_shares_fit_every_other_key_as_well(key: bytes, other: bytes, threshold: int) -> None:
    """Whatever the key is: with M-1 shares there is, for each other secret, a last share that
    would lead to it. So those shares speak for none of them."""
    _, made = words.split_key(key, 6, threshold)
    fewer = [Share.from_mnemonic(text) for text in made[: threshold - 1]]
    points = [RawShare(share.index, share.value) for share in fewer]
    last = _interpolate([*points, RawShare(255, other)], 5)
    assert _interpolate([*points, RawShare(5, last)], 255) == other


@pytest.mark.parametrize(
    ("keepers", "threshold", "message"),
    [(0, 1, "1 to 16"), (17, 2, "1 to 16"), (3, 4, "1 to 3"), (3, 0, "1 to 3"), (2, 1, "alone")],
)
def test_numbers_that_make_no_sense(keepers: int, threshold: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        words.split_key(KEY, keepers, threshold)


def test_one_keeper_alone_is_possible() -> None:
    set_id, made = words.split_key(KEY, 1, 1)
    assert words.combine(read(made), set_id) == KEY


@given(at=st.integers(0, 32), word=st.sampled_from(WORDLIST))
@settings(max_examples=60)
def test_a_word_that_was_misread_is_found_in_its_share(at: int, word: str) -> None:
    _, made = words.split_key(KEY, 3, 2)
    changed = made[1].split()
    if changed[at] == word:
        return
    changed[at] = word
    with pytest.raises(ShareError, match=r"^file 2: (the checksum|a share that)") as caught:
        words.read_share(" ".join(changed), "file 2")
    assert " ".join(changed[:3]) not in str(caught.value), "no word of a share in a message"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace(text.split()[4], "qwertz", 1), "the word at place 5"),
        (lambda text: text.rsplit(" ", 1)[0], "has 33 words, this has 32"),
        (lambda text: f"{text} academic", "has 33 words, this has 34"),
        (lambda _: "", "no words of a share"),
        (lambda _: "a letter to a friend about nothing", "no words of a share"),
        (lambda _: "-----BEGIN PGP MESSAGE-----\nabc", "gpg --decrypt"),
    ],
)
def test_what_is_no_share_says_why(spoil: object, message: str) -> None:
    _, made = words.split_key(KEY, 3, 2)
    with pytest.raises(ShareError, match=f"^file 2: .*{message}"):
        words.read_share(spoil(made[0]), "file 2")  # type: ignore[operator]


def test_two_words_that_changed_places_are_noticed() -> None:
    _, (text, *_) = words.split_key(KEY, 3, 2)
    swapped = text.split()
    swapped[10], swapped[11] = swapped[11], swapped[10]
    if swapped == text.split():
        swapped[10], swapped[20] = swapped[20], swapped[10]
    with pytest.raises(ShareError, match="changed places"):
        words.read_share(" ".join(swapped), "x")


def test_a_share_is_read_as_people_write_it() -> None:
    _, (text, *_) = words.split_key(KEY, 3, 2)
    numbered = "\n".join(f"{at}. {word.upper()}" for at, word in enumerate(text.split(), 1))
    assert words.read_share(numbered, "x").words == text


def test_a_share_of_another_set_is_named() -> None:
    set_id, made = words.split_key(KEY, 3, 2)
    other = next(
        text
        for _ in itertools.count()
        for text in words.split_key(KEY, 3, 2)[1][:1]
        if Share.from_mnemonic(text).identifier != set_id
    )
    with pytest.raises(ShareError, match=r"^file 2: .*of another set .*reshare"):
        words.combine(read([made[0], other]), set_id)


def test_the_same_share_twice_counts_once() -> None:
    set_id, made = words.split_key(KEY, 3, 2)
    with pytest.raises(ShareError, match=r"^file 2: the same share, number 1, as in file 1"):
        words.combine(read([made[0], made[0]]), set_id)


def test_no_shares_at_all() -> None:
    with pytest.raises(ShareError, match="0 of the needed shares are here"):
        words.combine([], 1)


def forged(text: str, **changes: object) -> str:
    """A share with a right checksum over a wrong value."""
    share = Share.from_mnemonic(text)
    return str(Share(**{**vars(share), **changes}).mnemonic())


def test_a_forged_share_with_a_right_checksum_is_noticed() -> None:
    set_id, made = words.split_key(KEY, 4, 2)
    wrong = forged(made[1], value=bytes(32))
    with pytest.raises(ShareError, match=r"don't belong together.*file 1, file 2"):
        words.combine(read([made[0], wrong]), set_id)
    with pytest.raises(ShareError, match=r"^file 3: does not belong to the others"):
        words.combine(read([made[0], made[2], wrong]), set_id)
    assert words.combine(read([made[0], made[2], made[3]]), set_id) == KEY


def test_a_share_that_asks_for_fewer_is_named() -> None:
    set_id, made = words.split_key(KEY, 4, 3)
    lying = forged(made[1], member_threshold=2)
    with pytest.raises(ShareError, match=r"^file 2: says that 2 .*file 1 says 3"):
        words.combine(read([made[0], lying]), set_id)


def test_a_share_of_a_wallet_is_no_share_of_ours() -> None:
    _, made = words.split_key(KEY, 3, 2)
    with pytest.raises(ShareError, match="by another program"):
        words.read_share(forged(made[0], group_count=2), "x")


# --- keys ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A role's home with two keys."""
    folder = tmp_path_factory.mktemp("k")
    for name in ("one", "two"):
        keys.make_key(str(folder / "release"), name)
    return folder


def split(home: str, keepers: int, threshold: int, role: str = "release") -> splits.Splitting:
    """All keys that are there, as if the root document named them."""
    named = [key.fingerprint for key in keys.list_keys(home)]
    return splits.split(home, role, keepers, threshold, NOW, named)


def root_with(fingerprints: Sequence[str]) -> Root:
    role = Role(fingerprints=tuple(fingerprints))
    roles = dict.fromkeys(("root", "release", "operator", "online"), role)
    return Root(version=5, server_id="0" * 32, issued_at=NOW, expires_at=NOW, roles=roles, keys={})


def test_keys_are_split_removed_and_restored(homes: Path, tmp_path: Path) -> None:
    home = str(homes / "release")
    made = split(home, 3, 2)
    fingerprints = [key.fingerprint for key in keys.list_keys(home)]
    assert sorted(made.bundle.fingerprints) == sorted(fingerprints)
    assert "PRIVATE" not in bundles.pack(made.bundle)
    kept = bundles.unpack(bundles.pack(made.bundle), "kept")
    assert kept == made.bundle
    back = str(tmp_path / "keys" / "release")
    found = splits.combine(back, kept, read(made.shares[1:]), root_with(fingerprints))
    assert sorted(found) == sorted(fingerprints)
    with GpgSigner(back, fingerprints[0]) as signer:
        sig = signer.sign(b"data")
    public = keys.export_public(home, fingerprints[0])
    assert GpgVerifier().verify(b"data", sig, [public]).fingerprint == fingerprints[0]
    assert not [path for path in (tmp_path / "keys").iterdir() if path.name.startswith(".c-")]


def test_a_key_that_the_root_document_does_not_name_is_not_restored(
    homes: Path, tmp_path: Path
) -> None:
    home = str(homes / "release")
    made = split(home, 3, 2)
    first = made.bundle.fingerprints[0]
    back = tmp_path / "keys" / "release"
    with pytest.raises(ShareError, match=r"root document 5 does not name .*nothing was restored"):
        splits.combine(str(back), made.bundle, read(made.shares[:2]), root_with([first]))
    assert not back.exists()


def test_old_shares_do_not_open_what_was_split_anew(homes: Path) -> None:
    made = split(str(homes / "release"), 3, 2)
    new = splits.reshare(made.bundle, read(made.shares[:2]), 4, 3, NOW)
    assert len(splits.opened(new.bundle, read(new.shares[1:]))) == 2
    with pytest.raises(ShareError):
        splits.opened(new.bundle, read(made.shares[:2]))
    # Not even if the sets' numbers happen to be the same.
    disguised = bundles.Bundle(**{**vars(new.bundle), "set_id": made.bundle.set_id})
    with pytest.raises(ShareError, match="do not open this file"):
        splits.opened(disguised, read(made.shares[:2]))


def test_a_damaged_file_is_no_key(homes: Path) -> None:
    made = split(str(homes / "release"), 2, 2)
    lines = made.bundle.message.splitlines()
    lines[len(lines) // 2] = lines[len(lines) // 2][::-1]
    damaged = bundles.Bundle(**{**vars(made.bundle), "message": "\n".join(lines)})
    with pytest.raises(ShareError, match="another copy"):
        splits.opened(damaged, read(made.shares))


def test_without_a_secret_key_there_is_nothing_to_split(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="no secret key of the role root"):
        split(str(tmp_path / "root"), 3, 2, "root")


@given(st.one_of(st.text(max_size=200), st.from_regex(r'\{"v": ?1.{0,80}\}', fullmatch=True)))
@settings(max_examples=100)
def test_any_text_is_a_bundle_or_an_error(text: str) -> None:
    with pytest.raises(ShareError, match="not the file of a split key"):
        bundles.unpack(text, "x")


@given(st.text(max_size=400))
@settings(max_examples=100)
def test_any_text_is_a_share_or_an_error(text: str) -> None:
    with pytest.raises(ShareError):
        words.read_share(text, "x")


# --- files ------------------------------------------------------------------------------------


def test_what_is_written_can_be_used_and_read_by_its_owner_only(
    homes: Path, tmp_path: Path
) -> None:
    made = split(str(homes / "release"), 3, 2)
    kept = tmp_path / "keys/split/release.json"
    paths = splits.write(made, str(tmp_path / "shares"), str(kept))
    assert len(paths) == 3
    for path in [*map(Path, paths), kept, tmp_path / "shares/release.split.json"]:
        assert path.stat().st_mode & 0o777 == 0o600
    found = bundles.unpack(splits.read_file(str(kept)), "kept")
    shares = [words.read_share(splits.read_file(path), path) for path in paths[1:]]
    assert len(splits.opened(found, shares)) == 2
    assert "any 2 of them restore the release key" in splits.read_file(paths[0])
    with pytest.raises(UsageError, match="name a new folder"):
        splits.write(made, str(tmp_path / "shares"), str(kept))
    with pytest.raises(UsageError, match="3 keepers, but 1"):
        splits.write(
            made,
            str(tmp_path / "s2"),
            str(kept),
            [keys.export_public(str(homes / "release"), f) for f in made.bundle.fingerprints[:1]],
        )


def test_removing_leaves_no_plain_key(homes: Path, tmp_path: Path) -> None:
    home = tmp_path / "root"
    keys.make_key(str(home), "root")
    said: list[str] = []
    splits.remove_plain(str(home), said.append)
    assert not home.exists()
    assert "backups" in said[0]


def test_a_key_that_counts_no_more_is_not_split(homes: Path) -> None:
    """Else the whole set would be refused when it is put together again."""
    home = str(homes / "release")
    first, _ = [key.fingerprint for key in keys.list_keys(home)]
    made = splits.split(home, "release", 2, 2, NOW, [first])
    assert made.bundle.fingerprints == (first,)
