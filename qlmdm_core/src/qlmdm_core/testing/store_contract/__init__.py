"""The suite that every database engine passes: ours, and a plugin's.

A plugin's tests derive from `StoreContract` and say how to open an empty database::

    from qlmdm_core.testing.store_contract import Engine, StoreContract

    class TestMemoryStore(StoreContract):
        @pytest.fixture
        def engine(self):
            database = Database()
            return Engine(open=lambda: MemoryStore(database))

Each test gets an empty database, on which `setup()` was called once.
"""

from __future__ import annotations

import pytest

# Before they are imported: pytest then shows the values in an assertion that failed.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in (
            *("audit", "clients", "fleet", "keys", "outgoing", "outgoing_races", "races"),
            *("releases", "reports", "scale"),
        )
    )
)

from qlmdm_core.testing.store_contract.audit import AuditContract  # noqa: E402
from qlmdm_core.testing.store_contract.clients import ClientsContract  # noqa: E402
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures  # noqa: E402
from qlmdm_core.testing.store_contract.fleet import FleetContract  # noqa: E402
from qlmdm_core.testing.store_contract.keys import KeysContract  # noqa: E402
from qlmdm_core.testing.store_contract.outgoing import CommandsContract  # noqa: E402
from qlmdm_core.testing.store_contract.outgoing_races import OutgoingRacesContract  # noqa: E402
from qlmdm_core.testing.store_contract.races import RacesContract  # noqa: E402
from qlmdm_core.testing.store_contract.releases import ReleasesContract  # noqa: E402
from qlmdm_core.testing.store_contract.reports import ReportsContract  # noqa: E402
from qlmdm_core.testing.store_contract.scale import ScaleContract  # noqa: E402

__all__ = ["Engine", "StoreContract", "StoreFixtures"]


class StoreContract(
    FleetContract,
    ClientsContract,
    ReportsContract,
    AuditContract,
    RacesContract,
    ScaleContract,
    KeysContract,
    ReleasesContract,
    CommandsContract,
    OutgoingRacesContract,
):
    """All of it; a subclass gives the fixture `engine`."""
