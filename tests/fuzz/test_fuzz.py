"""Any bytes are a value or an error of our own, to all that reads what others wrote."""

from __future__ import annotations

import fuzz_targets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_core.errors import TrustError

NAMES = (
    *("envelope", "answer", "offer", "token", "root", "manifest", "command", "signed text"),
    *("multipart", "urlencoded", "server settings", "client settings", "release.json"),
    *("trial.json", "command journal", "tar", "signature", "certificate"),
)


@pytest.fixture(scope="module")
def targets() -> dict[str, fuzz_targets.Target]:
    return {target.name: target for target in fuzz_targets.make()}


def test_every_reader_is_fuzzed(targets: dict[str, fuzz_targets.Target]) -> None:
    assert set(targets) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_document_is_read(name: str, targets: dict[str, fuzz_targets.Target]) -> None:
    """Else only the first line of a reader would be looked at."""
    for seed in targets[name].seeds:
        if name == "root":  # it is read, and can't follow itself
            with pytest.raises(TrustError, match="root document 1 can't follow 1"):
                targets[name].read(seed)
        else:
            targets[name].read(seed)


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_are_a_value_or_an_error_of_ours(
    name: str, targets: dict[str, fuzz_targets.Target]
) -> None:
    target = targets[name]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(target.strategy)
    def check(data: bytes) -> None:
        target.check(data[: fuzz_targets.MAX_INPUT])

    check()


WORST = {
    "brackets": b"[" * 60_000,
    "objects": b'{"a":' * 10_000,
    "a number without end": b'{"kind":"x","issued_at":1' + b"0" * 400 + b',"expires_at":1}',
    "digits": b"9" * 5_000,
    "no text": b"\xff" * 100,
    "nothing": b"",
    "a lone surrogate": b'"\\ud800"',
    "an alias of itself": b"&a [*a]",
    "lists in lists": b"- " * 20_000,
    "an object of Python": b"a: !!python/object/apply:os.system [x]",
}


@pytest.mark.parametrize("worst", WORST)
def test_the_worst_texts_are_read_by_nobody(
    worst: str, targets: dict[str, fuzz_targets.Target]
) -> None:
    for target in targets.values():
        target.check(WORST[worst])


def test_a_reader_that_raises_something_else_is_found(
    targets: dict[str, fuzz_targets.Target],
) -> None:
    def read(data: bytes) -> None:
        if b"NaN" in data:
            raise ZeroDivisionError

    broken = fuzz_targets.Target(
        name="broken",
        read=read,
        errors=(ValueError,),
        seeds=(b"{}",),
        strategy=targets["trial.json"].strategy,
    )

    @settings(max_examples=2000, suppress_health_check=list(HealthCheck), database=None)
    @given(broken.strategy | st.just(b"NaN"))
    def check(data: bytes) -> None:
        broken.check(data)

    with pytest.raises(ZeroDivisionError):
        check()
