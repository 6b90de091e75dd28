"""Asks the machine for the rules of its packet filter, in each of the forms that they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qlmdm_core import CommandResult, Host
from qlmdm_plugins_builtin.collectors.firewall import listing, nft_json, nft_text, xtables
from qlmdm_plugins_builtin.collectors.firewall.walk import Ruleset

NFT = (
    ("nft", "--json", "list", "ruleset"),
    ("nft", "-j", "list", "ruleset"),
    # Sets of a hundred thousand addresses take long; their members do not matter here.
    ("nft", "--json", "--stateless", "--terse", "list", "ruleset"),
    ("nft", "-j", "-s", "-t", "list", "ruleset"),
    ("nft", "list", "ruleset"),
)
"""How the kernel can be asked for its rules; the first form that answers is used."""

_BESIDE_LEGACY = "iptables-legacy tables present"
_NO_NF_TABLES = ("protocol not supported", "operation not supported")


@dataclass(frozen=True)
class Rules:
    """The rules that a source gave, or why it gave none."""

    ruleset: Ruleset | None = None
    installed: bool = False
    why: str = ""
    unsupported: bool = False
    """The kernel itself has no such rules."""
    beside_legacy: bool = False
    """iptables-nft warned that there are tables of iptables-legacy, which it does not show."""


def ask_nft(host: Host) -> Rules:
    """All rules of nf_tables."""
    why, installed, slow = "nft is not installed", host.which("nft") is not None, False
    for argv in NFT if installed else NFT[:1]:
        if slow and not {"--terse", "-t"} & set(argv):
            continue
        answer = host.run(argv, timeout=8.0)
        if not answer.found:
            continue
        if answer.ok:
            text = answer.stdout
            found = nft_json.parse(text) or nft_text.parse(text)
            if found is None and not text.strip():
                found = Ruleset()
            if found is not None:
                return _trusted(host, found, "nft")
            why = "nft printed what is not understood"
            continue
        why = answer.why
        if any(text in answer.stderr.lower() for text in _NO_NF_TABLES):
            return Rules(None, True, why, unsupported=True)
        if slow or not (answer.timed_out or answer.truncated or "json" in answer.stderr.lower()):
            break
        slow = answer.timed_out or answer.truncated
    return Rules(None, installed, why)


def _trusted(host: Host, found: Ruleset, program: str) -> Rules:
    """An empty answer proves nothing to a process that may not see the rules."""
    if not found.chains and not host.is_root:
        return Rules(None, True, f"{program} shows no rules, and needs root to show them")
    return Rules(found, True)


def ask_iptables(host: Host, family: str) -> Rules:
    """The rules of iptables, in whichever form it is installed, for one family."""
    program = "iptables" if family == "ip" else "ip6tables"
    return _ask_xtables(
        host,
        family,
        "",
        (
            (f"{program}-save",),
            (f"{program}-save", "-t", "filter"),
            (program, "-w", "5", "-S"),
            (program, "-S"),
            (program, "-w", "5", "-S", "INPUT"),
            (program, "-S", "INPUT"),
            (program, "-n", "-v", "-L"),
            (program, "-L"),
            # The same table by its name, and the program by the name of its kind.
            (program, "-t", "filter", "-n", "-v", "-L"),
            (f"{program}-nft-save",),
            (f"{program}-nft", "-S"),
        ),
    )


def ask_legacy(host: Host, family: str) -> Rules:
    """The rules of iptables-legacy, which nft does not show; an empty set if there are none."""
    program = "iptables" if family == "ip" else "ip6tables"
    loaded = _loaded_tables(host, family)
    found = _ask_xtables(
        host, family, "legacy", ((f"{program}-legacy-save",), (f"{program}-legacy", "-S"))
    )
    if found.ruleset is not None or (found.installed and loaded is not False):
        return found
    if loaded is None:
        return Rules(None, found.installed, f"{program}-legacy may have tables; root could see")
    if not loaded:
        return Rules(Ruleset(), found.installed)
    # The tables of the legacy form are loaded, but the program of that name is not there.
    found = _ask_xtables(host, family, "legacy", ((f"{program}-save",), (program, "-S")))
    if found.ruleset is not None and found.ruleset.chains:
        return found
    return Rules(None, found.installed, f"{program}-legacy has tables that can't be listed")


def _loaded_tables(host: Host, family: str) -> bool | None:
    """Whether the kernel has a filter table of the legacy form; None if that is kept from us."""
    name = "ip_tables_names" if family == "ip" else "ip6_tables_names"
    try:
        return "filter" in host.read(f"/proc/net/{name}").split()
    except FileNotFoundError:
        return False  # the module is not loaded
    except OSError:
        return None


def _ask_xtables(host: Host, family: str, source: str, forms: Sequence[Sequence[str]]) -> Rules:
    why, installed = f"{forms[0][0]} is not installed", False
    for argv in forms:
        if host.which(argv[0]) is None:
            continue
        installed = True
        answer: CommandResult = host.run(argv, timeout=5.0)
        if not answer.found:
            continue
        if answer.timed_out or answer.truncated:
            return Rules(None, True, answer.why)  # another form would take as long
        if not answer.ok:
            why = answer.why
            continue
        found = xtables.parse(answer.stdout, family, source) or listing.parse(answer.stdout, family)
        if found is None:
            why = f"{argv[0]} printed what is not understood"
        elif found.notes and not found.chains:
            why = found.notes[0]  # "Table `filter' is incompatible, use 'nft' tool."
        else:
            beside_legacy = _BESIDE_LEGACY in answer.stdout + answer.stderr
            return replace(_trusted(host, found, argv[0]), beside_legacy=beside_legacy)
    return Rules(None, installed, why)
