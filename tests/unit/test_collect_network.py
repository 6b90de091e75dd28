"""Addresses and interfaces: by sysfs and ip, and by older tools where those are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import (
    _interface_model,
    _interface_tools,
    _interfaces,
    ip_addresses,
    network_devices,
)

UP = ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]


def address(local: str, prefix: int = 24, **more: JSON) -> JSON:
    family = "inet6" if ":" in local else "inet"
    return {"family": family, "local": local, "prefixlen": prefix, "scope": "global", **more}


def interface(name: str, *addresses: JSON, flags: JSON = None, **more: JSON) -> JSON:
    return {
        "ifname": name,
        "flags": UP if flags is None else flags,
        "link_type": "ether",
        "address": "52:54:00:11:22:33",
        "addr_info": list(addresses),
        **more,
    }


def addresses(path: Path, *interfaces: JSON) -> JSON:
    machine = RecordedMachine(path).command(["ip", "-json", "addr"], json.dumps(interfaces))
    value = ip_addresses.collect(machine.host())
    json.dumps(value)
    return value


def listed(value: JSON, key: str = "addresses") -> list[str]:
    return [entry["address"] for entry in value[key]]


# --- addresses --------------------------------------------------------------------------------


def test_addresses_in_use_with_their_interfaces(tmp_path: Path) -> None:
    value = addresses(
        tmp_path, interface("enp1s0", address("192.0.2.7"), address("2001:db8::7", 64))
    )
    assert value["state"] == "available"
    assert value["addresses"][0] == {
        "address": "192.0.2.7",
        "prefix": 24,
        "family": "inet",
        "scope": "global",
        "interface": "enp1s0",
        "kind": "ethernet",
        "temporary": False,
    }
    assert listed(value) == ["192.0.2.7", "2001:db8::7"]


def test_loopback_and_addresses_that_are_not_usable_are_left_out(tmp_path: Path) -> None:
    value = addresses(
        tmp_path,
        interface("lo", address("127.0.0.1", 8), flags=["LOOPBACK", "UP", "LOWER_UP"]),
        interface(
            "eth0",
            address("192.0.2.1"),
            address("192.0.2.2", deprecated=True),
            address("2001:db8::3", tentative=True),
            address("2001:db8::4", dadfailed=True),
            address("127.0.1.1", 8),
            address("nonsense"),
        ),
        {},
    )
    assert listed(value) == ["192.0.2.1"]


@pytest.mark.parametrize("flags", [["BROADCAST"], ["NO-CARRIER", "UP"], ["UP"]])
def test_interfaces_that_are_down_are_left_out(tmp_path: Path, flags: list[str]) -> None:
    assert listed(addresses(tmp_path, interface("eth0", address("192.0.2.1"), flags=flags))) == []


def test_link_local_addresses_are_apart(tmp_path: Path) -> None:
    value = addresses(
        tmp_path,
        interface("eth0", address("fe80::1", 64, scope="link"), address("169.254.3.4", 16)),
    )
    assert listed(value) == []
    assert listed(value, "link_local") == ["169.254.3.4", "fe80::1"]


def test_stable_addresses_and_real_interfaces_come_first(tmp_path: Path) -> None:
    value = addresses(
        tmp_path,
        interface("docker0", address("172.17.0.1", 16)),
        interface("wg0", address("10.9.0.2", 32), link_type="none"),
        interface(
            "wlp2s0", address("2001:db8::ffff", 64, temporary=True), address("2001:db8::1", 64)
        ),
        interface("enp1s0", address("192.0.2.9")),
    )
    assert listed(value) == ["192.0.2.9", "2001:db8::1", "2001:db8::ffff", "10.9.0.2", "172.17.0.1"]
    assert [entry["kind"] for entry in value["addresses"]] == [
        "ethernet",
        "wifi",
        "wifi",
        "vpn",
        "virtual",
    ]
    assert value["addresses"][2]["temporary"] is True


def test_order_of_the_tool_does_not_change_the_value(tmp_path: Path) -> None:
    one, two = interface("eth0", address("192.0.2.1")), interface("eth1", address("192.0.2.2"))
    assert addresses(tmp_path / "a", one, two) == addresses(tmp_path / "b", two, one)


TEXT = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 52:54:00:aa:bb:cc brd ff:ff:ff:ff:ff:ff permaddr 00:16:3e:aa:bb:cc
    inet 198.51.100.4/22 brd 198.51.103.255 scope global dynamic eth0
       valid_lft 80000sec preferred_lft 80000sec
    inet6 2001:db8::4/64 scope global temporary dynamic
       valid_lft 80000sec preferred_lft 8000sec
3: tun0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc fq state UNKNOWN
    link/none
    inet 10.8.0.6 peer 10.8.0.5/32 scope global tun0
4: sit0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN
    link/sit 0.0.0.0 brd 0.0.0.0
"""
ONE_LINE = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 198.51.100.4/22 brd 198.51.103.255 scope global dynamic eth0\\       valid_lft 9sec
2: eth0    inet6 2001:db8::4/64 scope global temporary dynamic \\       valid_lft 9sec
3: tun0    inet 10.8.0.6 peer 10.8.0.5/32 scope global tun0\\       valid_lft forever
"""
IFCONFIG = """\
eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
        inet 198.51.100.4  netmask 255.255.252.0  broadcast 198.51.103.255
        inet6 2001:db8::4  prefixlen 64  scopeid 0x0<global>
        ether 52:54:00:aa:bb:cc  txqueuelen 1000  (Ethernet)

