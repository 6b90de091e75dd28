"""The parsers and the graph behind `hd_encryption`, each alone; any input gives an answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_plugins_builtin.collectors import _udev
from qlmdm_plugins_builtin.collectors.hd_encryption import (
    block,
    directories,
    hardware,
    lsblk,
    mapper,
    mappings,
    mounts,
    pools,
    volumes,
)
from qlmdm_plugins_builtin.collectors.hd_encryption.graph import Node, Role, State, walk, worst_of
from qlmdm_plugins_builtin.collectors.hd_encryption.lookup import Lookup

ROLES: tuple[Role, ...] = ("encrypts", "passes", "disk", "memory", "image", "network", "opaque")


# --- the graph ------------------------------------------------------------------------------

names = st.sampled_from("abcdefgh")
graphs = st.dictionaries(
    names,
    st.builds(
        Node,
        role=st.sampled_from(ROLES),
        parents=st.lists(names, max_size=3, unique=True).map(tuple),
        label=st.just(""),
    ),
)


def ways_down(nodes: dict[str, Node], start: str, above: tuple[str, ...] = ()) -> list[list[str]]:
    """Every way from a node to the bottom; a way that turns in a circle ends there."""
    if start in above or start not in nodes or not nodes[start].parents:
        return [[*above, start]]
    return [
        way for parent in nodes[start].parents for way in ways_down(nodes, parent, (*above, start))
    ]


@given(graphs, names, st.booleans())
def test_encrypted_means_that_every_way_down_meets_encryption_or_leads_to_memory(
    nodes: dict[str, Node], start: str, doubt: bool
) -> None:
    if walk(nodes, start, doubt=doubt).state != "encrypted":
        return
    ways = ways_down(nodes, start)
    for way in ways:
        roles = [nodes[name].role for name in way if name in nodes]
        assert {"encrypts", "memory", "image"} & set(roles), way
    assert any("encrypts" in [nodes[n].role for n in way if n in nodes] for way in ways)


@given(graphs, names, st.booleans())
def test_every_graph_gives_a_state_and_unknown_has_a_reason(
    nodes: dict[str, Node], start: str, doubt: bool
) -> None:
    finding = walk(nodes, start, doubt=doubt)
    assert finding.state in ("encrypted", "not_encrypted", "unknown", "exempt")
    assert finding.state != "unknown" or finding.reason


def test_device_that_lies_on_itself_is_unknown() -> None:
    nodes = {"a": Node(role="passes", parents=("b",)), "b": Node(role="passes", parents=("a",))}
    assert walk(nodes, "a").state == "unknown"


def test_unseen_legs_are_plain_only_where_nothing_encrypts() -> None:
    nodes = {"a": Node(role="passes")}
    assert walk(nodes, "a", doubt=True).state == "unknown"
    assert walk(nodes, "a", doubt=False).state == "not_encrypted"


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["encrypted", "exempt"], "encrypted"),
        (["encrypted", "unknown"], "unknown"),
        (["encrypted", "unknown", "not_encrypted"], "not_encrypted"),
        (["exempt"], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_worst_volume_decides(states: list[State], state: str) -> None:
    assert worst_of(states) == state


# --- mounts -----------------------------------------------------------------------------------


def test_mountinfo_has_optional_fields_and_escapes() -> None:
    line = r"36 35 8:2 /sub /a\040b rw,noatime master:1 shared:7 - ext4 /dev/sd\043 rw,x=1"
    assert mounts.parse_mountinfo(line) == [
        mounts.Mount(
            point="/a b",
            source="/dev/sd#",
            fstype="ext4",
            number="8:2",
            root="/sub",
            options=("rw", "noatime", "rw", "x=1"),
        )
    ]


def test_findmnt_has_a_tree_and_bind_mounts_in_brackets() -> None:
    text = json.dumps(
        {
            "filesystems": [
                {
                    "target": "/",
                    "source": "/dev/sda1[/@]",
                    "fstype": "btrfs",
                    "options": "rw",
                    "children": [{"target": "/x", "source": "tmpfs", "fstype": "tmpfs"}],
                }
            ]
        }
    )
    first, second = mounts.parse_findmnt(text)
    assert (first.source, first.root, second.point) == ("/dev/sda1", "/@", "/x")


def test_path_lies_on_the_longest_and_latest_mount() -> None:
    table = mounts.parse_mounts("a / x\nb /home x\nc /home x\nd /home2 x\n")
    lookup = Lookup({}, {}, table)
    assert lookup.mount_of("/home/ada/file") == 2
    assert lookup.mount_of("/home/ada/file", but=2) == 1
    assert lookup.mount_of("/home2") == 3
    assert lookup.mount_of("/homely") == 0
    assert lookup.mount_of("relative") is None
    assert Lookup({}).mount_of("/home") is None


def test_layers_of_overlays_old_and_new() -> None:
    def of(options: str) -> dict[str, list[str]]:
        return mounts.layers(mounts.Mount(point="/", source="o", options=tuple(options.split(","))))

    assert of("lowerdir=/a:/b\\:c,upperdir=/u,workdir=/w") == {
        "lowerdir": ["/a", "/b:c"],
        "upperdir": ["/u"],
        "datadir": [],
    }
    assert of("lowerdir=/a::/d1::/d2")["datadir"] == ["/d1", "/d2"]
    assert of("lowerdir+=/a,lowerdir+=/b,datadir+=/d")["lowerdir"] == ["/a", "/b"]


def test_swap_areas_of_the_kernel_and_of_swapon() -> None:
    kernel = "Filename\tType\tSize\n/dev/dm-1  partition 9 0 -2\n/a\\040b  file 9 0 -3\n"
    assert [(s.name, s.is_file) for s in mounts.parse_swaps(kernel)] == [
        ("/dev/dm-1", False),
        ("/a b", True),
    ]
    assert mounts.parse_swaps("/dev/zram0 partition\n")[0].name == "/dev/zram0"


# --- devices ----------------------------------------------------------------------------------


def test_device_below_several_parents_is_one_with_all_of_them() -> None:
    child = {"name": "md0", "type": "raid1", "mountpoint": "/"}
    text = json.dumps(
        {
            "blockdevices": [
                {"name": "sda", "type": "disk", "children": [child]},
                {"name": "sdb", "type": "disk", "children": [child]},
            ]
        }
    )
    found = {device.name: device for device in lsblk.parse(text)}
    assert found["md0"].parents == ("sda", "sdb")
    assert found["md0"].kind == "raid"


def test_flat_lists_and_full_paths_are_read() -> None:
    entries = [
        {"name": "/dev/sda", "kname": "/dev/sda", "type": "disk", "pkname": None, "rm": "1"},
        {"name": "/dev/mapper/r", "kname": "/dev/dm-0", "type": "crypt", "pkname": "/dev/sda"},
    ]
    disk, mapping = lsblk.parse(json.dumps({"blockdevices": entries}))
    assert (disk.name, disk.removable) == ("sda", True)
    assert (mapping.name, mapping.label, mapping.parents) == ("dm-0", "r", ("sda",))


def test_names_of_lvm_are_found_by_group_and_volume() -> None:
    device = block.Device(name="dm-3", label="my--vg-the--lv")
    assert Lookup({"dm-3": device}).device("/dev/my-vg/the-lv") == "dm-3"


def test_names_are_found_through_links_and_uuids() -> None:
    devices = {"md127": block.Device(name="md127", fs_uuid="4f-2a")}
    assert Lookup(devices, {"/dev/md/data": "../md127"}).device("/dev/md/data") == "md127"
    assert Lookup(devices).device("/dev/disk/by-uuid/4f-2a") == "md127"
    assert Lookup(devices).device("UUID=4f-2a") == "md127"
    assert Lookup(devices).device("/dev/sda9", "8:9") == ""


def test_no_devices_is_a_sure_answer_of_dmsetup() -> None:
    assert mapper.parse_table("No devices found\n") == {}


def test_tables_are_read_with_blanks_in_names() -> None:
    text = "cr #1: 0 99 crypt aes-xts-plain64 00 0 8:17 4096\nvg-a: 0 5 linear 254:0 2048\n"
    tables = mapper.parse_table(text)
    assert tables["cr #1"][0].cipher == "aes-xts-plain64"
    assert tables["vg-a"][0].devices == ("254:0",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rpool\tencryption\toff\t-\nrpool\tkeystatus\t-\t-\n", {"encryption": "off"}),
        (
            "NAME PROPERTY VALUE SOURCE\nrpool encryption aes-256-gcm -\n",
            {"encryption": "aes-256-gcm"},
        ),
        ("rpool\ton\nrpool\tavailable\n", {"encryption": "on", "keystatus": "available"}),
    ],
)
def test_zfs_properties_in_any_columns(text: str, expected: dict[str, str]) -> None:
    found = pools.parse_zfs_get(text)
    assert list(found) == ["rpool"]
    assert expected.items() <= found["rpool"].items()


def test_disks_of_pools_with_logs_and_without_spares() -> None:
    text = """\
  pool: tank
 state: ONLINE
  scan: scrub repaired 0B
