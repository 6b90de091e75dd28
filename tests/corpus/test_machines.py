"""The machines in tests/machines: each gives the report expected of it, on every interpreter.

And what the corpus has to be: wide enough, told where it comes from, without anybody's data.
`python tools/corpus/expect.py` shows and stores the reports (docs/recordings.md).
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qlmdm_core.api import CommandResult
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import corpus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "machines"
TOOLS = ROOT / "tools" / "corpus"
MACHINES = corpus.machines(FOLDER)
MOST_FILES = 150


def load_traits() -> Any:
    spec = importlib.util.spec_from_file_location("corpus_traits", TOOLS / "traits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def collectors() -> corpus.Collectors:
    return corpus.Collectors()


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_a_machine_gives_the_report_expected_of_it(
    machine: corpus.Machine, collectors: corpus.Collectors
) -> None:
    assert corpus.differences(machine.expected(), collectors.report(machine)) == []


class WholeHost(ReplayHost):
    """A machine that notes which questions it has no answer to, though it should have."""

    missing: ClassVar[set[str]] = set()

    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        result = super().run(argv, **options)
        if result.error:
            self.missing.add(f"{' '.join(argv)}: {result.error}")
        return result

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        try:
            return super().read(path, max_bytes=max_bytes)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            self.missing.add(f"{path}: {error.strerror}")
            raise


COMPOSED = [machine for machine in MACHINES if machine.note.startswith("composed")]


@pytest.mark.parametrize("machine", COMPOSED, ids=str)
def test_a_composed_machine_has_an_answer_to_every_question(machine: corpus.Machine) -> None:
    """Else what is expected would depend on a hole in the composition."""
    WholeHost.missing = set()
    corpus.Collectors(WholeHost).report(machine)
    assert WholeHost.missing == set()


@pytest.mark.parametrize("machine", MACHINES[::12], ids=str)
def test_the_command_gives_the_same_report(machine: corpus.Machine) -> None:
    assert corpus.differences(machine.expected(), corpus.by_command(machine)) == []


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_the_command_gives_the_report_of_each_machine(machine: corpus.Machine) -> None:
    assert corpus.differences(machine.expected(), corpus.by_command(machine)) == []


# --- what the corpus is -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def traits() -> list[Any]:
    of = load_traits().of
    return [of(machine) for machine in MACHINES]


def test_the_corpus_is_wide_enough(traits: list[Any]) -> None:
    desktops = {d.partition(" (")[0] for its in traits for d in its.desktops} - {"unknown"}
    assert len(traits) >= 60
    assert len({its.distribution.partition(" ")[0] for its in traits} - {"unknown"}) >= 12
    assert len(desktops) >= 8
    assert len({its.storage for its in traits if ">" in its.storage}) >= 15
    assert len({its.firewall for its in traits}) >= 10
    assert {its.root for its in traits} == {True, False}


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_a_machine_says_where_it_comes_from(machine: corpus.Machine) -> None:
    kind, colon, rest = machine.note.partition(": ")
    assert colon, machine.note
    assert kind in ("composed", "recorded")
    source = r"after .*(https://\S+|\b[\w.-]+\(\d\w*\))" if kind == "composed" else r"\bon \S+"
    assert re.search(source, rest), machine.note


def test_every_folder_is_a_machine() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert folders == {str(machine) for machine in MACHINES}


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_a_machine_is_small_enough_to_be_read(machine: corpus.Machine) -> None:
    assert sum(len(names) for _, _, names in os.walk(machine.path)) <= MOST_FILES


def test_the_index_is_up_to_date() -> None:
    run_tool("expect.py", "--check-index")


def test_each_composed_machine_is_what_its_recipe_makes() -> None:
    run_tool("compose", "--check")


def run_tool(*argv: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOLS / argv[0]), *argv[1:]], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


# --- nobody's data ----------------------------------------------------------------------------

IPV4 = re.compile(r"(?<![\w.:-])\d{1,3}(?:\.\d{1,3}){3}(?![\w.-])")
IPV6 = re.compile(r"(?<![\w:.])[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])")
MAC = re.compile(r"(?<![\w:])[0-9a-f]{2}(?::[0-9a-f]{2}){5}(?![\w:])", re.IGNORECASE)
MAIL = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|de|eu|local))\b")
HASH = re.compile(r"\$(?:1|5|6|2[abxy]|y|7|gy)\$[^:\s\"]{20,}")

ALGORITHMS = ("openssh.com", "libssh.org", "lists.debian.org")
"""What names of algorithms end in, which every sshd prints; and the builder of Debian's kernels."""

