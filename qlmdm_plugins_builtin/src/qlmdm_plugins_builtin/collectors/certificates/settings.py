"""Which certificates a machine reports: `plugins: {certificates: …}` in a client's settings."""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.settings import setting

SECTION = "certificates"


@dataclass(frozen=True, kw_only=True)
class CertificatesSettings:
    """The files whose certificates are reported. None, unless a site names some."""

    files: tuple[str, ...] = setting(
        (),
        "Files with certificates (PEM, with one or several, or DER), by absolute path; `*`, `?` "
        "and `[…]` are patterns. A file that is named and can't be read makes the value unknown.",
    )
