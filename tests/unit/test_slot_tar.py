"""The reader of a release's tar: exactly the manifest's files, and nothing that is not one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client.release import tarreader
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import File
from qlmdm_core.testing.releases import close, header, member, pack

CONTENT = {
    "launcher/launcher.py": b"print(1)\n",
    "lib/a.py": b"",
    "lib/" + "deep/" * 15 + "a" * 80: b"x" * 1025,
    "settings.yml": b"server_url: https://x\n" * 40,
}


def listed(content: dict[str, bytes]) -> list[File]:
    return [
        File(path, hashlib.sha256(data).hexdigest(), len(data), 0o644)
        for path, data in sorted(content.items())
    ]


def read(tar: bytes, files: list[File] | None = None) -> dict[str, bytes]:
    wanted = listed(CONTENT) if files is None else files
    return {
        file.path: b"".join(chunks) for file, chunks in tarreader.members(io.BytesIO(tar), wanted)
    }


def test_every_file_comes_out_as_it_went_in() -> None:
    assert read(pack(CONTENT)) == CONTENT


def test_what_pythons_own_writer_makes_is_read() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(CONTENT.items()):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert read(file.getvalue()) == CONTENT


def test_pythons_own_reader_reads_what_the_kit_packs() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(CONTENT))) as tar:
        assert [info.name for info in tar] == sorted(CONTENT)


def test_a_stream_that_gives_a_byte_at_a_time_is_read() -> None:
    class Drip(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1 if size else 0)

    files = [File("lib/a.py", hashlib.sha256(b"ab").hexdigest(), 2, 0o644)]
    got = [b"".join(c) for _, c in tarreader.members(Drip(pack({"lib/a.py": b"ab"})), files)]
    assert got == [b"ab"]


FILE = [File("lib/a.py", hashlib.sha256(b"abc").hexdigest(), 3, 0o644)]
GOOD = member("lib/a.py", b"abc")


def tampered(**changes: bytes) -> bytes:
    return close(member("lib/a.py", b"abc", 0o644, **changes))


ATTACKS: dict[str, bytes] = {
    "a symbolic link": tampered(type=b"2", link=b"/etc/passwd"),
    "a hard link": tampered(type=b"1", link=b"lib/b.py"),
    "a device": tampered(type=b"3"),
    "a block device": tampered(type=b"4"),
    "a folder": tampered(type=b"5"),
    "a pipe": tampered(type=b"6"),
    "a contiguous file": tampered(type=b"7"),
    "a sparse file": tampered(type=b"S"),
    "an old kind of file": tampered(type=b"\0"),
    "a pax header": close(member("lib/a.py", b"17 path=lib/b.py\n", type=b"x") + GOOD),
    "a global pax header": close(member("pax", b"17 path=lib/b.py\n", type=b"g") + GOOD),
    "a GNU long name": close(member("././@LongLink", b"lib/b.py", type=b"L") + GOOD),
    "a regular file that leads elsewhere": tampered(link=b"/etc/passwd"),
    "GNU's magic": tampered(magic=b"ustar  \0"),
    "set-user-id": tampered(perm=b"%07o\0" % 0o4644),
    "executable": tampered(perm=b"%07o\0" % 0o755),
    "another name": close(member("lib/b.py", b"abc")),
    "a name with a way up": close(member("lib/../a.py", b"abc")),
    "an absolute name": close(member("/lib/a.py", b"abc")),
    "a name that hides another": tampered(name=b"lib/a.py\0/etc/passwd"),
    "a prefix that leads elsewhere": tampered(prefix=b"/etc"),
    "a size in base 256": tampered(length=b"\x80" + bytes(10) + b"\x03"),
    "a negative size": tampered(length=b"-0000000003\0"),
    "a longer size": tampered(length=b"%011o\0" % 4),
    "a shorter size": tampered(length=b"%011o\0" % 2),
    "no size": tampered(length=b"\0" * 12),
    "a wrong checksum": tampered(checksum=b"%06o\0 " % 1),
    "other content": close(member("lib/a.py", b"abd")),
    "something in the padding": close(GOOD[:-1] + b"x"),
    "something in the header's end": tampered(rest=b"x"),
    "the file twice": close(GOOD + GOOD),
    "another file": close(GOOD + member("lib/b.py", b"")),
    "nothing": close(b""),
    "something behind the end": close(GOOD) + b"x" * 512,
    "zeros without end": close(GOOD) + bytes(10240),
    "cut in the header": GOOD[:100],
    "cut in the content": GOOD[:514],
    "cut before the end": GOOD,
    "half an end": GOOD + bytes(512),
    "half a block at the end": GOOD + bytes(1024 + 100),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_tar_that_is_not_exactly_the_manifests_is_refused(name: str) -> None:
    with pytest.raises(TrustError):
        read(ATTACKS[name], FILE)


@pytest.mark.parametrize(
    "name", ["a symbolic link", "a hard link", "a device", "set-user-id", "a sparse file"]
)
def test_without_the_look_at_its_header_a_member_of_any_kind_gets_through(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarreader, "check_header", lambda *_: None)
    assert read(ATTACKS[name], FILE) == {"lib/a.py": b"abc"}


def test_without_the_look_at_its_end_more_files_get_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tarreader, "_check_end", lambda *_: None)
    for name in ("the file twice", "another file", "something behind the end"):
        assert read(ATTACKS[name], FILE) == {"lib/a.py": b"abc"}


def test_files_in_another_order_are_refused() -> None:
    tar = close(b"".join(member(path, CONTENT[path]) for path in sorted(CONTENT, reverse=True)))
    with pytest.raises(TrustError):
        read(tar)


def test_a_content_that_is_not_taken_whole_is_an_error() -> None:
    with pytest.raises(TrustError, match="not taken whole"):
        list(tarreader.members(io.BytesIO(close(GOOD)), FILE))


@given(st.binary(max_size=3000))
def test_any_bytes_are_the_files_or_an_error(data: bytes) -> None:
    try:
        got = read(data, FILE)
    except TrustError:
        return
    assert got == {"lib/a.py": b"abc"}


CHANGE: st.SearchStrategy[Callable[[bytes], bytes]] = st.builds(
    lambda at, byte: lambda tar: tar[: at % len(tar)] + bytes([byte]) + tar[at % len(tar) + 1 :],
    st.integers(0, 2048),
    st.integers(0, 255),
)


@given(st.lists(CHANGE, min_size=1, max_size=4))
def test_a_tar_with_a_few_bytes_changed_gives_the_same_files_or_an_error(
    changes: list[Callable[[bytes], bytes]],
) -> None:
    tar = close(GOOD)
    for change in changes:
        tar = change(tar)
    with contextlib.suppress(TrustError):
        assert read(tar, FILE) == {"lib/a.py": b"abc"}


def test_the_kits_header_is_one_block() -> None:
    assert len(header("lib/a.py", 3)) == 512
