"""The MongoDB engine passes the contract suite over mongomock, within one process."""

from __future__ import annotations

import pytest

from qlmdm_core.testing.fake_mongo import FakeMongo
from qlmdm_core.testing.store_contract import Engine, StoreContract


class TestMongomockStore(StoreContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Engine(open=FakeMongo().store, many=2_000)
