"""The operating system, its hardware, its network, and the people with accounts.

Formats: os-release(5), proc(5), sysfs of network devices and DMI, `ip -json` (ip(8)), passwd(5).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from machine import Machine

# --- the operating system ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Release:
    """A distribution's release."""

    os_release: str
    """os-release(5), as `KEY=value` lines."""
    kernel: str
    debian: str = ""
    """/etc/debian_version."""
    lsb: str = ""
    """/etc/lsb-release."""


def system(
    machine: Machine,
    release: Release,
    *,
    virt: str = "none",
    init: str = "systemd",
    secure_boot: bool | None = True,
    setup_mode: bool = False,
) -> None:
    """Distribution, kernel and the first process; `secure_boot` None: no UEFI."""
    machine.systemd = init == "systemd"
    machine.file("/usr/lib/os-release", release.os_release)
    machine.link("/etc/os-release", "../usr/lib/os-release")
    machine.file("/proc/sys/kernel/osrelease", release.kernel + "\n")
    machine.file("/proc/sys/kernel/arch", "x86_64\n")
    machine.file("/proc/version", f"Linux version {release.kernel} (build@example.org) #1 SMP\n")
    if release.debian:
        machine.file("/etc/debian_version", release.debian + "\n")
        machine.command(("dpkg", "--print-architecture"), "amd64\n")
    if release.lsb:
        machine.file("/etc/lsb-release", release.lsb)
    if machine.systemd:
        machine.command(
            ("systemd-detect-virt",), virt + "\n", returncode=1 if virt == "none" else 0
        )
        status = ("systemctl", "--no-pager", "-n0", "status", "firewalld.service")
        said = "Unit firewalld.service could not be found.\n"
        machine.command(status, stderr=said, returncode=4)
        for unit in ("eraagent.service", "prey-agent.service"):
            machine.command(
                ("systemctl", "show", "-p", "LoadState,ActiveState,SubState", unit),
                "LoadState=not-found\nActiveState=inactive\nSubState=dead\n",
            )
    else:
        flags = "fpu vme sse2" + (" hypervisor" if virt != "none" else "")
        machine.file("/proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n")
    paths = {"systemd": "/usr/lib/systemd/systemd", "runit": "/usr/bin/runit"}
    if init == "none":
        machine.process(pid=1, ppid=0, uid=0, user="root", comm="sleep", argv=["sleep", "inf"])
    else:
        machine.daemon(paths.get(init, "/sbin/init"), comm="init")
    if virt not in ("docker", "wsl"):
        machine.file("/sys/firmware/acpi/pm_profile", "2\n")
    if secure_boot is not None:
        efi_variable(machine, "SecureBoot", secure_boot)
        efi_variable(machine, "SetupMode", setup_mode)
        chosen = "[integrity]" if secure_boot else "[none]"
        lockdown = "none integrity confidentiality".replace(chosen.strip("[]"), chosen)
        machine.file("/sys/kernel/security/lockdown", lockdown + "\n")


SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"


def efi_variable(machine: Machine, name: str, value: bool) -> None:
    """A variable of the firmware: four bytes of attributes, then its one (UEFI Specification)."""
    owner = SHIM if name.startswith("Mok") else "8be4df61-93ca-11d2-aa0d-00e098032b8c"
    path = f"/sys/firmware/efi/efivars/{name}-{owner}"
    machine.file(path, b"\x06\x00\x00\x00" + (b"\x01" if value else b"\x00"))


# --- hardware ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Model:
    """A computer that can be bought, with a serial number that nobody has."""

    vendor: str
    product: str
    version: str
    chassis: int
    """SMBIOS: 3 desktop, 8 portable, 9 laptop, 10 notebook, 23 rack."""
    bios: str
    battery: bool = False


THINKPAD = Model(
    vendor="LENOVO", product="20XYS0EX00", version="ThinkPad X1 Example", chassis=10,
    bios="N32EX00W (1.00 )", battery=True,
)  # fmt: skip
LATITUDE = Model(
    vendor="Dell Inc.", product="Latitude 0000", version="Not Specified", chassis=10,
    bios="1.0.0", battery=True,
)  # fmt: skip
TOWER = Model(
    vendor="To Be Filled By O.E.M.", product="To Be Filled By O.E.M.",
    version="To Be Filled By O.E.M.", chassis=3, bios="P1.00",
)  # fmt: skip
SERVER = Model(vendor="HPE", product="ProLiant Example Gen10", version="", chassis=23, bios="U30")
GUEST = Model(
    vendor="QEMU", product="Standard PC (Q35 + ICH9, 2009)", version="pc-q35-8.2", chassis=1,
    bios="1.16.3-debian-1.16.3-2",
)  # fmt: skip


