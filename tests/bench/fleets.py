"""Fleets in a store: filled fast, and written to by many threads."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import load

from qlmdm_core.api import JSON
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.fleet import START, Fleet


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(number)` in so many threads; an error in one is an error."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def values(number: int, size: int) -> dict[str, JSON]:
    """A report of about `size` bytes on which every built-in check has something to judge."""
    packages = [{"name": f"package-{n}", "version": f"{n}.0-1"} for n in range(60)]
    made: dict[str, JSON] = {
        "hd_encryption": {
            "state": "encrypted",
            "volumes": [
                {
                    "mount": mount,
                    "device": "dm-0",
                    "fstype": "ext4",
                    "state": "encrypted",
                    "chain": ["dm-0 crypt", "nvme0n1p3", "nvme0n1"],
                }
                for mount in ("/", "/home", "/var", "swap")
            ],
        },
        "screenlock": {"state": "enabled", "delay_seconds": 300, "sessions": []},
        "guest_session": {"state": "disabled", "display_manager": "gdm", "autologin": None},
        "firewall": {"state": "on", "ipv4": "on", "ipv6": "on", "front_end": "ufw", "zone": None},
        "os_updates": {
            "state": "up_to_date",
            "updates": 0,
            "security_updates": 0,
            "packages": packages,
            "release_upgrade": None,
            "supported_until": "2029-04-30",
            "cache_age_seconds": 3600,
        },
        "sshd": {
            "state": "not_running",
            "password_login": None,
            "root_password_login": None,
            "ports": [],
        },
        "eset": {"state": "running", "version": "11", "up_to_date": True},
        "eraagent": {"state": "running", "version": "11", "up_to_date": True},
        "prey": {"state": "absent", "version": None, "up_to_date": None},
        "dmidecode": {"state": "available", "manufacturer": "LENOVO", "serial": f"S{number}"},
        "os_info": {"state": "available", "id": "ubuntu", "version_id": "24.04"},
        "ip_addresses": {"state": "available", "addresses": ["10.0.3.7"]},
        "network_devices": {"state": "available", "devices": []},
        "geolocation": {"state": "off", "reason": "not enabled"},
    }
    made["network_devices"]["padding"] = "x" * max(0, size - 6500)
    return made


def filled(url: str, count: int, size: int) -> Store:
    """A store with so many clients that reported once; group commit makes it bearable."""
    store = open_store(url)
    store.setup()
    fleet = Fleet(store)

    def work(number: int) -> None:
        for client in range(number, count, 16):
            cid = str(uuid.UUID(int=(client * 0x9E3779B97F4A7C15 % 2**64) << 64 | client))
            fleet.report(fleet.enrol(f"host{client}", cid=cid), values(client, size))

    in_threads(16, work)
    return store


class Writers:
    """Submits to one SQLite store, in this process."""

    def __init__(self, folder: Path) -> None:
        self.store = filled(f"sqlite://{folder}/qlmdm.sqlite", 64, load.BODY)
        self.fleet = Fleet.__new__(Fleet)
        self.fleet.store, self.fleet.now = self.store, START + timedelta(hours=1)
        self.fleet._numbers, self.fleet._seq = itertools.count(1000), {}
        self.cids: Sequence[str] = [client.cid for client in self.store.clients().clients]
        self._counter = itertools.count(1)

    def rate(self, *, threads: int, count: int) -> float:
        """Durable, changed submissions in a second."""

        def work(number: int) -> None:
            for cid in itertools.islice(
                itertools.cycle(self.cids[number::threads]), count // threads
            ):
                self.fleet.report(cid, values(next(self._counter), load.BODY))

        begun = time.perf_counter()
        in_threads(threads, work)
        return count // threads * threads / (time.perf_counter() - begun)

    def written(self, *, changed: bool, count: int) -> float:
        """Bytes written for each submission of a client."""
        number = next(self._counter)
        self.fleet.report(self.cids[0], values(number, load.BODY))
        before = load.written_bytes()
        for _ in range(count):
            number = next(self._counter) if changed else number
            self.fleet.report(self.cids[0], values(number, load.BODY))
        return (load.written_bytes() - before) / count

    def close(self) -> None:
        self.store.close()
