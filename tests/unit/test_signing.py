"""The rules of signatures, attacked, over each implementation that can verify.

Key material is made by the real gpg, once for the module.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qlmdm_core.errors import KeyringError, SignatureError
from qlmdm_core.signing import PublicKey, Signature, Signer, Verifier, gpg, keys, packets
from qlmdm_core.signing.gpg import GpgSigner, GpgVerifier, program, stop_agent
from qlmdm_core.signing.sequoia import SequoiaSigner, SequoiaVerifier

DATA = b'{"envelope": {"v": 2}, "report": "' + b"x" * 25_000 + b'"}'


@dataclass
class Home:
    """A gpg home with a key, and a way to make odd signatures with it."""

    path: str
    key: PublicKey

    def gpg(self, *args: str, data: bytes = b"") -> bytes:
        argv = [program("gpg") or "gpg", "--homedir", self.path, "--batch", "--yes", "--no-options"]
        argv += ["--pinentry-mode", "loopback", "--passphrase", ""]
        done = subprocess.run([*argv, *args], input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def sign(self, *args: str, data: bytes = DATA) -> str:
        return self.gpg(*args, "--armor", "--detach-sign", data=data).decode()

    def public(self) -> PublicKey:
        armoured = self.gpg("--armor", "--export", self.key.fingerprint).decode()
        return PublicKey(fingerprint=self.key.fingerprint, armoured=armoured)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Home]]:
    made = []
    for name in ("ada", "bob"):
        path = str(tmp_path_factory.mktemp("k") / name)
        made.append(Home(path, keys.make_key(path, name)))
    yield made
    for home in made:
        stop_agent(home.path)


@pytest.fixture(scope="module")
def ada(homes: list[Home]) -> Home:
    return homes[0]


@pytest.fixture(scope="module")
def bob(homes: list[Home]) -> Home:
    return homes[1]


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Home]:
    path = str(tmp_path / "new")
    yield Home(path, keys.make_key(path, "new"))
    stop_agent(path)


@pytest.fixture(params=["gpgv", "gpg", "sequoia"])
def verifier(request: pytest.FixtureRequest) -> Verifier:
    if request.param == "sequoia":
        return SequoiaVerifier(late=GpgVerifier())
    if request.param == "gpg":
        return GpgVerifier(gpg=program("gpg"))
    return GpgVerifier(gpgv=program("gpgv"))


@pytest.fixture(params=["gpg", "sequoia"])
def signer(request: pytest.FixtureRequest, ada: Home) -> Iterator[Signer]:
    if request.param == "sequoia":
        yield SequoiaSigner(keys.export_secret(ada.path, ada.key.fingerprint))
    else:
        with GpgSigner(ada.path, ada.key.fingerprint) as signer:
            yield signer


def rearmour(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN PGP SIGNATURE-----\n\n{lines}\n-----END PGP SIGNATURE-----\n"


def raw(armoured: str) -> bytes:
    return packets.dearmour(armoured, "SIGNATURE")


# --- what is accepted ---------------------------------------------------------------------


def test_what_either_signs_each_verifies(
    signer: Signer, verifier: Verifier, ada: Home, bob: Home
) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    signature = signer.sign(DATA)
    found = verifier.verify(DATA, signature, [bob.key, ada.key])
    assert found.fingerprint == ada.key.fingerprint == signer.fingerprint
    assert before <= found.created_at <= datetime.now(timezone.utc)
    assert found.hash in ("SHA256", "SHA512")
    assert found.key_expired_at is None


def test_empty_and_binary_data(signer: Signer, verifier: Verifier, ada: Home) -> None:
    for data in (b"", bytes(range(256)) * 5000):
        assert verifier.verify(data, signer.sign(data), [ada.key]).fingerprint


def test_armour_as_programs_write_it(verifier: Verifier, ada: Home) -> None:
    signature = ada.sign()
    with_header = signature.replace("\n\n", "\nVersion: GnuPG v2\nComment: x\n\n", 1)
    for text in (with_header, signature.replace("\n", "\r\n"), rearmour(raw(signature))):
        assert verifier.verify(DATA, text, [ada.key]).fingerprint == ada.key.fingerprint


# --- attacks --------------------------------------------------------------------------------


def refused(verifier: Verifier, signature: str, *allowed: PublicKey, data: bytes = DATA) -> str:
    with pytest.raises(SignatureError) as caught:
        verifier.verify(data, signature, allowed)
    return str(caught.value)


def test_wrong_data(verifier: Verifier, ada: Home) -> None:
    signature = ada.sign()
    assert "not a good signature" in refused(verifier, signature, ada.key, data=DATA + b" ")
    assert "not a good signature" in refused(verifier, signature, ada.key, data=b"")


def test_a_flipped_bit_in_the_signature(verifier: Verifier, ada: Home) -> None:
    flipped = bytearray(raw(ada.sign()))
    flipped[-3] ^= 1
    assert "not a good signature" in refused(verifier, rearmour(bytes(flipped)), ada.key)


def test_another_key(verifier: Verifier, ada: Home, bob: Home) -> None:
    assert "not an allowed key" in refused(verifier, bob.sign(), ada.key)
    assert "not an allowed key" in refused(verifier, bob.sign())


def test_a_certificate_under_a_false_fingerprint(verifier: Verifier, ada: Home, bob: Home) -> None:
    lie = PublicKey(fingerprint=bob.key.fingerprint, armoured=ada.key.armoured)
    assert "another key's" in refused(verifier, bob.sign(), lie)


def test_two_certificates_in_one_armour(verifier: Verifier, ada: Home, bob: Home) -> None:
    both = packets.dearmour(ada.key.armoured, "PUBLIC KEY BLOCK") + packets.dearmour(
        bob.key.armoured, "PUBLIC KEY BLOCK"
    )
    text = rearmour(both).replace("PGP SIGNATURE", "PGP PUBLIC KEY BLOCK")
    lie = PublicKey(fingerprint=ada.key.fingerprint, armoured=text)
    assert "more than one public key" in refused(verifier, ada.sign(), lie)


def test_two_signatures(verifier: Verifier, ada: Home, bob: Home) -> None:
    one, two = raw(ada.sign()), raw(bob.sign())
    for pair in (one + one, one + two, two + one):
        message = refused(verifier, rearmour(pair), ada.key, bob.key)
        assert "exactly one signature" in message


def test_unknown_and_good(verifier: Verifier, ada: Home, bob: Home) -> None:
    message = refused(verifier, rearmour(raw(bob.sign()) + raw(ada.sign())), ada.key)
    assert "exactly one signature" in message


@pytest.mark.parametrize("extra", [b"\x00", b"x", b"\xd1\x01x", b"\xca\x03PGP"])
def test_trailing_bytes(verifier: Verifier, ada: Home, extra: bytes) -> None:
    refused(verifier, rearmour(raw(ada.sign()) + extra), ada.key)
    refused(verifier, rearmour(extra + raw(ada.sign())), ada.key)


def test_anything_around_the_armour(verifier: Verifier, ada: Home) -> None:
    signature = ada.sign()
    for text in (signature + "x", "x\n" + signature, signature + signature, signature + "\x00"):
        assert "exactly one ASCII-armoured" in refused(verifier, text, ada.key)


def test_text_class(verifier: Verifier, ada: Home) -> None:
    signature = ada.sign("--textmode", data=b"text\n")
    assert "class 0x01" in refused(verifier, signature, ada.key, data=b"text\n")


@pytest.mark.parametrize("name", ["SHA1", "RIPEMD160", "SHA224"])
def test_weak_hash(verifier: Verifier, ada: Home, name: str) -> None:
    signature = ada.sign("--digest-algo", name, "--allow-weak-digest-algos")
    assert "too weak" in refused(verifier, signature, ada.key)


def test_a_signature_that_expires(verifier: Verifier, ada: Home) -> None:
    signature = ada.sign("--default-sig-expire", "1d")
    assert "expiry of its own" in refused(verifier, signature, ada.key)


def test_made_by_a_subkey(verifier: Verifier, new: Home) -> None:
    home = new
    home.gpg("--quick-add-key", home.key.fingerprint, "ed25519", "sign", "never")
    signature = home.sign()  # gpg prefers the newest subkey
    key = home.public()
    issuer = packets.read_signature(signature).issuer
    assert issuer != key.fingerprint
    assert "not an allowed key" in refused(verifier, signature, key)
    # Even if the subkey's fingerprint were pinned, its certificate is the primary key's.
    lie = PublicKey(fingerprint=issuer, armoured=key.armoured)
    assert "another key's" in refused(verifier, signature, lie)
    primary = home.sign("--local-user", key.fingerprint + "!")
    assert verifier.verify(DATA, primary, [key]).fingerprint == key.fingerprint


def test_a_revoked_key(verifier: Verifier, new: Home) -> None:
    home = new
    signature = home.sign()
    revocation = Path(home.path, "openpgp-revocs.d", home.key.fingerprint + ".rev").read_text()
    home.gpg("--import", data=revocation.replace(":-----BEGIN", "-----BEGIN").encode())
    assert verifier.verify(DATA, signature, [home.key]).fingerprint
    assert "revoked" in refused(verifier, signature, home.public())


def test_an_opaque_message_with_its_own_content(verifier: Verifier, ada: Home) -> None:
    message = ada.gpg("--armor", "--sign", data=DATA).decode()
    refused(verifier, message, ada.key)
    clear = ada.gpg("--clear-sign", data=b"other").decode()
    refused(verifier, clear, ada.key)
    refused(verifier, clear[clear.index("-----BEGIN PGP SIG") :], ada.key, data=b"other\n")


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PGP SIGNATURE-----", "\u00e9", "A" * 70_000])
def test_garbage(verifier: Verifier, ada: Home, text: str) -> None:
    refused(verifier, text, ada.key)


# --- times are told, not judged ----------------------------------------------------------------


def faked(at: datetime) -> tuple[str, str]:
    return ("--faked-system-time", f"{at:%Y%m%dT%H%M%S}!")


@pytest.mark.parametrize("days", [-400, 2])
def test_a_signer_with_a_wrong_clock(
    verifier: Verifier, tmp_path: Path, days: int, ada: Home
) -> None:
    at = (datetime.now(timezone.utc) + timedelta(days=days)).replace(microsecond=0)
    signature = ada.sign(*faked(at), "--ignore-time-conflict", "--ignore-valid-from")
    found = verifier.verify(DATA, signature, [ada.key])
    assert abs(found.created_at - at) < timedelta(seconds=30)
    assert "not a good" in refused(verifier, signature, ada.key, data=b"other")


def test_an_expired_key_is_told(verifier: Verifier, tmp_path: Path, ada: Home) -> None:
    path = str(tmp_path / "h")
    Path(path).mkdir(mode=0o700)
    past = datetime.now(timezone.utc) - timedelta(days=30)
    home = Home(path, ada.key)
    home.gpg(*faked(past), "--quick-gen-key", "x", "ed25519", "sign", "never")
    home.key = keys.export_public(path, keys.list_keys(path)[0].fingerprint)
    late = home.sign()
    home.gpg(*faked(past + timedelta(hours=1)), "--quick-set-expire", home.key.fingerprint, "5d")
    while_valid = home.sign(*faked(past + timedelta(days=1)))
    stop_agent(path)
    expired_at = keys.list_keys(path)[0].expires_at
    assert expired_at is not None
    assert expired_at < datetime.now(timezone.utc)
    for signature in (late, while_valid):
        assert verifier.verify(DATA, signature, [home.key]).key_expired_at is None
        assert verifier.verify(DATA, signature, [home.public()]).key_expired_at == expired_at


def test_without_a_late_verifier_odd_times_are_refused(ada: Home) -> None:
    at = datetime.now(timezone.utc) + timedelta(days=2)
    signature = ada.sign(*faked(at))
    assert "not a good" in refused(SequoiaVerifier(), signature, ada.key)


def test_no_more_odd_times_are_judged_at_once_than_allowed(ada: Home) -> None:
    at = datetime.now(timezone.utc) + timedelta(days=2)
    signature = ada.sign(*faked(at))
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def verify(self, data: bytes, signature: object, allowed: object) -> Signature:
            inside.set()
            assert go_on.wait(30)
            return Signature(fingerprint="F", created_at=at, hash="SHA512")

    verifier = SequoiaVerifier(late=Slow(), late_at_once=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(verifier.verify, DATA, signature, [ada.key])
        assert inside.wait(30)
        assert "too many odd times" in refused(verifier, signature, ada.key)
        go_on.set()
        assert first.result().fingerprint == "F"


# --- the parsers --------------------------------------------------------------------------------


@given(st.binary(max_size=300))
@example(b"\xff")
@example(b"\x88\xff")
@example(b"\xc2\xff\xff\xff\xff\xff")
def test_any_bytes_are_facts_or_an_error(data: bytes) -> None:
    for text in (data, rearmour(data).encode()):
        try:
            facts = packets.read_signature(text)
        except SignatureError:
            continue
        assert facts.raw == data
    for function in (packets.primary_fingerprint, packets.key_created_at):
        try:
            function(data)
        except SignatureError:
            continue


@given(st.data())
def test_any_change_of_a_signature_is_facts_or_an_error(data: st.DataObject) -> None:
    body = bytearray(
        bytes.fromhex("c22804000a0a001c")  # a packet header and a plausible start
        + bytes.fromhex("05026b0563c8162104" + "ab" * 20)
        + bytes(40)
    )
    body[1] = len(body) - 2
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        packets.read_signature(rearmour(bytes(body)))
    except SignatureError:
        return


def test_a_clients_key_is_one_plain_ed25519_key(ada: Home, new: Home) -> None:
    assert packets.check_client_certificate(ada.key.armoured) == ada.key.fingerprint
    new.gpg("--quick-add-key", new.key.fingerprint, "cv25519", "encr", "never")
    with pytest.raises(SignatureError, match="may not hold packets"):
        packets.check_client_certificate(new.public().armoured)
    secret = keys.export_secret(ada.path, ada.key.fingerprint)
    with pytest.raises(SignatureError):
        packets.check_client_certificate(secret)


# --- homes, agents, processes --------------------------------------------------------------------


def test_a_home_that_others_can_read_is_refused(tmp_path: Path, ada: Home) -> None:
    home = tmp_path / "open"
    home.mkdir(mode=0o755)
    with pytest.raises(KeyringError, match="chmod 700"):
        GpgSigner(str(home), ada.key.fingerprint).sign(b"")
    with pytest.raises(KeyringError, match="No such file"):
        GpgSigner(str(tmp_path / "none"), ada.key.fingerprint).sign(b"")
    link = tmp_path / "link"
    link.symlink_to(ada.path)
    with pytest.raises(KeyringError, match="not a link"):
        GpgSigner(str(link), ada.key.fingerprint).sign(b"")


def test_a_key_that_is_not_there(tmp_path: Path, ada: Home) -> None:
    home = tmp_path / "empty"
    home.mkdir(mode=0o700)
    with (
        GpgSigner(str(home), ada.key.fingerprint) as signer,
        pytest.raises(KeyringError, match="could not sign"),
    ):
        signer.sign(b"")
    with pytest.raises(KeyringError, match="there is no key"):
        keys.export_public(str(home), ada.key.fingerprint)
    with pytest.raises(KeyringError, match="not a usable secret key"):
        SequoiaSigner("nonsense")


def test_a_key_with_a_passphrase_is_no_use_to_a_machine(tmp_path: Path) -> None:
    path = str(tmp_path / "locked")
    os.mkdir(path, 0o700)
    argv = [program("gpg") or "gpg", "--homedir", path, "--batch", "--pinentry-mode", "loopback"]
    argv += ["--passphrase", "word", "--quick-gen-key", "ada@example.com", "ed25519", "sign"]
    subprocess.run(argv, check=True, capture_output=True)
    stop_agent(path)  # it would remember
    (key,) = keys.list_keys(path)
    with GpgSigner(path, key.fingerprint) as signer, pytest.raises(KeyringError) as caught:
        signer.sign(b"")
    assert f"could not sign with {key.fingerprint}" in str(caught.value)
    assert caught.value.exit_status == 3


def test_a_keyring_that_another_process_locks_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpg, "TIMEOUT_SECONDS", 0.5)
    home = str(tmp_path / "h")
    key = keys.make_key(home, "x")
    # As GnuPG's dotlock.c writes it: who holds the lock, and on which machine.
    lock = Path(home, "gnupg_spawn_agent_sentinel.lock")
    lock.write_text(f"{os.getpid():10d}\n{os.uname().nodename}\n")
    with (
        GpgSigner(home, key.fingerprint) as signer,
        pytest.raises(KeyringError, match=r"did not finish .* is its keyring locked\?"),
    ):
        signer.sign(b"")
    lock.unlink()
    with GpgSigner(home, key.fingerprint) as signer:
        monkeypatch.undo()
        assert signer.sign(b"")


def agents(home: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"gpg-agent" in words[0] and home.encode() in words:
            found.append(entry.name)
    return found


def test_no_agent_is_left_after_signing_or_making_a_key(tmp_path: Path) -> None:
    home = str(tmp_path / "h")
    key = keys.make_key(home, "x")
    assert agents(home) == []
    with GpgSigner(home, key.fingerprint) as signer:
        signer.sign(b"")
        assert len(agents(home)) == 1
    assert agents(home) == []


def test_keys_are_made_exported_and_imported(tmp_path: Path) -> None:
    home = str(tmp_path / "with space")
    key = keys.make_key(home, "Ada <of> (Room 7)", comment="release", expires_days=10)
    assert os.stat(home).st_mode & 0o777 == 0o700
    (info,) = keys.list_keys(home)
    assert re.fullmatch(r"[0-9A-F]{40}", info.fingerprint)
    assert info.user_id == "Ada of Room 7 (release) <nobody@qlmdm.invalid>"
    assert info.expires_at is not None
    assert keys.export_public(home, key.fingerprint) == key
    other = str(tmp_path / "other")
    assert keys.import_secret(other, keys.export_secret(home, key.fingerprint)) == key.fingerprint
    assert keys.list_keys(str(tmp_path / "none")) == []


def test_signing_in_many_threads(ada: Home) -> None:
    signer = SequoiaSigner(keys.export_secret(ada.path, ada.key.fingerprint))
    verifier = SequoiaVerifier(cached_keys=1)

    def once(number: int) -> str:
        data = str(number).encode()
        return verifier.verify(data, signer.sign(data), [ada.key]).fingerprint

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(64))) == {ada.key.fingerprint}


def test_the_environments_own_gpg_settings_are_not_used(
    ada: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpg.conf").write_text("this-is-no-option\n")
    (tmp_path / "gpgv.conf").write_text("this-is-no-option\n")
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with GpgSigner(ada.path, ada.key.fingerprint) as signer:
        signature = signer.sign(DATA)
    assert GpgVerifier().verify(DATA, signature, [ada.key])


def test_a_client_loads_neither_pysequoia_nor_python_gnupg() -> None:
    code = (
        "import sys, qlmdm_core.signing.gpg, qlmdm_core.envelope, qlmdm_core.rootdoc\n"
        "print([m for m in ('pysequoia', 'gnupg', 'orjson', 'falcon') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
