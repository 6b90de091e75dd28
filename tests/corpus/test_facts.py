"""Nothing is collected that the person at the machine is not told of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import settings
from qlmdm_core.api import AuditCheck, ClientView, Collector
from qlmdm_core.client.sealing import SEALED, take_out
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.server.settings import ServerSettings
from qlmdm_plugins_builtin import hooks_client as builtin
from qlmdm_plugins_builtin import hooks_server as builtin_server
from qlmdm_plugins_eset import hooks_client as eset
from qlmdm_plugins_eset import hooks_server as eset_server

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


def judging() -> list[AuditCheck]:
    loaded = settings.parse("url: https://qlmdm.example.com\n", ServerSettings, "test")
    loaded.register(builtin_server.qlmdm_register_settings())
    loaded.register(eset_server.qlmdm_register_settings())
    return [
        *builtin_server.qlmdm_register_audit_checks(settings=loaded),
        *eset_server.qlmdm_register_audit_checks(settings=loaded),
    ]


COLLECTORS = registered()
CHECKS = judging()
NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
WORDS = {"root", "ubuntu", "kali", "agent"}
"""Users of the corpus whose names are the names of other things as well."""


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_every_fact_is_explained(name: str) -> None:
    known = {"state", "reason", *COLLECTORS[name].fields}
    unsaid = {field for _, of, value in values() if of == name for field in value} - known
    assert unsaid == set(), f"{name}: say in facts.py what these are"


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_no_fact_is_explained_that_is_never_collected(name: str) -> None:
    """(But for what only machines have that the corpus lacks.)"""
    rare = {
        "eset": {"update_reason"},
        "guest_session": {"at_next_boot", "autologin_reason", "guest_account", "remote_login"},
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


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_no_users_name_is_left_once_the_private_parts_are_taken_out(name: str) -> None:
    users = {
        (machine, user["name"])
        for machine, of, value in values()
        if of == "accounts"
        for user in value.get("users", ())
        if user["name"] not in WORDS
    }
    assert users
    for machine, of, value in values():
        if of != name:
            continue
        if not COLLECTORS[name].private_paths:
            left = json.dumps(value)  # such a collector should have no reason to name anybody
        else:
            left = json.dumps(_sealed(machine, name, value))
        for where, user in users:
            word = re.compile(rf"(?<![^\W_]){re.escape(user)}(?![^\W_])")
            assert where != machine or not word.search(left), (machine, user, left)


@pytest.mark.parametrize("machine", sorted(path.name for path in MACHINES.iterdir()))
def test_checks_judge_pseudonyms_as_they_judge_names(machine: str) -> None:
    path = MACHINES / machine / "expected.json"
    if not path.is_file():
        return
    report = json.loads(path.read_text())["collectors"]
    sealed = {
        name: {**result, "value": _sealed(machine, name, result["value"])}
        if "value" in result
        else result
        for name, result in report.items()
    }
    for check in CHECKS:
        if not set(check.needs) <= set(report):
            continue
        verdicts = [
            check.judge(
                ClientView(cid="c", hostname="h", report=of, enrolled_at=NOW, last_seen_at=NOW), NOW
            )
            for of in (report, sealed)
        ]
        assert verdicts[0].state == verdicts[1].state, check.name


def _sealed(machine: str, name: str, value: Any) -> Any:
    def pseudonym(part: Any) -> str:
        return "private:" + hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12]

    passwd = MACHINES / machine / "files/etc/passwd"
    lines = passwd.read_text().splitlines() if passwd.exists() else []
    fields = [line.split(":") for line in lines]
    people = [each[0] for each in fields if 1000 <= int(each[2]) < 60000]
    its = COLLECTORS[name]
    left, parts = take_out(value, its.private_paths, its.private, pseudonym, people)
    return {**left, SEALED: "-----BEGIN PGP MESSAGE-----"} if parts else left
