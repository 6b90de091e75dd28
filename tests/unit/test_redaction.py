"""A recording that is handed on names nobody, and collectors conclude the same from it."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.host.redaction.names import Names
from qlmdm_core.host.redaction.rewrite import move, rewrite, texts
from qlmdm_core.host.redaction.show import everything, summary
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine

MAC = "8c:16:45:a1:b2:c3"
SERIAL = "PF3KQ7XW"


def laptop(folder: Path) -> RecordedMachine:
    machine = RecordedMachine(folder, note="the laptop of grace")
    machine.file(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n"
        "grace:x:1000:1000:Grace Brewster,,,:/home/grace:/bin/bash\n"
        "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    )
    machine.file("/etc/hostname", "cobol-60\n").file("/etc/machine-id", "0af3" * 8 + "\n")
    machine.file("/sys/class/dmi/id/product_serial", SERIAL + "\n")
    machine.file("/sys/class/dmi/id/chassis_serial", "Default string\n")
    machine.file("/home/grace/.config/kscreenlockerrc", "[Daemon]\nAutolock=true\n")
    machine.file("/sys/class/net/enx8c1645a1b2c3/address", MAC + "\n")
    machine.link("/dev/disk/by-id/nvme-Maker_S4X9NX0M", "../../nvme0n1")
    machine.command(["lsblk", "--json"], '{"serial": "S4X9NX0M", "mountpoint": "/home/grace"}')
    machine.command(["ip", "addr"], f"link/ether {MAC}\ninet 10.7.8.9/24 brd 10.7.8.255\n")
    machine.command(["nmcli", "-t", "-f", "SIGNAL,SSID", "dev", "wifi"], "70:Hopper\\:5G\n")
    machine.command(["loginctl"], "2 1000 grace seat0\n", user="grace")
    machine.process(pid=7, uid=1000, user="grace", argv=["swayidle", "/home/grace/x"])
    return machine


def everything_in(folder: Path) -> Iterator[str]:
    """All names and contents of a folder."""
    for at, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(at, name)
            yield name
            if path.is_symlink():
                yield os.readlink(path)
            elif path.is_file():
                yield path.read_bytes().decode("utf-8", "surrogateescape")


def renamed(machine: RecordedMachine, folder: Path) -> tuple[Path, Names]:
    names = rewrite(str(machine.write()), str(folder / "renamed"))
    return folder / "renamed", names


@pytest.mark.parametrize(
    "secret",
    [
        "grace",
        "Grace Brewster",
        "cobol-60",
        SERIAL,
        "S4X9NX0M",
        MAC,
        "8c1645a1b2c3",
        "10.7.8.9",
        "Hopper",
        "0af30af3",
    ],
)
def test_nobody_and_nothing_is_named(tmp_path: Path, secret: str) -> None:
    folder, _ = renamed(laptop(tmp_path / "machine"), tmp_path)
    assert any(secret.lower() in text.lower() for text in everything_in(tmp_path / "machine"))
    assert not any(secret.lower() in text.lower() for text in everything_in(folder))


def test_the_same_is_called_the_same_everywhere(tmp_path: Path) -> None:
    folder, _ = renamed(laptop(tmp_path / "machine"), tmp_path)
    host = ReplayHost(folder)
    (user,) = {process.user for process in host.processes()}
    assert user is not None
    assert host.read(f"/home/{user}/.config/kscreenlockerrc").startswith("[Daemon]")
    assert f":/home/{user}:" in host.read("/etc/passwd")
    assert host.run(["loginctl"], user=user).ok
    disk = json.loads(host.run(["lsblk", "--json"]).stdout)
    assert host.listdir("/dev/disk/by-id") == [f"nvme-Maker_{disk['serial']}"]
    (interface,) = host.listdir("/sys/class/net")
    address = host.read(f"/sys/class/net/{interface}/address").strip()
    assert interface == "enx" + address.replace(":", "")
    assert address.startswith("8c:16:45:"), "whose make it is says nothing about whose it is"


def test_what_names_nobody_stays(tmp_path: Path) -> None:
    folder, _ = renamed(laptop(tmp_path / "machine"), tmp_path)
    host = ReplayHost(folder)
    assert host.read("/sys/class/dmi/id/chassis_serial") == "Default string\n"
    assert "root:x:0:0:root:/root:" in host.read("/etc/passwd")
    assert "nobody:x:65534" in host.read("/etc/passwd")
    assert "/24 brd 10." in host.run(["ip", "addr"]).stdout


def test_the_person_is_told_what_is_in_it(tmp_path: Path) -> None:
    folder, names = renamed(laptop(tmp_path / "machine"), tmp_path)
    said = "\n".join(summary(str(folder), names.counts))
    assert "4 commands with their output, 8 files, 1 processes with their command lines" in said
    assert "user 11 times" in said
    shown = "".join(everything(str(folder)))
    for text in dict(texts(str(folder))).values():
        assert text in shown
    assert "$ lsblk --json" in shown
    assert '"argv": [' in shown


def test_a_finished_recording_is_moved_whole(tmp_path: Path) -> None:
    folder, _ = renamed(laptop(tmp_path / "machine"), tmp_path)
    before = sorted(everything_in(folder))
    (tmp_path / "there").mkdir()
    move(str(folder), str(tmp_path / "there"))
    assert sorted(everything_in(tmp_path / "there")) == before


# --- wherever they are written --------------------------------------------------------------------


PLACES: dict[str, tuple[str, str, str]] = {
    # what is secret: the file (or, with a blank, the command) that says it, its text, the secret
    "a user of a directory service": ("loginctl show-session 4", "Name=ludmila\n", "ludmila"),
    "one with a session": ("loginctl list-sessions", " 4 70001 ludmila seat0\n", "ludmila"),
    "one that was asked for": (
        "getent passwd 70001",
        "ludmila:*:70001:70001:Ludmila Peirson:/nfs/u/ludmila:/bin/sh\n",
        "ludmila",
    ),
    "a user of a domain": ("/etc/passwd", "ACME\\wquark:x:16777216:1::/home/q:/bin/sh\n", "wquark"),
    "a home elsewhere": ("/etc/passwd", "jo:x:1000:1::/srv/people/jsmythe:/bin/sh\n", "jsmythe"),
    "a telephone": ("/etc/passwd", "jo:x:1000:1:Jo,Room 7,+49 30 555123,:/home/jo:/x\n", "555123"),
    "a surname alone": (
        "/etc/passwd",
        "jo:x:1000:1:J\u00fcrgen Gro\u00dfmann:/home/jo:/x\n# Gro\u00dfmann's laptop\n",
        "Gro\u00dfmann",
    ),
    "a member of a group": ("/etc/group", "sudo:x:27:jo,grpmember\n", "grpmember"),
    "one who may log in": ("/etc/ssh/sshd_config", "AllowUsers bkp@10.9.8.7 kurtz\n", "kurtz"),
    "one who is matched": ("/etc/ssh/sshd_config", "Match User kurtz Address *\n", "kurtz"),
    "sshd's own words": ("sshd -T", "allowusers kurtz\n", "kurtz"),
    "a sudoer": ("/etc/sudoers", "kurtz ALL=(ALL) ALL\n", "kurtz"),
    "one who is logged in": ("/etc/lightdm/lightdm.conf", "autologin-user=kioskus\n", "kioskus"),
    "a file of AccountsService": ("/var/lib/AccountsService/users/kurtz", "[User]\n", "kurtz"),
    "a medium": ("findmnt", "/run/media/kurtz/STICK /dev/sdb1\n", "kurtz"),
    "a share": ("findmnt", "//filer/x /mnt cifs rw,username=kurtz,domain=D\n", "kurtz"),
    "a share's server": ("/proc/self/mountinfo", "1 2 - cifs //filer7/x rw\n", "filer7"),
    "an export's server": ("/etc/fstab", "filer7:/x /mnt nfs defaults\n", "filer7"),
    "a share's domain": ("findmnt", "//filer/x /mnt cifs rw,domain=QUUXDOM\n", "QUUXDOM"),
    "a host's domain": ("/etc/hostname", "box7.corp.quux.example\n", "quux.example"),
    "another host": ("/etc/hosts", "10.9.8.7 filer7.example filer7\n", "filer7"),
    "a pretty name": ("hostnamectl", " Pretty hostname: Zoes Laptop\n", "Zoes Laptop"),
    "a boot": ("hostnamectl", " Boot ID: 1111deadbeef4bd2a111222233334444\n", "deadbeef4bd2"),
    "a network in a table": (
        "nmcli dev wifi",
        "*  AA:BB:CC:DD:EE:03  Table Net  Infra  6  130 Mbit/s  77  WPA2\n",
        "Table Net",
    ),
    "a network of netplan": (
        "/etc/netplan/1.yaml",
        "wifis:\n  w0:\n    access-points:\n      'Plan: Net':\n        password: x\n",
        "Plan: Net",
    ),
    "a network's emoji": ("iw dev w0 scan", '\tSSID: "Caf\u00e9" \U0001f600 5G\n', "Caf\u00e9"),
    "a stick": ("/dev/disk/by-id/usb-Maker_Ultra_4C53000123-0:0-part1", "", "4C53000123"),
    "a disk's name": ("/dev/disk/by-id/wwn-0x5002538e40a1b2d4", "", "5002538e40a1b2d4"),
    "an address of bluetooth": ("/var/lib/bluetooth/8C:16:45:A1:B2:C3/info", "", "A1:B2:C3"),
    "an address in a D-Bus path": ("busctl", "/org/bluez/hci0/dev_8C_16_45_A1_B2_C3", "A1_B2_C3"),
    "an address with dashes": ("arp -n", "at 8C-16-45-A1-B2-C3\n", "A1-B2-C3"),
    "an address and its bare form": (
        "ip link",
        "link/ether 8C:16:45:A1:B2:C3\naltname wwan8c1645a1b2c3 8c1645a1b2c3\n",
        " 8c1645a1b2c3",
    ),
    "an address of the sixth version": ("ip addr", "inet6 2a02:1234:56::9/64\n", "2a02:1234:56"),
    "one with a zone": ("ip addr", "fe80::8e16:45ff:fea1:b2c3%w0/64\n", "fea1:b2c3"),
    "an upper-case UUID": (
        "/sys/class/dmi/id/product_uuid",
        "4C4C4544-0042-3510-8053-B4C04F4A3133\n4c4c4544-0042-3510-8053-b4c04f4a3133\n",
        "b4c04f4a3133",
    ),
}


@pytest.mark.parametrize("what", PLACES)
def test_what_names_somebody_is_found_where_it_is_written(tmp_path: Path, what: str) -> None:
    where, text, secret = PLACES[what]
    machine = RecordedMachine(tmp_path / "m")
    if where.startswith("/"):
        machine.file(where, text)
    else:
        machine.command(where.split(" "), text)
    folder, _ = renamed(machine, tmp_path)
    said = list(everything_in(folder / "files"))
    if (folder / "commands.json").exists():
        commands = json.loads((folder / "commands.json").read_text())
        said += [command["stdout"] for command in commands]
    assert said
    assert not [text for text in said if secret in text]


def test_what_somebody_has_open_is_nobodys_business(tmp_path: Path) -> None:
    machine = laptop(tmp_path / "machine")
    machine.process(pid=8, uid=1000, argv=["evince", "/home/grace/Papers/Divorce plan.pdf"])
    machine.process(pid=9, uid=1000, argv=["firefox", "https://clinic.example/appointment?id=7"])
    machine.process(pid=10, uid=1000, argv=["swayidle", "-C", "/home/grace/.config/idle.conf"])
    folder, _ = renamed(machine, tmp_path)
    words = {process.argv[-1] for process in ReplayHost(folder).processes() if process.argv}
    assert words >= {
        "/home/user1/Papers/document1.pdf",
        "https://document2",
        "/home/user1/.config/idle.conf",
    }


def test_names_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m")
    lines = "".join(
        f"{name}:x:{1000 + at}:1::/home/{name}:/bin/sh\n"
        for at, name in enumerate(["jo", "jo-an", "jo-an.smythe", "joan"])
    )
    folder, _ = renamed(machine.file("/etc/passwd", lines), tmp_path)
    users = (folder / "files/etc/passwd").read_text().splitlines()
    assert [line.split(":")[0] for line in users] == ["user1", "user2", "user3", "user4"]
    assert [line.split(":")[5] for line in users] == [f"/home/user{n}" for n in range(1, 5)]


def test_a_host_that_is_called_like_its_user_is_renamed(tmp_path: Path) -> None:
    machine = laptop(tmp_path / "machine").file("/etc/hostname", "grace\n")
    folder, _ = renamed(machine, tmp_path)
    assert not any("grace" in text for text in everything_in(folder))


def test_what_is_in_one_network_stays_in_one() -> None:
    names = Names()
    texts = [f"10.44.55.{host}" for host in range(1, 255)] + ["10.44.55.0", "10.44.55.255"]
    for text in texts:
        names.add_address(text)
    others = [names.replace(text) for text in texts]
    assert len({other.rpartition(".")[0] for other in others}) == 1
    assert len(set(others)) == len(texts)
    assert others[-2].endswith(".0")
    assert others[-1].endswith(".255")


@pytest.mark.parametrize(
    "text",
    [
        "::ffff:{4}",
        "[{6}]:22",
        "{6}: unreachable",
        "{4}:22",
        "({4})",
        "src={6} x",
        "{4}.",
        "{6}%w0",
        "inet6:{6}/64",
        "{4}-{4}",
    ],
)
def test_an_address_is_found_between_other_things(text: str) -> None:
    names = Names()
    names.add_address("10.44.55.66")
    names.add_address("2a02:1234::9")
    other4, other6 = names.replace("10.44.55.66"), names.replace("2a02:1234::9")
    found = names.replace(text.replace("{4}", "10.44.55.66").replace("{6}", "2a02:1234::9"))
    assert found == text.replace("{4}", other4).replace("{6}", other6)


def test_an_address_is_the_same_however_it_is_written() -> None:
    names = Names()
    for text in ("2a02:1234::9", "2a02:1234:0:0:0:0:0:9", "2A02:1234::9"):
        names.add_address(text)
    assert len({names.replace(t) for t in ("2a02:1234::9", "2a02:1234:0:0:0:0:0:9")}) == 1


# --- names one by one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "link/loopback 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff",
        "maddr 01:00:5e:00:00:01 33:33:00:00:00:01",
        "user@1000.service getty@tty1.service",
        "2026-11-01T12:00:00+00:00 12:34:56",
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    ],
)
def test_what_everybody_has_is_not_renamed(text: str) -> None:
    assert Names().replace(text) == text


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.0",
        "224.0.0.1",
        "169.254.1.1",
        "::",
        "::1",
        "ff02::1",
        "192.0.2.7",
        "2001:db8::7",
        "no address",
    ],
)
def test_addresses_that_everybody_has_stay(address: str) -> None:
    names = Names()
    names.add_address(address)
    assert names.replace(f"from {address} on") == f"from {address} on"


@given(st.ip_addresses())
def test_an_address_becomes_another_of_its_kind(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    names = Names()
    names.add_address(str(address))
    other = ipaddress.ip_address(names.replace(str(address)))
    assert other.version == address.version
    assert other.is_loopback == address.is_loopback
    assert other.is_link_local == address.is_link_local
    assert other.is_multicast == address.is_multicast


def test_what_a_collector_asked_about_stays(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m")
    machine.command(["ip", "route", "get", "1.1.1.1"], "1.1.1.1 via 10.7.8.1 src 10.7.8.9\n")
    folder, _ = renamed(machine, tmp_path)
    told = ReplayHost(folder).run(["ip", "route", "get", "1.1.1.1"]).stdout
    assert told.startswith("1.1.1.1 via 10.")
    assert "10.7.8.9" not in told


def test_a_version_is_no_address(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m").command(["dpkg-query", "-W"], "chrome 10.7.8.9\n")
    machine.command(["ip", "addr"], "inet 10.7.8.10/24\n")
    folder, _ = renamed(machine, tmp_path)
    assert ReplayHost(folder).run(["dpkg-query", "-W"]).stdout == "chrome 10.7.8.9\n"


@pytest.mark.parametrize(
    "placeholder",
    [
        "To be filled by O.E.M.",
        "123456789",
        "0123456789",
        "00000000",
        "None",
        "System Serial Number",
    ],
)
def test_a_manufacturers_placeholder_is_no_serial_number(placeholder: str) -> None:
    names = Names()
    names.add_shape("serial number", placeholder)
    assert names.replace(placeholder) == placeholder


def test_a_serial_number_keeps_its_shape() -> None:
    names = Names()
    real = "VMware-56 4d 9a 3c-1b 22"
    names.add_shape("serial number", real)
    other = names.replace(real)
    assert other != real
    assert other.startswith("VMware-")
    assert [c.isdigit() or c.isalpha() for c in other] == [c.isalnum() for c in real]
    int(other.removeprefix("VMware-").replace(" ", "").replace("-", ""), 16)


def test_a_network_that_asks_not_to_be_mapped_still_does() -> None:
    names = Names()
    names.add("wifi", "Hopper_nomap")
    assert names.replace("SSID: Hopper_nomap") == "SSID: wifi1_nomap"


# --- whatever they are called ---------------------------------------------------------------------

LETTERS = st.sampled_from("bcdfghjkmpqvwxyz")
USERS = st.text(LETTERS, min_size=4, max_size=8)
SSIDS = st.text(st.sampled_from("BCDFGHJKMPQVWXYZ :\\'é-"), min_size=3, max_size=12)
HEX = st.text(st.sampled_from("0123456789abcdef"), min_size=6, max_size=6)


@settings(max_examples=25, deadline=None)
@given(
    user=USERS,
    host=st.text(LETTERS, min_size=5, max_size=9),
    serial=st.from_regex(r"[A-Z]{2}[0-9]{3}[A-Z0-9]{4,6}", fullmatch=True),
    ssid=SSIDS.map(lambda name: f"x{name}x"),
    tail=HEX,
    address=st.ip_addresses(v=4, network="10.0.0.0/8").map(str),
)
def test_no_name_of_any_kind_is_left(
    tmp_path_factory: pytest.TempPathFactory,
    user: str,
    host: str,
    serial: str,
    ssid: str,
    tail: str,
    address: str,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    mac = ":".join(["8c", "16", "45", *(tail[at : at + 2] for at in (0, 2, 4))])
    terse = mac.replace(":", "\\:")  # nmcli(1), --escape
    escaped = ssid.replace("\\", "\\\\").replace(":", "\\:")
    machine = RecordedMachine(folder / "m", note=f"{host} of {user}")
    machine.file("/etc/passwd", f"{user}:x:1000:1000:,,,:/home/{user}:/bin/sh\n")
    machine.file("/etc/hostname", host).file(f"/home/{user}/.x", f"{user}@{host}")
    machine.command(["dmidecode"], f"\tSerial Number: {serial}\n")
    machine.command(["nmcli", "-t", "-f", "BSSID,SSID", "dev"], f"{terse}:{escaped}\n")
    machine.command(["ip", "-j", "addr"], json.dumps({"local": address, "address": mac}))
    machine.command(["journalctl"], f"{host} wpa: '{ssid}' {mac} {address} {user}: {serial}\n")
    target, _ = renamed(machine, folder)
    shown = "\n".join(everything_in(target))
    loaded = [json.dumps(json.loads((target / "commands.json").read_text()), ensure_ascii=False)]
    for real in (user, host, serial, mac, ssid):
        assert real not in shown + loaded[0], real
    if not address.endswith(".0"):
        assert f'"{address}"' not in shown


@given(st.text(max_size=200))
def test_any_text_can_be_renamed(text: str) -> None:
    names = Names()
    names.add("user", "grace")
    names.add("host", text)
    names.add_shape("serial number", text)
    names.replace(text)
