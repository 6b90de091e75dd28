"""Runs inside a machine of record_vm.py: `python3 vm_record.py DIR` records it into DIR.

As `qlmdm-collect --record` does, but in one process, one collector after the other, with all
the time that an emulated machine takes for a command, and without renaming anybody: nobody
lives there. Prints what each collector said.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from qlmdm_core import osrelease, plugins, settings
from qlmdm_core.api import CommandResult, DistroAdapter, Host
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP, client
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.recording import RecordingHost

PATIENCE = 20.0
"""How much slower than real this may be."""


class PatientHost(RealHost):
    """This machine, with time for its commands."""

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 10.0,
        max_bytes: int = 4 << 20,
    ) -> CommandResult:
        """As `RealHost.run`."""
        timeout *= PATIENCE
        return super().run(
            argv, user=user, env=env, stdin=stdin, timeout=timeout, max_bytes=max_bytes
        )


def main(folder: str) -> None:
    """Record this machine."""
    given = settings.defaults(StandaloneSettings)
    loaded = plugins.load_all(CLIENT_GROUP, client)
    loaded.register_settings(given)
    said = {}
    for _, collector in loaded.named("qlmdm_register_collectors", "collector", settings=given):
        hosts: list[Host] = []

        def find(hosts: list[Host] = hosts) -> DistroAdapter | None:
            adapters = loaded.call("qlmdm_register_distros", settings=given)
            return plugins.choose_distro(adapters, osrelease.read(hosts[0])).adapter

        hosts.append(RecordingHost(PatientHost(distro=find), folder))
        said[collector.name] = collector.run(hosts[0])
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
