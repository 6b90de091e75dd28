"""What lsblk, findmnt and mount print for people, each form of it alone on a machine."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, CommandResult, Host
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


NARROW = """\
NAME FSTYPE FSVER LABEL UUID           FSAVAIL FSUSE% MOUNTPOINTS
sda
├─sda1
│    vfat   FAT32       5A5A-0101       400.2M     3% /boot/efi
├─sda2
│    xfs                0e1f-44aa         9.1G    51% /
└─sda3
     crypto 2           77c0-19b2
  └─cr_data
       ext4   1.0       a1b2-c3d4        55.5G    12% /srv
"""


def test_cells_below_their_name_as_a_narrow_terminal_shows_them(tmp_path: Path) -> None:
    value = collect(tmp_path, NARROW, "lsblk", "-f")
    assert states(value) == {"/boot/efi": "exempt", "/": "not_encrypted", "/srv": "encrypted"}
    found = {device.name: device for device in lsblk.parse(NARROW)}
    assert (found["sda2"].fstype, found["sda2"].fs_uuid) == ("xfs", "0e1f-44aa")


def test_a_mount_point_alone_on_its_line_need_not_stand_below_its_heading(tmp_path: Path) -> None:
    value = collect(tmp_path, FILE_SYSTEMS.replace(" " * 77 + "/\n", "      /\n"), "lsblk", "-f")
    assert states(value)["/"] == "encrypted"


@pytest.mark.parametrize(
    "argv",
    [
        ("lsblk", "--json", "--output", "NAME,TYPE,MOUNTPOINTS"),
        ("lsblk", "-P", "-p", "-o", "KNAME,NAME,SIZE,TYPE,FSTYPE,MOUNTPOINT,MODEL"),
    ],
)
def test_columns_that_others_ask_for_are_asked_for_where_nothing_else_is_known(
    tmp_path: Path, argv: tuple[str, ...]
) -> None:
    assert collect(tmp_path, PAIRS, *argv)["state"] == "not_encrypted"


MOUNTED = "/dev/mapper/vg7-top / ext4 rw 0 0\n/dev/sda1 /boot ext4 rw 0 0\n"
SWAPS = "Filename Type Size Used Priority\n/dev/dm-5 partition 900 0 -2\n"
TABLES = """\
box: 0 8000 crypt aes-xts-plain64 :32:logon:cryptsetup:x-d0 0 8:7 32768
vg7-top: 0 5000 linear 251:3 2048
vg7-swap: 0 900 linear 251:3 7048
"""
COLUMNS = """\
Name     Maj Min Stat Open Targ Event  UUID
box      251   3 L--w    2    1      0 CRYPT-LUKS2-00aa-box
vg7-top  251   4 L--w    1    1      0 LVM-Aa
vg7-swap 251   5 L--w    1    1      0 LVM-Ab
"""
SEPARATED = "box/251/3/1/CRYPT/CRYPT-LUKS2-00aa-box\nvg7-top/251/4/1/LVM/LVM-Aa\n"
SEPARATED += "vg7-swap/251/5/1/LVM/LVM-Ab\n"
BLOCKS = "\n".join(
    f"Name:              {name}\nState:             ACTIVE\nMajor, minor:      251, {minor}\n"
    f"Number of targets: 1\nUUID: {uuid}\n"
    for name, minor, uuid in (
        ("box", 3, "CRYPT-LUKS2-00aa-box"),
        ("vg7-top", 4, "LVM-Aa"),
        ("vg7-swap", 5, "LVM-Ab"),
    )
)
COLUMNS_ASKED = "name,major,minor,segments,subsystem,uuid"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["dmsetup", "info", "-c"], COLUMNS),
        (["dmsetup", "info"], BLOCKS),
        (
            ["dmsetup", "--columns", "--separator", "/", "-o", COLUMNS_ASKED, "info"],
            SEPARATED,
        ),
        (["dmsetup", "ls"], "box\t(251:3)\nvg7-top\t(251:4)\nvg7-swap\t(251:5)\n"),
        (["dmsetup", "ls"], "box\t(251, 3)\nvg7-top\t(251, 4)\nvg7-swap\t(251, 5)\n"),
        (
            ["dmsetup", "ls", "--tree"],
            "vg7-top (251:4)\n └─box (251:3)\n    └─ (8:7)\nvg7-swap (251:5)\n └─box (251:3)\n",
        ),
    ],
)
def test_without_sysfs_dmsetup_tells_what_lies_on_what(
    tmp_path: Path, argv: list[str], text: str
) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", MOUNTED).file("/proc/swaps", SWAPS)
    built.command(["dmsetup", "table"], TABLES).command(argv, text)
    value = hd_encryption.collect(built.host())
    assert states(value) == {"/": "encrypted", "/boot": "exempt", "swap": "encrypted"}


def test_without_sysfs_udev_tells_which_mapping_has_which_number(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", MOUNTED)
    built.command(["dmsetup", "table"], TABLES)
    properties = "E: MAJOR=251\nE: MINOR=3\nE: DM_NAME=box\nE: DM_UUID=CRYPT-LUKS2-00aa-box\n"
    built.command(
        ["udevadm", "info", "/dev/mapper/box"], f"P: /devices/dm-3\nN: dm-3\n{properties}"
    )
    assert states(hd_encryption.collect(built.host()))["/"] == "encrypted"


def test_numbers_that_nobody_explains_leave_it_open(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", MOUNTED)
    value = hd_encryption.collect(built.command(["dmsetup", "table"], TABLES).host())
    assert (value["state"], states(value)["/"]) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["dmsetup", "table", "--target", "crypt"], TABLES.replace("box", "top").split("vg7")[0]),
        (["dmsetup", "ls", "--target", "crypt"], "top\t(251:0)\n"),
        (
            ["dmsetup", "info"],
            "Name: top\nMajor, minor: 251, 0\nUUID: CRYPT-PLAIN-top\n",
        ),
    ],
)
def test_one_word_of_dmsetup_is_enough(tmp_path: Path, argv: list[str], text: str) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", "/dev/mapper/top / ext4 rw 0 0\n")
    value = hd_encryption.collect(built.command(argv, text).host())
    assert (value["state"], states(value)) == ("encrypted", {"/": "encrypted"})


def test_a_signature_is_no_encryption(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", "/dev/mapper/top / ext4 ro 0 0\n")
    info = "Name: top\nMajor, minor: 251, 0\nUUID: CRYPT-VERITY-00-top\n"
    value = hd_encryption.collect(built.command(["dmsetup", "info"], info).host())
    assert value["state"] != "encrypted"


@pytest.mark.parametrize(
    ("argv", "text", "state"),
    [
        ("zfs get encryption,keystatus tank/os",
         "NAME PROPERTY VALUE SOURCE\ntank/os encryption on -\n", "encrypted"),
        ("zfs get -H -o name,value encryption tank/os", "tank/os\taes-256-gcm\n", "encrypted"),
        ("zfs get -H -o value encryption tank/os", "aes-256-gcm\n", "encrypted"),
        ("zfs get -o value encryption tank/os", "VALUE\noff\n", "not_encrypted"),
        ("zfs get -H -o value encryption tank/os", "", "unknown"),
        ("zfs list -o name,encryption", "NAME ENCRYPTION\ntank off\ntank/os aes-256-gcm\n",
         "encrypted"),
        ("zfs list -H -o name,encryption,keystatus", "tank\toff\t-\ntank/os\toff\t-\n",
         "not_encrypted"),
        ("zfs list -o name,encryption", "NAME ENCRYPTION\ntank on\n", "unknown"),
    ],
)  # fmt: skip
def test_zfs_in_the_words_that_people_use(tmp_path: Path, argv: str, text: str, state: str) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", "tank/os / zfs rw 0 0\n")
    assert hd_encryption.collect(built.command(argv.split(), text).host())["state"] == state


def test_null_cipher_on_a_disk_that_only_cryptsetup_names(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/proc/mounts", "/dev/mapper/top / ext4 rw 0 0\n")
    status = "/dev/mapper/top is active and is in use.\n  type:    LUKS2\n"
    status += "  cipher:  cipher_null-ecb\n  device:  /dev/vdb3\n"
    value = hd_encryption.collect(built.command(["cryptsetup", "status", "top"], status).host())
    assert (value["state"], states(value)) == ("not_encrypted", {"/": "not_encrypted"})


def test_lsblk_that_is_there_and_shows_nothing_is_not_asked_for_ever() -> None:
    class Container:
        asked = 0

        def run(self, argv: tuple[str, ...], *, timeout: float) -> CommandResult:
            self.asked += 1
            return CommandResult(argv=argv, found=True, returncode=0)

    host = Container()
    assert lsblk.read(cast("Host", host), alone=True) == []
    assert host.asked <= len(lsblk.LSBLK) + 1
