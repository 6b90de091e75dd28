"""What lsblk, findmnt and mount print for people, each form of it alone on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import hd_encryption
from qlmdm_plugins_builtin.collectors.hd_encryption import (
    block,
    hardware,
    lsblk,
    lsblk_text,
    mounts,
)

TREE = """\
NAME               MAJ:MIN RM  SIZE RO TYPE  MOUNTPOINT
zram0              252:0    0    8G  0 disk  [SWAP]
nvme0n1            259:0    0  477G  0 disk
├─nvme0n1p1        259:1    0    1G  0 part  /boot/efi
└─nvme0n1p2        259:2    0  476G  0 part
  └─luks-7c11      253:0    0  476G  0 crypt
    ├─vg-root      253:1    0  100G  0 lvm   /
    └─vg-home      253:2    0  376G  0 lvm   /home
"""
ASCII = TREE.replace("├─", "|-").replace("└─", "`-")
OLD = ASCII.replace("luks-7c11      ", "luks-7 (dm-0)  ")
MOJIBAKE = TREE.encode().decode("latin-1")
SIZES_WITH_COMMAS = TREE.replace("477G", "476,9G").replace("  0 disk\n", "  0 disk  \n")
HEADLESS = TREE.partition("\n")[2]
FILE_SYSTEMS = """\
NAME          FSTYPE      FSVER LABEL      UUID               FSAVAIL FSUSE% MOUNTPOINTS
sda
├─sda1        vfat        FAT32 EFI SYSTEM 1A2B-3C4D           500.1M     2% /boot/efi
└─sda2        crypto_LUKS 2                7c11f0e5-1d0a-4c6f
  └─luks-7c11 btrfs             main disk  0b6e9d6c-5b8f-4d0e  200.4G    40% /home
                                                                             /.snapshots
                                                                             /
