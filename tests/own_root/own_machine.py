"""The machine that the tests wipe that run in a throw-away root."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from qlmdm_core import commanddoc
from qlmdm_core.client.wipe import people
from qlmdm_core.client.wipe.act import Outcome
from qlmdm_core.client.wipe.plan import Disk, Header, Plan
from qlmdm_core.client.wipe.power import Power
from qlmdm_core.commanddoc import Command, Method
from qlmdm_core.host.real import RealHost

CID = "6c0ce0a5-5d0f-4b6c-9b5f-0a4c8e1f7d11"
MACHINE_ID = "5ad7b7a6f64f4e0f9f1c6a1b1c5f3d01"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
service:x:999:999:a service:/srv/service:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ada:x:1000:1000:Ada:/home/ada:/bin/bash
bob:x:1001:1001::/srv/people/bob:/bin/bash
"""
SHADOW = "root:*:1::::::\nservice:!:1::::::\nada:$6$a$b:1::::::\nbob:!:1::::::\n"
GROUP = """\
root:x:0:
adm:x:4:ada,service
service:x:999:
ada:x:1000:
bob:x:1001:
users:x:100:ada,bob
"""
EVE = 70000
"""Somebody of a directory: not in passwd."""


@dataclass
class Told:
    """A reporter that remembers."""

    stages: list[tuple[str, ...]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def started(self, stages: tuple[str, ...]) -> None:
        self.stages.append(stages)

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@contextlib.contextmanager
def furnished(own_power: Power) -> Iterator[None]:
    """A machine with people and services, whose files are all there."""
    assert own_power.kind == "own_root"
    own_power.prove()
    _put("/etc/passwd", PASSWD, 0)
    _put("/etc/shadow", SHADOW, 0)
    _put("/etc/group", GROUP, 0)
    _put("/etc/gshadow", "root:*::\nadm:*::ada\nada:!::\nusers:*:ada:ada,bob\n", 0)
    _put("/etc/subuid", "ada:100000:65536\nbob:165536:65536\n", 0)
    _put("/etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\n", 0)
    for path, uid in (
        ("/home/ada/letter", 1000),
        ("/home/ada/.config/app/state", 1000),
        ("/srv/people/bob/.ssh/id", 1001),
        ("/home/eve/notes", EVE),
        ("/srv/service/data", 999),
        ("/var/mail/ada", 1000),
        ("/var/mail/service", 999),
        ("/var/spool/cron/crontabs/ada", 1000),
        ("/var/spool/cron/crontabs/service", 999),
        ("/var/spool/cron/atjobs/a0001", 1001),
        ("/var/spool/cron/atjobs/a0002", 0),
        ("/tmp/of-ada", 1000),
        ("/tmp/of-service", 999),
        ("/srv/kept/file", 0),
        ("/srv/bound/file", 1000),
        ("/home/ada/other/file", 1000),
        ("/root/file", 0),
    ):
        _put(path, path, uid)
    os.chown("/srv/people", 0, 0)
    assert os.path.exists("/home/ada/bound/file")
    yield
    for folder in ("/home", "/srv", "/var/mail", "/var/spool", "/tmp"):
        for entry in os.scandir(folder):
            if entry.path == "/srv/bound":
                continue  # it is what is mounted in a home
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)  # where something is mounted
            else:
                os.unlink(entry.path)
    Path("/switched-off").unlink(missing_ok=True)


def _put(path: str, text: str, uid: int) -> None:
    """A file, and the folders above it, which belong to the same person below a home."""
    where = Path(path)
    for folder in reversed(where.parents):
        if not folder.exists():
            folder.mkdir()
            os.chown(folder, uid, uid)
    where.write_text(text)
    os.chown(where, uid, uid)


def order(method: Method, *headers: Header, machine_id: str = MACHINE_ID) -> tuple[Command, Plan]:
    """A wipe of this machine, and what it is; its disk is a file."""
    accounts = people.read(RealHost())
    plan = Plan(
        machine_id=MACHINE_ID,
        disks=(Disk(device="/srv/disk", serial="S1", size_bytes=1, model="file"),),
        luks=headers,
        accounts=accounts,
        other_homes=people.homes_without_account(RealHost(), accounts),
        unknown={},
    )
    signed = commanddoc.WipeOrder(
        method=method,
        machine_id=machine_id,
        disk_serials=plan.disk_serials,
        luks_uuids=plan.luks_uuids,
    )
    command = Command(
        server_id="s",
        id="0" * 32,
        part=1,
        kind="wipe",
        hosts=(CID,),
        issued_at=NOW,
        expires_at=NOW.replace(day=25),
        not_before=NOW,
        requested_by="ada",
        wipe=signed,
    )
    return command, plan
