"""The collectors of disks, hardware, system and network, over outputs of real machines.

The outputs are not part of this repository (they have licences of their own); the folder
that holds them is named by the environment variable QLMDM_RECORDED.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import (
    dmidecode,
    hd_encryption,
    ip_addresses,
    network_devices,
    os_info,
)
from qlmdm_plugins_builtin.collectors.hd_encryption import (
    directories,
    hardware,
    mapper,
    mounts,
    pools,
)

FOLDER = os.environ.get("QLMDM_RECORDED", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="QLMDM_RECORDED names no folder with outputs of real machines"
)


def text_of(name: str) -> str:
    return (Path(FOLDER) / name).read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    return RecordedMachine(tmp_path)


# --- how the outputs become machines --------------------------------------------------------


def add_block_device(machine: RecordedMachine, properties: Mapping[str, JSON]) -> None:
    """A device in sysfs and in udev's database, by the properties that udev knows."""
    path = "/sys" + properties["DEVPATH"]
    name = path.rsplit("/", 1)[-1]
    number = f"{properties['MAJOR']}:{properties['MINOR']}"
    machine.file(f"{path}/dev", number + "\n")
    machine.link(f"/sys/class/block/{name}", "../../" + path.removeprefix("/sys/"))
    if properties.get("DEVTYPE") == "partition":
        machine.file(f"{path}/partition", "1\n")
    if "DM_NAME" in properties:
        label = re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), properties["DM_NAME"])
        machine.file(f"{path}/dm/name", label + "\n")
        uuid = re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), properties.get("DM_UUID", ""))
        machine.file(f"{path}/dm/uuid", uuid + "\n")
    for key, value in properties.items():
        if re.fullmatch(r"MD_DEVICE_ev_\w+_DEV", key):
            machine.file(f"{path}/slaves/{value.rsplit('/', 1)[-1]}/dev", "")
    lines = [f"E:{k}={v}" for k, v in properties.items() if isinstance(v, str)]
    machine.file(f"/run/udev/data/b{number}", "\n".join(lines) + "\n")


def add_bundle(machine: RecordedMachine, bundle: JSON) -> None:
    """Files and commands of an installer's view of the machine."""
    for path, content in bundle["files"].items():
        machine.file(path, content)
    kernel_names: dict[str, str] = {}
    paths: dict[str, str] = {}
    for command, answer in bundle["commands"].items():
        if not command.startswith("/usr/bin/udevadm info"):
            continue
        lines = [line[3:] for line in answer["stdout"].splitlines() if line.startswith("E: ")]
        properties = dict(line.split("=", 1) for line in lines if "=" in line)
        if properties.get("SUBSYSTEM", "block") != "block" or "DEVPATH" not in properties:
            continue
        if properties["DEVNAME"].removeprefix("/dev/") not in kernel_names.values():
            add_block_device(machine, properties)
        name = properties["DEVNAME"].removeprefix("/dev/")
        number = f"{properties['MAJOR']}:{properties['MINOR']}"
        kernel_names[number] = name
        paths[properties.get("DM_NAME", name)] = "/sys" + properties["DEVPATH"]
    table = bundle["commands"].get("/sbin/dmsetup table")
    if table is None:
        return
    machine.command(["dmsetup", "table"], table["stdout"], returncode=table["exit_code"])
    for label, segments in mapper.parse_table(table["stdout"]).items():
        for number in [n for segment in segments for n in segment.devices]:
            path = paths.get(label.replace(" ", "\\x20"))
            if path and number in kernel_names:
                machine.file(f"{path}/slaves/{kernel_names[number]}/dev", number)


def states(value: JSON) -> dict[str, str]:
    """The state of each volume by mount point; of swap, the worst."""
    order = ["not_encrypted", "unknown", "encrypted", "exempt"]
    found: dict[str, str] = {}
    for volume in value["volumes"]:
        known = found.get(volume["mount"], "exempt")
        found[volume["mount"]] = min(known, volume["state"], key=order.index)
    return found


