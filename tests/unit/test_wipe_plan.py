"""What a machine is and has, and whether it is the one that was signed away."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client.wipe import accountfiles, blockdevices, luks, match, mounts, people
from qlmdm_core.client.wipe import plan as plans
from qlmdm_core.client.wipe.blockdevices import LSBLK, UnreadableError
from qlmdm_core.client.wipe.people import Account
from qlmdm_core.client.wipe.plan import Plan
from qlmdm_core.commanddoc import Command, Method
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine
from qlmdm_core.testing.corpus import machines

MACHINES = Path(__file__).parents[1] / "machines"
RECORDED = sorted(path.parent.name for path in MACHINES.glob("*/machine.json"))
CID = "6c0ce0a5-5d0f-4b6c-9b5f-0a4c8e1f7d11"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
ID = "5ad7b7a6f64f4e0f9f1c6a1b1c5f3d01"
ROOT_LUKS = "8d0f1f5e-96a1-4f8b-b6a4-6a4f3b7c0c02"

# --- recorded machines ------------------------------------------------------------------------


def recorded(name: str) -> Plan:
    return plans.read(ReplayHost(MACHINES / name))


def test_there_are_machines() -> None:
    assert len(RECORDED) > 80
    assert len(RECORDED) == len(list(machines(MACHINES)))


@pytest.mark.parametrize("name", RECORDED)
def test_a_machine_is_told_whole_or_what_is_unknown_is_said(name: str) -> None:
    plan = recorded(name)
    assert plans.from_json(json.loads(json.dumps(plans.to_json(plan)))) == plan
    # No recording has a machine-id or serial numbers: none of them may be wiped.
    command = order("accounts", plan)
    assert any("machine_id" in reason for reason in match.refusals(command, plan, cid=CID))
    assert all(0 < a.uid != 65534 and a.uid >= 1000 for a in plan.accounts)
    devices = {disk.device for disk in plan.disks}
    assert all(set(header.disks) <= devices for header in plan.luks)
    assert not devices & set(plan.left_alone)


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("vm-bookworm-luks-home", {"/dev/vda2", "/dev/vdb1"}),
        ("vm-bookworm-luks-on-lvm", {"/dev/vda2", "/dev/mapper/data-secret"}),
        ("vm-bookworm-raid1-under-luks", {"/dev/vda2", "/dev/md0"}),
        ("vm-bookworm-raid1-over-luks", {"/dev/vda2", "/dev/vdb", "/dev/vdc"}),
        ("rhel-8-server", {"/dev/md127"}),
        ("debian-12-multipath", {"/dev/mapper/mpatha-part2"}),
        ("fedora-43-kde-plain", set()),
    ],
)
def test_headers_are_found_in_whatever_layer(name: str, headers: set[str]) -> None:
    assert {header.device for header in recorded(name).luks} == headers


def test_a_header_on_a_raid_lies_on_all_its_disks() -> None:
    (header,) = recorded("rhel-8-server").luks
    assert header.disks == ("/dev/sda", "/dev/sdb")


@pytest.mark.parametrize(
    ("name", "device"),
    [("arch-i3-plain-dm-crypt", "/dev/sdb"), ("lubuntu-24.04-xscreensaver", "/dev/sdb")],
)
def test_a_disk_that_can_be_pulled_out_is_left_alone(name: str, device: str) -> None:
    plan = recorded(name)
    assert device in plan.left_alone
    assert all(device not in header.disks for header in plan.luks)


def test_what_erase_would_leave_readable_is_said() -> None:
    assert "/dev/mapper/cryptroot (ext4) on /" in recorded("arch-i3-plain-dm-crypt").not_encrypted
    assert recorded("opensuse-leap-plasma5").not_encrypted == ()


@pytest.mark.parametrize("name", ["chimera-lsblk-hangs", "recorded-pacman", "void-bcachefs"])
def test_a_machine_whose_disks_are_not_seen_is_refused(name: str) -> None:
    plan = recorded(name)
    reasons = match.refusals(order("accounts", plan), plan, cid=CID)
    assert any(reason.startswith("disks: ") for reason in reasons)


# --- a machine that is all there ----------------------------------------------------------------


def disk(name: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    entry = {"name": name, "kname": name, "path": f"/dev/{name}", "type": "disk"}
    return {**entry, "rm": False, "hotplug": False, "children": list(children), **more}


def part(name: str, fstype: str, uuid: str = "", *children: dict[str, Any]) -> dict[str, Any]:
    return disk(name, *children, type="part", fstype=fstype, uuid=uuid)


BUILT_IN = disk("nvme0n1", part("nvme0n1p1", "vfat"), part("nvme0n1p2", "crypto_LUKS", ROOT_LUKS))


def laptop(folder: Path, *more: dict[str, Any], at: str = "pci0000:00/ata1") -> RecordedMachine:
    """A laptop with an encrypted disk; `at` is where its other disks are attached."""
    machine = RecordedMachine(folder)
    for entry in (BUILT_IN, *more):
        place = "pci0000:00/nvme" if entry is BUILT_IN else at
        machine.directory(f"/sys/devices/{place}/block/{entry['name']}")
        machine.link(
            f"/sys/class/block/{entry['name']}", f"../../devices/{place}/block/{entry['name']}"
        )
    machine.command(LSBLK[0], json.dumps({"blockdevices": [BUILT_IN, *more]}))
    machine.file("/etc/machine-id", f"{ID}\n")
    machine.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n")
    machine.file("/proc/self/mountinfo", "1 0 259:2 / / rw - ext4 /dev/dm-0 rw\n")
    return machine.file("/sys/class/block/nvme0n1/device/serial", "S4EWNX0R123456   \n")


def read(machine: RecordedMachine) -> Plan:
    return plans.read(machine.host())


def order(method: Method, plan: Plan) -> Command:
    """A wipe of just this machine."""
    wipe = replace(plan, machine_id=plan.machine_id or ID).order(method)
    return Command(
        server_id="s",
        id="0" * 32,
        part=1,
        kind="wipe",
        hosts=(CID,),
        issued_at=NOW,
        not_before=NOW,
        expires_at=NOW + timedelta(days=1),
        requested_by="ada",
        wipe=wipe,
    )


def test_the_very_machine_is_not_refused(tmp_path: Path) -> None:
    plan = read(laptop(tmp_path))
    assert plan.disk_serials == ("S4EWNX0R123456",)
    assert plan.luks_uuids == (ROOT_LUKS,)
    assert plan.not_encrypted == ("/dev/nvme0n1p1 (vfat)",)
    assert plan.unknown == {}
    for method in ("accounts", "erase"):
        assert match.refusals(order(method, plan), plan, cid=CID) == []


CHANGES: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "another machine-id": (lambda p: replace(p, machine_id="f" * 32), "machine-id"),
    "another disk": (
        lambda p: replace(p, disks=(replace(p.disks[0], serial="S2"),)),
        "serial numbers",
    ),
    "a disk more": (
        lambda p: replace(p, disks=(*p.disks, replace(p.disks[0], serial="S2"))),
        "serial numbers",
    ),
    "no disk": (lambda p: replace(p, disks=()), "serial numbers"),
    "another header": (
        lambda p: replace(p, luks=(replace(p.luks[0], uuid="0" * 36),)),
        "LUKS headers",
    ),
    "no header": (lambda p: replace(p, luks=()), "LUKS headers"),
    "an unreadable machine-id": (
        lambda p: replace(p, unknown={"machine_id": "Permission denied"}),
        "machine_id: Permission denied",
    ),
    "unreadable disks": (lambda p: replace(p, unknown={"disks": "lsblk hangs"}), "disks: lsblk"),
    "not root": (lambda p: replace(p, unknown={"luks": "not root"}), "luks: not root"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_machine_is_refused_and_why(tmp_path: Path, change: str) -> None:
    plan = read(laptop(tmp_path))
    how, why = CHANGES[change]
    (reason,) = match.refusals(order("erase", plan), how(plan), cid=CID)
    assert why in reason


def test_the_order_of_another_client_is_refused(tmp_path: Path) -> None:
    plan = read(laptop(tmp_path))
    assert match.refusals(order("erase", plan), plan, cid="somebody-else")


def test_unreadable_accounts_hold_up_what_removes_them_and_nothing_else(tmp_path: Path) -> None:
    plan = replace(read(laptop(tmp_path)), unknown={"accounts": "/etc/passwd: I/O error"})
    assert match.refusals(order("accounts", plan), plan, cid=CID)
    assert match.refusals(order("erase", plan), plan, cid=CID) == []


def test_a_stick_and_a_new_account_hold_nothing_up_and_are_told(tmp_path: Path) -> None:
    before = read(laptop(tmp_path / "a"))
    stick = disk("sda", part("sda1", "crypto_LUKS", "11111111-2222"), rm=True, hotplug=True)
    machine = laptop(tmp_path / "b", stick)
    machine.file("/etc/passwd", "eve:x:1001:1001::/home/eve:/bin/sh\n")
    after = read(machine)
    assert match.refusals(order("erase", before), after, cid=CID) == []
    assert match.differences(before, after) == [
        "accounts: new: eve (/home/eve)",
        "accounts: gone: ada (/home/ada)",
        "disks that are left alone: new: /dev/sda",
    ]


@pytest.mark.parametrize(
    "place",
    [
        "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0",
        "platform/host3/session1/target3:0:0/3:0:0:0",
        "virtual/nvme-fabrics/ctl/nvme1",
    ],
)
def test_what_is_on_usb_or_in_a_network_is_not_built_in(tmp_path: Path, place: str) -> None:
    assert read(laptop(tmp_path, disk("sda"), at=place)).left_alone == ("/dev/sda",)


def test_a_chip_is_built_in_and_a_card_is_not(tmp_path: Path) -> None:
    cards = [disk("mmcblk0", hotplug=True), disk("mmcblk1", hotplug=True), disk("mmcblk0boot0")]
    machine = laptop(tmp_path, *cards)
    for name, kind in (("mmcblk0", "MMC"), ("mmcblk1", "SD")):
        machine.file(f"/sys/class/block/{name}/device/type", f"{kind}\n")
        machine.file(f"/sys/class/block/{name}/device/serial", "0x1234\n")
    plan = read(machine)
    assert [d.device for d in plan.disks] == ["/dev/nvme0n1", "/dev/mmcblk0"]
    assert plan.left_alone == ("/dev/mmcblk1",)


def test_one_of_which_that_can_not_be_told_is_unknown(tmp_path: Path) -> None:
    plan = read(laptop(tmp_path, disk("mmcblk0", hotplug=True)))
    assert "card or a chip" in plan.unknown["disks"]
    assert plan.luks_uuids == (ROOT_LUKS,)


@pytest.mark.parametrize(
    ("files", "serial"),
    [
        ({"serial": "virtio-1"}, "virtio-1"),
        ({"device/serial": " 0x1234 \0\n"}, "0x1234"),
        ({"device/wwid": "naa.5002538d", "size": "8"}, "naa.5002538d"),
        ({"size": "2048"}, "without a serial number, 1048576 bytes"),
    ],
)
def test_by_what_a_disk_is_known(tmp_path: Path, files: dict[str, str], serial: str) -> None:
    machine = laptop(tmp_path, disk("vdb", **{"maj:min": "254:16"}))
    for name, text in files.items():
        machine.file(f"/sys/class/block/vdb/{name}", text)
    assert read(machine).disks[1].serial == serial


def test_a_disk_of_an_older_bus_is_known_by_udev(tmp_path: Path) -> None:
    machine = laptop(tmp_path, disk("sda", **{"maj:min": "8:0"}))
    machine.file("/run/udev/data/b8:0", "E:ID_SERIAL=SSD_S3Z9NB0K\nE:ID_SERIAL_SHORT=S3Z9NB0K\n")
    assert read(machine).disks[1].serial == "S3Z9NB0K"


def test_a_disk_that_nothing_is_known_of_is_unknown(tmp_path: Path) -> None:
    assert "neither a serial" in read(laptop(tmp_path, disk("vdb"))).unknown["disks"]


def test_a_serial_number_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    machine = laptop(tmp_path).unreadable("/sys/class/block/nvme0n1/serial")
    assert "Permission denied" in read(machine).unknown["disks"]


def test_homes_in_a_network_are_told(tmp_path: Path) -> None:
    machine = laptop(tmp_path).file(
        "/proc/self/mountinfo",
        "1 0 259:2 / / rw - ext4 /dev/dm-0 rw\n2 1 0:40 / /home rw - nfs4 nas:/home rw\n"
        "3 2 0:41 / /home/ada/my\\040files rw - fuse.sshfs host: rw\n",
    )
    assert read(machine).network_homes == ("/home (nfs4)", "/home/ada/my files (fuse.sshfs)")


def test_people_of_a_directory_have_homes_without_accounts(tmp_path: Path) -> None:
    machine = laptop(tmp_path).stat("/home/eve", mode=0o40700, uid=70000)
    machine.stat("/home/lost+found", mode=0o40700, uid=0)
    machine.stat("/home/lena.home", mode=0o100600, uid=0)
    machine.file("/var/lib/systemd/home/lena.identity", "{}")
    assert read(machine).other_homes == ("/home/eve", "/home/lena.home")


# --- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defs", "uids"),
    [
        ("", [1000, 60000, 70000]),
        ("UID_MIN 2000\n", [60000, 70000]),
        ("UID_MAX 2000\n", [1000, 60000, 70000]),
        ("UID_MIN 500\n", [600, 999, 1000, 60000, 70000]),
        # A file that says this would make services people.
        ("UID_MIN 0\n", [600, 999, 1000, 60000, 70000]),
        ("UID_MIN many\n# UID_MIN 5\n", [1000, 60000, 70000]),
    ],
)
def test_who_is_a_person(defs: str, uids: list[int]) -> None:
    numbers = (0, 33, 100, 499, 600, 999, 1000, 60000, 61184, 65534, 65535, 70000)
    passwd = "".join(f"u{uid}:x:{uid}:{uid}::/home/u{uid}:/bin/sh\n" for uid in numbers)
    assert [account.uid for account in people.select(passwd, defs)] == uids


def test_a_name_that_a_service_has_too_is_no_persons() -> None:
    passwd = "toor:x:0:0::/root:/bin/sh\ntoor:x:1000:1000::/home/t:/bin/sh\n"
    assert people.select(passwd, "") == ()


def test_lines_of_nis_and_broken_ones_are_no_accounts() -> None:
    text = "+ada:x:1000:1000::/home/ada:/bin/sh\n+::::::\nx:x:1:2:3\n:x:1000:1:::\nb:x:-1:1:::\n"
    assert people.select(text, "") == ()


def test_accounts_are_taken_out_and_nothing_else_changes() -> None:
    group = "root:x:0:\nadm:x:4:syslog,ada\nada:x:1000:\nteam:x:1001:ada,bob\nbob:x:1001:\n"
    passwd = "ada:x:1000:1000::/:\nbob:x:1001:1001::/:\ncarol:x:1002:1000::/:\n"
    # The group "ada" is also the primary one of carol, who stays.
    assert accountfiles.own_groups(passwd, group, {"ada", "bob"}) == ("bob",)
    assert (
        accountfiles.without_members(group, {"ada", "bob"}, ("bob",))
        == "root:x:0:\nadm:x:4:syslog\nada:x:1000:\nteam:x:1001:\n"
    )
    assert accountfiles.without("adam:x\nada:x\n#ada\n", {"ada"}) == "adam:x\n#ada\n"


@given(st.text(), st.text())
def test_any_passwd_gives_accounts_of_people_only(passwd: str, defs: str) -> None:
    for account in people.select(passwd, defs):
        assert account.uid >= 500
        assert account.uid not in people.NOBODY


NAMES = st.text("abcd", min_size=1, max_size=3)


@given(st.lists(st.tuples(NAMES, st.integers(0, 5))), st.sets(NAMES))
def test_who_is_not_named_stays_to_the_letter(
    lines: list[tuple[str, int]], names: set[str]
) -> None:
    text = "".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in lines)
    kept = "".join(f"{n}:x:{u}:{u}::/:/bin/sh\n" for n, u in lines if n not in names)
    assert accountfiles.without(text, names) == kept


# --- readers --------------------------------------------------------------------------------------


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_answer_of_lsblk_is_a_tree_or_unreadable(text: str) -> None:
    try:
        nodes = blockdevices.parse(text)
    except UnreadableError:
        return
    assert isinstance(nodes, tuple)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(plans.to_json(Plan(unknown={})))), JSONS)
def test_any_report_is_a_plan_or_unreadable(field: str, value: Any) -> None:
    try:
        plan = plans.from_json({**plans.to_json(Plan(unknown={})), field: value})
    except UnreadableError:
        return
    assert isinstance(plan, Plan)
    assert plans.from_json(plans.to_json(plan)) == plan


@given(st.text())
def test_any_mountinfo_is_mounts_or_unreadable(text: str) -> None:
    try:
        found = mounts.parse(text)
    except UnreadableError:
        return
    assert all(mount.target for mount in found) or " - " in text


def test_the_mount_of_a_path_is_the_last_and_deepest() -> None:
    text = (
        "1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /home rw - xfs b rw\n3 2 0:9 / /home rw - nfs c rw\n"
    )
    found = mounts.parse(text)
    assert [mounts.holding(found, p).source for p in ("/homes", "/home/ada")] == ["a", "c"]  # type: ignore[union-attr]


LUKS2 = "Keyslots:\n{}Tokens:\nDigests:\n  0: pbkdf2\n"
LUKS1 = "UUID: x\n\nKey Slot 0: {}\n\tIterations: 1\nKey Slot 1: DISABLED\n"


@pytest.mark.parametrize(
    ("dump", "left"),
    [
        (LUKS2.format("  0: luks2\n\tKey: 512 bits\n  1: luks2\n"), 2),
        (LUKS2.format(""), 0),
        (LUKS1.format("ENABLED"), 1),
        (LUKS1.format("DISABLED"), 0),
        ("Device /dev/sda2 is not a valid LUKS device.", None),
        ("", None),
    ],
)
def test_how_many_key_slots_are_left(dump: str, left: int | None) -> None:
    assert luks.slots_left(dump) == left


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_none(data: bytes) -> None:
    assert luks.header_uuid(data) is None
    named = luks.header_uuid(b"LUKS\xba\xbe" + data)
    assert (named is None) == (len(data) < 202)


def test_account_names_in_a_plan_are_texts() -> None:
    value = plans.to_json(Plan(accounts=(Account(name="a", uid=1, home="/"),), unknown={}))
    value["accounts"][0]["name"] = 7
    with pytest.raises(UnreadableError, match="not a wipe's plan"):
        plans.from_json(value)
