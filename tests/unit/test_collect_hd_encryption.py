"""Whether disks are encrypted: storage layouts, each built as sysfs, mounts and swap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import hd_encryption

LUKS = "CRYPT-LUKS2-5f0c1b7e-"
LVM = "LVM-q1w2e3-"
ZFS_GET = ("zfs", "get", "-H", "-p", "-t", "filesystem,volume", "-o")


class Laptop:
    """A machine under construction: block devices in sysfs, mounts, swap."""

    def __init__(self, path: Path, *, root: bool = True) -> None:
        self.machine = RecordedMachine(path, root=root)
        self.mounts: list[str] = ["21 1 0:20 / /proc rw - proc proc rw"]
        self.swaps = ["Filename Type Size Used Priority"]
        self.disks = 0

    def disk(self, name: str, *parts: str, where: str = "pci0000:00/0000:00:17.0") -> Laptop:
        """A disk and its partitions, numbered 8:0, 8:1, … (the next disk from 8:16)."""
        base, number = f"/sys/devices/{where}/block/{name}", self.disks * 16
        self.disks += 1
        self._device(base, f"8:{number}")
        for index, part in enumerate(parts, 1):
            self._device(f"{base}/{part}", f"8:{number + index}")
            self.machine.file(f"{base}/{part}/partition", f"{index}\n")
        return self

    def virtual(self, name: str, number: str, *slaves: str, **files: str) -> Laptop:
        """A device that lies on others; `files` are further attributes."""
        base = f"/sys/devices/virtual/block/{name}"
        self._device(base, number)
        for slave in slaves:
            self.machine.link(f"{base}/slaves/{slave}", f"/sys/class/block/{slave}")
        for attribute, text in files.items():
            self.machine.file(f"{base}/{attribute.replace('__', '/')}", text + "\n")
        return self

    def mapping(self, minor: int, label: str, uuid: str, *slaves: str) -> Laptop:
        """A device-mapper device, 253:MINOR."""
        return self.virtual(f"dm-{minor}", f"253:{minor}", *slaves, dm__name=label, dm__uuid=uuid)

    def _device(self, base: str, number: str) -> None:
        self.machine.file(f"{base}/dev", number + "\n")
        name = base.rsplit("/", 1)[-1]
        self.machine.link(f"/sys/class/block/{name}", base.replace("/sys/", "../../", 1))

    def mount(
        self,
        point: str,
        source: str,
        fstype: str,
        number: str = "0:50",
        root: str = "/",
        **more: str,
    ) -> Laptop:
        options = more.get("options", "rw")
        index = len(self.mounts) + 30
        self.mounts.append(f"{index} 1 {number} {root} {point} rw - {fstype} {source} {options}")
        return self

    def swap(self, name: str, kind: str = "partition") -> Laptop:
        self.swaps.append(f"{name} {kind} 1000 0 -2")
        return self

    def collect(self) -> JSON:
        self.machine.file("/proc/self/mountinfo", "\n".join(self.mounts) + "\n")
        self.machine.file("/proc/swaps", "\n".join(self.swaps) + "\n")
        value = hd_encryption.collect(self.machine.host())
        json.dumps(value)
        assert value["state"] in ("encrypted", "not_encrypted", "unknown")
        assert value["state"] != "unknown" or value["reason"]
        for volume in value["volumes"]:
            assert volume["state"] in ("encrypted", "not_encrypted", "unknown", "exempt")
            assert volume["state"] == "encrypted" or volume["reason"], volume
        return value


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    return Laptop(tmp_path)


def volume(value: JSON, mount: str) -> JSON:
    return next(v for v in value["volumes"] if v["mount"] == mount)


def states(value: JSON) -> dict[str, str]:
    return {v["mount"]: v["state"] for v in value["volumes"]}


def standard(laptop: Laptop) -> Laptop:
    """What installers of today make: ESP, /boot, LVM on LUKS."""
    laptop.disk("nvme0n1", "nvme0n1p1", "nvme0n1p2", "nvme0n1p3")
    laptop.mapping(0, "luks-5f0c", LUKS + "luks-5f0c", "nvme0n1p3")
    laptop.mapping(1, "vg-root", LVM + "1", "dm-0").mapping(2, "vg-swap", LVM + "2", "dm-0")
    laptop.mount("/", "/dev/mapper/vg-root", "ext4", "253:1")
    laptop.mount("/boot", "/dev/nvme0n1p2", "ext4", "8:2")
    laptop.mount("/boot/efi", "/dev/nvme0n1p1", "vfat", "8:1")
    return laptop.swap("/dev/dm-2")


# --- the usual -------------------------------------------------------------------------------


def test_lvm_on_luks_is_encrypted_with_the_chain_as_evidence(laptop: Laptop) -> None:
    value = standard(laptop).collect()
    assert value["state"] == "encrypted"
    assert states(value) == {
        "/": "encrypted",
        "/boot": "exempt",
        "/boot/efi": "exempt",
        "swap": "encrypted",
    }
    assert volume(value, "/") == {
        "mount": "/",
        "device": "/dev/mapper/vg-root",
        "fstype": "ext4",
        "state": "encrypted",
        "chain": [
            "vg-root (lvm)",
            "luks-5f0c (crypt LUKS2)",
            "nvme0n1p3 (part)",
            "nvme0n1 (disk)",
        ],
    }


def test_plain_root_is_not_encrypted(laptop: Laptop) -> None:
    value = laptop.disk("sda", "sda1").mount("/", "/dev/sda1", "ext4", "8:1").collect()
    assert value["state"] == "not_encrypted"
    assert value["reason"] == "/ is on /dev/sda1, plain ext4"


@pytest.mark.parametrize(
    ("point", "source"), [("/home", "/dev/sda1"), ("/mnt/windows", "/dev/sda1")]
)
def test_one_plain_data_mount_is_enough(laptop: Laptop, point: str, source: str) -> None:
    value = standard(laptop).disk("sda", "sda1").mount(point, source, "ext4", "8:17").collect()
    assert value["state"] == "not_encrypted"
    assert states(value)["/"] == "encrypted"
    assert value["reason"] == f"{point} is on /dev/sda1, plain ext4"


def test_plain_swap_partition_is_enough(laptop: Laptop) -> None:
    value = standard(laptop).disk("sda", "sda1").swap("/dev/sda1").collect()
    assert value["state"] == "not_encrypted"
    assert value["reason"] == "swap is on /dev/sda1, plain"


def test_encrypted_swap_or_home_does_not_help_a_plain_root(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1", "sda2", "sda3").mount("/", "/dev/sda1", "ext4", "8:1")
    laptop.mapping(0, "cryptswap", "CRYPT-PLAIN-cryptswap", "sda2").swap("/dev/dm-0")
    laptop.mapping(1, "home", LUKS + "home", "sda3").mount("/home", "/dev/dm-1", "xfs", "253:1")
    value = laptop.collect()
    assert value["state"] == "not_encrypted"
    assert states(value) == {"/": "not_encrypted", "/home": "encrypted", "swap": "encrypted"}


def test_unused_encrypted_mapping_says_nothing(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1").mapping(0, "usb", LUKS + "usb", "sdb1")
    assert laptop.mount("/", "/dev/sda1", "ext4", "8:1").collect()["state"] == "not_encrypted"


def test_boot_inside_the_encrypted_root_needs_no_partition_of_its_own(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1", "sda2").mapping(0, "root", "CRYPT-LUKS1-1a2b-root", "sda2")
    laptop.mount("/", "/dev/mapper/root", "btrfs", root="/@")
    laptop.mount("/efi", "/dev/sda1", "vfat", "8:1")
    assert laptop.collect()["state"] == "encrypted"


def test_efi_partition_is_known_by_its_type_wherever_it_is_mounted(laptop: Laptop) -> None:
    standard(laptop).disk("sda", "sda1").mount("/srv/esp", "/dev/sda1", "vfat", "8:17")
    laptop.machine.file(
        "/run/udev/data/b8:17", "E:ID_PART_ENTRY_TYPE=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\n"
    )
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert states(value)["/srv/esp"] == "exempt"


def test_names_with_blanks_are_found_by_number(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "my root", LUKS + "my root", "sda1")
    value = laptop.mount("/", r"/dev/mapper/my\134x20root", "ext4", "253:0").collect()
    assert value["state"] == "encrypted"
    assert volume(value, "/")["device"] == "/dev/mapper/my root"


def test_names_with_blanks_are_found_without_a_number_too(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "my root", LUKS + "my root", "sda1")
    assert (
        laptop.mount("/", r"/dev/mapper/my\134x20root", "btrfs").collect()["state"] == "encrypted"
    )


# --- several legs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "state"), [("dm-1", "encrypted"), ("sdb1", "not_encrypted")])
@pytest.mark.parametrize("kind", ["raid", "lvm", "bcache"])
def test_all_legs_must_be_encrypted(laptop: Laptop, kind: str, second: str, state: str) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1")
    laptop.mapping(0, "one", LUKS + "one", "sda1").mapping(1, "two", LUKS + "two", "sdb1")
    if kind == "raid":
        laptop.virtual("md127", "9:127", "dm-0", second)
        laptop.mount("/", "/dev/md127", "ext4", "9:127")
    elif kind == "bcache":
        laptop.virtual("bcache0", "251:0", "dm-0", second)
        laptop.mount("/", "/dev/bcache0", "ext4", "251:0")
    else:
        laptop.mapping(2, "vg-root", LVM + "root", "dm-0", second)
        laptop.mount("/", "/dev/mapper/vg-root", "ext4", "253:2")
    value = laptop.collect()
    assert value["state"] == state
    assert state == "encrypted" or "/dev/sdb" in value["reason"]


@pytest.mark.parametrize(("second", "state"), [("dm-1", "encrypted"), ("sdb1", "not_encrypted")])
@pytest.mark.parametrize("by", ["sysfs", "command", "lsblk"])
def test_all_members_of_a_btrfs_must_be_encrypted(
    laptop: Laptop, by: str, second: str, state: str
) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1")
    laptop.mapping(0, "one", LUKS + "one", "sda1").mapping(1, "two", LUKS + "two", "sdb1")
    laptop.mount("/", "/dev/mapper/one", "btrfs", root="/@")
    path = "/dev/mapper/two" if second == "dm-1" else "/dev/sdb1"
    if by == "sysfs":
        for name in ("dm-0", second):
            laptop.machine.directory(f"/sys/fs/btrfs/4f2a/devices/{name}")
    elif by == "command":
        laptop.machine.command(
            ["btrfs", "filesystem", "show", "--raw"],
            "Label: none  uuid: 4f2a\n\tTotal devices 2 FS bytes used 1\n"
            "\tdevid    1 size 2 used 1 path /dev/mapper/one\n"
            f"\tdevid    2 size 2 used 1 path {path}\n",
        )
    else:
        entries = [
            {"name": name, "kname": name, "fstype": "btrfs", "uuid": "4f2a", "type": "x"}
            for name in ("dm-0", second)
        ]
        laptop.machine.command(["lsblk", "--json"], json.dumps({"blockdevices": entries}))
    assert laptop.collect()["state"] == state


def test_multipath_is_seen_through(laptop: Laptop) -> None:
    laptop.disk("sda").disk("sdb").mapping(0, "mpatha", "mpath-3600", "sda", "sdb")
    laptop.mapping(1, "mpatha1", "part1-mpath-3600", "dm-0").mapping(2, "r", LUKS + "r", "dm-1")
    value = laptop.mount("/", "/dev/mapper/r", "xfs", "253:2").collect()
    assert value["state"] == "encrypted"
    assert volume(value, "/")["chain"][2:] == ["mpatha (mpath)", "sda (disk)", "sdb (disk)"]


# --- what encrypts, and what does not ---------------------------------------------------------


@pytest.mark.parametrize(
    ("uuid", "state"),
    [
        ("CRYPT-LUKS1-1a2b-m", "encrypted"),
        ("CRYPT-LUKS2-1a2b-m", "encrypted"),
        ("CRYPT-PLAIN-m", "encrypted"),
        ("CRYPT-BITLK-1a2b-m", "encrypted"),
        ("CRYPT-TCRYPT-1a2b-m", "encrypted"),
        ("CRYPT-FVAULT2-1a2b-m", "encrypted"),
        ("CRYPT-VERITY-1a2b-m", "not_encrypted"),
        ("CRYPT-INTEGRITY-1a2b-m", "not_encrypted"),
        ("CRYPT-SUBDEV-1a2b-m", "not_encrypted"),
        ("LVM-1a2b", "not_encrypted"),
        ("CRYPT-NEWTYPE-1a2b-m", "unknown"),
        ("", "unknown"),
        ("acme-crypt", "unknown"),
    ],
)
def test_kind_of_a_mapping_by_its_uuid(laptop: Laptop, uuid: str, state: str) -> None:
    laptop.disk("sda", "sda1").mapping(0, "m", uuid, "sda1")
    assert laptop.mount("/", "/dev/mapper/m", "ext4", "253:0").collect()["state"] == state


@pytest.mark.parametrize(
    ("uuid", "table", "state"),
    [
        ("", "m: 0 99 crypt aes-xts-plain64 0000 0 8:1 0", "encrypted"),
        ("", "m: 0 99 linear 8:1 0", "not_encrypted"),
        ("", "m: 0 9 crypt aes-xts-plain64 00 0 8:1 0\nm: 9 9 linear 8:1 9", "unknown"),
        ("CRYPT-BITLK-1-m", "m: 0 9 crypt a-b-c 0 0 8:1 0\nm: 9 9 zero", "encrypted"),
        ("CRYPT-LUKS2-1-m", "m: 0 99 crypt aes-xts-plain64 :64:logon:x 0 8:1 0", "encrypted"),
        ("CRYPT-LUKS2-1-m", "m: 0 99 crypt cipher_null-ecb 00 0 8:1 0", "not_encrypted"),
        ("CRYPT-PLAIN-m", "m: 0 9 crypt capi:ecb(cipher_null)-null 0 0 8:1 0", "not_encrypted"),
        ("CRYPT-LUKS2-1-m", "m: 0 99 linear 8:1 0", "unknown"),
        (
            "CRYPT-VERITY-1-m",
            "m: 0 99 verity 1 8:1 8:1 4096 4096 9 1 sha256 aa bb",
            "not_encrypted",
        ),
        ("", "m: 0 99 acme 8:1 0", "unknown"),
    ],
)
def test_kind_of_a_mapping_by_its_table(laptop: Laptop, uuid: str, table: str, state: str) -> None:
    laptop.disk("sda", "sda1").mapping(0, "m", uuid, "sda1")
    laptop.machine.command(["dmsetup", "table"], table + "\n")
    assert laptop.mount("/", "/dev/mapper/m", "ext4", "253:0").collect()["state"] == state


@pytest.mark.parametrize(
    ("uuid", "status", "state"),
    [
        ("", "  type:    LUKS2\n  cipher:  aes-xts-plain64\n", "encrypted"),
        ("", "  type:    INTEGRITY\n", "not_encrypted"),
        ("CRYPT-LUKS1-1-m", "  type:    LUKS1\n  cipher:  cipher_null-ecb\n", "not_encrypted"),
        ("CRYPT-LUKS2-1-m", "  type:  LUKS2\n  cipher:  aes-xts-plain64\n", "encrypted"),
        ("", "  type:    n/a\n  cipher:  aes-xts-plain64\n  keysize: 512 bits\n", "encrypted"),
        ("", "  type:    n/a\n  cipher:  capi:xts(aes)-plain64\n", "encrypted"),
        ("", "  type:    n/a\n  cipher:  cipher_null-ecb\n", "not_encrypted"),
        ("", "  type:    n/a\n", "unknown"),
        ("", "  type:    n/a\n  cipher:  (none)\n", "unknown"),
        ("", "  type:    VERITY\n  hash: sha256-x\n", "not_encrypted"),
    ],
)
def test_kind_of_a_mapping_by_cryptsetup(
    laptop: Laptop, uuid: str, status: str, state: str
) -> None:
    laptop.disk("sda", "sda1").mapping(0, "m", uuid, "sda1")
    text = f"/dev/mapper/m is active and is in use.\n{status}"
    laptop.machine.command(["cryptsetup", "status", "m"], text)
    assert laptop.mount("/", "/dev/mapper/m", "ext4", "253:0").collect()["state"] == state


def test_opal_only_mapping_is_encrypted_by_the_disk(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "m", "CRYPT-LUKS2-1-m", "sda1")
    laptop.machine.command(["dmsetup", "table"], "m: 0 99 linear 8:1 0\n")
    text = "/dev/mapper/m is active.\n  type:    LUKS2\n  encryption: HW OPAL only\n"
    laptop.machine.command(["cryptsetup", "status", "m"], text)
    assert laptop.mount("/", "/dev/mapper/m", "ext4", "253:0").collect()["state"] == "encrypted"


def test_inactive_mapping_and_exit_status_0_prove_nothing(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "m", "", "sda1")
    laptop.machine.command(["cryptsetup", "status", "m"], "/dev/mapper/m is inactive.\n")
    assert laptop.mount("/", "/dev/mapper/m", "ext4", "253:0").collect()["state"] == "unknown"


def test_luks_with_integrity_below_is_encrypted(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "r_dif", "CRYPT-INTEGRITY-1-r_dif", "sda1")
    laptop.mapping(1, "r", LUKS + "r", "dm-0").mount("/", "/dev/mapper/r", "ext4", "253:1")
    assert laptop.collect()["state"] == "encrypted"


def test_table_completes_the_legs_that_sysfs_does_not_show(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1")
    laptop.mapping(0, "c", LUKS + "c", "sda1").mapping(1, "vg-r", LVM + "r")
    laptop.machine.command(
        ["dmsetup", "table"],
        "c: 0 9 crypt aes-xts-plain64 0 0 8:1 0\nvg-r: 0 4 linear 253:0\nvg-r: 4 4 linear 8:17\n",
    )
    assert laptop.mount("/", "/dev/vg/r", "ext4", "253:1").collect()["state"] == "not_encrypted"


def test_volume_whose_legs_are_not_seen_is_unknown_where_something_encrypts(
    laptop: Laptop,
) -> None:
    laptop.disk("sda", "sda1").mapping(0, "c", LUKS + "c", "sda1").mapping(1, "vg-r", LVM + "r")
    assert laptop.mount("/", "/dev/vg/r", "ext4", "253:1").collect()["state"] == "unknown"


def test_opal_locking_turns_plain_into_unknown_and_media_encryption_does_not(
    tmp_path: Path,
) -> None:
    for enabled, state in (("N", "not_encrypted"), ("Y", "unknown")):
        laptop = Laptop(tmp_path / enabled).disk("sda", "sda1")
        laptop.machine.command(
            ["sedutil-cli", "--query", "/dev/sda"],
            "/dev/sda SATA DISK\nTPer function (0x0001)\n    ACKNAK = N\n"
            f"Locking function (0x0002)\n    Locked = N, LockingEnabled = {enabled},"
            " MediaEncrypt = Y\n",
        )
        value = laptop.mount("/", "/dev/sda1", "ext4", "8:1").collect()
        assert value["state"] == state
        assert value["hardware"] == [
            {"device": "/dev/sda", "kind": "opal", "locking_enabled": enabled == "Y"}
        ]


# --- files, memory, images --------------------------------------------------------------------


def test_swap_file_is_as_its_file_system(laptop: Laptop) -> None:
    value = standard(laptop).swap(r"/var/my\040swap", "file").collect()
    assert [v["state"] for v in value["volumes"] if v["mount"] == "swap"] == ["encrypted"] * 2
    assert value["volumes"][-1]["device"] == "/var/my swap"


def test_swap_file_on_a_plain_file_system_is_plain(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "/dev/sda1", "ext4", "8:1").swap("/swap.img", "file")
    assert states(laptop.collect())["swap"] == "not_encrypted"


@pytest.mark.parametrize(
    ("backing", "state"),
    [("none", "exempt"), ("/dev/sda1", "not_encrypted"), ("/dev/mapper/luks-5f0c", "encrypted")],
)
def test_zram_is_memory_unless_it_writes_back(laptop: Laptop, backing: str, state: str) -> None:
    standard(laptop).disk("sda", "sda1").virtual("zram0", "252:0", backing_dev=backing)
    value = laptop.swap("/dev/zram0").collect()
    assert value["volumes"][-1]["state"] == state


def test_loop_device_is_as_the_file_system_of_its_file(laptop: Laptop) -> None:
    standard(laptop).virtual("loop3", "7:3", loop__backing_file="/srv/data.img")
    laptop.disk("sda", "sda1").mount("/old", "/dev/sda1", "ext4", "8:17")
    laptop.virtual("loop4", "7:4", loop__backing_file="/old/data.img")
    laptop.mount("/a", "/dev/loop3", "ext4", "7:3").mount("/b", "/dev/loop4", "ext4", "7:4")
    found = states(laptop.collect())
    assert (found["/a"], found["/b"]) == ("encrypted", "not_encrypted")


def test_loop_device_without_a_known_file_is_unknown(laptop: Laptop) -> None:
    standard(laptop).virtual("loop3", "7:3").mount("/a", "/dev/loop3", "ext4", "7:3")
    assert states(laptop.collect())["/a"] == "unknown"


def test_homed_volume_is_encrypted_and_the_plain_root_stays_plain(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "/dev/sda1", "ext4", "8:1")
    laptop.virtual("loop0", "7:0", loop__backing_file="/home/ada.home")
    laptop.mapping(0, "home-ada", LUKS + "home-ada", "loop0")
    laptop.mount("/home/ada", "/dev/mapper/home-ada", "btrfs").machine.file("/home/ada.home", "")
    value = laptop.collect()
    assert value["state"] == "not_encrypted"
    assert states(value)["/home/ada"] == "encrypted"
    assert value["directories"] == [{"path": "/home/ada.home", "kind": "homed", "mounted": True}]


def test_images_memory_and_network_are_no_volumes(laptop: Laptop) -> None:
    standard(laptop).virtual("loop9", "7:9")
    laptop.mount("/snap/core/1", "/dev/loop9", "squashfs", "7:9").mount("/tmp", "tmpfs", "tmpfs")
    laptop.mount("/net", "nas:/export", "nfs4").mount("/run/user/1/doc", "portal", "fuse.portal")
    laptop.mount("/m", "/dev/fuse", "fuse").mount("/media/cd", "/dev/sr0", "iso9660", "11:0")
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert list(states(value)) == ["/", "/boot", "/boot/efi", "swap"]


def test_removable_medium_is_exempt_only_where_such_are_mounted(laptop: Laptop) -> None:
    standard(laptop).disk("sda", "sda1", where="pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0")
    laptop.mount("/run/media/ada/STICK", "/dev/sda1", "vfat", "8:17")
    assert laptop.collect()["state"] == "encrypted"
    laptop.mount("/srv", "/dev/sda1", "vfat", "8:17")
    assert laptop.collect()["state"] == "not_encrypted"


def test_recovery_image_is_exempt_but_told(laptop: Laptop) -> None:
    standard(laptop).disk("sda", "sda1").mount("/recovery", "/dev/sda1", "vfat", "8:17")
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert volume(value, "/recovery")["reason"]


# --- pools ------------------------------------------------------------------------------------


def on_zfs(laptop: Laptop, *, root: str = "aes-256-gcm", home: str = "aes-256-gcm") -> Laptop:
    laptop.mount("/", "rpool/ROOT/os", "zfs").mount("/home", "rpool/home", "zfs")
    laptop.machine.command(
        [*ZFS_GET, "name,property,value", "encryption,keystatus"],
        f"rpool\tencryption\toff\nrpool\tkeystatus\t-\nrpool/ROOT/os\tencryption\t{root}\n"
        f"rpool/ROOT/os\tkeystatus\tavailable\nrpool/home\tencryption\t{home}\n",
    )
    return laptop


def pool_on(laptop: Laptop, *disks: str) -> Laptop:
    lines = "".join(f"\t    {disk}  ONLINE  0  0  0\n" for disk in disks)
    laptop.machine.command(
        ["zpool", "status", "-LP"],
        f"  pool: rpool\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\trpool  ONLINE\n"
        f"\t  mirror-0  ONLINE\n{lines}\tspares\n\t  /dev/sdz AVAIL\n\n"
        "errors: No known data errors\n",
    )
    return laptop


def test_zfs_is_judged_by_the_mounted_data_set(laptop: Laptop) -> None:
    pool_on(on_zfs(laptop.disk("sda", "sda1"), home="off"), "/dev/sda1")
    value = laptop.collect()
    assert states(value) == {"/": "encrypted", "/home": "not_encrypted"}
    assert volume(value, "/")["chain"][0] == "rpool/ROOT/os (zfs, aes-256-gcm)"
    assert value["reason"] == "/home is on rpool/home, plain zfs"


@pytest.mark.parametrize(("second", "state"), [("dm-1", "encrypted"), ("sdb1", "not_encrypted")])
def test_zfs_without_encryption_is_as_all_of_its_disks(
    laptop: Laptop, second: str, state: str
) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1")
    laptop.mapping(0, "one", LUKS + "one", "sda1").mapping(1, "two", LUKS + "two", "sdb1")
    value = pool_on(on_zfs(laptop, root="off", home="off"), "/dev/dm-0", f"/dev/{second}").collect()
    assert value["state"] == state


def test_zfs_before_encryption_is_as_its_disks(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "rpool/os", "zfs")
    laptop.machine.command(
        ["zfs", "get", "-H", "-p", "-o", "name,value", "encryption,keystatus", "rpool/os"],
        stderr="bad property list: invalid property 'encryption'\n",
        returncode=2,
    )
    assert pool_on(laptop, "/dev/sda1").collect()["state"] == "not_encrypted"


def test_zfs_that_says_nothing_is_unknown(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "rpool/os", "zfs")
    assert pool_on(laptop, "/dev/sda1").collect()["state"] == "unknown"


@pytest.mark.parametrize(("encryption", "state"), [("on", "encrypted"), ("off", "not_encrypted")])
def test_swap_on_a_zfs_volume_is_as_the_volume(laptop: Laptop, encryption: str, state: str) -> None:
    pool_on(on_zfs(laptop.disk("sda", "sda1")), "/dev/sda1").virtual("zd0", "230:0")
    laptop.machine.link("/dev/zvol/rpool/swap", "../../zd0")
    laptop.machine.command(
        ["zfs", "get", "-H", "-p", "-o", "name,value", "encryption,keystatus", "rpool/swap"],
        f"rpool/swap\t{encryption}\nrpool/swap\tavailable\n",
    )
    assert states(laptop.swap("/dev/zd0").collect())["swap"] == state


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("Sections:   members_v1,members_v2\nOptions:\n  encrypted:  0\n", "not_encrypted"),
        ("Sections:   crypt,members_v2\nEncryption type:  chacha20_poly1305\n", "encrypted"),
        ("Sections:   members_v1,members_v2\n", "not_encrypted"),
        ("Sections:   crypt,members_v2\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_bcachefs_is_what_its_superblock_says(laptop: Laptop, told: str | None, state: str) -> None:
    laptop.disk("sda", "sda1").disk("sdb", "sdb1").mount("/", "/dev/sda1:/dev/sdb1", "bcachefs")
    if told is not None:
        laptop.machine.command(["bcachefs", "show-super", "/dev/sda1"], told)
    assert laptop.collect()["state"] == state


def test_bcachefs_on_luks_is_encrypted_whatever_it_does_itself(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "one", LUKS + "one", "sda1")
    assert laptop.mount("/", "/dev/mapper/one", "bcachefs").collect()["state"] == "encrypted"


# --- machines that are not installed on their own disk -----------------------------------------


def test_overlay_root_is_as_its_layers(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/media/root-ro", "/dev/sda1", "ext4", "8:1")
    laptop.mount("/media/root-rw", "tmpfs-root", "tmpfs")
    laptop.mount(
        "/",
        "overlayroot",
        "overlay",
        options="rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/up,workdir=/media/root-rw/w",
    )
    assert states(laptop.collect())["/"] == "not_encrypted"


def test_composefs_root_is_as_its_data(laptop: Laptop) -> None:
    standard(laptop)
    laptop.mounts = [line for line in laptop.mounts if " / rw" not in line]
    laptop.mount("/run", "tmpfs", "tmpfs").mount("/sysroot", "/dev/dm-1", "xfs", "253:1")
    laptop.mount(
        "/",
        "composefs",
        "overlay",
        options="ro,lowerdir+=/run/ostree/.private/lower,datadir+=/sysroot/ostree/repo/objects",
    )
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert states(value)["/"] == "encrypted"


def test_ostree_deployment_is_as_its_file_system(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1")
    laptop.mount("/", "/dev/sda1", "xfs", "8:1", root="/ostree/deploy/os/deploy/1.0")
    assert laptop.collect()["state"] == "not_encrypted"


def test_root_in_memory_with_its_system_on_an_encrypted_disk(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "nix", LUKS + "nix", "sda1")
    laptop.mount("/", "none", "tmpfs").mount("/nix", "/dev/mapper/nix", "ext4", "253:0")
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert states(value) == {"/": "exempt", "/nix": "encrypted"}


def test_root_in_memory_alone_is_unknown(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "data", LUKS + "data", "sda1")
    laptop.mount("/", "none", "tmpfs").mount("/data", "/dev/mapper/data", "ext4", "253:0")
    assert laptop.collect()["state"] == "unknown"


@pytest.mark.parametrize("how", ["option", "mount"])
def test_live_medium_is_unknown_even_with_an_encrypted_disk_mounted(
    laptop: Laptop, how: str
) -> None:
    standard(laptop)
    laptop.mounts = [line for line in laptop.mounts if " / rw" not in line]
    laptop.mount("/", "/cow", "overlay", options="rw,lowerdir=/filesystem.squashfs,upperdir=/cow/u")
    laptop.mount("/mnt", "/dev/dm-1", "ext4", "253:1")
    if how == "option":
        laptop.machine.file("/proc/cmdline", "BOOT_IMAGE=/casper/vmlinuz boot=casper quiet\n")
    else:
        laptop.mount("/cdrom", "/dev/sr0", "iso9660", "11:0")
    value = laptop.collect()
    assert value["state"] == "unknown"
    assert "live" in value["reason"]


@pytest.mark.parametrize("marker", ["/run/systemd/container", "/.dockerenv"])
def test_container_is_unknown(laptop: Laptop, marker: str) -> None:
    standard(laptop)
    laptop.mounts = [line for line in laptop.mounts if " / rw" not in line]
    laptop.mount("/", "/dev/dm-1", "ext4", "253:1", root="/var/lib/lxc/c1/rootfs")
    laptop.machine.file(marker, "lxc\n")
    value = laptop.collect()
    assert value["state"] == "unknown"
    assert "it runs in a container" in value["reason"], "not what its mounts look like"


def test_mounts_of_the_host_are_not_held_against_a_container(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "overlay", "overlay", options="rw,lowerdir=/x")
    laptop.mount("/etc/hosts", "/dev/sda1", "ext4", "8:1", root="/containers/7/hosts")
    laptop.machine.file("/.dockerenv", "")
    assert states(laptop.collect()) == {"/": "unknown", "/etc/hosts": "unknown"}


def test_disk_that_a_live_medium_mounts_is_not_judged(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "/dev/sda1", "ext4", "8:1")
    laptop.machine.file("/proc/cmdline", "boot=casper quiet\n")
    value = laptop.collect()
    assert (value["state"], states(value)) == ("unknown", {"/": "unknown"})


def test_marker_of_an_image_is_no_container_on_a_disk_of_its_own(laptop: Laptop) -> None:
    laptop.disk("vda").mount("/", "/dev/vda", "ext4", "8:0").machine.file("/.dockerenv", "")
    assert laptop.collect()["state"] == "not_encrypted"


@pytest.mark.parametrize(
    ("source", "fstype"), [("10.0.0.1:/root", "nfs"), ("root", "9p"), ("fs", "virtiofs")]
)
def test_root_of_another_machine_is_unknown(laptop: Laptop, source: str, fstype: str) -> None:
    assert laptop.mount("/", source, fstype).collect()["state"] == "unknown"


@pytest.mark.parametrize("crypt", [False, True])
@pytest.mark.parametrize("kind", ["iscsi", "nbd"])
def test_root_on_a_network_disk_is_never_encrypted(laptop: Laptop, kind: str, crypt: bool) -> None:
    name = "sda" if kind == "iscsi" else "nbd0"
    laptop.disk(name, where="platform/host2/session1/target2:0:0" if kind == "iscsi" else "virtual")
    if crypt:
        laptop.mapping(0, "r", LUKS + "r", name).mount("/", "/dev/mapper/r", "ext4", "253:0")
    else:
        laptop.mount("/", f"/dev/{name}", "ext4", "8:0")
    assert laptop.collect()["state"] == "unknown"


def test_machine_started_from_the_network_is_never_encrypted(laptop: Laptop) -> None:
    standard(laptop).machine.file("/proc/cmdline", "root=UUID=1 netroot=iscsi:10.0.0.1::::iqn.x\n")
    assert laptop.collect()["state"] == "unknown"


@pytest.mark.parametrize(
    ("root", "state"),
    [
        ("/var/lib/lxc/c1/rootfs", "unknown"),
        ("/rootfs", "unknown"),
        ("/containers/c1", "unknown"),
        ("/@rootfs", "encrypted"),
        ("/ostree/deploy/os/deploy/1.0", "encrypted"),
    ],
)
def test_container_is_known_by_where_its_root_is(laptop: Laptop, root: str, state: str) -> None:
    laptop.disk("sda", "sda1").mapping(0, "r", LUKS + "r", "sda1")
    assert (
        laptop.mount("/", "/dev/mapper/r", "ext4", "253:0", root=root).collect()["state"] == state
    )


# --- directories ------------------------------------------------------------------------------


def test_directories_that_are_encrypted_by_themselves_are_noted(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "/dev/sda1", "ext4", "8:1")
    laptop.mount("/home/ada", "/home/.ecryptfs/ada/.Private", "ecryptfs")
    laptop.mount("/home/ada/vault", "gocryptfs", "fuse.gocryptfs")
    laptop.machine.directory("/home/.ecryptfs/ada").directory("/home/bob/.ecryptfs")
    laptop.machine.command(
        ["fscrypt", "status", "/"], 'ext4 filesystem "/" has 2 protectors and 3 policies.\n'
    )
    value = laptop.collect()
    assert value["state"] == "not_encrypted"
    assert value["directories"] == [
        {"path": "/home/ada", "kind": "ecryptfs", "mounted": True},
        {"path": "/home/ada/vault", "kind": "gocryptfs", "mounted": True},
        {"path": "/home/bob", "kind": "ecryptfs", "mounted": False},
        {"path": "/", "kind": "fscrypt", "policies": 3},
    ]


# --- sources that are missing ------------------------------------------------------------------


def test_no_root_in_sight_is_unknown(laptop: Laptop) -> None:
    assert laptop.collect()["state"] == "unknown"


def test_encrypted_home_does_not_stand_for_a_root_out_of_sight(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mapping(0, "h", LUKS + "h", "sda1")
    value = laptop.mount("/home", "/dev/mapper/h", "ext4", "253:0").collect()
    assert (value["state"], states(value)) == ("unknown", {"/home": "encrypted"})


def test_empty_machine_is_unknown(tmp_path: Path) -> None:
    value = hd_encryption.collect(RecordedMachine(tmp_path).host())
    assert value["state"] == "unknown"
    assert value["volumes"] == []


def test_root_on_a_device_that_is_not_in_sight_is_unknown(laptop: Laptop) -> None:
    laptop.disk("sda", "sda1").mount("/", "/dev/sdq1", "ext4", "8:200")
    assert laptop.collect()["state"] == "unknown"


def test_root_by_number_alone(laptop: Laptop) -> None:
    value = laptop.disk("sda", "sda1").mount("/", "/dev/root", "ext4", "8:1").collect()
    assert volume(value, "/")["device"] == "/dev/sda1"
    assert value["state"] == "not_encrypted"


def lsblk(machine: RecordedMachine, *devices: JSON, returncode: int = 0) -> RecordedMachine:
    text = json.dumps({"blockdevices": devices})
    return machine.command(["lsblk", "-J"], text, returncode=returncode)


def luks_tree(**root: JSON) -> JSON:
    mapped = {"name": "r", "kname": "dm-0", "type": "crypt", "fstype": "ext4", **root}
    part = {"name": "sda2", "type": "part", "fstype": "crypto_LUKS", "children": [mapped]}
    return {"name": "sda", "type": "disk", "children": [part]}


@pytest.mark.parametrize(
    "root",
    [
        {"mountpoint": "/"},
        {"mountpoints": [None, "/"]},
        {"mountpoint": "/x", "mountpoints": ["/x", "/"]},
    ],
)
def test_lsblk_alone_is_enough(tmp_path: Path, root: JSON) -> None:
    host = lsblk(RecordedMachine(tmp_path), luks_tree(**root)).host()
    assert hd_encryption.collect(host)["state"] == "encrypted"


def test_lsblk_that_left_devices_out_is_not_believed(tmp_path: Path) -> None:
    host = lsblk(RecordedMachine(tmp_path), luks_tree(mountpoint="/"), returncode=32).host()
    assert hd_encryption.collect(host)["state"] == "unknown"


def test_lsblk_completes_mounts_of_the_kernel(tmp_path: Path) -> None:
    machine = lsblk(RecordedMachine(tmp_path), luks_tree())
    machine.file("/proc/mounts", "/dev/mapper/r / ext4 rw 0 0\n")
    assert hd_encryption.collect(machine.host())["state"] == "encrypted"


@pytest.mark.parametrize("fstype", ["DM_integrity", "DM_verity_hash"])
def test_what_lsblk_calls_crypt_may_be_a_checksum(tmp_path: Path, fstype: str) -> None:
    tree = luks_tree(mountpoint="/")
    tree["children"][0]["fstype"] = fstype
    host = lsblk(RecordedMachine(tmp_path), tree).host()
    assert hd_encryption.collect(host)["state"] == "not_encrypted"


def test_signature_left_over_on_a_partitioned_disk_says_nothing(tmp_path: Path) -> None:
    disk = {
        "fstype": "crypto_LUKS",
        "pttype": "gpt",
        "children": [{"fstype": "ext4", "parttype": "0fc63daf", "mountpoint": "/"}],
    }
    host = lsblk(RecordedMachine(tmp_path), disk).host()
    assert hd_encryption.collect(host)["state"] == "not_encrypted"


def test_cryptsetup_alone_shows_a_mapping(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/mounts", "/dev/mapper/r / ext4 rw 0 0\n")
    text = "/dev/mapper/r is active and is in use.\n  type:    LUKS2\n  device:  /dev/sda2\n"
    machine.command(["cryptsetup", "status", "r"], text)
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "encrypted"
    assert volume(value, "/")["chain"] == ["r (crypt LUKS2)", "sda2 (part)", "sda (disk)"]


def test_lsblk_that_hangs_leaves_sysfs_as_it_is(laptop: Laptop) -> None:
    standard(laptop).machine.command(["lsblk", "-J"], timed_out=True)
    assert laptop.collect()["state"] == "encrypted"


def test_folder_of_disks_is_enough_where_there_is_none_of_all_devices(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/mounts", "/dev/mapper/r / ext4 rw 0 0\n")
    machine.file("/sys/block/sda/dev", "8:0\n").file("/sys/block/sda/sda1/partition", "1\n")
    machine.file("/sys/block/dm-0/dm/name", "r\n").file("/sys/block/dm-0/dm/uuid", LUKS + "r\n")
    machine.directory("/sys/block/dm-0/slaves/sda1")
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "encrypted"
    assert volume(value, "/")["chain"] == ["r (crypt LUKS2)", "sda1 (part)", "sda (disk)"]


def test_unreadable_swaps_are_told(laptop: Laptop) -> None:
    standard(laptop)
    laptop.machine.file("/proc/self/mountinfo", "\n".join(laptop.mounts))
    laptop.machine.unreadable("/proc/swaps")
    value = hd_encryption.collect(laptop.machine.host())
    assert value["state"] == "unknown"
    assert volume(value, "swap")["state"] == "unknown"


# --- hibernation ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["number", "command line"])
@pytest.mark.parametrize(("inside", "state"), [(True, "encrypted"), (False, "not_encrypted")])
def test_place_of_hibernation_counts_though_it_is_not_swapped_to(
    laptop: Laptop, by: str, inside: bool, state: str
) -> None:
    laptop.disk("sda", "sda1", "sda2")
    laptop.mapping(0, "luks", LUKS + "luks", "sda1").mapping(1, "vg-root", LVM + "r", "dm-0")
    laptop.mapping(2, "vg-swap", LVM + "s", "dm-0" if inside else "sda2")
    laptop.mount("/", "/dev/mapper/vg-root", "ext4", "253:1")
    if by == "number":
        laptop.machine.file("/sys/power/resume", "253:2\n")
    else:
        laptop.machine.file("/proc/cmdline", "ro quiet resume=/dev/mapper/vg-swap splash\n")
    value = laptop.collect()
    assert value["state"] == state
    assert volume(value, "swap")["device"] == "/dev/dm-2"


def test_place_of_hibernation_that_is_told_already_is_not_told_again(laptop: Laptop) -> None:
    standard(laptop).machine.file("/sys/power/resume", "253:2\n")
    assert [v["mount"] for v in laptop.collect()["volumes"]].count("swap") == 1


def test_swap_file_for_hibernation_is_told_with_its_file_system(laptop: Laptop) -> None:
    standard(laptop).machine.file("/sys/power/resume", "253:1\n")
    assert [v["mount"] for v in laptop.collect()["volumes"]].count("swap") == 1


@pytest.mark.parametrize("text", ["0:0\n", "", "7:77\n", "nonsense\n"])
def test_no_hibernation_or_a_disk_that_is_gone_changes_nothing(laptop: Laptop, text: str) -> None:
    standard(laptop).machine.file("/sys/power/resume", text)
    laptop.machine.file("/proc/cmdline", "resume=UUID=gone\n")
    assert laptop.collect()["state"] == "encrypted"


# --- disks that encrypt by themselves ---------------------------------------------------------


def test_mapping_that_names_opal_is_encrypted_by_the_disk(laptop: Laptop) -> None:
    laptop.disk("nvme0n1", "nvme0n1p1").mapping(0, "r", "CRYPT-LUKS2-OPAL-5f0c-r", "nvme0n1p1")
    laptop.machine.command(["dmsetup", "table"], "r: 0 100 linear 8:1 32768\n")
    value = laptop.mount("/", "/dev/mapper/r", "ext4", "253:0").collect()
    assert value["state"] == "encrypted"
    assert "by the disk" in volume(value, "/")["chain"][0]


@pytest.mark.parametrize(
    ("told", "state", "notes"),
    [("Yes", "unknown", 1), ("No", "not_encrypted", 1), ("?", "not_encrypted", 0)],
)
def test_nvme_tells_of_locking_where_sedutil_is_not_there(
    laptop: Laptop, told: str, state: str, notes: int
) -> None:
    laptop.disk("nvme0n1", "nvme0n1p1").mount("/", "/dev/nvme0n1p1", "ext4", "8:1")
    text = f"Locking Features:\n\tLocking Supported: Yes\n\tLocking Feature Enabled:   {told}\n"
    laptop.machine.command(["nvme", "sed", "discover", "/dev/nvme0n1"], text)
    value = laptop.collect()
    assert (value["state"], len(value["hardware"])) == (state, notes)


def test_controller_of_an_nvme_disk_tells_of_locking(laptop: Laptop) -> None:
    laptop.disk("nvme0n1", "nvme0n1p1").mount("/", "/dev/nvme0n1p1", "ext4", "8:1")
    text = "/dev/nvme0 NVMe Acme\nLocking function (0x0002)\n    Locked = N, LockingEnabled = Y\n"
    laptop.machine.command(["sedutil-cli", "--query", "/dev/nvme0"], text)
    assert laptop.collect()["state"] == "unknown"


# --- many of everything -----------------------------------------------------------------------


def test_thousands_of_mounts_and_devices_are_judged_and_the_worst_told(laptop: Laptop) -> None:
    standard(laptop)
    for index in range(400):
        laptop.mapping(index + 10, f"vg-lv{index}", f"{LVM}{index}", "dm-0")
        laptop.mount(f"/srv/{index}", f"/dev/mapper/vg-lv{index}", "ext4", f"253:{index + 10}")
        layers = ":".join(f"/var/lib/docker/overlay2/{n}/diff" for n in range(20))
        laptop.mount(
            f"/var/lib/docker/overlay2/{index}/merged",
            "overlay",
            "overlay",
            options=f"lowerdir={layers}",
        )
    laptop.disk("sdz", "sdz1").mount("/last", "/dev/sdz1", "xfs", "8:17")
    value = laptop.collect()
    assert value["state"] == "not_encrypted"
    assert value["volumes"][0]["mount"] == "/last"
    assert len(json.dumps(value)) < 200_000


def test_one_device_mounted_thousands_of_times_is_told_a_few_times(laptop: Laptop) -> None:
    standard(laptop)
    for index in range(3000):
        laptop.mount(f"/srv/{index}", "/dev/mapper/vg-root", "ext4", "253:1", root=f"/{index}")
    value = laptop.collect()
    assert value["state"] == "encrypted"
    assert len(value["volumes"]) <= 300


# --- files and commands that misbehave --------------------------------------------------------


def test_folders_and_pipes_in_place_of_files_are_told_as_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    for path in ("/proc/self/mountinfo", "/proc/mounts", "/proc/cmdline", "/proc/swaps"):
        machine.directory(path)
    machine.directory("/sys/class/block/sda/dev").file("/sys/fs/btrfs/x/devices", "no folder")
    value = hd_encryption.collect(machine.host())
    assert (value["state"], value["volumes"][0]["mount"]) == ("unknown", "swap")


def test_commands_that_print_rubbish_or_hang_leave_sysfs_as_it_is(laptop: Laptop) -> None:
    standard(laptop)
    rubbish = "\x00\x01\ufffd\n" * 50 + "NAME\n\x1b[31m├─\n"
    for argv in (
        ["lsblk"],
        ["findmnt"],
        ["dmsetup", "table"],
        ["cryptsetup", "status", "luks-5f0c"],
        ["systemd-detect-virt"],
    ):
        laptop.machine.command(argv, rubbish)
    assert laptop.collect()["state"] == "encrypted"