def hardware(machine: Machine, model: Model) -> None:
    """The DMI tables in sysfs, of which some are for root only."""
    folder = "/sys/class/dmi/id"
    for name, text in (
        ("sys_vendor", model.vendor),
        ("product_name", model.product),
        ("product_version", model.version),
        ("bios_vendor", model.vendor if model.vendor != "QEMU" else "SeaBIOS"),
        ("bios_version", model.bios),
        ("bios_date", "03/01/2026"),
        ("chassis_type", str(model.chassis)),
    ):
        machine.file(f"{folder}/{name}", text + "\n")
    for name, text in (
        ("product_serial", "EXAMPLE1" if model is not TOWER else model.vendor),
        ("product_uuid", "00000000-0000-4000-8000-00000000e4a1"),
    ):
        if machine.root:
            machine.file(f"{folder}/{name}", text + "\n")
        else:
            machine.unreadable(f"{folder}/{name}")
    if model.battery:
        machine.file("/sys/class/power_supply/BAT0/type", "Battery\n")


# --- the network ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nic:
    """A network interface with hardware behind it."""

    name: str
    mac: str
    ipv4: str = ""
    ipv6: str = ""
    driver: str = "e1000e"
    pci: str = "8086:0DC7"
    wifi: bool = False
    up: bool = True


WIRED = Nic("enp0s31f6", "00:00:5e:00:53:11", "192.0.2.11/24", "2001:db8:11::11/64")
WIFI = Nic(
    "wlp0s20f3", "00:00:5e:00:53:12", "198.51.100.12/24", driver="iwlwifi", pci="8086:51F0",
    wifi=True,
)  # fmt: skip
UNPLUGGED = Nic("enp0s31f6", "00:00:5e:00:53:11", up=False)
VIRTIO = Nic(
    "ens3", "52:54:00:12:34:56", "203.0.113.20/24", "2001:db8:20::20/64", driver="virtio_net",
    pci="1AF4:1041",
)  # fmt: skip


def network(
    machine: Machine, *nics: Nic, ip: bool = True, ipv6_off: bool = False, more: Sequence[str] = ()
) -> None:
    """Interfaces in sysfs, and what `ip` says; `more` names virtual ones (docker0, wg0)."""
    entries = [_link("lo", "loopback", "00:00:00:00:00:00", 1, ["127.0.0.1/8"], up=True)]
    machine.file("/sys/class/net/lo/address", "00:00:00:00:00:00\n")
    machine.file("/sys/class/net/lo/type", "772\n")
    for index, nic in enumerate(nics, 2):
        _sysfs(machine, nic, index)
        addresses = [address for address in (nic.ipv4, nic.ipv6) if address]
        entries.append(_link(nic.name, "ether", nic.mac, index, addresses, up=nic.up))
    for index, name in enumerate(more, len(nics) + 2):
        folder = f"/sys/devices/virtual/net/{name}"
        machine.link(f"/sys/class/net/{name}", f"../../{folder.removeprefix('/sys/')}")
        mac = "" if name.startswith(("wg", "tun")) else "02:42:00:00:53:01"
        machine.file(f"{folder}/address", mac.replace("02:42:00:00", "00:00:5e:00") + "\n")
        machine.file(f"{folder}/type", "65534\n" if not mac else "1\n")
        if mac:
            machine.file(f"{folder}/bridge/bridge_id", "8000.00005e005301\n")
        entries.append(_link(name, "ether" if mac else "none", "", index, [], up=False))
    machine.file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n" if ipv6_off else "0\n")
    if ip:
        machine.command(("ip", "-json", "addr"), json.dumps(entries) + "\n")
        links = [{k: v for k, v in entry.items() if k != "addr_info"} for entry in entries]
        machine.command(("ip", "-json", "-d", "link"), json.dumps(links) + "\n")
        _routes(machine, nics)


def _routes(machine: Machine, nics: Sequence[Nic]) -> None:
    for family, way in (("ipv4", "1.1.1.1"), ("ipv6", "2606:4700:4700::1111")):
        nic = next((n for n in nics if n.up and getattr(n, family)), None)
        argv = ("ip", "-json", "route", "get", way)
        if nic is None:
            said = "RTNETLINK answers: Network is unreachable"
            machine.refused(*argv, stderr=said, returncode=2)
            continue
        source = str(getattr(nic, family)).partition("/")[0]
        gateway = "fe80::1" if ":" in source else source.rsplit(".", 1)[0] + ".1"
        route = {"dst": way, "gateway": gateway, "dev": nic.name, "prefsrc": source}
        machine.command(argv, json.dumps([route]) + "\n")


