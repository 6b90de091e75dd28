"""Finds who and what a recorded machine is about, in the places that are known to say so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from qlmdm_core.host.recorded import Recording
from qlmdm_core.host.redaction import people
from qlmdm_core.host.redaction.names import Names

_HARDWARE = re.compile(
    r"/(?:serial|serial_number|wwid|product_uuid|machine-id|boot_id|[a-z]+_serial|[a-z]+_asset_tag)\Z"
)
_SERIAL_LINES = re.compile(
    r"(?m)^[ \t]*(?:Serial Number|Asset Tag|UUID|SKU Number|Service Tag):[ \t]*(\S.*?)[ \t]*$"
    r"|\b(?:E:)?(?:ID_SERIAL|ID_SERIAL_SHORT|ID_WWN(?:_WITH_EXTENSION)?|SERIAL|WWN)=\"?([^\"\n]+)"
    r"|\"(?:serial|wwn|serial_number|uuid_of_system|HardwareSerial|ProductUUID|MachineID|BootID)\""
    r"[ \t]*:[ \t]*\"([^\"\n]+)\""
    r"|^[ \t]*(?:(?:Machine|Boot) ID|Hardware Serial):[ \t]*(\S.*?)[ \t]*$"
)
_SSIDS = re.compile(
    r"(?m)^[ \t]*SSID:[ \t]*(\S.*?)[ \t]*$"
    r"|\bESSID:\"([^\"\n]+)\""
    r"|^[ \t]*802-11-wireless\.ssid:[ \t]*(\S.*?)[ \t]*$"
    r"|^[ \t]*ssid=\"?([^\"\n]+?)\"?[ \t]*$"
    r"|^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\t\d+\t-?\d+\t\S*\t(.+)$"
    r"|^\*?[ \t]*(?:[0-9A-F]{2}:){5}[0-9A-F]{2}[ \t]+(\S.*?)[ \t]+(?:Infra|Ad-Hoc|Mesh|N/A)[ \t]"
)
_BY_ID = re.compile(
    r"/by-id/(?:ata|nvme|usb|scsi|mmc|ieee1394|virtio|cciss)-(?:.*_)?([^_/]+?)(?:-\d+:\d+)?(?:-part\d+)?\Z"
    r"|/by-id/(?:wwn-|nvme-|scsi-)((?:0x|eui\.|nvme\.)[^/]+?)(?:-part\d+)?\Z"
)
_HOSTNAMES = re.compile(
    r"(?:Static|Transient|Pretty) hostname: (\S.*?)[ \t]*$"
    r"|\"(?:Static|Pretty)?Hostname\"[ \t]*:[ \t]*\"([^\"]+)\"",
    re.MULTILINE,
)
_MACHINE_INFO = re.compile(r"(?m)^(?:PRETTY_HOSTNAME|LOCATION)=[\"']?([^\"'\n]+)")
_SERVERS = re.compile(
    r"(?m)(?:^|[\s\"])//([\w.-]+)/"  # mount.cifs(8)
    r"|(?:^|[\s\"])([A-Za-z][\w.-]+):/(?=[^\n]*\bnfs)"  # nfs(5)
    r"|\bnfs4?[ \t]+([A-Za-z][\w.-]+):/"
)
_MOUNT_DOMAIN = re.compile(r"[\s,(](?:domain|workgroup)=([^,\s)]+)")
_GENERIC = frozenset({"co", "com", "org", "net", "ac", "gov", "edu", "local", "home"})
"""Parts of a domain that lie below the top without being anybody's."""
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
    for name in people.users(recording, files):
        names.add("user", name)
    for name in people.persons(recording, files):
        names.add("person", name)
    for name in people.documents(recording):
        names.add("document", name)
    for number in people.numbers(recording, files):
        names.add_shape("telephone or room", number)
    for name in _hosts(recording, files):
        names.add("host", name)
    for name in _domains(recording, files):
        names.add("domain", name)
    for text in _texts(recording, files):
        for number in _matches(_SERIAL_LINES, text):
            names.add_shape("serial number", number)
        for name in _matches(_SSIDS, text):
            names.add("wifi", name)
        names.add_macs(text)
    for path, text in files.items():
        if _HARDWARE.search(path):
            names.add_shape("serial number", text)
        for name in _matches(_NETWORK_FILE, path):
            names.add("wifi", name)
        for number in _matches(_BY_ID, path):
            names.add_shape("serial number", number)
        if "access-points:" in text:
            for name in _netplan_networks(text):
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


def _hosts(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    for name in _own_names(recording, files):
        yield name
        yield name.split(".")[0]
    # (A list of blocked names has thousands of lines, which begin with 0.0.0.0.)
    for line in files.get("/etc/hosts", "").splitlines()[:1000]:
        address, *words = line.partition("#")[0].split() or [""]
        if address == "127.0.1.1" or not address.startswith(("127.", "0.", "::1")):
            # A short word may be that of many other things: "mail", "web".
            yield from (word for word in words if len(word) > 4 and word[:4] != "ip6-")
    for text in _mounts(recording, files):
        for server in _matches(_SERVERS, text):
            yield server
            yield server.split(".")[0]


def _own_names(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    """What the machine itself is called."""
    names = [files.get("/etc/hostname", ""), files.get("/proc/sys/kernel/hostname", "")]
    for command in recording.commands:
        program = command.argv[0].rsplit("/", 1)[-1]
        is_uname = program == "uname" and command.argv[1:] == ("-n",)
        if (program == "hostname" and command.words == ()) or is_uname:
            names.append(command.stdout)
        if program == "hostnamectl":
            yield from _matches(_HOSTNAMES, command.stdout)
    yield from _matches(_MACHINE_INFO, files.get("/etc/machine-info", ""))
    for name in names:
        words = [line for line in name.splitlines() if line and not line.startswith("#")]
        if len(words) == 1 and " " not in words[0]:
            yield words[0].strip()


def _domains(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    found = [name.partition(".")[2] for name in _own_names(recording, files)]
    for path, text in files.items():
        if path.endswith("/resolv.conf"):
            for line in re.finditer(r"(?m)^(?:search|domain)[ \t]+(.+)$", text):
                found += line[1].split()
    for text in _mounts(recording, files):
        yield from _matches(_MOUNT_DOMAIN, text)
    for domain in found:
        labels = domain.strip(".").split(".")
        for at in range(len(labels) - 1):
            if labels[at].lower() not in _GENERIC:
                yield ".".join(labels[at:])


def _mounts(recording: Recording, files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        if path.endswith(("/mountinfo", "/mounts", "/fstab")):
            yield text
    for command in recording.commands:
        if command.argv[0].rsplit("/", 1)[-1] in ("mount", "findmnt", "lsblk", "df"):
            yield command.stdout


def _netplan_networks(text: str) -> Iterator[str]:
    """The keys below `access-points:` (netplan-yaml(5))."""
    deeper = -1
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if line.strip() == "access-points:":
            deeper, first = indent, -1
        elif deeper >= 0 and line.strip():
            if indent <= deeper:
                deeper = -1
                continue
            first = indent if first < 0 else first
            if indent == first and (
                key := re.match(r"\s*(\"[^\"]*\"|'[^']*'|[^\"'].*?)\s*:", line)
            ):
                yield key[1].strip("\"'")


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