NETWORKS = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.2.0/24",  # RFC 5737: documentation
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",  # RFC 3849
        "10.0.2.0/24",  # what qemu gives to every guest
        "fec0::/64",
        "2002::/16",  # firewalld names private networks as 6to4 has them
    )
]
PUBLIC = {"1.1.1.1", "2606:4700:4700::1111"}
"""Whom collectors name when they ask for the way into the internet; nothing is sent."""


VERSIONS = {"12.1.9.0", "10.3.5.0", "4.5.16.0"}
"""Of products, in the form of an address."""


def documented(address: str) -> bool:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return True  # a version number, a time
    return (
        address in PUBLIC | VERSIONS
        or known.is_loopback
        or known.is_unspecified
        or known.is_multicast
        or known.is_link_local
        or known == ipaddress.ip_address("255.255.255.255")
        or any(known in network for network in NETWORKS)
    )


def texts() -> Iterator[tuple[str, str]]:
    for machine in MACHINES:
        for path in sorted(machine.path.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(FOLDER)), path.read_text("utf-8", "replace")


def strangers(path: str, text: str) -> Iterator[str]:
    """What in a text might be somebody's."""
    for address in IPV4.findall(text):
        if not documented(address) and "." in address and int(address.split(".")[0]) > 5:
            yield f"{path}: address {address}"
    for address in IPV6.findall(text):
        if not documented(address) and not re.fullmatch(r"[\d:]+", address):
            yield f"{path}: address {address}"
    for mac in MAC.findall(text):
        # RFC 7042 keeps the one for documentation; qemu gives the other to its guests.
        if not mac.lower().startswith(
            ("00:00:5e:00:53", "00:11:22:33:44", "52:54:00", "00:00:00", "ff:ff:ff")
        ):
            yield f"{path}: hardware address {mac}"
    for host in MAIL.findall(text):
        if not host.endswith(("example.com", "example.org", "example.net", *ALGORITHMS)):
            yield f"{path}: mail address at {host}"
    for word in HASH.findall(text):
        if "invented" not in word:
            yield f"{path}: password hash {word}"
    if "PRIVATE KEY-----\n" in text and "REDACTED" not in text:
        yield f"{path}: a private key"


def test_no_machine_holds_what_could_be_somebodys() -> None:
    found = sorted({line for path, text in texts() for line in strangers(path, text)})
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "inet 93.184.216.34/24",
        "inet6 2a00:1450:4001:82b::200e/64",
        "link/ether 3c:52:82:11:22:33",
        "mail jane@bigcorp.com",
        "jane:$6$Qr8s1Zk2$hJ9ZlVbO0aYd8s7f6g5h4j3k2l1:19000",
    ],
)
def test_what_could_be_somebodys_is_seen(text: str) -> None:
    assert list(strangers("file", text))


# --- the tool ---------------------------------------------------------------------------------


def test_what_differs_is_told_place_by_place() -> None:
    expected = {"a": {"b": [1, 2], "c": None}, "d": "x"}
    found = {"a": {"b": [True, 2], "e": 0}, "d": "y"}
    assert corpus.differences(expected, found) == [
        "a.b[0]: expected 1, found true",
        "a.c: missing, expected null",
        "a.e: not expected, found 0",
        'd: expected "x", found "y"',
    ]


def test_lists_of_different_length_are_told_whole() -> None:
    assert corpus.differences({"a": [1]}, {"a": [1, 2]}) == ["a: expected [1], found [1, 2]"]
