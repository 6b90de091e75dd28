"""Finds who and what a recorded machine is about, in the places that are known to say so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from qlmdm_core.host.recorded import Recording
from qlmdm_core.host.redaction.names import Names

FIRST_UID, LAST_UID = 1000, 60000
"""Of people, by login.defs(5) as distributions ship it."""

_HOME = re.compile(r"(?:^|[\s\"'=:(,])/(?:var/)?home/([^/\s\"':]+)")
_HARDWARE = re.compile(
    r"/(?:serial|serial_number|wwid|product_uuid|machine-id|boot_id|[a-z]+_serial|[a-z]+_asset_tag)\Z"
)
_SERIAL_LINES = re.compile(
    r"(?m)^[ \t]*(?:Serial Number|Asset Tag|UUID|SKU Number|Service Tag):[ \t]*(\S.*?)[ \t]*$"
    r"|\b(?:E:)?(?:ID_SERIAL|ID_SERIAL_SHORT|ID_WWN(?:_WITH_EXTENSION)?|SERIAL|WWN)=\"?([^\"\n]+)"
    r"|\"(?:serial|wwn|serial_number|uuid_of_system)\"[ \t]*:[ \t]*\"([^\"\n]+)\""
)
_SSIDS = re.compile(
    r"(?m)^[ \t]*SSID:[ \t]*(\S.*?)[ \t]*$"
    r"|\bESSID:\"([^\"\n]+)\""
    r"|^[ \t]*802-11-wireless\.ssid:[ \t]*(\S.*?)[ \t]*$"
    r"|^[ \t]*ssid=\"?([^\"\n]+?)\"?[ \t]*$"
    r"|^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\t\d+\t-?\d+\t\S*\t(.+)$"
)
_NETWORK_FILE = re.compile(
    r"/(?:system-connections/(.+?)(?:\.nmconnection)?|iwd/(.+?)\.(?:psk|open|8021x))\Z"
)
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)"
)
_NETWORK_PROGRAMS = re.compile(
    r"(?:ip6?tables(?:-legacy|-nft)?(?:-save)?|nft|ufw|firewall-cmd|sshd|ip|ifconfig|route|arp|ss"
    r"|netstat|nmcli|networkctl|resolvectl|iw|iwconfig|wpa_cli|hostname|hostnamectl)\Z"
)
_NETWORK_FILES = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/systemd/resolve/",
    "/run/systemd/netif/",
    "/proc/net/",
    "/etc/ufw/",
    "/etc/firewalld/",
    "/etc/nftables",
    "/etc/iptables",
    "/etc/network",
    "/etc/NetworkManager/",
    "/etc/ssh/",
    "/var/lib/ufw/",
)


def find(recording: Recording, files: Mapping[str, str]) -> Names:
    """All that is to be renamed. `files` are texts (or targets of links) by their paths."""
    names = Names()
    for name in _users(recording, files):
        names.add("user", name)
    for name in _people(recording, files):
        names.add("person", name)
    for name in _hosts(recording, files):
        names.add("host", name)
    for name in _domains(files):
        names.add("domain", name)
    for text in _texts(recording, files):
        for number in _matches(_SERIAL_LINES, text):
            names.add_shape("serial number", number)
        for name in _matches(_SSIDS, text):
            names.add("wifi", name)
    for path, text in files.items():
        if _HARDWARE.search(path):
            names.add_shape("serial number", text)
        for name in _matches(_NETWORK_FILE, path):
            names.add("wifi", name)
    for command in recording.commands:
        for name in _nmcli_networks(command.argv, command.stdout):
            names.add("wifi", name)
    # What a collector asked about is its own: which way leads to 1.1.1.1, say. With another
    # name, a replay would not find the answer.
    asked = {word for command in recording.commands for word in command.argv}
    for text in _network_texts(recording, files):
        for found in _ADDRESS.finditer(text):
            if found[0] not in asked:
                names.add_address(found[0])
    return names


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for found in pattern.finditer(text):
        yield next(group for group in found.groups() if group)


def _texts(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    yield from files.values()
    for command in recording.commands:
        yield command.stdout
        yield command.stderr
    for exchange in recording.http:
        yield exchange.body


def _passwd(text: str) -> Iterator[Sequence[str]]:
    """Those lines of passwd(5) that are of people."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and _is_persons(fields[2]):
            yield fields


