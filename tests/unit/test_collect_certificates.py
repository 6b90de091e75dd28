"""The collector of certificates: the files that settings name, PEM and DER, and bad ones."""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import json
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.client_settings import CertificatesSettings
from qlmdm_plugins_builtin.collectors import certificates
from qlmdm_plugins_builtin.collectors.certificates import is_der, parse_pem
from qlmdm_plugins_builtin.collectors.certificates.der import DerError, read_certificate

PATH = "/etc/ssl/site/www.pem"


def tlv(tag: int, *content: bytes) -> bytes:
    """One element of DER."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


COMMON_NAME, ORGANISATION, COUNTRY = (bytes((0x55, 4, number)) for number in (3, 10, 6))


def name(*parts: tuple[bytes, int, str, str]) -> bytes:
    """A distinguished name of (attribute, type of text, encoding, text)."""
    return tlv(
        0x30,
        *(
            tlv(0x31, tlv(0x30, tlv(6, kind), tlv(tag, text.encode(encoding))))
            for kind, tag, encoding, text in parts
        ),
    )


ISSUER = name((COUNTRY, 0x13, "ascii", "DE"), (ORGANISATION, 0x0C, "utf-8", "Prüfstelle, West"))
SUBJECT = name((COMMON_NAME, 0x0C, "utf-8", "www.example.com"))


def certificate(
    *,
    not_before: bytes = tlv(0x17, b"260101000000Z"),
    not_after: bytes = tlv(0x17, b"270101120000Z"),
    subject: bytes = SUBJECT,
    serial: bytes = b"\x00\xfe\x01",
    version: bytes = tlv(0xA0, tlv(2, b"\x02")),
    names: tuple[str, ...] = ("www.example.com", "example.com"),
) -> bytes:
    """A certificate whose key and signature are nonsense, which nobody looks at."""
    algorithm = tlv(0x30, tlv(6, bytes.fromhex("2a8648ce3d040302")))
    alternative = tlv(0x30, *(tlv(0x82, host.encode()) for host in names))
    extensions = tlv(
        0xA3,
        tlv(
            0x30,
            tlv(0x30, tlv(6, bytes((0x55, 0x1D, 0x0F))), tlv(1, b"\xff"), tlv(4, b"\x03\x02\x05")),
            tlv(0x30, tlv(6, bytes((0x55, 0x1D, 0x11))), tlv(4, alternative)),
        ),
    )
    tbs = tlv(
        0x30,
        version,
        tlv(2, serial),
        algorithm,
        ISSUER,
        tlv(0x30, not_before, not_after),
        subject,
        tlv(0x30, algorithm, tlv(3, b"\x00" * 66)),
        extensions,
    )
    return tlv(0x30, tbs, algorithm, tlv(3, b"\x00" * 70))


def pem(der: bytes, label: str = "CERTIFICATE") -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def collect(built: RecordedMachine, *files: str) -> JSON:
    value = certificates.collect(built.host(), CertificatesSettings(files=files))
    assert json.loads(json.dumps(value)) == value
    return value


# --- what is reported -------------------------------------------------------------------------


def test_with_nothing_named_it_is_off(tmp_path: Path) -> None:
    assert collect(RecordedMachine(tmp_path))["state"] == "off"


def test_a_certificate_is_told_with_its_dates_and_without_an_age(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path).file(PATH, pem(certificate())), PATH)
    assert value == {
        "state": "available",
        "failed": [],
        "certificates": [
            {
                "path": PATH,
                "subject": "CN=www.example.com",
                "issuer": "C=DE, O=Prüfstelle\\, West",
                "names": ["www.example.com", "example.com"],
                "serial": "FE01",
                "not_before_at": "2026-01-01T00:00:00+00:00",
                "not_after_at": "2027-01-01T12:00:00+00:00",
            }
        ],
    }


def test_each_certificate_of_a_chain_is_told_and_no_key(tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    other = certificate(
        subject=name((COMMON_NAME, 0x1E, "utf-16-be", "Zwischenstelle")), serial=b"\x07"
    )
    text = "Bag Attributes\n" + pem(certificate()) + key + pem(other, "TRUSTED CERTIFICATE")
    value = collect(RecordedMachine(tmp_path).file(PATH, text), PATH)
    assert [c["subject"] for c in value["certificates"]] == [
        "CN=www.example.com",
        "CN=Zwischenstelle",
    ]
    assert "AAAA" not in json.dumps(value)


def test_a_file_in_der_is_read_through_base64(tmp_path: Path) -> None:
    data = certificate()
    built = RecordedMachine(tmp_path).file("/etc/a.der", data)
    built.command(["base64", "/etc/a.der"], base64.encodebytes(data).decode())
    value = collect(built, "/etc/a.der")
    assert value["state"] == "available"
    assert value["certificates"][0]["serial"] == "FE01"


def test_without_base64_a_file_in_der_is_unknown(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path).file("/etc/a.der", certificate()), "/etc/a.der")
    assert value["state"] == "unknown"
    assert "base64 is not installed" in value["reason"]


@pytest.mark.parametrize(
    "key",
    [
        bytes.fromhex("302e020100300506032b657004220420") + b"\x07" * 32,  # Ed25519, PKCS #8
        bytes.fromhex("308204a40201000282010100") + b"\x81" * 400,  # RSA, PKCS #1
        bytes.fromhex("308204300201000282010100") + b"\x81" * 400,  # … whose length looks like one
        bytes.fromhex("30820a3c020103308209") + b"\x81" * 400,  # PKCS #12
    ],
)
def test_a_key_is_never_taken_for_a_certificate(tmp_path: Path, key: bytes) -> None:
    built = RecordedMachine(tmp_path).file("/etc/a.key", key)
    built.command(["base64", "/etc/a.key"], base64.encodebytes(certificate()).decode())
    value = collect(built, "/etc/a.key")
    assert (value["state"], value["certificates"]) == ("unknown", [])


def test_patterns_find_files_and_each_is_read_once(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path)
    for number in (1, 2):
        built.file(f"/srv/{number}/cert.pem", pem(certificate(serial=bytes((number,)))))
    value = collect(built, "/srv/*/cert.pem", "/srv/1/cert.pem")
    assert [c["serial"] for c in value["certificates"]] == ["01", "02"]


def test_of_too_many_certificates_those_that_end_first_are_told(tmp_path: Path) -> None:
    dates = [f"{27 + n // 300}{n % 12 + 1:02}{n % 28 + 1:02}000000Z" for n in range(400)]
    text = "".join(pem(certificate(not_after=tlv(0x17, date.encode()))) for date in dates)
    value = collect(RecordedMachine(tmp_path).file(PATH, text), PATH)
    told = [c["not_after_at"] for c in value["certificates"]]
    assert len(told) == certificates.MOST_CERTIFICATES
    assert max(told) < "2028"


# --- what can't be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no certificate"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no certificate"),
        (pem(certificate())[:200], "no end"),
        (pem(certificate()).replace("M", "!", 1), "not base64"),
        (pem(certificate()[:60]), "ends too early"),
        (pem(b"0"), "ends too early"),
        (pem(certificate(not_after=tlv(0x17, b"2701011200Z"))), "a time"),
        (pem(certificate(not_after=tlv(0x17, b"271301120000Z"))), "a time"),
        (pem(certificate(not_after=tlv(0x18, b"20270101120000+"))), "a time"),
        (pem(certificate(serial=b"")), "no serial"),
        (pem(tlv(0x30, tlv(0x31, b""))), "not made as a certificate"),
    ],
)
def test_what_is_no_certificate_is_unknown(tmp_path: Path, content: str, reason: str) -> None:
    value = collect(RecordedMachine(tmp_path).file(PATH, content), PATH)
    assert value["state"] == "unknown"
    assert reason in value["reason"]
    assert value["failed"][0]["path"] == PATH


def test_one_bad_file_makes_the_value_unknown_and_keeps_the_others(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file(PATH, pem(certificate())).directory("/etc/dir")
    built.unreadable("/etc/secret.pem").file("/etc/secret.pem", "")
    value = collect(
        built, PATH, "/etc/none.pem", "/etc/dir", "/etc/secret.pem", "relative.pem", "/no/*.pem"
    )
    assert value["state"] == "unknown"
    assert value["reason"].endswith("and 4 more")
    assert len(value["certificates"]) == 1
    assert {f["path"]: f["reason"] for f in value["failed"]} == {
        "relative.pem": "this is no absolute path",
        "/no/*.pem": "no file matches",
        "/etc/none.pem": "No such file or directory",
        "/etc/dir": "Is a directory",
        "/etc/secret.pem": "Permission denied",
    }


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    text = pem(certificate()) + "x" * certificates.LARGEST_FILE
    value = collect(RecordedMachine(tmp_path).file(PATH, text), PATH)
    assert (value["state"], value["failed"][0]["reason"]) == ("unknown", "it is too large")


# --- the fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "text", "year"),
    [
        (0x17, b"491231235959Z", 2049),
        (0x17, b"500101000000Z", 1950),
        (0x18, b"99991231235959Z", 9999),
    ],
)
def test_both_kinds_of_time_are_read(tag: int, text: bytes, year: int) -> None:
    assert read_certificate(certificate(not_after=tlv(tag, text))).not_after_at.year == year


def test_a_certificate_of_version_1_has_neither_version_nor_names() -> None:
    found = read_certificate(certificate(version=b"", names=()))
    assert (found.serial, found.names) == ("FE01", ())


def test_an_attribute_that_is_not_known_is_told_by_its_numbers() -> None:
    odd = name((bytes.fromhex("2b0601040182373c0201"), 0x13, "ascii", "x\ny"))
    assert read_certificate(certificate(subject=odd)).subject == "1.3.6.1.4.1.311.60.2.1=x?y"


def test_what_openssl_makes_is_read() -> None:
    made = (  # openssl req -x509 -newkey ed25519 -days 3650 -subj … -addext subjectAltName=…
        "MIIBxzCCAXmgAwIBAgIUG1kGbyYTxSMa6PTPGxewciVdXXQwBQYDK2VwMD8xCzAJBgNVBAYTAkRF"
        "MRUwEwYDVQQKDAxFeGFtcGxlIEdtYkgxGTAXBgNVBAMMEG1haWwuZXhhbXBsZS5vcmcwHhcNMjYx"
        "MTI0MTMxMzMyWhcNMzYxMTIxMTMxMzMyWjA/MQswCQYDVQQGEwJERTEVMBMGA1UECgwMRXhhbXBs"
        "ZSBHbWJIMRkwFwYDVQQDDBBtYWlsLmV4YW1wbGUub3JnMCowBQYDK2VwAyEA4oOd/KxaeFRwpYbr"
        "YbjcI30a6ONAhnT0uzE7VAIDBm+jgYYwgYMwHQYDVR0OBBYEFNu9Bh84njrFPmUsePflYsw/ujBP"
        "MB8GA1UdIwQYMBaAFNu9Bh84njrFPmUsePflYsw/ujBPMA8GA1UdEwEB/wQFMAMBAf8wMAYDVR0R"
        "BCkwJ4IQbWFpbC5leGFtcGxlLm9yZ4cEwAACAYINKi5leGFtcGxlLm9yZzAFBgMrZXADQQAAKN9Z"
        "NbPwSh8CmmL0MLfTtQunE1shq/OnlH5DCLvlg9b7sp2/82zgBppsET50FGqEBbsA4Sfy9K/yoWCz"
        "Gy8O"
    )
    found = read_certificate(base64.b64decode(made))
    assert (found.subject, found.issuer) == ("C=DE, O=Example GmbH, CN=mail.example.org",) * 2
    assert found.serial == "1B59066F2613C5231AE8F4CF1B17B072255D5D74"
    assert found.names == ("mail.example.org", "*.example.org")
    assert found.not_before_at.isoformat() == "2026-11-24T13:13:32+00:00"
    assert found.not_after_at.isoformat() == "2036-11-21T13:13:32+00:00"


# --- any bytes give a value -------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with contextlib.suppress(DerError):
        assert read_certificate(data).serial


GOOD = certificate()


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_no_damage_breaks_the_reader(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, byte in damage:
        data[at] = byte
    try:
        found = read_certificate(bytes(data))
    except DerError:
        return
    assert found.not_after_at.tzinfo is dt.timezone.utc
    assert len(found.subject) <= 500


@given(
    st.lists(
        st.sampled_from(
            [
                "-----BEGIN CERTIFICATE-----",
                "-----END CERTIFICATE-----",
                "-----BEGIN PRIVATE KEY-----",
                "MAA=",
                "ü",
                "",
            ]
        ),
        max_size=12,
    ).map("\n".join)
)
def test_no_text_breaks_the_reader_of_pem(text: str) -> None:
    with contextlib.suppress(DerError, binascii.Error):
        assert len(parse_pem(text)) <= text.count("END CERTIFICATE")


def test_a_file_of_beginnings_costs_no_more_than_its_length() -> None:
    with pytest.raises(DerError):
        parse_pem("-----BEGIN CERTIFICATE-----\n" * 100_000)


@given(st.text(max_size=16))
def test_no_text_breaks_the_look_at_a_head(head: str) -> None:
    assert is_der(head) in (True, False)


@given(st.integers(200, 70_000))
def test_a_certificate_of_any_length_is_seen_as_one(size: int) -> None:
    inner = tlv(0x30, b"\xa0\x03\x02\x01\x02" + b"\0" * size)
    assert is_der(tlv(0x30, inner)[:16].decode("utf-8", "replace"))
