"""What each collector tells, in words for the person whose machine it is.

The registration hands it on, `qlmdm-collect --explain` shows it, and docs/privacy.md is made of
it. A test holds it against the values of all machines of the corpus, so that nothing is
collected that is not said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The words about one collector."""

    help: str
    fields: Mapping[str, str]
    private_paths: tuple[str, ...] = field(default=())


FACTS: Mapping[str, Facts] = {
    "accounts": Facts(
        help="Who has an account on the machine, whether it has a password, and who may become "
        "root. Passwords, and what is made of them, are never collected.",
        fields={
            "users": "People's accounts and root's: name, number, shell, groups, whether one can "
            "log in, with what kind of password, and whether they may become root.",
            "notes": "What could not be read or understood.",
        },
        private_paths=("users.*.name", "users.*.sudo_from"),
    ),
    "certificates": Facts(
        help="Until when the certificates are valid that the site's settings name, so that they "
        "are renewed in time. Keys are not collected.",
        fields={
            "certificates": "For each: its file, subject, issuer, names, serial number, and from "
            "when to when it is valid.",
            "failed": "Files that were named and could not be read, and why.",
        },
    ),
    "dmidecode": Facts(
        help="The maker, model and serial number of the machine, so that a report, a repair or a "
        "loss can be matched with the inventory.",
        fields={
            "manufacturer": "Who made it.",
            "product": "The model's name or number.",
            "version": "The model's version; some makers put the name there.",
            "family": "The model's family.",
            "sku": "The maker's order number.",
            "serial": "The machine's serial number.",
            "uuid": "The machine's UUID, from its firmware.",
            "asset_tag": "The owner's own number, if one was written into the firmware.",
            "board_manufacturer": "Who made its main board.",
            "board_product": "The main board's model.",
            "board_serial": "The main board's serial number.",
            "chassis": "Its form, such as Notebook.",
            "chassis_serial": "The case's serial number.",
            "portable": "Whether it is one to carry around.",
            "virtual": "Whether it is a virtual machine.",
            "bios_vendor": "Who made the firmware.",
            "bios_version": "The firmware's version.",
            "bios_date": "The firmware's date.",
            "refused": "What is there, and is readable for root only.",
            "sources": "Where it was read.",
        },
    ),
    "firewall": Facts(
        help="Whether the machine filters what comes in from the network, by IPv4 and IPv6.",
        fields={
            "ipv4": "Whether what nobody asked for is dropped, by IPv4.",
            "ipv6": "The same, by IPv6.",
            "front_end": "The program that manages the rules.",
            "installed": "Other such programs that are installed.",
            "zone": "The default zone, of firewalld.",
            "open_ports": "Ranges of ports that a front end leaves open to everybody.",
            "evidence": "The rule, or the lack of one, that decided.",
        },
    ),
    "geolocation": Facts(
        help="Where the machine is, to find one that was lost or stolen. Off unless settings turn "
        "it on and there are secret-keepers, who alone can read it. To find out, the addresses of "
        "the wireless access points around go to the provider that the settings name.",
        fields={
            "latitude": "Degrees north, as coarse as the site has set.",
            "longitude": "Degrees east, as coarse as the site has set.",
            "accuracy_meters": "How far off that may be.",
            "source": "By what it was found out.",
        },
    ),
    "guest_session": Facts(
        help="Whether somebody without an account, or without a password, can use the screen.",
        fields={
            "display_manager": "The program that shows the login screen.",
            "found_by": "How it was found.",
            "autologin": "The account that is logged in by itself, if one is.",
            "autologin_source": "The file that says so.",
            "autologin_reason": "Why it can't be told.",
            "at_next_boot": "The same, of the program that starts at the next boot.",
            "guest_account": "The account that anybody may use, if there is one.",
            "remote_login": "How the login screen is shown to the network, if it is.",
            "guest_account_script": "The program that makes guest accounts.",
            "script_installed": "Whether it is installed.",
            "seats": "For each seat, what decided.",
        },
        private_paths=("autologin", "at_next_boot.autologin", "seats.*.autologin-user.value"),
    ),
    "hd_encryption": Facts(
        help="Whether all that is on the disks is encrypted, so that a stolen machine gives "
        "nothing away.",
        fields={
            "volumes": "Each mounted file system and swap on a disk of this machine: where it is, "
            "and through what it gets to the disk.",
            "directories": "Folders that are encrypted by themselves, such as a home.",
            "hardware": "What a disk that encrypts by itself says of that.",
        },
        private_paths=("directories.*.path",),
    ),
    "ip_addresses": Facts(
        help="The machine's own network addresses, to find it and to reach it.",
        fields={
            "addresses": "Each address with its interface.",
            "link_local": "How many addresses are of the link only, and left out.",
            "primary": "The address from which it reaches the world.",
            "source": "The program that told.",
        },
    ),
    "network_devices": Facts(
        help="The network devices and their hardware addresses, to recognise the machine in a "
        "network's logs.",
        fields={
            "devices": "Each device: name, kind, model, hardware address, and whether it is up.",
            "count": "How many there are.",
            "sources": "Where it was read.",
        },
    ),
    "os_info": Facts(
        help="The distribution, its version and the kernel, to know what runs in the fleet.",
        fields={
            "id": "The distribution's name, for programs.",
            "id_like": "Those that it is made from.",
            "name": "The distribution's name.",
            "pretty_name": "Its name with the version.",
            "version": "The version, for people.",
            "version_id": "The version, for programs.",
            "codename": "The version's name.",
            "variant_id": "The edition, such as workstation.",
            "build_id": "The build, of an image or a rolling release.",
            "image_id": "The image's name.",
            "image_version": "The image's version.",
            "release_type": "Whether it is stable, in development, or an experiment.",
            "support_end": "When the distribution says its support ends.",
            "lsb_id": "The name in lsb-release, where that is another.",
            "ubuntu_codename": "The release of Ubuntu that it is made from.",
            "debian_version": "What /etc/debian_version says.",
            "rolling": "Whether there are no releases, only updates.",
            "atomic": "Whether it is updated as an image, and by what.",
            "kernel": "The running kernel's version.",
            "architecture": "The processor's architecture.",
            "userland_architecture": "That of the programs, where it is another.",
            "virtualization": "The kind of virtual machine or container, if it is one.",
        },
    ),
    "os_updates": Facts(
        help="Which updates wait, by the package lists that the machine has, and how long its "
        "release is supported. Nothing is installed or fetched.",
        fields={
            "distribution": "The distribution and its version.",
            "adapter": "The plugin that knows this distribution.",
            "updates": "How many updates wait.",
            "security_updates": "How many of them mend a weakness.",
            "packages": "Their names, with the version that is here and the newer one.",
            "held": "Packages that the owner holds back.",
            "release_upgrade": "The next release, if there is one.",
            "supported_until": "The last day on which this release gets updates.",
            "end_of_life": "Whether that day has passed.",
            "cache_updated_at": "When the package lists were last renewed.",
            "cache_age_seconds": "How long ago that is.",
            "notes": "What else decided.",
        },
    ),
    "packages": Facts(
        help="Names and versions of the installed packages, to find a program that must not be "
        "there or has a known weakness. Off unless settings turn it on.",
        fields={
            "packages": "The version of each.",
            "count": "How many there are.",
            "adapter": "The plugin that knows this distribution.",
        },
    ),
    "reboot_required": Facts(
        help="Whether an installed update takes effect only after a restart: a new kernel, or a "
        "library that is in use.",
        fields={
            "adapter": "The plugin that knows this distribution.",
            "packages": "Which packages ask for it.",
            "reasons": "Why.",
            "running_kernel": "The running kernel's version.",
            "installed_kernel": "The newest kernel that is installed.",
            "live_patches": "Whether the running kernel is patched while it runs.",
            "since_at": "Since when a restart is asked for.",
            "notes": "What else decided.",
        },
    ),
    "screenlock": Facts(
        help="Whether, and how soon, the screen locks itself when nobody is there.",
        fields={
            "delay_seconds": "The longest time without input after which a password is needed.",
            "sessions": "For each graphical session: whose it is, the desktop, the program that "
            "locks, and its settings.",
        },
        private_paths=("sessions.*.user", "sessions.*.settings.config"),
    ),
    "secure_boot": Facts(
        help="Whether the firmware starts only what is signed, so that nobody can put another "
        "system before yours unseen.",
        fields={
            "firmware": "The kind of firmware that started the system.",
            "secure_boot": "What the firmware says.",
            "setup_mode": "Whether the firmware takes new keys from anybody.",
            "shim_validates": "Whether the boot loader checks signatures, too.",
            "lockdown": "How far the kernel keeps root from changing it.",
        },
    ),
    "sshd": Facts(
        help="Whether one can log in over the network, and whether a password is enough.",
        fields={
            "password_login": "Whether a password is enough for some account.",
            "root_password_login": "Whether it is for root.",
            "ports": "The ports it listens on.",
            "listen": "The addresses it listens on.",
            "other_servers": "Other servers of the kind that were found.",
            "note": "What else decided.",
            "evidence": "The settings that decided, and where they were read.",
        },
    ),
    "wipe_plan": Facts(
        help="What the machine and its disks are known by, so that a remote wipe, if this machine "
        "is ever stolen, meets this one and no other; and what it would remove.",
        fields={
            "machine_id": "The system's own id (machine-id(5)).",
            "disks": "The built-in disks: model, size and serial number.",
            "left_alone": "Disks that can be pulled out: nothing is ever done to them.",
            "luks": "The ids of the encrypted containers, and where they are; no keys.",
            "not_encrypted": "What lies on the disks outside of them.",
            "accounts": "People's accounts and their homes.",
            "other_homes": "Homes of people who have no account on the machine itself.",
            "network_homes": "Homes that lie in a network: nothing is ever done to them.",
            "unknown": "What could not be read, and why.",
        },
        private_paths=("accounts.*.name", "accounts.*.home", "other_homes", "network_homes"),
    ),
}
