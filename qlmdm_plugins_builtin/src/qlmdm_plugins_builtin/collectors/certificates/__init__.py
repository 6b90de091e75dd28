"""Collects what the certificates in the files that a site names say: whose, and until when.

The days that are left are not told: they would be another value each day. Nothing here verifies
a certificate, or looks for keys; a file that holds a key, too, gives its certificates only.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from qlmdm_core.api import JSON, Host, unknown
from qlmdm_plugins_builtin.client_settings import CertificatesSettings
from qlmdm_plugins_builtin.collectors.certificates.der import (
    Certificate,
    DerError,
    read_certificate,
)

MOST_FILES = 200
MOST_CERTIFICATES = 300
"""So many are reported: those that end first. A bundle of authorities has about 150."""
LARGEST_FILE = 4 << 20
"""Bytes."""

_MAGIC = re.compile(r"[*?\[]")
_DER = re.compile("0\ufffd.{1,3}?0\ufffd", re.DOTALL)
_LABELS = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
"""As PEM files name a certificate: RFC 7468, and two spellings that openssl knows."""


class _UnreadError(Exception):
    """A file gave no certificates; the message says why."""


def collect(host: Host, config: CertificatesSettings) -> JSON:
    """The certificates of the files that settings name.

    `available` only if every one of these files was read and understood; if not, `unknown`, with
    what the others hold. With nothing named, `off`.
    """
    if not config.files:
        reason = "no files are named in the settings"
        return {"state": "off", "reason": reason, "certificates": [], "failed": []}
    paths, failed = _paths(host, config.files)
    found: list[tuple[str, Certificate]] = []
    for path in paths:
        try:
            found += [(path, certificate) for certificate in _read(host, path)]
        except _UnreadError as why:
            failed.append({"path": path, "reason": str(why)})
    value: dict[str, JSON] = {"certificates": _reported(found), "failed": failed}
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return unknown(f"{failed[0]['path']}: {failed[0]['reason']}{more}", **value)
    return {"state": "available", **value}


def _paths(host: Host, named: Iterable[str]) -> tuple[list[str], list[dict[str, JSON]]]:
    """The files that are named, each once; and what names none."""
    paths: dict[str, None] = {}
    failed: list[dict[str, JSON]] = []
    for name in named:
        if not name.startswith("/"):
            failed.append({"path": name, "reason": "this is no absolute path"})
        elif not _MAGIC.search(name):
            paths[name] = None
        elif matching := host.glob(name):
            paths.update(dict.fromkeys(matching))
        else:
            failed.append({"path": name, "reason": "no file matches"})
    if len(paths) > MOST_FILES:
        reason = f"{len(paths)} files are named; the first {MOST_FILES} are read"
        failed.append({"path": list(paths)[MOST_FILES], "reason": reason})
    return list(paths)[:MOST_FILES], failed


def _reported(found: list[tuple[str, Certificate]]) -> list[dict[str, JSON]]:
    """The certificates in the order of the files; of too many, those that end first."""
    if len(found) > MOST_CERTIFICATES:
        last = sorted(certificate.not_after_at for _, certificate in found)[MOST_CERTIFICATES - 1]
        found = [item for item in found if item[1].not_after_at <= last][:MOST_CERTIFICATES]
    return [
        {
            "path": path,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "names": list(certificate.names),
            "serial": certificate.serial,
            "not_before_at": certificate.not_before_at.isoformat(),
            "not_after_at": certificate.not_after_at.isoformat(),
        }
        for path, certificate in found
    ]


# --- files ------------------------------------------------------------------------------------


def _read(host: Host, path: str) -> list[Certificate]:
    """The certificates in a file. Raises `_UnreadError`."""
    try:
        # A few bytes tell the format. Of a key in DER, no more than these should be read.
        head = host.read(path, max_bytes=16)
        if is_der(head):
            return [read_certificate(_binary(host, path))]
        text = host.read(path, max_bytes=LARGEST_FILE)
    except OSError as error:
        raise _UnreadError(error.strerror or "it can't be read") from None
    except DerError as error:
        raise _UnreadError(str(error)) from None
    if len(text) >= LARGEST_FILE:
        raise _UnreadError("it is too large")
    try:
        found = [read_certificate(data) for data in parse_pem(text)]
    except (DerError, binascii.Error) as error:
        reason = str(error) if isinstance(error, DerError) else "what it holds is not base64"
        raise _UnreadError(f"a certificate in it is not understood: {reason}") from None
    if not found:
        raise _UnreadError("it holds no certificate")
    return found


def is_der(head: str) -> bool:
    """Whether a file that begins so may be a certificate in DER: a long sequence in a long one.

    A key is a sequence that begins with a small number (PKCS #8, PKCS #1), and so is PKCS #12.
    Bytes that are no UTF-8 are replaced here, the first one of a long length among them; one to
    three characters are left of the rest of it.
    """
    return _DER.match(head) is not None


def _binary(host: Host, path: str) -> bytes:
    """The bytes of a file that is not text, which `host.read` can't give. Raises `_UnreadError`."""
    result = host.run(("base64", path), max_bytes=2 * LARGEST_FILE)
    if not result.ok:
        raise _UnreadError(result.why)
    try:
        return base64.b64decode(result.stdout)
    except (binascii.Error, ValueError):
        raise _UnreadError("base64 printed something else") from None


def parse_pem(text: str) -> list[bytes]:
    """The certificates of a PEM file (RFC 7468), whatever is between them.

    Raises `binascii.Error` if one is not base64, and `DerError` if the last one has no end.
    """
    found: list[bytes] = []
    inside: list[str] | None = None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("-----BEGIN ") and line.endswith("-----"):
            inside = [] if line[11:-5] in _LABELS else None
        elif inside is not None and line.startswith("-----END "):
            found.append(
                base64.b64decode("".join(inside).encode("ascii", "replace"), validate=True)
            )
            inside = None
        elif inside is not None:
            inside.append(line)
    if inside is not None:
        raise DerError("it has no end")
    return found
