"""The contract, part eight: bytes by their hash, releases, and drafts."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from qlmdm_core.store import Store
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW

MEGABYTE = 1 << 20


class ReleasesContract(StoreFixtures):
    """What is handed to clients as it lies there, and what waits to be signed."""

    # --- blobs --------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 3 * MEGABYTE + 7])
    def test_bytes_come_back_by_their_hash(self, store: Store, other: Store, size: int) -> None:
        data = bytes(range(256)) * (size // 256) + b"\0" * (size % 256)
        sha256 = hashlib.sha256(data).hexdigest()
        assert store.blob(sha256) is None
        assert store.put_blob(data) == sha256
        assert other.put_blob(data) == sha256
        assert other.blob(sha256) == data
        store.drop_blob(sha256)
        assert other.blob(sha256) is None
        store.drop_blob(sha256)
        assert store.put_blob(data) == sha256
        assert store.blob(sha256) == data

    def test_dropping_one_leaves_the_others(self, store: Store) -> None:
        first, second = store.put_blob(b"one"), store.put_blob(b"two")
        store.drop_blob(first)
        assert (store.blob(first), store.blob(second)) == (None, b"two")

    def test_no_such_bytes(self, store: Store) -> None:
        store.put_blob(b"one")
        for name in ("", "0" * 64, *HOSTILE):
            assert store.blob(name) is None
            store.drop_blob(name)

    # --- releases -----------------------------------------------------------------------------

    def test_a_release_comes_back(self, store: Store, other: Store) -> None:
        assert store.release(1, 7) is None
        assert store.releases() == []
        assert store.put_release(replace(samples.release(7), created_at=NOW))
        assert other.release(1, 7) == samples.release(7)
        bare = replace(samples.release(8), rollout=None, about=None, note="")
        assert store.put_release(bare)
        assert other.release(1, 8) == bare

    def test_a_version_is_there_once(self, store: Store) -> None:
        assert store.put_release(samples.release(7))
        assert not store.put_release(replace(samples.release(7), tar_sha256="d" * 64))
        assert store.release(1, 7) == samples.release(7)

    def test_epochs_count_before_numbers(self, store: Store) -> None:
        for epoch, number in ((1, 2), (2, 1), (1, 10), (10, 1)):
            store.put_release(samples.release(number, epoch=epoch))
        found = [(release.epoch, release.number) for release in store.releases()]
        assert found == [(10, 1), (2, 1), (1, 10), (1, 2)]

    def test_status_note_and_rollout_may_change_and_nothing_else(self, store: Store) -> None:
        store.put_release(samples.release(7))
        wanted = replace(
            samples.release(7), status="withdrawn", note="bad", rollout={"$percent": 5}
        )
        assert store.update_release(
            replace(wanted, tar_sha256="d" * 64, manifest_sha256="e" * 64, created_by="eve")
        )
        assert store.release(1, 7) == replace(wanted, revision=1)

    def test_an_update_of_what_was_read_before_is_refused(self, store: Store, other: Store) -> None:
        store.put_release(samples.release(7))
        mine, theirs = store.release(1, 7), other.release(1, 7)
        assert mine is not None
        assert theirs is not None
        assert other.update_release(replace(theirs, note="theirs"))
        assert not store.update_release(replace(mine, note="mine"))
        kept = store.release(1, 7)
        assert kept is not None
        assert kept.note == "theirs"
        assert store.update_release(replace(kept, note="mine"))
        assert not store.update_release(samples.release(9))

    def test_releases_are_counted_by_the_active_clients(self, store: Store) -> None:
        assert store.count_releases() == {}
        for number in range(1, 7):
            samples.enrolled(store, f"c{number}")
        for cid, release in (("c1", "1.7"), ("c2", "1.7"), ("c3", "1.6"), ("c4", "1.6")):
            store.accept(replace(samples.submission(cid, 1), release=release))
        store.accept(samples.submission("c5", 1))
        assert store.count_releases() == {"1.7": 2, "1.6": 2, None: 2}
        store.accept(replace(samples.submission("c3", 2), release="1.7"))
        store.set_client("c4", status="revoked")
        store.set_client("c6", status="retired")
        assert store.count_releases() == {"1.7": 3, None: 1}

    # --- drafts -------------------------------------------------------------------------------

    def test_a_draft_comes_back(self, store: Store, other: Store) -> None:
        assert store.draft("release-1.7") is None
        assert store.drafts() == []
        assert store.put_draft(replace(samples.draft(), created_at=NOW))
        assert other.draft("release-1.7") == samples.draft()
        assert not other.put_draft(replace(samples.draft(), role="root"))
        assert store.put_draft(samples.draft("command-0"))
        assert [draft.name for draft in store.drafts()] == ["command-0", "release-1.7"]
        assert store.draft("release-1.7") == replace(samples.draft(), created_at=KEPT)

    def test_signatures_are_written_back_and_nothing_else(self, store: Store) -> None:
        store.put_draft(samples.draft())
        signed = replace(samples.draft(), sigs=(("one", "two"), ("three",)))
        assert store.update_draft(replace(signed, texts=("other", "texts"), role="root"))
        assert store.draft("release-1.7") == replace(signed, revision=1)

    def test_signatures_that_came_meanwhile_are_not_lost(self, store: Store, other: Store) -> None:
        store.put_draft(samples.draft())
        mine, theirs = store.draft("release-1.7"), other.draft("release-1.7")
        assert mine is not None
        assert theirs is not None
        assert other.update_draft(replace(theirs, sigs=(("theirs",), ())))
        assert not store.update_draft(replace(mine, sigs=(("mine",), ())))
        kept = store.draft("release-1.7")
        assert kept is not None
        assert kept.sigs == (("theirs",), ())

    def test_a_dropped_draft_is_gone(self, store: Store) -> None:
        assert not store.drop_draft("release-1.7")
        store.put_draft(samples.draft())
        assert store.drop_draft("release-1.7")
        assert not store.drop_draft("release-1.7")
        assert store.draft("release-1.7") is None
        assert not store.update_draft(samples.draft())
        assert store.put_draft(samples.draft())