"""
LIST = """\
NAME TYPE FSTYPE MOUNTPOINT
sda  disk
sda1 part vfat   /boot/efi
sda2 part ext4   /
"""
RAW = """\
NAME MAJ:MIN RM SIZE RO TYPE MOUNTPOINTS
sda 8:0 0 100G 0 disk 
sda1 8:1 0 100G 0 part /\\x0a/my\\x20data
"""  # noqa: W291 - the blank stands before an empty cell
PAIRS = """\
NAME="/dev/sda" KNAME="/dev/sda" MAJ_MIN="8:0" TYPE="disk" FSTYPE="" MOUNTPOINT=""
NAME="/dev/sda2" KNAME="/dev/sda2" MAJ_MIN="8:2" TYPE="part" FSTYPE="ext4" MOUNTPOINT="/"
"""


def collect(path: Path, text: str, *argv: str) -> JSON:
    return hd_encryption.collect(RecordedMachine(path).command(argv or ["lsblk"], text).host())


def states(value: JSON) -> dict[str, str]:
    return {v["mount"]: v["state"] for v in value["volumes"]}


@pytest.mark.parametrize("text", [TREE, ASCII, OLD, MOJIBAKE, SIZES_WITH_COMMAS, HEADLESS])
def test_tree_of_any_look_is_read(tmp_path: Path, text: str) -> None:
    value = collect(tmp_path, text)
    assert value["state"] == "encrypted"
    assert states(value) == {
        "/boot/efi": "exempt",
        "/": "encrypted",
        "/home": "encrypted",
        "swap": "exempt",
    }
    chain = next(v["chain"] for v in value["volumes"] if v["mount"] == "/")
    assert [label.split(" ")[0] for label in chain][-2:] == ["nvme0n1p2", "nvme0n1"]


def test_kernel_name_that_old_versions_show_in_parentheses() -> None:
    found = {device.name: device for device in lsblk.parse(OLD)}
    assert found["dm-0"].label == "luks-7"
    assert found["vg-root"].parents == ("dm-0",)


def test_further_mount_points_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    value = collect(tmp_path, FILE_SYSTEMS, "lsblk", "-f")
    assert value["state"] == "encrypted"
    assert states(value) == {
        "/boot/efi": "exempt",
        "/home": "encrypted",
        "/.snapshots": "encrypted",
        "/": "encrypted",
    }
    found = {device.name: device for device in lsblk.parse(FILE_SYSTEMS)}
    assert found["luks-7c11"].kind == "crypt"
    assert found["sda1"].fs_uuid == "1A2B-3C4D"


def test_what_lsblk_calls_crypt_and_lies_on_two_devices_is_not_taken_for_encrypted(
    tmp_path: Path,
) -> None:
    text = "NAME     MAJ:MIN RM SIZE RO TYPE  MOUNTPOINT\nsda        8:0    0   9G  0 disk\n"
    text += "|-sda1     8:1    0   8G  0 part\n| `-vroot 253:0    0   8G  1 crypt /\n"
    text += "`-sda2     8:2    0   1G  0 part\n  `-vroot 253:0    0   8G  1 crypt /\n"
    value = collect(tmp_path, text)
    assert (value["state"], states(value)) == ("unknown", {"/": "unknown"})


def test_linux_inside_windows_is_known_by_its_mounts(tmp_path: Path) -> None:
    text = "NAME MAJ:MIN RM SIZE RO TYPE MOUNTPOINTS\nsdc 8:32 0 1T 0 disk /mnt/wslg/distro\n"
    value = collect(tmp_path, text + "                            /\n")
    assert (value["state"], set(states(value).values())) == ("unknown", {"unknown"})


def test_disk_whose_name_ends_in_a_number_is_no_partition(tmp_path: Path) -> None:
    text = FILE_SYSTEMS.replace("sda1 ", "nvme0n1p1").replace("sda2 ", "nvme0n1p2")
    found = lsblk.parse(text.replace("sda\n", "nvme0n1\n"))
    assert found[0].kind == "disk"
    names = ("sda1", "mmcblk0p2", "nvme0n1p3", "sda", "mmcblk0", "nvme0n1", "loop0", "md127")
    assert [name for name in names if block.is_partition(name)] == list(names[:3])


def test_mount_points_that_lost_their_place_are_found(tmp_path: Path) -> None:
    text = "NAME  FSTYPE UUID      MOUNTPOINTS\nsda\n`-sda1 ext4  4f-2a-77-aa-09 /\n"
    assert states(collect(tmp_path, text, "lsblk", "-f")) == {"/": "not_encrypted"}


@pytest.mark.parametrize("text", [LIST, RAW, PAIRS])
def test_lists_without_a_tree_have_partitions_on_their_disks(tmp_path: Path, text: str) -> None:
    value = collect(tmp_path, text)
    assert value["state"] == "not_encrypted"
    root = next(v for v in value["volumes"] if v["mount"] == "/")
    assert root["chain"][-1] == "sda (disk)"


def test_escapes_of_raw_lines_are_undone(tmp_path: Path) -> None:
    assert states(collect(tmp_path, RAW)) == {"/": "not_encrypted", "/my data": "not_encrypted"}


def test_partition_of_a_raid_in_a_list_is_a_partition() -> None:
    text = 'NAME="md126" TYPE="raid1"\nNAME="md126p3" TYPE="md"\n'
    found = {device.name: device for device in lsblk.parse(text)}
    assert (found["md126p3"].kind, found["md126p3"].parents) == ("part", ("md126",))


def test_mapping_of_two_disks_in_a_tree_lies_on_both() -> None:
    text = "NAME    TYPE\nsda     disk\n`-md0   raid1\nsdb     disk\n`-md0   raid1\n"
    found = {device.name: device for device in lsblk.parse(text)}
    assert found["md0"].parents == ("sda", "sdb")


@pytest.mark.parametrize(
    "text",
    [
        "lsblk: invalid option -- 'J'\n\nUsage:\n lsblk [options] [<device> ...]\n",
        "NAME\n",
        "hello world\n",
        "",
    ],
)
def test_text_that_lists_no_devices_is_none(tmp_path: Path, text: str) -> None:
    assert lsblk.parse(text) == []
    assert collect(tmp_path, text)["state"] == "unknown"


def test_listing_that_says_it_is_a_part_is_not_believed(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["lsblk"], TREE, stderr="lsblk: dm-4: failed to get device path\n")
    assert hd_encryption.collect(machine.host())["state"] == "unknown"


# --- without mount points ---------------------------------------------------------------------

WITHOUT_MOUNTS = """\
NAME="sda" TYPE="disk" FSTYPE=""
NAME="sda1" TYPE="part" FSTYPE="{}"
NAME="sda2" TYPE="part" FSTYPE="swap"
"""


@pytest.mark.parametrize(
    ("fstype", "more", "state"),
    [
        ("ext4", "", "not_encrypted"),
        ("btrfs", "", "not_encrypted"),
        ("ext4", 'NAME="luks" TYPE="crypt" FSTYPE="ext4"\n', "unknown"),
        ("zfs_member", "", "unknown"),
        ("zfs_member", 'NAME="sda3" TYPE="part" FSTYPE="ext4"\n', "unknown"),
        ("ntfs", "", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_where_nothing_encrypts_mount_points_are_not_needed(
    tmp_path: Path, fstype: str, more: str, state: str
) -> None:
    value = collect(tmp_path, WITHOUT_MOUNTS.format(fstype) + more)
    assert (value["state"], value["volumes"]) == (state, [])
    assert value["reason"]


def test_removable_disk_says_nothing_about_a_machine_without_mount_points(tmp_path: Path) -> None:
    text = 'NAME="sdb1" TYPE="part" FSTYPE="ext4" RM="1"\n'
    assert collect(tmp_path, text)["state"] == "unknown"


@pytest.mark.parametrize(
    ("point", "state"),
    [("/sysroot", "not_encrypted"), ("/var", "not_encrypted"), ("/d", "unknown")],
)
def test_plain_part_of_the_system_counts_where_the_root_is_out_of_sight(
    tmp_path: Path, point: str, state: str
) -> None:
    text = f'NAME="sda1" TYPE="part" FSTYPE="xfs" MOUNTPOINT="{point}"\n'
    assert collect(tmp_path, text)["state"] == state


# --- by the names of disks alone --------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("/dev/sda2", "not_encrypted"),
        ("/dev/nvme0n1p3", "not_encrypted"),
        ("/dev/mmcblk0p2", "not_encrypted"),
        ("/dev/vdb", "not_encrypted"),
        ("/dev/xvda1", "not_encrypted"),
        ("/dev/mapper/vg-root", "unknown"),
        ("/dev/dm-0", "unknown"),
        ("/dev/md127", "unknown"),
        ("/dev/root", "unknown"),
        ("/dev/nvme0", "unknown"),
    ],
)
def test_disk_is_known_by_its_name_where_nothing_else_is(
    tmp_path: Path, source: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/mounts", f"{source} / ext4 rw 0 0\n")
    assert hd_encryption.collect(machine.host())["state"] == state


FINDMNT = """\
TARGET       SOURCE           FSTYPE  OPTIONS
/            /dev/sda2[/@]    btrfs   rw,relatime
├─/proc      proc             proc    rw
└─/home      /dev/sda2[/@home] btrfs  rw
"""
MOUNT = """\
proc on /proc type proc (rw,nosuid)
/dev/sda2 on / type btrfs (rw,relatime,subvol=/@)
/dev/sda2 on /home type btrfs (rw)
"""


@pytest.mark.parametrize(("argv", "text"), [(["findmnt"], FINDMNT), (["mount"], MOUNT)])
def test_mounts_as_tools_print_them(tmp_path: Path, argv: list[str], text: str) -> None:
    value = hd_encryption.collect(RecordedMachine(tmp_path).command(argv, text).host())
    assert value["state"] == "not_encrypted"
    assert states(value) == {"/": "not_encrypted", "/home": "not_encrypted"}
    assert {v["device"] for v in value["volumes"]} == {"/dev/sda2"}


@pytest.mark.parametrize(
    ("told", "mapped", "state"),
    [
        ("off", "", "not_encrypted"),
        ("off", "/dev/mapper/x /data ext4 rw 0 0\n", "unknown"),
        ("aes-256-gcm", "", "encrypted"),
        ("-", "", "unknown"),
    ],
)
def test_word_of_zfs_alone(tmp_path: Path, told: str, mapped: str, state: str) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/mounts", f"tank/root / zfs rw 0 0\n{mapped}")
    machine.command(["zfs", "get", "-H", "all"], f"tank/root\tencryption\t{told}\t-\n")
    found = hd_encryption.collect(machine.host())
    assert states(found)["/"] == state


def test_property_as_zfs_shows_it_to_people(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/mounts", "tank/root / zfs rw 0 0\n")
    text = "NAME       PROPERTY    VALUE        SOURCE\ntank/root  encryption  aes-256-ccm  -\n"
    machine.command(["zfs", "get", "encryption", "tank/root"], text)
    assert states(hd_encryption.collect(machine.host())) == {"/": "encrypted"}


# --- any text at all --------------------------------------------------------------------------

WORDS = [
    *("NAME", "KNAME", "TYPE", "FSTYPE", "MOUNTPOINT", "MOUNTPOINTS", "MAJ:MIN", " ", "  ", "\n"),
    *("├─", "`-", "│", "sda", "sda1", "dm-0", "(dm-0)", "8:1", "disk", "crypt", "/", "[SWAP]"),
    *('NAME="', '"', "=", "TARGET", "SOURCE", " on /", " type ", " (", ")", "\t", "\\x2f"),
]
texts = st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map("".join))


@given(texts)
def test_any_text_gives_devices_with_names_or_none(text: str) -> None:
    assert all(isinstance(entry, dict) for entry in lsblk_text.parse(text))
    assert all(device.name for device in lsblk.parse(text))
    for mount in [*mounts.parse_findmnt_text(text), *mounts.parse_mount(text)]:
        assert mount.point.startswith("/")
    hardware.parse_discover(text)


@pytest.mark.parametrize(
    "line",
    [
        "sda disk ext4 /x",
        "| " * 40 + "sda",
        'NAME="sda" TYPE="disk"',
        "a on /b type c (d)",
        "/dev/sda1 /mnt/x ext4 rw",
    ],
)
def test_long_listings_are_read_in_one_pass(line: str) -> None:
    for head in ("NAME TYPE FSTYPE MOUNTPOINT\n", "TARGET SOURCE FSTYPE OPTIONS\n", ""):
        text = head + f"{line}\n" * 20_000
        lsblk.parse(text)
        mounts.parse_findmnt_text(text)
        mounts.parse_mount(text)
    lsblk.parse(line * 20_000)