def _sysfs(machine: Machine, nic: Nic, index: int) -> None:
    device = f"/sys/devices/pci0000:00/0000:00:{0x13 + index:02x}.0"
    folder = f"{device}/net/{nic.name}"
    machine.link(f"/sys/class/net/{nic.name}", f"../../{folder.removeprefix('/sys/')}")
    machine.link(f"{folder}/device", f"../../../0000:00:{0x13 + index:02x}.0")
    for name, text in (
        ("address", nic.mac),
        ("type", "1"),
        ("operstate", "up" if nic.up else "down"),
        ("uevent", f"{'DEVTYPE=wlan' + chr(10) if nic.wifi else ''}INTERFACE={nic.name}"),
    ):
        machine.file(f"{folder}/{name}", text + "\n")
    machine.file(f"{device}/uevent", f"DRIVER={nic.driver}\nPCI_ID={nic.pci}\n")
    machine.link(f"{device}/subsystem", "../../../bus/pci")


def _link(
    name: str, kind: str, mac: str, index: int, addresses: Sequence[str], *, up: bool
) -> dict[str, object]:
    flags = (["LOOPBACK"] if kind == "loopback" else ["BROADCAST", "MULTICAST"]) + ["UP"]
    return {
        "ifindex": index,
        "ifname": name,
        "flags": [*flags, "LOWER_UP"] if up else ["NO-CARRIER", *flags],
        "operstate": "UP" if up and kind != "loopback" else "UNKNOWN" if up else "DOWN",
        "link_type": kind,
        **({"address": mac} if mac else {}),
        "addr_info": [
            {
                "family": "inet6" if ":" in text else "inet",
                "local": text.partition("/")[0],
                "prefixlen": int(text.partition("/")[2]),
                "scope": "host" if kind == "loopback" else "global",
            }
            for text in addresses
        ],
    }


def located(machine: Machine, nic: Nic, provider: str) -> None:
    """Three access points that NetworkManager hears (nmcli(1), -t), and where they are said to be.

    One asks not to be used (`_nomap`).
    """
    machine.stat(f"/sys/class/net/{nic.name}/phy80211", mode=0o40755)
    heard = [("1", 88, 5180, "cafe"), ("2", 60, 2437, ""), ("3", 70, 2412, "flat_nomap")]
    lines = [
        f"00\\:11\\:22\\:33\\:44\\:5{last}:{signal}:{freq} MHz:{name}\n"
        for last, signal, freq, name in heard
    ]
    fields = ("-t", "-f", "BSSID,SIGNAL,FREQ,SSID", "dev", "wifi", "list", "--rescan", "auto")
    machine.command(("nmcli", *fields), "".join(lines))
    answer = {"location": {"lat": 51.47793, "lng": -0.12345}, "accuracy": 35.0}
    machine.http("POST", provider, body=json.dumps(answer))


# --- people -----------------------------------------------------------------------------------

INVENTED = "$y$j9T$inventedsaltinvented$inventedhashinventedhashinventedhashinvente"
"""In the form that yescrypt gives a hash (crypt(5)); no password has it."""


def people(
    machine: Machine,
    *names: str,
    admins: Sequence[str] | None = None,
    group: str = "sudo",
    homes: str = "/home",
    doas: bool = False,
    empty: Sequence[str] = (),
) -> None:
    """Accounts with homes, from uid 1000 on; the first is the administrator unless told.

    Those in `empty` have no password at all.
    """
    chosen = names[:1] if admins is None else admins
    passwd = ["root:x:0:0:root:/root:/bin/bash", "daemon:x:1:1:daemon:/:/usr/sbin/nologin"]
    shadow = ["root:!:20400:0:99999:7:::", "daemon:*:20400:0:99999:7:::"]
    groups = ["root:x:0:", "daemon:x:1:", f"{group}:x:27:{','.join(chosen)}"]
    for uid, name in enumerate(names, 1000):
        passwd.append(f"{name}:x:{uid}:{uid}:{name.title()}:{homes}/{name}:/bin/bash")
        shadow.append(f"{name}:{'' if name in empty else INVENTED}:20400:0:99999:7:::")
        groups.append(f"{name}:x:{uid}:")
    machine.file("/etc/passwd", "\n".join(passwd) + "\n")
    machine.file("/etc/group", "\n".join(groups) + "\n")
    machine.program("/bin/bash").program("/usr/bin/doas" if doas else "/usr/bin/sudo")
    if doas:
        machine.file("/etc/doas.conf", f"permit persist :{group}\n", mode=0o600)
        if machine.root:
            machine.file("/etc/shadow", "\n".join(shadow) + "\n", mode=0o640)
        return
    rules = f"Defaults\tenv_reset\nroot\tALL=(ALL:ALL) ALL\n%{group}\tALL=(ALL:ALL) ALL\n"
    if machine.root:
        machine.file("/etc/shadow", "\n".join(shadow) + "\n", mode=0o640)
        machine.file("/etc/sudoers", rules, mode=0o440)
    else:
        machine.unreadable("/etc/shadow").unreadable("/etc/sudoers")