# --- hd_encryption --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state", "volumes"),
    [
        ("integrity", "unknown", {"/mnt": "exempt"}),
        ("luks1", "not_encrypted", {"/": "not_encrypted", "/home": "encrypted"}),
        ("luks2", "unknown", {}),
        ("luks4", "not_encrypted", {"/": "not_encrypted", "/test #1": "encrypted"}),
        ("luks_lvm1", "encrypted", {"/": "encrypted", "/home": "encrypted", "swap": "encrypted"}),
        ("md_lvm1", "unknown", {}),
        ("swap1", "not_encrypted", {"/": "not_encrypted", "swap": "not_encrypted"}),
    ],
)
def test_bundle(machine: RecordedMachine, name: str, state: str, volumes: dict[str, str]) -> None:
    add_bundle(machine, json.loads(text_of(f"hd_encryption/bundle-{name}.json")))
    value = hd_encryption.collect(machine.host())
    assert value["state"] == state, value
    assert volumes.items() <= states(value).items(), value


@pytest.mark.parametrize(
    ("name", "mounted", "state"),
    [
        ("integrity", "crypto", "encrypted"),
        ("integrity", "crypto_dif", "not_encrypted"),
        ("md_lvm1", "vg--a-lv--a", "not_encrypted"),
        ("md_lvm1", "vg--b-lv--b", "not_encrypted"),
        ("luks2", "cr-test1", "encrypted"),
    ],
)
def test_mapping_of_a_bundle_if_it_were_the_root(
    machine: RecordedMachine, name: str, mounted: str, state: str
) -> None:
    bundle = json.loads(text_of(f"hd_encryption/bundle-{name}.json"))
    bundle["files"]["/proc/mounts"] = f"/dev/mapper/{mounted} / xfs rw 0 0\n"
    add_bundle(machine, bundle)
    value = hd_encryption.collect(machine.host())
    assert value["state"] == state, value


@pytest.mark.parametrize(
    ("name", "state", "volumes"),
    [
        ("dmcrypt-on-lvm-raid", "not_encrypted", {"/": "not_encrypted"}),
        ("win10-bitlocker-live", "unknown", {}),
        ("zfs-root-no-encryption-property", "not_encrypted", {"/": "not_encrypted"}),
    ],
)
def test_probert(machine: RecordedMachine, name: str, state: str, volumes: dict[str, str]) -> None:
    seen = json.loads(text_of(f"hd_encryption/probert-{name}.json"))
    for properties in seen["blockdev"].values():
        add_block_device(machine, properties)
    machine.command(["findmnt", "--json"], json.dumps({"filesystems": seen["mount"]}))
    if "zfs" in name:
        machine.command(
            ["lsblk", "--json"],
            json.dumps(
                {
                    "blockdevices": [
                        {"name": p["DEVNAME"], "fstype": p.get("ID_FS_TYPE"), "type": "part"}
                        for p in seen["blockdev"].values()
                        if p["DEVTYPE"] == "partition"
                    ]
                }
            ),
        )
        machine.command(
            ["zfs", "get", "-Hp", "-o", "name,value", "encryption,keystatus", "rpool/ROOT/zfsroot"],
            stderr="bad property list: invalid property 'encryption'\n",
            returncode=2,
        )
    value = hd_encryption.collect(machine.host())
    assert value["state"] == state, value
    assert volumes.items() <= states(value).items(), value


