"""Nothing is collected that the person at the machine is not told of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import settings
from qlmdm_core.api import Collector
from qlmdm_core.client.sealing import take_out
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_plugins_builtin import hooks_client as builtin
from qlmdm_plugins_eset import hooks_client as eset

MACHINES = Path(__file__).parents[1] / "machines"


def registered() -> dict[str, Collector]:
    loaded = settings.defaults(StandaloneSettings)
    loaded.register(builtin.qlmdm_register_settings())
    found = [
        *builtin.qlmdm_register_collectors(settings=loaded),
        *eset.qlmdm_register_collectors(settings=loaded),
    ]
    return {collector.name: collector for collector in found}


def values() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in sorted(MACHINES.glob("*/expected.json")):
        for name, result in json.loads(path.read_text())["collectors"].items():
            yield path.parent.name, name, result.get("value") or {}


COLLECTORS = registered()


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_every_fact_is_explained(name: str) -> None:
    known = {"state", "reason", *COLLECTORS[name].fields}
    unsaid = {field for _, of, value in values() if of == name for field in value} - known
    assert unsaid == set(), f"{name}: say in facts.py what these are"


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_no_fact_is_explained_that_is_never_collected(name: str) -> None:
    """(But for what only machines have that the corpus lacks.)"""
    rare = {
        "certificates": {"certificates", "failed"},
        "packages": {"packages", "count", "adapter"},
        "sshd": {"listen", "other_servers", "note"},
    }
    seen = {field for _, of, value in values() if of == name for field in value}
    assert set(COLLECTORS[name].fields) - seen - rare.get(name, set()) == set()


def test_the_corpus_has_people_whose_names_are_private() -> None:
    """Else the next test would show nothing."""
    taken: dict[str, Any] = {}
    for machine, name, value in values():
        paths = COLLECTORS[name].private_paths
        _, parts = take_out(value, paths, whole=False, pseudonym=lambda _: "private:x")
        taken.update({f"{machine}:{name}{pointer}": part for pointer, part in parts.items()})
    of = {key.split(":")[1].split("/")[0] for key in taken}
    assert {"accounts", "screenlock", "guest_session", "hd_encryption"} <= of


@pytest.mark.parametrize("name", ["screenlock", "guest_session", "accounts"])
def test_no_users_name_is_left_once_the_private_parts_are_taken_out(name: str) -> None:
    users = {
        (machine, user["name"])
        for machine, of, value in values()
        if of == "accounts"
        for user in value.get("users", ())
        if user["name"] != "root"
    }
    assert users
    for machine, of, value in values():
        if of != name:
            continue
        left, _ = take_out(
            value, COLLECTORS[name].private_paths, whole=False, pseudonym=lambda _: "private:x"
        )
        text = json.dumps(left)
        for where, user in users:
            assert where != machine or f'"{user}"' not in text, (machine, user)
