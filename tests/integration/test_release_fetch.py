"""How a client fetches the bytes of a release, and what a server does so that none holds it up."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon import testing

from qlmdm_core.client.release import fetch
from qlmdm_core.client.transport import BYTES, Transport
from qlmdm_core.errors import TransportError
from qlmdm_core.server import blobs
from qlmdm_core.server.blobs import Blobs, Shelf
from qlmdm_core.server.releases.offers import Offers
from qlmdm_core.testing.http import served
from qlmdm_core.testing.published import FILES, publish_release
from qlmdm_core.testing.server import SimulatedServer

DATA = bytes(range(256)) * 1300  # two pieces and a bit
SHA256 = hashlib.sha256(DATA).hexdigest()


class Mirror:
    """Has `DATA`, and can be told to serve it otherwise."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.parts = True
        self.most: int | None = None
        """At most so many bytes with one answer."""
        self.data = DATA
        self.status: str | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked.append(environ.get("HTTP_RANGE"))
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", environ.get("HTTP_RANGE", ""))
        data, status = self.data, "200 OK"
        if wanted and self.parts:
            data, status = data[int(wanted[1]) : int(wanted[2]) + 1][: self.most], "206 Part"
        headers = [("Content-Type", BYTES), ("Content-Length", str(len(data)))]
        start_response(self.status or status, headers)
        return [data]


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def get(mirror: Mirror, tmp_path: Path) -> Iterator[Callable[[], bytes]]:
    with served(mirror) as there:

        def get() -> bytes:
            place = fetch.Source(Transport(there.url), "/")
            path = fetch.fetch(str(tmp_path / "d"), [place], sha256=SHA256, size=len(DATA))
            return Path(path).read_bytes()

        yield get


def part(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir(mode=0o700, exist_ok=True)
    return tmp_path / "d" / f"{SHA256}.part"


def test_it_is_asked_for_in_pieces(get: Callable[[], bytes], mirror: Mirror) -> None:
    assert get() == DATA
    size, end = fetch.PIECE_BYTES, len(DATA) - 1
    assert mirror.asked == [
        f"bytes=0-{size - 1}",
        f"bytes={size}-{2 * size - 1}",
        f"bytes={2 * size}-{end}",
    ]


def test_what_was_cut_off_goes_on_where_it_ended(
    get: Callable[[], bytes], mirror: Mirror, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(DATA[:1000])
    assert get() == DATA
    assert mirror.asked[0] == f"bytes=1000-{1000 + fetch.PIECE_BYTES - 1}"


def test_a_place_that_knows_no_parts_will_do(
    get: Callable[[], bytes], mirror: Mirror, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(DATA[:1000])
    mirror.parts = False
    assert get() == DATA
    assert mirror.asked[1:] == [None]


def test_a_place_that_gives_less_than_was_asked_for_will_do(
    get: Callable[[], bytes], mirror: Mirror
) -> None:
    mirror.most = 100_000
    assert get() == DATA


def test_a_place_that_gives_nothing_is_not_asked_for_ever(
    get: Callable[[], bytes], mirror: Mirror
) -> None:
    mirror.most = 0
    with pytest.raises(TransportError, match="a part of a release is empty"):
        get()
    assert len(mirror.asked) == 1


def test_a_place_that_drips_is_given_up_and_what_it_gave_is_kept(
    get: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Transport, "patience", lambda _self, size: 0.0 if size > 200_000 else 60.0)
    with pytest.raises(TransportError, match="too slowly"):
        get()
    assert part(tmp_path).stat().st_size == fetch.PIECE_BYTES


def test_a_busy_server_is_asked_another_time_and_what_came_is_kept(
    get: Callable[[], bytes], mirror: Mirror, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(DATA[:1000])
    mirror.status = "503 Busy"
    with pytest.raises(TransportError, match="HTTP 503"):
        get()
    assert len(mirror.asked) == 1
    mirror.status = None
    assert get() == DATA
    assert mirror.asked[1] == f"bytes=1000-{1000 + fetch.PIECE_BYTES - 1}"


def test_other_bytes_in_parts_are_thrown_away(
    get: Callable[[], bytes], mirror: Mirror, tmp_path: Path
) -> None:
    mirror.data = DATA[:-1] + b"!"
    with pytest.raises(TransportError, match="something else"):
        get()
    assert not part(tmp_path).exists()


def test_a_mirror_that_lies_in_its_first_part_keeps_nothing_away(
    mirror: Mirror, tmp_path: Path
) -> None:
    """It gives a wrong first part and then nothing: who is asked next would complete that."""
    liar = Mirror()

    def lying(environ: dict[str, Any], start_response: Any) -> Any:
        liar.status = "503 No more" if liar.asked else None
        liar.data = b"x" * len(DATA)
        return liar(environ, start_response)

    with served(lying) as there, served(mirror) as server:
        places = [fetch.Source(Transport(wire.url), "/") for wire in (there, server)]
        path = fetch.fetch(str(tmp_path / "d"), places, sha256=SHA256, size=len(DATA))
    assert Path(path).read_bytes() == DATA
    assert liar.asked[1:] == [f"bytes={fetch.PIECE_BYTES}-{2 * fetch.PIECE_BYTES - 1}"]


# --- the server ---------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection as a server has it, and its other end, at which nobody reads."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as theirs,
        listener.accept()[0] as ours,
    ):
        yield ours, theirs


def ask(resource: Blobs, sha256: str, ours: socket.socket, asked: str | None) -> Any:
    """The stream of the answer."""
    headers = {"Range": asked} if asked else {}
    request = testing.create_req(path="/x", headers=headers)
    request.env["gunicorn.socket"] = ours
    response = falcon.Response()
    resource.on_get(request, response, sha256)
    return response.stream


def test_pieces_wait_for_nobody_and_so_there_is_no_end_of_places(
    server: SimulatedServer, line: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = line
    record = publish_release(server, {**FILES, "lib/large.py": b"#" * 1_000_000})
    shelf = Shelf(blobs.folder_of(server.settings), server.store)
    resource = Blobs(shelf=shelf, offers=Offers(server.store), at_once=1)
    whole = ask(resource, record.tar_sha256, ours, None)
    with pytest.raises(falcon.HTTPServiceUnavailable):
        ask(resource, record.tar_sha256, ours, None)
    with pytest.raises(falcon.HTTPServiceUnavailable):
        ask(resource, record.tar_sha256, ours, f"bytes=0-{blobs.PIECE_BYTES}")
    piece = ask(resource, record.tar_sha256, ours, f"bytes=0-{blobs.PIECE_BYTES - 1}")
    # The other end reads nothing, and yet this is over at once.
    ours.settimeout(10)
    assert ours.sendfile(piece, 0, blobs.PIECE_BYTES) == blobs.PIECE_BYTES
    # Now there is no room: who asks on without reading is one who has to have a place.
    with pytest.raises(falcon.HTTPServiceUnavailable):
        ask(resource, record.tar_sha256, ours, f"bytes=0-{blobs.PIECE_BYTES - 1}")
    piece.close()
    whole.close()
    ask(resource, record.tar_sha256, ours, None).close()


def test_a_clients_piece_is_one_that_waits_for_nobody() -> None:
    assert fetch.PIECE_BYTES <= blobs.PIECE_BYTES
