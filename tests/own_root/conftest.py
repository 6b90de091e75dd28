"""What the tests share that run in a throw-away root (tests/integration/test_own_root.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from own_machine import Told, furnished

from qlmdm_core.client.wipe import power
from qlmdm_core.client.wipe.own_root import NotOwnRootError
from qlmdm_core.client.wipe.power import Power


@pytest.fixture(autouse=True)
def own_power() -> Power:
    """Nothing here runs anywhere else, not even to prepare."""
    try:
        return power.in_own_root()
    except NotOwnRootError as error:
        pytest.skip(f"{error}: run by tests/integration/test_own_root.py")


@pytest.fixture
def told() -> Told:
    """A reporter."""
    return Told()


@pytest.fixture
def machine(own_power: Power) -> Iterator[None]:
    """A machine with people and services, whose files are all there."""
    with furnished(own_power):
        yield
