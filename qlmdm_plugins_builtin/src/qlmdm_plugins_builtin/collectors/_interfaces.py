"""Reads network interfaces from ip, or whatever else there is: for several collectors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from qlmdm_core.api import JSON, Host

from ._interface_model import (
    MARKS,
    Address,
    Interface,
    clean_mac,
    make_address,
    string,
    with_address,
    word_after,
)
from ._interface_tools import (
    parse_hostname,
    parse_ifconfig,
    parse_iw_dev,
    parse_iwconfig,
    parse_nmcli,
    parse_nmcli_connections,
    parse_nmcli_table,
)

_IP_LINK = re.compile(
    r"(?P<index>\d+): (?P<name>[^\s:@]+)(@[^\s:]*)?: <(?P<flags>[^>]*)>(?P<rest>.*)"
)
_IP_ONE_LINE = re.compile(r"(?P<index>\d+): (?P<name>[^\s:@]+)(@\S+)?\s+(?P<rest>inet6? .*)")
_MOST_ASKED = 16
_IP_BRIEF = re.compile(
    r"(?P<name>[^\s:@]+)(@\S+)? +"
    r"(?P<state>UP|DOWN|UNKNOWN|LOWERLAYERDOWN|DORMANT|NOTPRESENT|TESTING)(?P<rest> .*)?"
)

# --- ip ---------------------------------------------------------------------------------------


def parse_ip(text: str) -> list[Interface]:
    """The interfaces that `ip addr` or `ip link` prints: as JSON, as text, in lines, in brief."""
    if text.lstrip()[:1] in ("[", "{"):
        return _parse_ip_json(text)
    found: dict[str, Interface] = {}
    current = ""
    for line in text.replace("\\", "\n").splitlines():
        if match := _IP_LINK.fullmatch(line.rstrip()):
            current = match["name"]
            found[current] = Interface(
                name=current,
                flags=frozenset(match["flags"].split(",")),
                state=word_after(match["rest"].split(), "state").lower(),
            )
            line = ""
        elif match := _IP_ONE_LINE.fullmatch(line.rstrip()):
            current = match["name"]
            found.setdefault(current, Interface(name=current))
            line = match["rest"]  # as in the long form
        elif match := _IP_BRIEF.fullmatch(line.rstrip()):
            found[match["name"]] = _brief(match["name"], match["state"], match["rest"] or "")
            current = ""
        if current:
            found[current] = _with_line(found[current], line.split())
    return list(found.values())


def _brief(name: str, state: str, rest: str) -> Interface:
    """One line of `ip -br addr` or `ip -br link`: name, state, and addresses or flags."""
    words = rest.split()
    # A tunnel or the loopback is up in the state UNKNOWN.
    flags = frozenset(("UP", "LOWER_UP")) if state in ("UP", "UNKNOWN") else frozenset(("DOWN",))
    shown = words[-1] if words else ""
    if shown.startswith("<"):
        flags = frozenset(shown.strip("<>").split(","))
    interface = Interface(
        name=name, flags=flags, state=state.lower(), mac=clean_mac(words[0] if words else "")
    )
    for word in words:
        local, slash, length = word.partition("/")
        if slash and (address := make_address(local, length, scope="")):
            interface = with_address(interface, address)
    return interface


def _with_line(interface: Interface, words: Sequence[str]) -> Interface:
    """The interface with what one line of `ip` below its name says."""
    if len(words) < 2:
        return interface
    if words[0].startswith("link/"):
        permanent = clean_mac(word_after(words, "permaddr"))
        return replace(
            interface,
            link_type=words[0].removeprefix("link/"),
            mac=clean_mac(words[1]),
            permanent_mac=permanent,
        )
    if words[0] not in ("inet", "inet6"):
        return interface
    # "inet A peer B/32": the prefix stands with the peer, the address is A.
    peer = word_after(words, "peer")
    local, _, length = words[1].partition("/")
    address = make_address(
        local,
        length or peer.partition("/")[2],
        scope=word_after(words, "scope"),
        peer=peer.partition("/")[0],
        marks=words,
    )
    return interface if address is None else with_address(interface, address)


def _parse_ip_json(text: str) -> list[Interface]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    interfaces = []
    for entry in document if isinstance(document, list) else []:
        # Filtered out interfaces are left as empty objects by some versions.
        if not isinstance(entry, dict) or not isinstance(entry.get("ifname"), str):
            continue
        flags = entry.get("flags")
        information = entry.get("linkinfo")
        listed = entry.get("addr_info")
        addresses = [_json_address(item) for item in listed] if isinstance(listed, list) else []
        interfaces.append(
            Interface(
                name=entry["ifname"].partition("@")[0],
                flags=frozenset(f for f in flags if isinstance(f, str))
                if isinstance(flags, list)
                else None,
                link_type=string(entry.get("link_type")),
                mac=clean_mac(string(entry.get("address"))),
                permanent_mac=clean_mac(string(entry.get("permaddr"))),
                info_kind=string(information.get("info_kind"))
                if isinstance(information, dict)
                else "",
                state=string(entry.get("operstate")).lower(),
                addresses=tuple(address for address in addresses if address is not None),
            )
        )
    return interfaces


def _json_address(item: JSON) -> Address | None:
    if not isinstance(item, dict):
        return None
    return make_address(
        string(item.get("local")),
        str(item.get("prefixlen", "")),
        scope=string(item.get("scope")),
        peer=string(item.get("address")),
        marks=[mark for mark in MARKS if item.get(mark) is True],
    )


# --- the machine ------------------------------------------------------------------------------


def read(host: Host, *, links_only: bool = False) -> tuple[list[Interface], str, str]:
    """The interfaces, by which command, and (if there are none) why.

    `links_only` asks for what an interface is rather than for its addresses.
    """
    asked = "link" if links_only else "addr"
    detail = ["-d"] if links_only else []
    problem = ""
    # The one-line form leaves out interfaces that have no address.
    short = [] if links_only else ["-o"]
    questions: list[tuple[list[str], Callable[[str], list[Interface]]]] = [
        (["ip", "-json", *detail, asked], parse_ip),
        (["ip", "-json", "addr", "show"], parse_ip),
        (["ip", *short, "addr"], parse_ip),
        (["ip", *short, "addr", "show"], parse_ip),
        # Where several of these were written down, only the very same words are an answer.
        (["ip", "-j", "addr"], parse_ip),
        (["ip", "--json", "addr"], parse_ip),
        (["ip", "-json", "addr"], parse_ip),
        (["ip", "-j", "addr", "show"], parse_ip),
        (["ip", "addr"], parse_ip),
        (["ip", "addr", "show"], parse_ip),
        (["ip", "address"], parse_ip),
        (["ip", "a"], parse_ip),
        (["ifconfig", "-a"], parse_ifconfig),
        (["ifconfig"], parse_ifconfig),
    ]
    # nmcli takes its words cut short; a replay knows them only as they were typed.
    names = ("device", "dev", "d")
    questions += [(["nmcli", name, "show"], parse_nmcli) for name in names]
    if links_only:
        questions.append((["ip", "link", "show"], parse_ip))
        columns = ["-f", "DEVICE,TYPE,STATE,CONNECTION"]
        questions += [
            (["nmcli", *fields, name, *status], parse_nmcli_table)
            for fields in ([], columns)
            for name in names
            for status in ([], ["status"])
        ]
        questions += [
            (["nmcli", *fields, name, *show], parse_nmcli_connections)
            for fields in (["-f", "all"], [], ["-f", "ALL"])
            for name in ("connection", "con", "c")
            for show in ([], ["show"])
        ]
        questions += [(["iw", "dev"], parse_iw_dev), (["iwconfig"], parse_iwconfig)]
    else:
        questions += [(["hostname", "-I"], parse_hostname)]
    for argv, parse in questions:
        result = host.run(argv, timeout=5.0)
        if result.ok and (interfaces := parse(result.stdout)):
            return interfaces, argv[0], ""
        if result.found:
            problem = problem or result.why
    if not links_only and (interfaces := _one_by_one(host)):
        return interfaces, "ip", ""
    if links_only and (interfaces := _by_procfs(host)):
        return interfaces, "/proc/net/dev", ""
    return [], "", problem or "neither ip nor ifconfig nor nmcli is installed"


def _by_procfs(host: Host) -> list[Interface]:
    """The names of the interfaces, where even sysfs tells nothing (proc(5))."""
    try:
        lines = host.read("/proc/net/dev", max_bytes=64 << 10).splitlines()
    except OSError:
        return []
    names = [line.partition(":")[0].strip() for line in lines if ":" in line and "|" not in line]
    return [Interface(name=name) for name in names if name and " " not in name]


def _one_by_one(host: Host) -> list[Interface]:
    """The addresses of each interface in sysfs, where `ip` does not tell of all at once."""
    try:
        names = host.listdir("/sys/class/net")[:_MOST_ASKED]
    except OSError:
        return []
    found: dict[str, Interface] = {}
    for name in names:
        for family in ("-4", "-6"):
            argv = ["ip", "-br", family, "address", "show", "dev", name]
            result = host.run(argv, timeout=5.0)
            if result.timed_out:
                return []
            for interface in parse_ip(result.stdout) if result.ok else ():
                known = found.setdefault(interface.name, replace(interface, addresses=()))
                addresses = dict.fromkeys((*known.addresses, *interface.addresses))
                found[interface.name] = replace(known, addresses=tuple(addresses))
    return list(found.values())
