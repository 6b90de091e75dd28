"""Reads who listens on which TCP port: from `ss`, `netstat` or /proc/net."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

_PROGRAM = re.compile(r'\("((?:\\.|[^"\\])*)",pid=(\d+)')
_NETSTAT_PROGRAM = re.compile(r"(?:^|\s)(\d+)/(\S+)")
_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """One listening socket."""

    address: str
    """Without a zone; "*" for all of both families."""
    port: int
    programs: tuple[str, ...] = ()
    """Who holds it; empty when that is not shown."""

    @property
    def where(self) -> str:
        """Address and port, as `ss` writes them."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"

    @property
    def local_only(self) -> bool:
        """Whether only this machine itself reaches it."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def parse_ss(text: str) -> list[Listener]:
    """The listeners in what `ss -ltnp` or `netstat -tlnp` printed. Never raises."""
    return list(_listeners(text.splitlines()))


def _listeners(lines: Iterable[str]) -> Iterator[Listener]:
    for line in lines:
        words = line.split()
        if words[:1] == ["LISTEN"]:  # ss: state, two queues, local, peer
            at, programs = 3, tuple(found[0] for found in _PROGRAM.findall(line))
        elif "LISTEN" in words and words[0].startswith("tcp"):
            # ss without -t has the kind of socket before the state; netstat has the state last.
            at = 4 if words[1] == "LISTEN" else 3
            programs = tuple(found[0] for found in _PROGRAM.findall(line)) or tuple(
                found[1] for found in _NETSTAT_PROGRAM.findall(line)
            )
        else:
            continue
        place = _place(words[at]) if len(words) > at else None
        if place is not None:
            yield Listener(*place, tuple(dict.fromkeys(programs)))


def _place(text: str) -> tuple[str, int] | None:
    address, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or len(port) > len("65535"):
        return None
    return address.strip("[]").split("%", 1)[0] or "*", int(port)


def parse_proc(text: str) -> list[Listener]:
    """The listeners in /proc/net/tcp or tcp6 (proc(5)); whose they are, it does not say."""
    found: list[Listener] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] != _LISTEN:
            continue
        address, _, port = words[1].rpartition(":")
        try:
            found.append(Listener(_from_hex(address), int(port, 16)))
        except ValueError:
            continue
    return found


def _from_hex(text: str) -> str:
    """The address behind the kernel's notation: 32-bit words in the host's byte order."""
    data = bytes.fromhex(text)
    if len(data) not in (4, 16):
        raise ValueError(text)
    words = [data[at : at + 4][::-1] for at in range(0, len(data), 4)]
    return str(ipaddress.ip_address(b"".join(words)))


def parse_socket_unit(text: str) -> list[Listener]:
    """What a systemd socket listens on: the `Listen` lines of `systemctl show`. Only TCP.

    Sockets in the file system and of AF_VSOCK (which every host has since systemd 256) are
    no way in from the network.
    """
    found: list[Listener] = []
    words = text.split()
    for named, kind in pairwise(words):
        if kind != "(Stream)":
            continue
        word = named.removeprefix("Listen=").removeprefix("ListenStream=")
        place = None if word.startswith(("vsock:", "/", "@")) else _place(word)
        if place is not None:
            found.append(Listener(*place))
    return found