@pytest.mark.parametrize(
    ("name", "state", "volumes"),
    [
        ("gpud-lsblk.1.json", "unknown", {}),
        ("gpud-lsblk.2.json", "not_encrypted", {"/": "not_encrypted"}),
        ("gpud-lsblk.5.json", "not_encrypted", {"/": "not_encrypted"}),
        ("gpud-lsblk.withlv.censored.json", "not_encrypted", {"/": "not_encrypted"}),
        ("lsblk-json-locked-luks-siblings.json", "not_encrypted", {"/": "not_encrypted"}),
        ("lsblk-json-old-util-linux.json", "unknown", {}),
        ("lsblk-json-stale-whole-disk-luks-1.json", "encrypted", {"/efi": "exempt"}),
        ("lsblk-tree-luks-no-boot-partition.txt", "encrypted", {"swap": "encrypted"}),
        ("lsblk-tree-multipath-lvm.txt", "not_encrypted", {"/splunk": "not_encrypted"}),
        (
            "lsblk-tree-nixos-luks-two-mountpoints.txt",
            "not_encrypted",
            {"/": "encrypted", "/mnt/windows": "not_encrypted", "/boot": "exempt"},
        ),
        ("lsblk-tree-popos-default-luks.txt", "encrypted", {"/recovery": "exempt"}),
        (
            "lsblk-bcachefs-mountpoints.txt",
            "not_encrypted",
            {"/": "not_encrypted", "/mnt/test": "unknown", "/boot/efi": "exempt"},
        ),
        ("lsblk-pairs-intel-raid.txt", "not_encrypted", {}),
        ("lsblk-pairs-mdraid-sysdisk.txt", "not_encrypted", {}),
        ("lsblk-pairs-luks-on-bcache.txt", "unknown", {}),
        ("lsblk-pairs-rhel-lvm-no-crypt.txt", "not_encrypted", {"swap": "not_encrypted"}),
        ("lsblk-invalid-option.txt", "unknown", {}),
    ],
)
def test_lsblk_alone(
    machine: RecordedMachine, name: str, state: str, volumes: dict[str, str]
) -> None:
    argv = ["lsblk", "--json"] if "json" in name else ["lsblk"]
    machine.command(argv, text_of(f"hd_encryption/{name}"))
    value = hd_encryption.collect(machine.host())
    assert value["state"] == state, value
    assert volumes.items() <= states(value).items(), value


@pytest.mark.parametrize(
    ("name", "root", "fstype", "swap", "state"),
    [
        ("intel-raid", "/dev/md126p3", "btrfs", "/dev/md126p2", "not_encrypted"),
        ("mdraid-sysdisk", "/dev/md127", "btrfs", "/dev/md125", "not_encrypted"),
        ("luks-on-bcache", "/dev/sda3", "btrfs", "/dev/sda2", "not_encrypted"),
    ],
)
def test_lsblk_without_mount_points(
    machine: RecordedMachine, name: str, root: str, fstype: str, swap: str, state: str
) -> None:
    machine.command(["lsblk", "-P"], text_of(f"hd_encryption/lsblk-pairs-{name}.txt"))
    pool = "/dev/mapper/luks-3efb3830-fee1-4a9e-a5c6-ea456bfc269e"
    lines = f"22 1 0:35 / / rw - {fstype} {root} rw\n23 22 0:36 / /mnt2/pool rw - btrfs {pool} rw\n"
    machine.file("/proc/self/mountinfo", lines if "bcache" in name else lines.splitlines()[0])
    machine.file("/proc/swaps", f"Filename Type Size\n{swap} partition 1\n")
    value = hd_encryption.collect(machine.host())
    assert value["state"] == state, value
    expected = {"/": state, "swap": state}
    assert expected.items() <= states(value).items(), value
    if "bcache" in name:
        (chain,) = (v["chain"] for v in value["volumes"] if v["mount"] == "/mnt2/pool")
        assert states(value)["/mnt2/pool"] == "encrypted"
        assert len(chain) == 3


def test_ecryptfs_home_is_noted_and_leaves_the_disk_plain(machine: RecordedMachine) -> None:
    machine.file("/proc/mounts", text_of("hd_encryption/proc-mounts-ecryptfs-home-plain-root.txt"))
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "not_encrypted"
    assert {"path": "/home/fme", "kind": "ecryptfs", "mounted": True} in value["directories"]