tun0: flags=4305<UP,POINTOPOINT,RUNNING,NOARP,MULTICAST>  mtu 1500
        inet 10.8.0.6  netmask 255.255.255.255  destination 10.8.0.5
"""
IFCONFIG_OLD = """\
eth0      Link encap:Ethernet  HWaddr 52:54:00:aa:bb:cc
          inet addr:198.51.100.4  Bcast:198.51.103.255  Mask:255.255.252.0
          inet6 addr: 2001:db8::4/64 Scope:Global
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1

tun0      Link encap:UNSPEC  HWaddr 00-00-00-00-00-00-00-00
          inet addr:10.8.0.6  P-t-P:10.8.0.5  Mask:255.255.255.255
          UP POINTOPOINT RUNNING NOARP MULTICAST  MTU:1500  Metric:1
"""
NMCLI = """\
GENERAL.DEVICE:                         eth0
GENERAL.TYPE:                           ethernet
GENERAL.HWADDR:                         52:54:00:AA:BB:CC
IP4.ADDRESS[1]:                         198.51.100.4/22
IP6.ADDRESS[1]:                         2001:db8::4/64

GENERAL.DEVICE:                         tun0
GENERAL.TYPE:                           tun
IP4.ADDRESS[1]:                         10.8.0.6/32
"""

BRIEF = """\
lo               UNKNOWN        127.0.0.1/8 ::1/128
eth0@if7         UP             198.51.100.4/22 metric 512 2001:db8::4/64 fe80::1/64
eth1             DOWN           192.0.2.99/24
tun0             UNKNOWN        10.8.0.6/32
"""


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["ip", "addr"], TEXT),
        (["ip", "a"], TEXT),
        (["ip", "-br", "addr"], BRIEF),
        (["ip", "addr", "show"], TEXT),
        (["ip", "-o", "addr", "show"], ONE_LINE),
        (["ifconfig", "-a"], IFCONFIG),
        (["ifconfig", "-a"], IFCONFIG_OLD),
        (["nmcli", "device", "show"], NMCLI),
    ],
)
def test_every_tool_tells_the_same_addresses(tmp_path: Path, argv: list[str], text: str) -> None:
    value = ip_addresses.collect(RecordedMachine(tmp_path).command(argv, text).host())
    assert [(e["address"], e["prefix"], e["interface"]) for e in value["addresses"]] == [
        ("198.51.100.4", 22, "eth0"),
        ("2001:db8::4", 64, "eth0"),
        ("10.8.0.6", 32, "tun0"),
    ]
    assert value["addresses"][2]["kind"] == "vpn"


def test_primary_addresses_are_those_of_the_way_out(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["ip", "-json", "addr"], json.dumps([interface("eth0", address("192.0.2.1"))]))
    machine.command(
        ["ip", "-json", "route", "get", "1.1.1.1"],
        '[{"dst": "1.1.1.1", "dev": "eth0", "prefsrc": "192.0.2.1"}]',
    )
    machine.command(
        ["ip", "-json", "route", "get", "2606:4700:4700::1111"],
        stderr="RTNETLINK answers: Network is unreachable\n",
        returncode=2,
    )
    value = ip_addresses.collect(machine.host())
    assert value["primary"] == {
        "inet": {"address": "192.0.2.1", "interface": "eth0"},
        "inet6": None,
    }


def test_machine_without_network_is_available_with_no_addresses(tmp_path: Path) -> None:
    value = addresses(tmp_path, interface("lo", flags=["LOOPBACK", "UP"]))
    assert (value["state"], value["addresses"]) == ("available", [])


def test_no_tool_at_all_is_unknown(tmp_path: Path) -> None:
    value = ip_addresses.collect(RecordedMachine(tmp_path).host())
    assert (value["state"], value["addresses"]) == ("unknown", [])
    assert "not" in value["reason"] or "neither" in value["reason"]


# --- interfaces -------------------------------------------------------------------------------


class Net:
    """Interfaces in sysfs."""

    def __init__(self, path: Path) -> None:
        self.machine = RecordedMachine(path)
        self.index = 0

    def add(self, name: str, *, on: str = "", mac: str = "00:16:3e:00:00:01", **files: str) -> Net:
        """`on` is the device it belongs to, below /sys/devices; without one it is virtual."""
        self.index += 1
        folder = f"/sys/devices/{on or 'virtual'}/net/{name}"
        defaults = {"ifindex": str(self.index), "iflink": str(self.index), "type": "1"}
        for file, text in {**defaults, "address": mac, "operstate": "up", **files}.items():
            self.machine.file(f"{folder}/{file.replace('__', '/')}", text + "\n")
        self.machine.link(f"/sys/class/net/{name}", folder.replace("/sys/", "../../", 1))
        if on:
            self.machine.link(f"{folder}/device", f"/sys/devices/{on}")
            self.machine.link(f"/sys/devices/{on}/subsystem", f"/sys/bus/{on.partition('0')[0]}")
        return self

    def collect(self) -> dict[str, JSON]:
        value = network_devices.collect(self.machine.host())
        json.dumps(value)
        assert value["state"] == "available"
        return {device["name"]: device for device in value["devices"]}


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path)


def test_hardware_is_told_with_driver_bus_and_model(net: Net) -> None:
    net.add("enp1s0", on="pci0000:00/0000:00:1f.6")
    net.machine.file(
        "/sys/devices/pci0000:00/0000:00:1f.6/uevent", "DRIVER=e1000e\nPCI_ID=8086:15BE\n"
    )
    net.machine.link("/sys/devices/pci0000:00/0000:00:1f.6/driver", "/sys/bus/pci/drivers/e1000e")
    net.machine.file(
        "/run/udev/data/n1", "E:ID_VENDOR_FROM_DATABASE=Acme\nE:ID_MODEL_FROM_DATABASE=Wire\n"
    )
    assert net.collect()["enp1s0"] == {
        "name": "enp1s0",
        "kind": "ethernet",
        "physical": True,
        "mac": "00:16:3e:00:00:01",
        "permanent_mac": "00:16:3e:00:00:01",
        "random_mac": False,
        "state": "up",
        "driver": "e1000e",
        "bus": "pci",
        "vendor_id": "8086",
        "device_id": "15be",
        "vendor": "Acme",
        "model": "Wire",
    }


def test_usb_adapter_has_the_numbers_of_its_product(net: Net) -> None:
    net.add("enx0", on="usb0")
    net.machine.file("/sys/devices/usb0/uevent", "DRIVER=r8152\nPRODUCT=bda/8153/3000\n")
    device = net.collect()["enx0"]
    assert (device["vendor_id"], device["device_id"]) == ("0bda", "8153")


@pytest.mark.parametrize(
    ("name", "files", "kind"),
    [
        ("lo", {"type": "772"}, "loopback"),
        ("br0", {"uevent": "DEVTYPE=bridge"}, "bridge"),
        ("virbr0", {"bridge__bridge_id": "8"}, "virtual"),
        ("docker0", {"bridge__bridge_id": "8"}, "virtual"),
        ("bond0", {"bonding__mode": "1"}, "bond"),
        ("eth0.5", {"uevent": "DEVTYPE=vlan"}, "vlan"),
        ("wg0", {"type": "65534", "uevent": "DEVTYPE=wireguard"}, "vpn"),
        ("office", {"type": "65534", "tun_flags": "0x1001"}, "vpn"),
        ("tun0", {"type": "65534"}, "vpn"),
        ("sit0", {"type": "776"}, "virtual"),
        ("veth12ab", {"iflink": "77"}, "virtual"),
        ("cni0", {}, "virtual"),
        ("flannel.1", {}, "virtual"),
        ("x9", {"type": "778"}, "tunnel"),
    ],
)
def test_virtual_interfaces_are_told_apart(
    net: Net, name: str, files: dict[str, str], kind: str
) -> None:
    device = net.add(name, **files).collect()[name]
    assert (device["kind"], device["physical"]) == (kind, False)


@pytest.mark.parametrize(
    ("name", "files", "kind"),
    [
        ("wlp2s0", {"uevent": "DEVTYPE=wlan"}, "wifi"),
        ("net7", {"phy80211__name": "phy0"}, "wifi"),
        ("mon0", {"type": "803"}, "wifi"),
        ("wwan0", {"uevent": "DEVTYPE=wwan"}, "mobile"),
        ("ib0", {"type": "32"}, "infiniband"),
        ("acme", {}, "ethernet"),
    ],
)
def test_kinds_of_hardware(net: Net, name: str, files: dict[str, str], kind: str) -> None:
    device = net.add(name, on="pci0000:00/0000:00:01.0", **files).collect()[name]
    assert (device["kind"], device["physical"]) == (kind, True)


def test_end_of_a_pair_in_a_container_is_not_hardware(net: Net) -> None:
    assert net.add("eth0", on="pci0/x", iflink="88").collect()["eth0"]["physical"] is False


def test_hardware_comes_first_and_files_are_no_interfaces(net: Net) -> None:
    net.add("br0", uevent="DEVTYPE=bridge").add("zz0", on="pci0/x")
    net.machine.file("/sys/class/net/bonding_masters", "bond0\n")
    assert list(net.collect()) == ["zz0", "br0"]


@pytest.mark.parametrize("tool", ["ip", "ethtool"])
def test_address_of_the_hardware_behind_a_random_one(net: Net, tool: str) -> None:
    net.add("wlp2s0", on="pci0/x", mac="da:a1:19:00:00:01", uevent="DEVTYPE=wlan")
    if tool == "ip":
        entry = interface("wlp2s0", address="da:a1:19:00:00:01", permaddr="00:16:3E:00:00:09")
        net.machine.command(["ip", "-json", "-d", "link"], json.dumps([entry]))
    else:
        net.machine.command(["ethtool", "-P", "wlp2s0"], "Permanent address: 00:16:3e:00:00:09\n")
    device = net.collect()["wlp2s0"]
    assert device["permanent_mac"] == "00:16:3e:00:00:09"
    assert device["random_mac"] is True


def test_random_address_is_not_taken_for_that_of_the_hardware(net: Net) -> None:
    device = net.add("wlp2s0", on="pci0/x", mac="da:a1:19:00:00:01").collect()["wlp2s0"]
    assert device["permanent_mac"] is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [(["ip", "addr"], TEXT), (["ifconfig", "-a"], IFCONFIG), (["nmcli", "device", "show"], NMCLI)],
)
def test_commands_tell_interfaces_where_sysfs_is_missing(
    tmp_path: Path, argv: list[str], text: str
) -> None:
    value = network_devices.collect(RecordedMachine(tmp_path).command(argv, text).host())
    found = {device["name"]: device for device in value["devices"]}
    assert found["eth0"]["physical"] is True
    assert found["eth0"]["mac"] == "52:54:00:aa:bb:cc"
    assert (found["tun0"]["kind"], found["tun0"]["physical"]) == ("vpn", False)
    assert found.get("sit0", {}).get("mac") is None


def test_table_of_nmcli_tells_kinds(tmp_path: Path) -> None:
    text = "DEVICE   TYPE      STATE      CONNECTION\nens3  ethernet  connected  --\n"
    text += "acme0  wifi  unmanaged  --\nlo  loopback  unmanaged  --\n"
    machine = RecordedMachine(tmp_path).command(["nmcli", "device"], text)
    found = {d["name"]: d["kind"] for d in network_devices.collect(machine.host())["devices"]}
    assert found == {"acme0": "wifi", "ens3": "ethernet", "lo": "loopback"}


def test_connections_in_use_tell_devices_and_others_none(tmp_path: Path) -> None:
    text = "NAME          UUID  TYPE      DEVICE\nOffice one    4f2a  ethernet  ens3\n"
    text += "At home       77aa  wifi      wlp2s0\nOld one       12ab  ethernet  --\n"
    machine = RecordedMachine(tmp_path).command(["nmcli", "connection"], text)
    found = {d["name"]: d["kind"] for d in network_devices.collect(machine.host())["devices"]}
    assert found == {"ens3": "ethernet", "wlp2s0": "wifi"}
    assert ip_addresses.collect(machine.host())["state"] == "unknown"


def test_wireless_cards_are_known_by_iwconfig_without_the_names_of_networks(tmp_path: Path) -> None:
    text = 'lo        no wireless extensions.\n\nacme0     IEEE 802.11abgn  ESSID:"At home"\n'
    text += "          Mode:Managed  Access Point: 00:16:3E:00:00:07\n"
    machine = RecordedMachine(tmp_path).command(["iwconfig"], text)
    value = network_devices.collect(machine.host())
    assert [(d["name"], d["kind"], d["physical"]) for d in value["devices"]] == [
        ("acme0", "wifi", True)
    ]
    assert "home" not in json.dumps(value)


def test_brief_links_tell_hardware_addresses(tmp_path: Path) -> None:
    text = "lo  UNKNOWN  00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP>\n"
    text += "eth0@if3  UP  52:54:00:aa:bb:cc <BROADCAST,MULTICAST,UP,LOWER_UP>\n"
    machine = RecordedMachine(tmp_path).command(["ip", "-br", "link"], text)
    found = {d["name"]: d["mac"] for d in network_devices.collect(machine.host())["devices"]}
    assert found == {"eth0": "52:54:00:aa:bb:cc", "lo": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("192.0.2.4 2001:db8::4 \n", ["192.0.2.4", "2001:db8::4"]), ("host name", None), ("", None)],
)
def test_addresses_without_interfaces_by_hostname(
    tmp_path: Path, text: str, expected: list[str] | None
) -> None:
    machine = RecordedMachine(tmp_path).command(["hostname", "-I"], text)
    value = ip_addresses.collect(machine.host())
    assert (listed(value) or None) == expected
    assert value["state"] == ("available" if expected else "unknown")
    assert all(entry["interface"] is None for entry in value["addresses"])


def test_interfaces_are_asked_for_one_by_one_where_nothing_tells_of_all(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    for name in ("lo", "eth0"):
        machine.file(f"/sys/class/net/{name}/address", "02:42:ac:11:00:03\n")
    show = ["/sbin/ip", "-br", "-4", "address", "show", "dev"]
    machine.command([*show, "lo"], "lo               UNKNOWN        127.0.0.1/8 \n")
    machine.command([*show, "eth0"], "eth0@if16        UP             192.0.2.3/16 \n")
    value = ip_addresses.collect(machine.host())
    assert [(e["address"], e["interface"]) for e in value["addresses"]] == [("192.0.2.3", "eth0")]


def test_part_of_sysfs_is_judged_by_names(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    for name in ("lo", "eth0", "veth12ab", "wg0"):
        machine.file(f"/sys/class/net/{name}/address", "00:16:3e:00:00:03\n")
    value = network_devices.collect(machine.host())
    assert {d["name"]: d["physical"] for d in value["devices"]} == {
        "eth0": True,
        "lo": False,
        "veth12ab": False,
        "wg0": False,
    }


def test_states_of_links_do_not_stand_for_addresses(tmp_path: Path) -> None:
    table = "DEVICE  TYPE      STATE      CONNECTION\nens3    ethernet  connected  ens3\n"
    machine = RecordedMachine(tmp_path).command(["nmcli", "device"], table)
    assert ip_addresses.collect(machine.host())["state"] == "unknown"


@pytest.mark.parametrize(
    "line",
    ["    inet 192.0.2.1/24 scope global x", "2: " + "@" * 50_000, "e" * 50_000, " " * 50_000],
)
def test_long_outputs_are_read_in_one_pass(line: str) -> None:
    text = "1: eth0: <UP> mtu 1\n" + f"{line}\n" * (20_000 if len(line) < 99 else 20)
    for parse in (
        _interfaces.parse_ip,
        _interface_tools.parse_ifconfig,
        _interface_tools.parse_nmcli,
        _interface_tools.parse_nmcli_table,
        _interface_tools.parse_nmcli_connections,
        _interface_tools.parse_iw_dev,
        _interface_tools.parse_iwconfig,
        _interface_tools.parse_hostname,
    ):
        assert len(parse(text)) <= 20_000


def test_no_source_is_unknown(tmp_path: Path) -> None:
    value = network_devices.collect(RecordedMachine(tmp_path).host())
    assert (value["state"], value["devices"]) == ("unknown", [])
    assert value["reason"]


def test_thousands_of_interfaces_are_counted_but_not_listed(tmp_path: Path) -> None:
    entries = [interface(f"veth{number}") for number in range(500)]
    machine = RecordedMachine(tmp_path)
    machine.command(["ip", "-json", "-d", "link"], json.dumps([interface("eth0"), *entries]))
    value = network_devices.collect(machine.host())
    assert value["count"] == 501
    assert len(value["devices"]) == 128
    assert value["devices"][0]["name"] == "eth0"


# --- parsers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("52:54:00:AA:BB:CC", "52:54:00:aa:bb:cc"),
        ("00:00:00:00:00:00", ""),
        ("0.0.0.0", ""),
        ("", ""),
        ("52:54:00:aa:bb", ""),
        (":".join(["80"] * 20), ":".join(["80"] * 20)),
    ],
)
def test_hardware_addresses(text: str, mac: str) -> None:
    assert _interface_model.clean_mac(text) == mac


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lo", "loopback"),
        ("enp0s31f6", "ethernet"),
        ("eth0", "ethernet"),
        ("wlp2s0", "wifi"),
        ("wlan0", "wifi"),
        ("wwp0s20u4", "mobile"),
        ("tailscale0", "vpn"),
        ("br-0123456789ab", "virtual"),
        ("br0", "bridge"),
        ("lxcbr0", "virtual"),
        ("bond0", "bond"),
        ("acme", "other"),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert _interface_model.kind_of(name) == kind


WORDS = [
    *("1: ", "eth0", ": ", "<UP>", " mtu 1", "\n", "    ", "inet ", "inet6 ", "10.0.0.1/24", "::1"),
    *("link/ether", "aa:bb:cc:dd:ee:ff", "peer", "scope", "flags=1<", "GENERAL.DEVICE:", "[", "{"),
    *("IP4.ADDRESS[1]:", "Link encap:", "addr:", "Mask:", "netmask", " ", "\\", "@", "lo"),
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map("".join)))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for parse in (
        _interfaces.parse_ip,
        _interface_tools.parse_ifconfig,
        _interface_tools.parse_nmcli,
        _interface_tools.parse_nmcli_table,
        _interface_tools.parse_nmcli_connections,
        _interface_tools.parse_iw_dev,
        _interface_tools.parse_iwconfig,
        _interface_tools.parse_hostname,
    ):
        interfaces = parse(text)
        ip_addresses.list_addresses(interfaces)
    ip_addresses.parse_route(text)


KEYS = [
    *("ifname", "flags", "addr_info", "linkinfo", "info_kind", "local", "prefixlen", "scope"),
    *("address", "permaddr", "operstate", "link_type", "prefsrc", "dev"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["eth0", "10.0.0.1", "UP", ""]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=15,
)


@given(values)
def test_any_json_is_read_without_an_error(value: JSON) -> None:
    ip_addresses.list_addresses(_interfaces.parse_ip(json.dumps([value])))
    ip_addresses.parse_route(json.dumps([value]))
    ip_addresses.parse_route(json.dumps(value))


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["nmcli", "d"], "DEVICE TYPE STATE CONNECTION\nacme0 wifi connected --\n"),
        (["nmcli", "dev", "status"], "DEVICE TYPE STATE CONNECTION\nacme0 wifi connected --\n"),
        (["nmcli", "-t", "dev"], "acme0:wifi:connected:One\\:two\n"),
        (["nmcli", "-f", "DEVICE,TYPE,STATE,CONNECTION", "device"], "acme0  wifi  connected --\n"),
        (["nmcli", "con", "show"], "NAME  UUID  TYPE  DEVICE\nAt home  77aa  wifi  acme0\n"),
        (["iw", "dev"], "phy#0\n\tInterface acme0\n\t\tifindex 3\n\t\taddr 00:16:3e:00:00:07\n"),
    ],
)
def test_tools_are_known_by_what_people_type(tmp_path: Path, argv: list[str], text: str) -> None:
    value = network_devices.collect(RecordedMachine(tmp_path).command(argv, text).host())
    assert [(d["name"], d["kind"], d["physical"]) for d in value["devices"]] == [
        ("acme0", "wifi", True)
    ]


def test_links_alone_are_devices_and_no_addresses(tmp_path: Path) -> None:
    text = "2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 state UP mode DEFAULT\n"
    text += "    link/ether 52:54:00:aa:bb:cc brd ff:ff:ff:ff:ff:ff\n"
    machine = RecordedMachine(tmp_path).command(["ip", "link", "show"], text)
    assert network_devices.collect(machine.host())["devices"][0]["mac"] == "52:54:00:aa:bb:cc"
    assert ip_addresses.collect(machine.host())["state"] == "unknown"


def test_interfaces_that_only_their_counters_tell_of(tmp_path: Path) -> None:
    text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n"
    text += "    lo: 7 7 7 7\n  eth0: 9 9 9 9\nveth7f: 1 1 1 1\n"
    machine = RecordedMachine(tmp_path).file("/proc/net/dev", text)
    found = {d["name"]: d["physical"] for d in network_devices.collect(machine.host())["devices"]}
    assert found == {"lo": False, "eth0": True, "veth7f": False}


@pytest.mark.parametrize("name", ["dev", "d"])
def test_addresses_by_nmcli_cut_short(tmp_path: Path, name: str) -> None:
    machine = RecordedMachine(tmp_path).command(["nmcli", name, "show"], NMCLI)
    assert ip_addresses.collect(machine.host())["addresses"]


def test_the_scope_that_ip_prints_is_the_kernels(tmp_path: Path) -> None:
    text = "2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 state UP\n"
    text += "    inet 169.254.8.8/16 scope global eth0\n"
    text += "    inet6 fe80::a/64 scope global\n    inet6 fe80::b/64 scope link\n"
    value = ip_addresses.collect(RecordedMachine(tmp_path).command(["ip", "addr"], text).host())
    assert listed(value, "addresses") == ["fe80::a"]
    assert listed(value, "link_local") == ["169.254.8.8", "fe80::b"]


def test_tools_that_print_no_scope_are_corrected(tmp_path: Path) -> None:
    text = "GENERAL.DEVICE: eth0\nIP4.ADDRESS[1]: 10.1.2.3/8\nIP6.ADDRESS[1]: fe80::c/64\n"
    machine = RecordedMachine(tmp_path).command(["nmcli", "device", "show"], text)
    value = ip_addresses.collect(machine.host())
    assert listed(value, "addresses") == ["10.1.2.3"]
    assert listed(value, "link_local") == ["fe80::c"]


def test_one_of_two_ways_to_ask_is_enough_where_both_were_written_down(tmp_path: Path) -> None:
    document = (
        '[{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"10.4.4.4","scope":"global"}]}]'
    )
    machine = RecordedMachine(tmp_path).command(["ip", "-j", "addr"], document)
    machine.command(["ip", "-o", "addr"], "2: eth0    inet 10.4.4.4/8 scope global eth0\n")
    assert listed(ip_addresses.collect(machine.host()), "addresses") == ["10.4.4.4"]
    assert [d["name"] for d in network_devices.collect(machine.host())["devices"]] == ["eth0"]
