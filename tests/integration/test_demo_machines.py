"""The recorded machines of `./dev demo`: what is collected from each, and how it is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import osrelease, plugins, settings
from qlmdm_core.api import CommandResult, DistroAdapter
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP, client
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.server.audit.rules import rules
from qlmdm_core.server.audit.run import Audit
from qlmdm_core.server.context import Context
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.fleet import Fleet

MACHINES = Path(__file__).parents[2] / "tools" / "demo" / "machines"
COLLECT = Path(sys.executable).parent / "qlmdm-collect"
NOW = datetime(2026, 11, 23, 9, 31, tzinfo=timezone.utc)
"""A minute after they were recorded."""

STATES = {
    "ada-laptop": {
        "accounts": "available",
        "certificates": "off",
        "dmidecode": "available",
        "eraagent": "running",
        "eset": "running",
        "firewall": "on",
        "geolocation": "off",
        "guest_session": "disabled",
        "hd_encryption": "encrypted",
        "ip_addresses": "available",
        "network_devices": "available",
        "os_info": "available",
        "os_updates": "up_to_date",
        "packages": "off",
        "prey": "absent",
        "reboot_required": "not_required",
        "screenlock": "enabled",
        "secure_boot": "enabled",
        "sshd": "not_running",
        "wipe_plan": "known",
    },
    "bob-desktop": {
        "accounts": "available",
        "certificates": "off",
        "dmidecode": "available",
        "eraagent": "stopped",
        "eset": "stopped",
        "firewall": "off",
        "geolocation": "off",
        "guest_session": "enabled",
        "hd_encryption": "not_encrypted",
        "ip_addresses": "available",
        "network_devices": "available",
        "os_info": "available",
        "os_updates": "updates_available",
        "packages": "off",
        "prey": "absent",
        "reboot_required": "required",
        "screenlock": "disabled",
        "secure_boot": "not_available",
        "sshd": "running",
        "wipe_plan": "known",
    },
    "carol-arch": {
        "accounts": "available",
        "certificates": "off",
        "dmidecode": "available",
        "eraagent": "absent",
        "eset": "absent",
        "firewall": "on",
        "geolocation": "off",
        "guest_session": "disabled",
        "hd_encryption": "encrypted",
        "ip_addresses": "available",
        "network_devices": "available",
        "os_info": "available",
        "os_updates": "updates_available",
        "packages": "off",
        "prey": "absent",
        "reboot_required": "not_required",
        "screenlock": "enabled",
        "secure_boot": "disabled",
        "sshd": "running",
        "wipe_plan": "known",
    },
    "dave-partly-unknown": {
        "accounts": "available",
        "certificates": "off",
        "dmidecode": "available",
        "eraagent": "absent",
        "eset": "absent",
        "firewall": "unknown",
        "geolocation": "off",
        "guest_session": "unknown",
        "hd_encryption": "unknown",
        "ip_addresses": "available",
        "network_devices": "available",
        "os_info": "available",
        "os_updates": "unknown",
        "packages": "off",
        "prey": "absent",
        "reboot_required": "unknown",
        "screenlock": "unknown",
        "secure_boot": "unknown",
        "sshd": "running",
        "wipe_plan": "unknown",
    },
}

VERDICTS = {
    "ada-laptop": {},
    "bob-desktop": {
        "account-without-password": "fail",
        "eraagent-stopped": "fail",
        "eset-out-of-date": "fail",
        "eset-stopped": "fail",
        "firewall-disabled": "fail",
        "guest-session-enabled": "fail",
        "os-security-patches-available": "fail",
        "os-update-available": "fail",
        "reboot-required": "fail",
        "screenlock-disabled": "fail",
        "ssh-password-authentication": "fail",
        "ssh-root-password-authentication": "fail",
        "unencrypted-hard-drive": "fail",
    },
    "carol-arch": {
        "eraagent-absent": "fail",
        "eset-absent": "fail",
        "os-security-patches-available": "unknown",
        "os-update-available": "fail",
    },
    "dave-partly-unknown": {
        "account-without-password": "unknown",
        "eraagent-absent": "fail",
        "eset-absent": "fail",
        "firewall-disabled": "unknown",
        "guest-session-enabled": "unknown",
        "os-security-patches-available": "unknown",
        "os-update-available": "unknown",
        "reboot-required": "unknown",
        "screenlock-disabled": "unknown",
        "ssh-password-authentication": "unknown",
        "ssh-root-password-authentication": "unknown",
        "unencrypted-hard-drive": "unknown",
    },
}
"""What does not pass; every other check does."""

PASSES_EVERYWHERE = {
    "collector-failing",
    "deprecated-port",
    "duplicate-identity",
    "expiring-certificate",
    "extra-root-account",
    "not-reporting",
    "pending-patches",
    "release-behind",
    "secure-boot-disabled",
    "unwanted-package",
}

Report = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """What `qlmdm-collect` reports of each machine: by machine and collector."""
    collected = {}
    for machine in STATES:
        done = subprocess.run(
            [COLLECT, "--replay", f"machines/{machine}", "--json"],
            cwd=MACHINES.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        printed = json.loads(done.stdout)
        assert printed["failures"] == []
        collected[machine] = printed["collectors"]
    return collected


def test_every_folder_is_one_of_them() -> None:
    assert {path.name for path in MACHINES.iterdir()} == set(STATES)


@pytest.mark.parametrize("machine", STATES)
def test_each_collector_finds_what_the_machine_was_composed_for(
    machine: str, reports: dict[str, Report]
) -> None:
    report = reports[machine]
    assert {result["status"] for result in report.values()} == {"ok"}
    states = {name: result["value"]["state"] for name, result in report.items()}
    assert states == STATES[machine]


def test_what_is_unknown_has_a_reason(reports: dict[str, Report]) -> None:
    values = [result["value"] for result in reports["dave-partly-unknown"].values()]
    unknown = [value for value in values if value["state"] == "unknown"]
    assert len(unknown) == 8
    assert all(value["reason"] for value in unknown)


def test_each_machine_is_judged_as_it_was_composed(
    reports: dict[str, Report], tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/qlmdm.sqlite"
    text = f"url: https://qlmdm.example.com\nstore: {json.dumps(url)}\nkeys: /nowhere\n"
    context = Context(loaded=settings.parse(text, ServerSettings, "settings.yml"))
    judged = rules(context.checks(), context.settings.audit, "settings.yml", complete=True)
    store = open_store(url)
    store.setup()
    fleet = Fleet(store, now=NOW)
    clients = {
        machine: fleet.client(machine, {name: result["value"] for name, result in report.items()})
        for machine, report in reports.items()
    }
    audit = Audit(
        open_store=lambda: open_store(url),
        rules=judged,
        notifiers=(),
        unknown_grace_period=0.0,
        processes=1,
    )
    tally = audit.run(NOW, None).tally
    found = {
        machine: {record.check: record.state for record in store.verdicts(cid=cid)}
        for machine, cid in clients.items()
    }
    store.close()
    assert (tally.judged, tally.broken) == (len(clients), {})
    assert found == VERDICTS
    told = {check for verdicts in VERDICTS.values() for check in verdicts}
    assert {rule.name for rule in judged} == told | PASSES_EVERYWHERE | {"no-location"}


class WholeHost(ReplayHost):
    """A recorded machine that notes what it was asked and has no answer to."""

    missing: list[str]

    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        result = super().run(argv, **options)
        if result.error:
            self.missing.append(f"{' '.join(argv)}: {result.error}")
        return result

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        try:
            return super().read(path, max_bytes=max_bytes)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            self.missing.append(f"{path}: {error.strerror}")
            raise


@pytest.mark.parametrize("machine", STATES)
def test_nothing_that_a_program_or_file_would_answer_is_missing(machine: str) -> None:
    loaded = settings.defaults(StandaloneSettings)
    found = plugins.load_all(CLIENT_GROUP, client)
    found.register_settings(loaded)
    missing: list[str] = []
    hook = "qlmdm_register_collectors"
    for _, collector in found.named(hook, "collector", settings=loaded):
        hosts: list[WholeHost] = []

        def adapter(hosts: list[WholeHost] = hosts) -> DistroAdapter | None:
            adapters = found.call("qlmdm_register_distros", settings=loaded)
            return plugins.choose_distro(adapters, osrelease.read(hosts[0])).adapter

        hosts.append(WholeHost(MACHINES / machine, distro=adapter))
        hosts[0].missing = missing
        collector.run(hosts[0])
    assert missing == []