def test_zram_is_no_swap_on_disk(machine: RecordedMachine) -> None:
    machine.file("/proc/swaps", text_of("hd_encryption/proc-swaps-zram.txt"))
    assert states(hd_encryption.collect(machine.host())) == {"swap": "exempt"}


@pytest.mark.parametrize("name", ["bind-kubelet", "bind-lxc-root"])
def test_bind_mounts_are_never_encrypted(machine: RecordedMachine, name: str) -> None:
    machine.command(["findmnt", "--json"], text_of(f"hd_encryption/findmnt-{name}.json"))
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "unknown"
    assert "[" not in value["volumes"][0]["device"]


def test_zfs_is_judged_by_data_set(machine: RecordedMachine) -> None:
    names = ["tank-clear/ds-clear", "tank-clear/ds-enc", "tank-enc/ds-clear", "tank-enc/ds-enc"]
    machine.file("/proc/mounts", "".join(f"{name} /{name} zfs rw 0 0\n" for name in names))
    machine.command(
        ["zfs", "get", "-H", "all"],
        text_of("hd_encryption/zfs-get-all-mixed-native-encryption.tsv"),
    )
    found = states(hd_encryption.collect(machine.host()))
    assert found["/tank-clear/ds-enc"] == found["/tank-enc/ds-enc"] == "encrypted"
    assert found["/tank-clear/ds-clear"] == found["/tank-enc/ds-clear"] == "not_encrypted"


def test_home_on_an_encrypted_data_set(machine: RecordedMachine) -> None:
    text = text_of("hd_encryption/zfs-get-encryption-home2-inherits-luks-root.txt")
    machine.file("/proc/mounts", "pool/home2 /home zfs rw 0 0\n")
    machine.command(["zfs", "get", "all", "pool/home2"], text)
    value = hd_encryption.collect(machine.host())
    assert (value["state"], states(value)) == ("unknown", {"/home": "encrypted"})


def test_zfs_properties_in_columns() -> None:
    text = text_of("hd_encryption/zfs-get-encryption-home2-inherits-luks-root.txt")
    found = pools.parse_zfs_get(text)["pool/home2"]
    assert (found["encryption"], found["keystatus"]) == ("aes-256-gcm", "available")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("active-luks1", "LUKS1"),
        ("active-luks2", "LUKS2"),
        ("active-umounted", "PLAIN"),
        ("error", None),
        ("inactive", None),
    ],
)
def test_cryptsetup_status(name: str, kind: str | None) -> None:
    status = mapper.parse_status(text_of(f"hd_encryption/cryptsetup-status-{name}.txt"))
    assert status.get("type") == kind


@pytest.mark.parametrize("name", ["active-luks1", "active-luks2", "active-umounted"])
def test_mapping_that_cryptsetup_alone_knows(machine: RecordedMachine, name: str) -> None:
    text = text_of(f"hd_encryption/cryptsetup-status-{name}.txt")
    mapping = text.split()[0]
    machine.file("/proc/mounts", f"{mapping} / ext4 rw 0 0\n")
    machine.command(["cryptsetup", "status", mapping.rsplit("/", 1)[-1]], text)
    assert hd_encryption.collect(machine.host())["state"] == "encrypted"


@pytest.mark.parametrize("name", ["error", "inactive"])
def test_mapping_that_cryptsetup_does_not_show_is_unknown(
    machine: RecordedMachine, name: str
) -> None:
    text = text_of(f"hd_encryption/cryptsetup-status-{name}.txt")
    machine.file("/proc/mounts", "/dev/mapper/dm-crypto-plain / ext4 rw 0 0\n")
    machine.command(["cryptsetup", "status", "dm-crypto-plain"], text)
    assert hd_encryption.collect(machine.host())["state"] == "unknown"