config:

\tNAME            STATE
\ttank            ONLINE
\t  raidz1-0      ONLINE
\t    /dev/sda1   ONLINE
\t    /dev/sdb1   ONLINE
\tlogs
\t  /dev/sdc1     ONLINE
\tspares
\t  /dev/sdd1     AVAIL

errors: No known data errors

  pool: two
config:
\tNAME
\ttwo
\t  /dev/sde ONLINE
"""
    assert pools.parse_zpool_status(text) == {
        "tank": ("/dev/sda1", "/dev/sdb1", "/dev/sdc1"),
        "two": ("/dev/sde",),
    }


# --- any text at all --------------------------------------------------------------------------

WORDS = [
    *("a", "/", " - ", " ", "\n", "\t", "8:1", "0:1", "uuid:", "pool:", "config:", '"', "{", "["),
    *("blockdevices", "filesystems", ":", "crypt", "\\040", "\\x41", "is active", "devid", "path"),
]
fragments = st.lists(st.sampled_from(WORDS)).map("".join)
anything = st.one_of(st.text(), fragments)


@given(anything)
def test_any_text_is_read_without_an_error(text: str) -> None:
    for parse in (
        mounts.parse_mountinfo,
        mounts.parse_mounts,
        mounts.parse_findmnt,
        mounts.parse_swaps,
        lsblk.parse,
        _udev.parse,
        mapper.parse_table,
        mapper.parse_status,
        mappings.parse_info,
        mappings.parse_ls,
        mappings.parse_udevadm,
        pools.parse_zfs_get,
        lambda text: pools.parse_zfs_list(text, "name,encryption"),
        pools.parse_zpool_status,
        pools.parse_btrfs_show,
        pools.parse_bcachefs,
        hardware.parse_query,
        directories.parse_fscrypt,
    ):
        parse(text)


JSON_KEYS = [
    *("name", "kname", "type", "children", "mountpoints", "mountpoint", "fstype", "pkname"),
    *("maj:min", "rm", "target", "source", "options", "parttype", "pttype"),
]
json_keys = st.sampled_from(JSON_KEYS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_keys, inner, max_size=4),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_json_is_read_without_an_error(one: object, two: object) -> None:
    listed = lsblk.parse(json.dumps({"blockdevices": [one, two]}))
    assert set(block.merge({}, listed)) == {device.name for device in listed}
    mounts.parse_findmnt(json.dumps({"filesystems": [one, two]}))


def test_deeply_nested_json_is_no_devices() -> None:
    assert lsblk.parse("[" * 200_000) == []


# --- the machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "live"),
    [
        ("BOOT_IMAGE=/casper/vmlinuz boot=casper quiet", True),
        ("initrd=x boot=live components", True),
        ("root=live:CDLABEL=Fedora rd.live.image", True),
        ("archisobasedir=arch archisolabel=ARCH", True),
        ("root=UUID=1 ro quiet splash reboot=casperous", False),
        ("root=/dev/mapper/vg-live rw", False),
    ],
)
def test_live_media_are_known_by_what_they_boot_with(line: str, live: bool) -> None:
    assert volumes.is_live([], [], line) is live


# --- long lines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "a" * 100_000,
        "1" * 100_000,
        'filesystem "x" has 1 policy ' * 5000,
        "Locking function (\n" + "a " * 50_000,
        "devid 1 path " * 8000,
        ": 1 1 x" * 15_000,
        "uuid:\n" + " " * 100_000,
        "/" * 100_000,
    ],
)
def test_long_lines_are_read_once(line: str) -> None:
    for parse in (
        mounts.parse_mountinfo,
        mounts.parse_mounts,
        mounts.parse_swaps,
        mapper.parse_table,
        mapper.parse_status,
        mappings.parse_info,
        mappings.parse_ls,
        mappings.parse_udevadm,
        pools.parse_zfs_get,
        lambda text: pools.parse_zfs_list(text, "name,encryption"),
        pools.parse_zpool_status,
        pools.parse_btrfs_show,
        pools.parse_bcachefs,
        hardware.parse_query,
        hardware.parse_discover,
        directories.parse_fscrypt,
        lsblk.parse,
    ):
        parse(line)


def test_policies_are_counted_for_mount_points_with_any_name() -> None:
    text = 'ext4 filesystem "/a "b" has c" has 1 protector and 12 policies.\n'
    assert directories.parse_fscrypt(text) == {'/a "b" has c': 12}