def _is_persons(uid: str) -> bool:
    return uid.isascii() and uid.isdigit() and FIRST_UID <= int(uid[:9]) <= LAST_UID


def _users(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    for fields in _passwd(_accounts(recording, files)):
        yield fields[0]
    for process in recording.processes:
        if process.uid is not None and FIRST_UID <= process.uid <= LAST_UID and process.user:
            yield process.user
    for command in recording.commands:
        if command.user and command.user != "root":
            yield command.user
        yield from _homes(command.stdout)
    for path, text in files.items():
        yield from _homes(path)
        yield from _homes(text)


def _homes(text: str) -> Iterator[str]:
    for found in _HOME.finditer(text):
        if found[1] not in ("lost+found", ".snapshots", "*"):
            yield found[1]


def _accounts(recording: Recording, files: Mapping[str, str]) -> str:
    asked = (
        command.stdout
        for command in recording.commands
        if command.argv[0].rsplit("/", 1)[-1] == "getent" and "passwd" in command.argv
    )
    return "\n".join([files.get("/etc/passwd", ""), *asked])


def _people(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    for fields in _passwd(_accounts(recording, files)):
        name = fields[4].split(",")[0]
        if name != fields[0]:
            yield name


def _hosts(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    names = [files.get("/etc/hostname", ""), files.get("/proc/sys/kernel/hostname", "")]
    for command in recording.commands:
        program = command.argv[0].rsplit("/", 1)[-1]
        if (program == "hostname" and command.words == ()) or command.argv[1:] == ("-n",):
            names.append(command.stdout)
        if program == "hostnamectl":
            names += re.findall(r"(?:Static|Transient|Pretty) hostname: (\S+)", command.stdout)
    for name in names:
        words = [line for line in name.splitlines() if line and not line.startswith("#")]
        if len(words) == 1 and " " not in words[0]:
            yield words[0]
            yield words[0].split(".")[0]


def _domains(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        if path.endswith("/resolv.conf") or path == "/etc/resolv.conf":
            for found in re.finditer(r"(?m)^(?:search|domain)[ \t]+(.+)$", text):
                yield from (word for word in found[1].split() if "." in word.strip("."))


def _nmcli_networks(argv: Sequence[str], stdout: str) -> Iterator[str]:
    """The column SSID (or NAME, of connections) of `nmcli -t -f …`."""
    if argv[0].rsplit("/", 1)[-1] != "nmcli" or not {"-t", "--terse"} & set(argv):
        return
    at = next((i for i, word in enumerate(argv) if word in ("-f", "--fields", "-g")), None)
    if at is None or at + 1 >= len(argv):
        return
    columns = argv[at + 1].upper().split(",")
    wanted = [i for i, column in enumerate(columns) if column in ("SSID", "NAME", "CONNECTION")]
    for line in stdout.splitlines():
        cells = re.split(r"(?<!\\):", line)
        for column in wanted:
            if column < len(cells):
                yield cells[column].replace("\\:", ":").replace("\\\\", "\\")


def _network_texts(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    """Texts in which four numbers with dots between them are an address, and no version."""
    for command in recording.commands:
        if _NETWORK_PROGRAMS.match(command.argv[0].rsplit("/", 1)[-1]):
            yield command.stdout
            yield command.stderr
    for path, text in files.items():
        if path.startswith(_NETWORK_FILES) or os.path.basename(path) == "resolv.conf":
            yield text