def test_swap_file_is_as_the_root_that_it_lies_on(machine: RecordedMachine) -> None:
    machine.command(["swapon", "--show"], text_of("hd_encryption/swapon-show-file.txt"))
    machine.file("/proc/mounts", "/dev/sda2 / ext4 rw 0 0\n")
    assert states(hd_encryption.collect(machine.host())) == {
        "/": "not_encrypted",
        "swap": "not_encrypted",
    }


def test_disk_that_could_lock_but_does_not_stays_plain(machine: RecordedMachine) -> None:
    text = text_of("hd_encryption/sedutil-query-opal-not-enabled.txt")
    machine.file("/proc/mounts", "/dev/nvme0n1p2 / ext4 rw 0 0\n")
    machine.command(["sedutil-cli", "--query", "/dev/nvme0n1"], text)
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "not_encrypted"
    assert value["hardware"] == [
        {"device": "/dev/nvme0n1", "kind": "opal", "locking_enabled": False}
    ]


def test_encrypted_directory_of_fscrypt_is_noted(machine: RecordedMachine) -> None:
    text = text_of("hd_encryption/fscrypt-status-mountpoint-one-policy.txt")
    machine.file("/proc/mounts", "/dev/sda2 / ext4 rw 0 0\n/dev/sdb1 /mnt/x ext4 rw 0 0\n")
    machine.command(["fscrypt", "status", "/mnt/x"], text)
    value = hd_encryption.collect(machine.host())
    assert value["state"] == "not_encrypted"
    assert value["directories"] == [{"path": "/mnt/x", "kind": "fscrypt", "policies": 1}]


def test_small_outputs_are_read() -> None:
    query = hardware.parse_query(text_of("hd_encryption/sedutil-query-opal-not-enabled.txt"))
    assert query["LockingEnabled"] is False
    assert query["MediaEncrypt"] is True
    policies = text_of("hd_encryption/fscrypt-status-mountpoint-one-policy.txt")
    assert directories.parse_fscrypt(policies) == {"/mnt/x": 1}
    swaps = mounts.parse_swaps(text_of("hd_encryption/swapon-show-file.txt"))
    assert swaps == [mounts.Swap(name="/swap.img", is_file=True)]


# --- dmidecode --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ami-aptio-crb-placeholders",
            {"manufacturer": None, "product": None, "family": None, "serial": None, "uuid": None},
        ),
        ("centos7-vmware", {"virtual": True, "uuid": "28fd4d56-3389-e2f8-6474-0159923b580e"}),
        ("glpi-dell-fx160", {"manufacturer": "Dell Inc.", "serial": "C83T54J", "portable": False}),
        (
            "glpi-lenovo-thinkpad",
            {
                "manufacturer": "LENOVO",
                "product": "1298A8G",
                "version": "ThinkPad Edge E320",
                "serial": "LR9NKZ7",
                "family": None,
                "portable": True,
                "virtual": False,
            },
        ),
        (
            "glpi-linux-1",
            {
                "manufacturer": None,
                "product": None,
                "serial": None,
                "board_product": "P5Q",
                "uuid": "40EB001E-8C00-01CE-8E2C-00248C590A84",
            },
        ),
        ("glpi-vmware", {"virtual": True, "portable": None}),
        ("google-chromebook-akali", {"product": "Akali 360", "serial": None, "portable": True}),
        ("thinkpad-11e", {"product": "20D90020US", "version": "ThinkPad 11e", "portable": True}),
        ("tuxedo-aura14", {"manufacturer": "TUXEDO", "board_product": "NL45PU2"}),
        ("ubuntu1804-vmware", {"virtual": True}),
    ],
)
@pytest.mark.parametrize("argv", [["dmidecode"], ["dmidecode", "-t", "0,1,2,3"]])
def test_dmidecode(
    machine: RecordedMachine, name: str, expected: dict[str, JSON], argv: list[str]
) -> None:
    value = dmidecode.collect(machine.command(argv, text_of(f"dmidecode/{name}.txt")).host())
    assert value["state"] == "available"
    assert expected.items() <= value.items()


