"""Which engine a store's URL means, and what is said when it means none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import StoreBackend
from qlmdm_core.errors import SettingsError
from qlmdm_core.store.mongo import MongoStore
from qlmdm_core.store.open import open_store
from qlmdm_core.store.sqlite import SqliteStore


def test_built_in_schemes_open_their_engines(tmp_path: Path) -> None:
    for url, kind in (
        (f"sqlite://{tmp_path}/x.db", SqliteStore),
        ("mongodb://host1:1,host2:2/db?replicaSet=r", MongoStore),
        ("mongodb+srv://cluster.example.com/db", MongoStore),
    ):
        store = open_store(url)
        assert isinstance(store, kind)
        store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite://here.db")
    store.setup()
    store.close()
    assert (tmp_path / "here.db").exists()


def test_a_plugin_s_scheme_opens_its_engine() -> None:
    opened: list[Any] = []

    def opener(url: str) -> Any:
        opened.append(url)
        return "a store"

    backends = {"memory": StoreBackend(scheme="memory", open=opener)}
    assert open_store("memory://x", backends) == "a store"  # type: ignore[comparison-overlap]
    assert opened == ["memory://x"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fleet.db",
        "/var/lib/fleet.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite://:memory:",
        "sqlite:///nul\0",
    ],
)
def test_what_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected"):
        open_store(url)


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(SettingsError, match=r"'oracle' \(known: memory, mongodb,.*sqlite\)"):
        open_store("oracle://x", {"memory": StoreBackend(scheme="memory", open=print)})


def test_a_password_is_never_shown() -> None:
    for url in ("oracle://ada:s3cret@host/db", "ada:s3cret@host/db"):
        with pytest.raises(SettingsError) as caught:
            open_store(url)
        assert "s3cret" not in str(caught.value)


def test_sqlite_needs_no_pymongo() -> None:
    script = (
        "import sys; from qlmdm_core.store.open import open_store; open_store('sqlite:///x/y'); "
        "sys.exit('pymongo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "qlmdm_core.store.mongo")
    for name in list(sys.modules):
        if name.startswith("qlmdm_core.store.mongo."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(SettingsError, match=r"needs the Python package .*pymongo.*pip install"):
        open_store("mongodb://host/db")
