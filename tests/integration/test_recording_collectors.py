"""Whatever the installed collectors find on this machine, they find again in its recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qlmdm_core import osrelease, plugins, settings
from qlmdm_core.api import Collector, DistroAdapter, Host
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP, client
from qlmdm_core.host.common import DistroSource
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.recording import RecordingHost
from qlmdm_core.host.replay import ReplayHost

Open = Callable[[DistroSource], Host]


class Agent:
    """All installed client plugins, loaded here; collectors are called as they are."""

    def __init__(self) -> None:
        self.settings = settings.defaults(StandaloneSettings)
        self.plugins = plugins.load_all(CLIENT_GROUP, client)
        self.plugins.register_settings(self.settings)

    def collectors(self) -> list[Collector]:
        hook = "qlmdm_register_collectors"
        return [c for _, c in self.plugins.named(hook, "collector", settings=self.settings)]

    def collect(self, open_host: Open) -> dict[str, str]:
        """Each collector's value, or the error, as JSON."""
        values = {}
        for collector in self.collectors():
            hosts: list[Host] = []

            def find(hosts: list[Host] = hosts) -> DistroAdapter | None:
                adapters = self.plugins.call("qlmdm_register_distros", settings=self.settings)
                return plugins.choose_distro(adapters, osrelease.read(hosts[0])).adapter

            hosts.append(open_host(find))
            values[collector.name] = json.dumps(collector.run(hosts[0]), sort_keys=True)
        return values


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent()


def test_a_replay_finds_what_was_recorded(agent: Agent, tmp_path: Path) -> None:
    target = tmp_path / "recording"
    recorded = agent.collect(lambda find: RecordingHost(RealHost(distro=find), target))
    assert recorded
    replayed = agent.collect(lambda find: ReplayHost(target, distro=find))
    assert replayed == recorded