# --- os_info ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arch_arch", {"id": "arch", "version_id": None, "rolling": True, "build_id": "rolling"}),
        ("bazzite_40", {"id": "bazzite", "version_id": "40", "rolling": False}),
        ("chimera_chimera", {"id": "chimera", "version_id": None, "rolling": True}),
        ("clear-linux-os_clear-linux-os", {"id": "clear-linux-os", "id_like": []}),
        ("debian_13", {"id": "debian", "version_id": "13", "codename": "trixie"}),
        ("devuan_5", {"id": "devuan", "id_like": ["debian"], "version_id": "5"}),
        ("endless_5.1.1", {"id": "endless", "id_like": ["ubuntu", "debian"]}),
        (
            "fedora_workstation_40",
            {"id": "fedora", "version_id": "40", "variant_id": "workstation"},
        ),
        ("gentoo_2.18", {"id": "gentoo", "rolling": True}),
        ("kaos_kaos", {"id": "kaos", "version_id": None, "rolling": True}),
        ("linuxmint_22", {"id": "linuxmint", "ubuntu_codename": "noble", "codename": "wilma"}),
        ("nixos_25.05", {"id": "nixos", "id_like": [], "support_end": "2025-12-31"}),
        ("openmandriva_openmandriva", {"id": "openmandriva", "rolling": True}),
        ("opensuse-tumbleweed_20240823", {"version_id": "20240823", "version": None}),
        ("pop_22.04", {"id": "pop", "version_id": "22.04", "rolling": False}),
        ("slackware_15.0", {"id": "slackware", "version_id": "15.0", "name": "Slackware"}),
        ("void_void", {"id": "void", "version_id": None, "rolling": True}),
    ],
)
def test_os_release(machine: RecordedMachine, name: str, expected: dict[str, JSON]) -> None:
    machine.file("/etc/os-release", text_of(f"os_info/os-release-{name}"))
    value = os_info.collect(machine.host())
    assert value["state"] == "available"
    assert expected.items() <= value.items()


def add_toml(machine: RecordedMachine, name: str) -> None:
    """A recording of commands and files in TOML, of which a few lines matter."""
    text = text_of(name)
    for command, answer in re.findall(
        r'\[commands\."([^"]+)"\]\nstdout = ("""\n.*?"""|"[^"\n]*")', text, re.DOTALL
    ):
        machine.command(command.split(), answer.strip('"').lstrip("\n").replace("\\\\", "\\"))
    for path, content in re.findall(
        r'\[files\."([^"]+)"\]\ncontent = ("""\n.*?"""|"[^"\n]*")', text, re.DOTALL
    ):
        machine.file(path, content.strip('"').lstrip("\n"))


def test_raspbian(machine: RecordedMachine) -> None:
    add_toml(machine, "os_info/detect-raspbian.toml")
    value = os_info.collect(machine.host())
    assert (value["id"], value["id_like"]) == ("raspbian", ["debian"])
    assert (value["kernel"], value["architecture"]) == ("4.19.57-v7+", "armv7l")


# --- addresses and interfaces -----------------------------------------------------------------


def by_address(value: JSON) -> dict[str, str]:
    return {entry["address"]: entry["kind"] for entry in value["addresses"]}


# Its authors gave another interface identifier to what was a public address.
GLOBAL = {"192.168.2.18": "ethernet", "fe80::7777:2222:1111:eeee": "ethernet"}


def test_ip_addresses_as_json(machine: RecordedMachine) -> None:
    text = text_of("ip_addresses/cloudinit-sample-ipaddrshow-json")
    value = ip_addresses.collect(machine.command(["ip", "--json", "addr"], text).host())
    assert by_address(value) == GLOBAL


