"""The client's transport, against real servers on loopback that behave badly."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
import trustme

from qlmdm_core.client import transport
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import SettingsError, TransportError

Handler = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def server(answer: Handler, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers each request by `answer`; its address."""

    class Requests(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self)

        do_GET = do_POST

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # clients that refuse us are what is tested

    httpd = Quiet(("127.0.0.1", 0), Requests)
    if context is not None:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def reply(body: bytes, status: int = 200, **headers: str) -> Handler:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_the_two_fields_arrive_as_they_were_signed() -> None:
    seen: list[Message] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        kind = request.headers["Content-Type"].encode()
        seen.append(BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + body))
        reply(b"thanks")(request)

    data = b'{"a": "--\\r\\n--x"}'
    with server(answer) as url:
        got = Transport(url + "/").post_signed("/qlmdm/v1/submit", data, "SIGNATURE\n")
    assert (got.status, got.body) == (200, b"thanks")
    parts = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in seen[0].get_payload()  # type: ignore[union-attr]
    }
    assert parts == {"data": data, "signature": b"SIGNATURE\n"}


def test_an_error_status_is_an_answer_too() -> None:
    with server(reply(b'{"status":"error"}', 403)) as url:
        got = Transport(url).get("/x")
    assert (got.status, got.body) == (403, b'{"status":"error"}')


def test_a_redirect_is_never_followed() -> None:
    reached: list[str] = []

    def elsewhere(request: http.server.BaseHTTPRequestHandler) -> None:
        reached.append(request.path)
        reply(b"")(request)

    with server(elsewhere) as other, server(reply(b"", 307, Location=other + "/there")) as url:
        assert Transport(url).post_signed("/submit", b"data", "sig").status == 307
    assert reached == []


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER", 1000)
    with server(reply(b"x" * 1001)) as url, pytest.raises(TransportError, match="larger than"):
        Transport(url).get("/x")


def test_an_answer_that_is_cut_short_is_refused() -> None:
    with (
        server(reply(b"half", **{"Content-Length": "8"})) as url,
        pytest.raises(TransportError, match=r"cut short|Incomplete|more expected"),
    ):
        Transport(url).get("/x")


def test_a_server_that_never_answers_is_given_up() -> None:
    release = threading.Event()

    def never(request: http.server.BaseHTTPRequestHandler) -> None:
        release.wait(20)

    with server(never) as url:
        with pytest.raises(TransportError, match="no answer in time"):
            Transport(url, timeout=0.2).get("/x")
        release.set()


def test_a_server_that_drips_is_given_up() -> None:
    release = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        with contextlib.suppress(OSError):
            while not release.wait(0.05):
                request.wfile.write(b"x")
                request.wfile.flush()

    with server(drip) as url:
        with pytest.raises(TransportError, match="took too long"):
            Transport(url, timeout=0.2).get("/x")
        release.set()


def test_garbage_is_a_transport_error() -> None:
    def garbage(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"\x00\xff not http\r\n\r\n")

    with server(garbage) as url, pytest.raises(TransportError):
        Transport(url).get("/x")


def test_nobody_there_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match=r": Connection refused$"):
        Transport("http://127.0.0.1:1").get("/x")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_private_authority_is_trusted_by_setting(authority: trustme.CA, tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with server(reply(b"ok"), tls(authority, "127.0.0.1")) as url:
        assert Transport(url, ca_file=str(pem)).get("/x").body == b"ok"


def test_somebody_elses_certificate_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with server(reply(b"no"), tls(trustme.CA(), "127.0.0.1")) as url:
        for ca_file in (None, str(pem)):
            with pytest.raises(TransportError, match="its certificate is not to be trusted"):
                Transport(url, ca_file=ca_file).get("/x")
    with (
        server(reply(b"no"), tls(authority, "other.example.com")) as url,
        pytest.raises(TransportError, match="its certificate is not to be trusted"),
    ):
        Transport(url, ca_file=str(pem)).get("/x")


def test_an_authority_file_that_is_none_is_a_setting_to_mend(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("nothing here")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match="ca_file"):
            Transport("https://127.0.0.1", ca_file=str(path))


def test_a_proxy_from_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        reply(b"by proxy")(request)

    with server(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        assert Transport("http://qlmdm.invalid").get("/x").body == b"by proxy"
    assert asked == ["http://qlmdm.invalid/x"]


# --- downloads ------------------------------------------------------------------------------------

BYTES = {"Content-Type": transport.BYTES}


def downloaded(
    url: str, tmp_path: Path, *, max_bytes: int = 1000, start: int | None = None
) -> bytes:
    path = tmp_path / "part"
    with path.open("wb") as file:
        got = Transport(url).download("/x", to=file.fileno(), max_bytes=max_bytes, start=start)
    assert got.body == b""
    return path.read_bytes()


def test_a_download_goes_to_a_file(tmp_path: Path) -> None:
    with server(reply(b"x" * 1000, 200, **BYTES)) as url:
        assert downloaded(url, tmp_path) == b"x" * 1000


def test_a_download_writes_no_more_than_it_may(tmp_path: Path) -> None:
    with server(reply(b"x" * 100_000, 200, **BYTES)) as url:
        with pytest.raises(TransportError, match="larger than 1000 bytes"):
            downloaded(url, tmp_path)
        assert (tmp_path / "part").stat().st_size <= 1000


def test_a_download_can_go_on_where_it_stopped(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Range"])
        reply(b"rest", 206, **BYTES)(request)

    with server(answer) as url:
        assert downloaded(url, tmp_path, start=7) == b"rest"
    assert asked == ["bytes=7-1006"]


def test_a_server_without_parts_does_not_write_its_beginning_behind_ours(tmp_path: Path) -> None:
    with server(reply(b"whole", 200, **BYTES)) as url:
        assert downloaded(url, tmp_path, start=7) == b""


def test_what_is_said_instead_of_a_download_is_an_answer(tmp_path: Path) -> None:
    said = {"Content-Type": "application/json"}
    with server(reply(b'{"signed":"no"}', 200, **said)) as url, (tmp_path / "p").open("wb") as file:
        got = Transport(url).download_signed("/p", b"data", "sig", to=file.fileno(), max_bytes=1000)
    assert got.body == b'{"signed":"no"}'
    assert (tmp_path / "p").read_bytes() == b""


def test_a_full_disk_is_not_called_a_broken_network() -> None:
    with (
        server(reply(b"x" * 10, 200, **BYTES)) as url,
        open("/dev/full", "wb", 0) as full,
        pytest.raises(OSError, match="No space left") as raised,
    ):
        Transport(url).download("/x", to=full.fileno(), max_bytes=1000)
    assert not isinstance(raised.value, TransportError)
