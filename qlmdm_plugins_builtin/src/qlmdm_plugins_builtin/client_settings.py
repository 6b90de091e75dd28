"""What a site can set about collectors that are off unless it does: `plugins:` of a client.

Apart from the collectors, whose modules are loaded only when they run.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting

CERTIFICATES = "certificates"
PACKAGES = "packages"


@dataclass(frozen=True, kw_only=True)
class CertificatesSettings:
    """The files whose certificates are reported. None, unless a site names some."""

    files: tuple[str, ...] = setting(
        (),
        "Files with certificates (PEM, with one or several, or DER), by absolute path; `*`, `?` "
        "and `[…]` are patterns. A file that is named and can't be read makes the value unknown.",
    )


@dataclass(frozen=True, kw_only=True)
class PackagesSettings:
    """Whether the installed packages are reported. Off, unless a site turns it on."""

    enabled: bool = setting(
        False,
        "Report the name and version of each installed package: some 100 kB, whenever one of "
        "them changes.",
    )