def test_ip_addresses_as_text(machine: RecordedMachine) -> None:
    text = text_of("ip_addresses/cloudinit-sample-ipaddrshow-output")
    value = ip_addresses.collect(machine.command(["ip", "addr"], text).host())
    assert by_address(value) == GLOBAL


def test_ip_addresses_of_vpns_are_their_near_ends(machine: RecordedMachine) -> None:
    text = text_of("ip_addresses/glpi-ip_addr-1.txt")
    value = ip_addresses.collect(machine.command(["ip", "addr"], text).host())
    found = by_address(value)
    assert found["192.168.41.6"] == found["192.168.222.14"] == "vpn"
    assert "192.168.41.5" not in found
    assert found["192.168.0.10"] == "ethernet"


def test_ip_addresses_of_interfaces_without_carrier_are_left_out(machine: RecordedMachine) -> None:
    text = text_of("ip_addresses/glpi-ip_addr-5.txt")
    value = ip_addresses.collect(machine.command(["ip", "addr"], text).host())
    assert {(e["address"], e["interface"]) for e in value["addresses"]} == {
        ("128.93.189.62", "wlan0"),
        ("192.168.1.11", "wlan0"),
    }


def test_ip_addresses_by_nmcli(machine: RecordedMachine) -> None:
    text = text_of("ip_addresses/nmcli-device-show-centos7.txt")
    value = ip_addresses.collect(machine.command(["nmcli", "device", "show"], text).host())
    assert by_address(value) == {"192.168.71.180": "ethernet", "172.17.0.1": "virtual"}


def devices(machine: RecordedMachine) -> dict[str, JSON]:
    return {d["name"]: d for d in network_devices.collect(machine.host())["devices"]}


def test_network_devices_without_sysfs(machine: RecordedMachine) -> None:
    machine.command(["ip", "addr"], text_of("network_devices/glpi-ip_addr-2.txt"))
    found = devices(machine)
    assert {name for name, device in found.items() if device["physical"]} == {"eth0", "wlan0"}
    assert found["sit0"]["mac"] is found["eql"]["mac"] is None


@pytest.mark.parametrize("name", ["centos7", "ubuntu1604"])
def test_network_devices_by_ifconfig(machine: RecordedMachine, name: str) -> None:
    machine.command(["ifconfig", "-a"], text_of(f"network_devices/ifconfig-{name}.txt"))
    found = devices(machine)
    assert [n for n, device in found.items() if device["physical"]] == ["ens33"]
    assert found["ens33"]["mac"].startswith("00:0c:29:")


def test_network_devices_of_a_node_of_containers(machine: RecordedMachine) -> None:
    add_toml(machine, "network_devices/linux_flannel.toml")
    found = devices(machine)
    assert {name for name, device in found.items() if device["physical"]} == {"eth0"}
    assert found["docker0"]["kind"] == found["flannel.1"]["kind"] == "virtual"


def test_network_devices_by_nmcli(machine: RecordedMachine) -> None:
    machine.command(["nmcli", "device"], text_of("network_devices/nmcli-device-centos7.txt"))
    kinds = {name: device["kind"] for name, device in devices(machine).items()}
    assert kinds == {"ens33": "ethernet", "docker0": "virtual", "lo": "loopback"}


def test_network_devices_by_iwconfig(machine: RecordedMachine) -> None:
    machine.command(["iwconfig"], text_of("network_devices/iwconfig-associated.txt"))
    assert {name: device["kind"] for name, device in devices(machine).items()} == {"wlan0": "wifi"}


def test_network_devices_by_connections(machine: RecordedMachine) -> None:
    text = text_of("network_devices/nmcli-connection-all-centos7.txt")
    machine.command(["nmcli", "-f", "all", "connection"], text)
    found = {name: device["kind"] for name, device in devices(machine).items()}
    assert found == {"ens33": "ethernet"}
