"""The next root document: what changes is what was asked for, and all of it is told."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import rootdoc
from qlmdm_core.errors import TrustError, UsageError
from qlmdm_core.server.root_changes import Changes, differences, following
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing.trust import Ring, make_ring

NOW = datetime(2026, 11, 1, 12, 0, 0, 777, tzinfo=timezone.utc)
NAMES = (*rootdoc.ROLES, "spare", "spare2")
YEAR = 365 * 86400


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder:
        yield make_ring(folder, NAMES)


role_and_key = st.tuples(st.sampled_from(rootdoc.ROLES), st.sampled_from(NAMES))
wanted = st.fixed_dictionaries(
    {
        "add": st.lists(role_and_key, max_size=3),
        "remove": st.lists(role_and_key, max_size=2),
        "thresholds": st.dictionaries(
            st.sampled_from(rootdoc.ROLES), st.integers(-1, 3), max_size=2
        ),
        "keepers": st.none() | st.lists(st.sampled_from(NAMES), max_size=2),
        "raise_epoch": st.booleans(),
        "wipe_threshold": st.none() | st.integers(1, 3),
        "never_wipe": st.none() | st.lists(st.sampled_from(["c1", "c2"]), unique=True),
    }
)


@given(wanted=wanted)
def test_any_changes_are_refused_or_make_a_document_that_clients_take(
    ring: Ring, wanted: dict[str, Any]
) -> None:
    root = ring.root(now=NOW.replace(microsecond=0))
    public = ring.public
    keepers = wanted["keepers"]
    changes = Changes(
        add=[(role, public[name]) for role, name in wanted["add"]],
        remove=[(role, public[name].fingerprint) for role, name in wanted["remove"]],
        thresholds=wanted["thresholds"],
        keepers=None if keepers is None else [public[name] for name in keepers],
        raise_epoch=wanted["raise_epoch"],
        wipe_threshold=wanted["wipe_threshold"],
        never_wipe=wanted["never_wipe"],
    )
    try:
        made = following(root, changes, now=NOW, lifetime_seconds=YEAR)
    except (UsageError, TrustError):
        return
    assert rootdoc.parse(rootdoc.build(made)) == made
    assert (made.version, made.server_id) == (2, root.server_id)
    assert made.epoch == 1 + wanted["raise_epoch"]
    assert "online" not in {role for role, n in made.roles.items() if n.threshold != 1}
    used = {name for role in made.roles.values() for name in role.fingerprints}
    assert made.keys.keys() == used | set(made.keepers)
    told = "\n".join(differences(root, made))
    for role in rootdoc.ROLES:
        before, after = set(root.roles[role].fingerprints), set(made.roles[role].fingerprints)
        for name in after - before:
            assert f"{role}: + {name}" in told
        for name in before - after:
            assert f"{role}: - {name}" in told
    for name in made.keepers:
        assert f"secret-keepers: + {name}" in told
    for cid in made.never_wipe:
        assert f"never to be wiped: + {cid}" in told
    signed = ring.sign(rootdoc.build(made), *NAMES)
    assert rootdoc.advance(root, signed, SequoiaVerifier()) == made


def test_without_changes_only_the_dates_differ(ring: Ring) -> None:
    root = ring.root(now=NOW.replace(microsecond=0))
    later = NOW + timedelta(days=300)
    made = following(root, Changes(), now=later, lifetime_seconds=YEAR)
    assert made.expires_at == later.replace(microsecond=0) + timedelta(seconds=YEAR)
    assert differences(root, made) == [
        "expires at 2028-08-27T12:00:00Z, 365 days after it is made (was 2027-11-01T12:00:00Z)"
    ]
    early = following(root, Changes(), now=NOW - timedelta(days=9), lifetime_seconds=YEAR)
    assert early.issued_at == root.issued_at, "a clock that was set back does not date it back"
