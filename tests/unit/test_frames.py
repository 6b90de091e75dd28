"""Messages between processes: whatever is written, the reader gets messages or one clear error."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client import frames
from qlmdm_core.client.frames import Frame, FrameError, FrameReader, encode

HEADERS = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()
)


class Pipe:
    """A pipe whose reading end does not block."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def close(self) -> None:
        for fd in (self.reading, self.writing):
            if fd >= 0:
                os.close(fd)

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(
    st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=5),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_messages_arrive_whole_however_they_are_cut(
    messages: list[tuple[dict[str, object], bytes]], cuts: list[int]
) -> None:
    pipe = Pipe()
    try:
        reader = FrameReader(pipe.reading)
        got: list[Frame] = []
        sent = b"".join(encode(header, body) for header, body in messages)
        for piece in pieces(sent, cuts):
            os.write(pipe.writing, piece)
            got += reader.read()
        assert len(got) == len(messages)
        for frame, (header, body) in zip(got, messages, strict=True):
            assert frame.body == body
            assert set(frame.header) == {frames._printable(key) for key in header}
    finally:
        pipe.close()


@given(st.binary(max_size=200))
def test_what_is_no_message_is_a_frame_error_or_not_yet_one(data: bytes) -> None:
    pipe = Pipe()
    try:
        os.write(pipe.writing, data) if data else pipe.end()
        reader = FrameReader(pipe.reading, max_body=100)
        with contextlib.suppress(FrameError):
            assert all(isinstance(frame.header, dict) for frame in reader.read())
    finally:
        pipe.close()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", 2**31, 0),
        struct.pack("!II", 2, 101) + b"{}",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"{x",
        struct.pack("!II", 17, 0) + b'{"a": 1, "a": 2}x',
        struct.pack("!II", 10, 0) + b'{"a": NaN}',
    ],
)
def test_each_kind_of_nonsense_is_refused(pipe: Pipe, data: bytes) -> None:
    os.write(pipe.writing, data)
    with pytest.raises(FrameError):
        FrameReader(pipe.reading, max_body=100).read()


def test_half_a_character_is_written_so_that_it_can_be_read(pipe: Pipe) -> None:
    frames.send(pipe.writing, {"error": "\ud800", "list": ["\udfff"], "astral": "\U0001f600"})
    ((header, _),) = FrameReader(pipe.reading).read()
    assert header == {"error": "\\ud800", "list": ["\\udfff"], "astral": "\U0001f600"}


def test_nothing_yet_and_never_again_are_told_apart(pipe: Pipe) -> None:
    reader = FrameReader(pipe.reading)
    assert reader.read() == []
    assert not reader.ended
    pipe.end()
    assert reader.read() == []
    assert reader.ended
