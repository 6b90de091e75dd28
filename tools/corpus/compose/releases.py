"""Distributions, as their os-release(5) names them: ids, versions, and code names."""

from __future__ import annotations

from system import Release


def release(
    id: str,
    name: str,
    version: str = "",
    *,
    version_id: str = "",
    kernel: str,
    codename: str = "",
    like: str = "",
    pretty: str = "",
    debian: str = "",
    lsb: bool = False,
    **more: str,
) -> Release:
    """A release, with its os-release put together."""
    fields = {
        "NAME": name,
        "ID": id,
        "ID_LIKE": like,
        "PRETTY_NAME": pretty or f"{name} {version}".strip(),
        "VERSION": version,
        "VERSION_ID": version_id,
        "VERSION_CODENAME": codename,
        **more,
    }
    lines = [f'{key}="{value}"\n' for key, value in fields.items() if value]
    lsb_text = f"DISTRIB_ID={name.split()[0]}\nDISTRIB_RELEASE={version_id}\n" if lsb else ""
    return Release(os_release="".join(lines), kernel=kernel, debian=debian, lsb=lsb_text)


UBUNTU_22 = release(
    "ubuntu", "Ubuntu", "22.04.5 LTS (Jammy Jellyfish)", version_id="22.04", codename="jammy",
    like="debian", pretty="Ubuntu 22.04.5 LTS", UBUNTU_CODENAME="jammy", debian="bookworm/sid",
    kernel="5.15.0-163-generic", lsb=True,
)  # fmt: skip
UBUNTU_24 = release(
    "ubuntu", "Ubuntu", "24.04.3 LTS (Noble Numbat)", version_id="24.04", codename="noble",
    like="debian", pretty="Ubuntu 24.04.3 LTS", UBUNTU_CODENAME="noble", debian="trixie/sid",
    kernel="6.8.0-88-generic", lsb=True,
)  # fmt: skip
UBUNTU_16 = release(
    "ubuntu", "Ubuntu", "16.04.7 LTS (Xenial Xerus)", version_id="16.04", codename="xenial",
    like="debian", pretty="Ubuntu 16.04.7 LTS", UBUNTU_CODENAME="xenial", debian="stretch/sid",
    kernel="4.4.0-210-generic", lsb=True,
)  # fmt: skip
MINT_22 = release(
    "linuxmint", "Linux Mint", "22.1 (Xia)", version_id="22.1", codename="xia",
    like="ubuntu debian", UBUNTU_CODENAME="noble", debian="trixie/sid", kernel="6.8.0-88-generic",
)  # fmt: skip
LMDE_6 = release(
    "linuxmint", "LMDE", "6 (faye)", version_id="6", codename="faye", like="debian",
    DEBIAN_CODENAME="bookworm", debian="12.12", kernel="6.1.0-41-amd64",
)  # fmt: skip
POP_22 = release(
    "pop", "Pop!_OS", "22.04 LTS", version_id="22.04", codename="jammy", like="ubuntu debian",
    UBUNTU_CODENAME="jammy", debian="bookworm/sid", kernel="6.16.3-76061603-generic",
)  # fmt: skip
ELEMENTARY_8 = release(
    "elementary", "elementary OS", "8", version_id="8", codename="circe", like="ubuntu debian",
    UBUNTU_CODENAME="noble", debian="trixie/sid", kernel="6.8.0-88-generic",
)  # fmt: skip
DEBIAN_12 = release(
    "debian", "Debian GNU/Linux", "12 (bookworm)", version_id="12", codename="bookworm",
    debian="12.12", kernel="6.1.0-41-amd64",
)  # fmt: skip
DEBIAN_13 = release(
    "debian", "Debian GNU/Linux", "13 (trixie)", version_id="13", codename="trixie",
    debian="13.2", DEBIAN_VERSION_FULL="13.2", kernel="6.12.57+deb13-amd64",
)  # fmt: skip
MX_23 = release(
    "debian", "Debian GNU/Linux", "12 (bookworm)", version_id="12", codename="bookworm",
    debian="12.12", kernel="6.1.0-41-amd64",
)  # fmt: skip
KALI = release(
    "kali", "Kali GNU/Linux", "2026.3", version_id="2026.3", codename="kali-rolling",
    like="debian", pretty="Kali GNU/Linux Rolling", debian="kali-rolling",
    kernel="6.16.8+kali-amd64",
)  # fmt: skip
FEDORA_43 = release(
    "fedora", "Fedora Linux", "43 (Workstation Edition)", version_id="43",
    VARIANT_ID="workstation", SUPPORT_END="2026-12-09", RELEASE_TYPE="stable",
    kernel="6.17.8-300.fc43.x86_64",
)  # fmt: skip
FEDORA_KDE = release(
    "fedora", "Fedora Linux", "43 (KDE Plasma Desktop Edition)", version_id="43",
    VARIANT_ID="kde", SUPPORT_END="2026-12-09", RELEASE_TYPE="stable",
    kernel="6.17.8-300.fc43.x86_64",
)  # fmt: skip
SILVERBLUE = release(
    "fedora", "Fedora Linux", "43.20261101.0 (Silverblue)", version_id="43",
    VARIANT_ID="silverblue", OSTREE_VERSION="43.20261101.0", SUPPORT_END="2026-12-09",
    kernel="6.17.8-300.fc43.x86_64",
)  # fmt: skip
ROCKY_9 = release(
    "rocky", "Rocky Linux", "9.6 (Blue Onyx)", version_id="9.6", like="rhel centos fedora",
    SUPPORT_END="2032-05-31", kernel="5.14.0-570.12.1.el9_6.x86_64",
)  # fmt: skip
RHEL_8 = release(
    "rhel", "Red Hat Enterprise Linux", "8.10 (Ootpa)", version_id="8.10", like="fedora",
    kernel="4.18.0-553.82.1.el8_10.x86_64",
)  # fmt: skip
LEAP = release(
    "opensuse-leap", "openSUSE Leap", "15.6", version_id="15.6", like="suse opensuse",
    kernel="6.4.0-150600.23.78-default",
)  # fmt: skip
TUMBLEWEED = release(
    "opensuse-tumbleweed", "openSUSE Tumbleweed", version_id="20261118", like="opensuse suse",
    kernel="6.17.8-1-default",
)  # fmt: skip
ARCH = release(
    "arch", "Arch Linux", BUILD_ID="rolling", kernel="6.17.8-arch1-1",
)  # fmt: skip
MANJARO = release(
    "manjaro", "Manjaro Linux", like="arch", BUILD_ID="rolling", kernel="6.12.58-1-MANJARO",
)  # fmt: skip
ENDEAVOUR = release(
    "endeavouros", "EndeavourOS", like="arch", BUILD_ID="2026.03.14", kernel="6.17.8-arch1-1",
)  # fmt: skip
NIXOS = release(
    "nixos", "NixOS", "26.05 (Yarara)", version_id="26.05", codename="yarara",
    BUILD_ID="26.05.20261110.abcdef0", SUPPORT_END="2026-12-31", kernel="6.12.58",
)  # fmt: skip
VOID = release("void", "Void", pretty="Void Linux", kernel="6.12.58_1")
ALPINE = release(
    "alpine", "Alpine Linux", version_id="3.22.2", pretty="Alpine Linux v3.22",
    kernel="6.12.57-0-lts",
)  # fmt: skip
GENTOO = release("gentoo", "Gentoo", version_id="2.17", kernel="6.12.58-gentoo")
CHIMERA = release("chimera", "Chimera", pretty="Chimera Linux", kernel="6.17.8-0-generic")
