"""`qlmdm-server` as a process: gunicorn on loopback, started, asked, stopped, refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope
from qlmdm_core import settings as settings_files
from qlmdm_core.errors import SettingsError
from qlmdm_core.server import serve
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.client import (
    KeyPair,
    SimulatedClient,
    make_key_pair,
    multipart,
    said,
    through_http,
)
from qlmdm_core.testing.server import SimulatedServer, simulated_server

COMMAND = str(Path(sys.executable).parent / "qlmdm-server")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(str(tmp_path_factory.mktemp("pair") / "k"))


@pytest.fixture
def behind(tmp_path: Path, prepared: Path) -> Iterator[SimulatedServer]:
    """The store and settings that the process under test uses."""
    with simulated_server(tmp_path, prepared=prepared) as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Process:
    """A server process that is ready, and its output so far."""

    def __init__(self, behind: SimulatedServer, *, scheme: str = "http", **changes: Any) -> None:
        self.port = free_port()
        path = Path(behind.settings_file)
        lines = [line for line in path.read_text().splitlines() if not line.startswith("listen:")]
        lines += [f'listen: "127.0.0.1:{self.port}"', "workers: 2", "threads: 4"]
        lines += [f"{key}: {json.dumps(value)}" for key, value in changes.items()]
        path.write_text("\n".join(lines) + "\n")
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.log = behind.folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [COMMAND, "--settings", str(path)], stderr=log, start_new_session=True
            )
        wait_until(lambda: "signing by" in self.text() or self.process.poll() is not None)
        self.send = through_http(self.url)

    def text(self) -> str:
        return self.log.read_text()

    def ready(self) -> Process:
        def answers() -> bool:
            assert self.process.poll() is None, self.text()
            try:
                return self.send("GET", "/readyz", b"", {}).status == 200
            except OSError:
                return False

        wait_until(answers)
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


@pytest.fixture
def start(behind: SimulatedServer) -> Iterator[Callable[..., Process]]:
    started = []

    def make(**changes: Any) -> Process:
        started.append(Process(behind, **changes))
        return started[-1].ready()

    yield make
    for server in started:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(30)


def test_a_whole_life_over_a_socket(
    behind: SimulatedServer, start: Callable[..., Process], pair: KeyPair
) -> None:
    server = start(logs="json")
    client = SimulatedClient(server.send, pair)
    assert client.enrol(behind.invite()).status == "ok"
    assert client.submit().is_receipt
    assert client.update().status == "ok"
    reply = server.send("POST", envelope.SUBMIT, *form(b"{}", "x"))
    assert (reply.status, reply.body) == (403, b'{"status":"error"}')
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.text().splitlines()]
    (refused,) = [line for line in lines if "refused" in line["message"]]
    assert refused["request_id"] == reply.headers["x-request-id"]
    assert refused["remote"] == "127.0.0.1"
    found = behind.store.client(client.cid or "")
    assert found is not None
    assert found.seq == 1


def test_peers_that_do_not_close_keep_nobody_out(start: Callable[..., Process]) -> None:
    server = start()
    message = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    peers = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(60)]
    try:
        for peer in peers:
            peer.sendall(message)
        # gunicorn's own way would take two seconds for each, one after the other in each process.
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as honest:
            honest.sendall(message)
            assert honest.recv(100).startswith(b"HTTP/1.1 200")
        assert all(peer.recv(100).startswith(b"HTTP/1.1 200") for peer in peers)
    finally:
        for peer in peers:
            peer.close()


def form(data: bytes, signature: str) -> tuple[bytes, dict[str, str]]:
    body, content_type = multipart(data, signature)
    return body, {"Content-Type": content_type}


def test_one_message_to_two_workers_at_once_is_stored_once(
    behind: SimulatedServer, start: Callable[..., Process], pair: KeyPair
) -> None:
    server = start()
    client = SimulatedClient(server.send, pair)
    client.enrol(behind.invite())
    for _ in range(5):
        request = client.submission()
        data = envelope.build(request, {"report": client.report()})
        signature = client.key.signer.sign(data)
        ready = threading.Barrier(4)

        def post(
            _: int,
            ready: threading.Barrier = ready,
            data: bytes = data,
            signature: str = signature,
        ) -> str:
            ready.wait(30)
            return str(said(client.post(envelope.SUBMIT, data, signature))["status"])

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(post, range(4))) == ["ok"] + ["repeated"] * 3


def test_what_was_acknowledged_survives_kill_9(
    behind: SimulatedServer, start: Callable[..., Process], pair: KeyPair
) -> None:
    server = start()
    client = SimulatedClient(server.send, pair)
    client.enrol(behind.invite())
    acknowledged = 0

    def send_until_it_dies() -> int:
        count = 0
        while True:
            try:
                if not client.submit(client.report(x={"state": str(count)})).is_receipt:
                    return count
            except (OSError, EOFError):
                return count
            count += 1
            if count == 20:
                killer.set()

    killer = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_until_it_dies)
        assert killer.wait(60)
        os.killpg(server.process.pid, signal.SIGKILL)
        acknowledged = sending.result(60)
    server.process.wait(30)
    found = behind.store.client(client.cid or "")
    assert found is not None
    assert acknowledged <= found.seq <= acknowledged + 1  # the last answer may have been lost


def test_sigterm_lets_a_request_that_has_begun_finish(
    behind: SimulatedServer, start: Callable[..., Process], pair: KeyPair
) -> None:
    server = start()
    client = SimulatedClient(server.send, pair)
    client.enrol(behind.invite())
    request = client.submission()
    data = envelope.build(request, {"report": client.report()})
    body, headers = form(data, client.key.signer.sign(data))
    head = f"POST {envelope.SUBMIT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[:100])
        # Another request through the same listener: ours was accepted before it.
        assert server.send("GET", "/healthz", b"", {}).status == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.text())
        connection.sendall(body[100:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert b'\\"status\\":\\"ok\\"' in answer
    assert server.process.wait(60) == 0


def test_a_taken_port_is_said_and_is_exit_3(
    behind: SimulatedServer, start: Callable[..., Process]
) -> None:
    server = start()
    again = subprocess.run(
        [COMMAND, "--settings", behind.settings_file], capture_output=True, text=True, check=False
    )
    assert again.returncode == 3
    assert f"can't listen on 127.0.0.1:{server.port}: Address already in use" in again.stderr
    assert "is another server running?" in again.stderr
    assert server.send("GET", "/healthz", b"", {}).status == 200


def run(settings_file: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "--settings", str(settings_file)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ('listen: "nonsense"', 2, "listen: expected ADDRESS:PORT or unix:/path"),
        ('listen: "127.0.0.1:70000"', 2, "listen: expected ADDRESS:PORT"),
        ('listen: "203.0.113.1:8421"', 3, "Cannot assign requested address; change `listen`"),
        ("workers: 0", 2, "workers: expected at least 1"),
        ('store: "sqlite:///nowhere/at/all.sqlite"', 3, "the folder /nowhere/at is missing"),
        ('online_key: "/nowhere/online.key"', 2, "the online key is missing"),
        ('tls: {certificate: "/nowhere/a", key: "/nowhere/b"}', 2, "tls: /nowhere/a"),
    ],
)
def test_what_keeps_it_from_starting_is_said(
    behind: SimulatedServer, line: str, status: int, message: str
) -> None:
    path = Path(behind.settings_file)
    key = line.partition(":")[0]
    lines = [kept for kept in path.read_text().splitlines() if not kept.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, line]) + "\n")
    done = run(path)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_root_document_of_another_server(behind: SimulatedServer) -> None:
    behind.store.set_meta("server_id", "another-server")
    done = run(behind.settings_file)
    assert (done.returncode, "another server's" in done.stderr) == (3, True), done.stderr


def test_a_database_that_is_no_database_is_said_and_left_alone(behind: SimulatedServer) -> None:
    path = Path(settings_files.load(behind.settings_file, ServerSettings).core.store[9:])
    behind.store.close()
    garbage = b"this was a database once" * 1000
    path.write_bytes(garbage)
    done = run(behind.settings_file)
    assert (done.returncode, str(path) in done.stderr) == (3, True), done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == garbage


def test_a_peer_that_stops_sending_costs_nobody_else(
    behind: SimulatedServer, start: Callable[..., Process], pair: KeyPair
) -> None:
    server = start()
    client = SimulatedClient(server.send, pair)
    client.enrol(behind.invite())
    head = f"POST {envelope.SUBMIT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b"
    stalled = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(3)]
    try:
        for connection in stalled:
            connection.sendall(head.encode())
        assert client.submit().is_receipt
    finally:
        for connection in stalled:
            connection.close()
    assert client.submit().is_receipt
    assert server.stop() == 0
    assert "Traceback" not in server.text()


def test_a_server_that_was_never_set_up(tmp_path: Path) -> None:
    done = run(tmp_path / "none.yml")
    assert done.returncode == 2
    assert "there is no such settings file" in done.stderr
    path = tmp_path / "s.yml"
    path.write_text(f"url: https://x\nstore: sqlite://{tmp_path}/x.sqlite\n")
    assert run(path).returncode == 2


def test_gpg_signs_and_says_so_where_pysequoia_is_missing(
    behind: SimulatedServer, pair: KeyPair, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden/pysequoia"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no wheel for this platform')\n")
    os.environ["PYTHONPATH"] = str(hidden.parent)
    try:
        server = Process(behind).ready()
    finally:
        del os.environ["PYTHONPATH"]
    try:
        assert "pysequoia can't be imported" in server.text()
        assert "signing by gpg" in server.text()
        client = SimulatedClient(server.send, pair)
        client.enrol(behind.invite())
        assert client.submit().is_receipt
        assert server.stop() == 0
        assert agents_below(tempfile_prefix="qlmdm-online-") == []
    finally:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(30)


def agents_below(tempfile_prefix: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "gpg-agent" in words[0] and any(tempfile_prefix in word for word in words):
            found.append(entry.name)
    return found


def test_its_own_tls(behind: SimulatedServer, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl can't make a certificate here")
    tls = {"certificate": str(certificate), "key": str(key)}
    server = Process(behind, scheme="https", tls=tls)
    try:
        trust = ssl.create_default_context(cafile=str(certificate))
        wait_until(lambda: "Booting worker" in server.text())
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            assert connection.version() in ("TLSv1.2", "TLSv1.3")
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(30)


# --- the socket -----------------------------------------------------------------------------


def test_a_unix_socket_of_a_dead_server_is_replaced_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    first = serve.bind(f"unix:{path}")
    with pytest.raises(serve.AddressError, match="another server"):
        serve.bind(f"unix:{path}")
    first.close()
    assert path.exists()
    serve.bind(f"unix:{path}").close()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(serve.AddressError):
        serve.bind(f"unix:{tmp_path}/file")
    assert (tmp_path / "file").read_text() == "precious"


def test_addresses_of_both_families() -> None:
    for listen in ("127.0.0.1:0", "[::1]:0"):
        try:
            listener = serve.bind(listen)
        except serve.AddressError:
            if "::1" not in listen:  # a machine without IPv6
                raise
            continue
        stall = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        assert int.from_bytes(stall[:8], sys.byteorder) == serve.STALL_SECONDS
        listener.close()
    with pytest.raises(SettingsError):
        serve.bind("no-such-host.invalid:80")


def test_the_store_is_what_the_settings_name(behind: SimulatedServer) -> None:
    settings = settings_files.load(behind.settings_file, ServerSettings).core
    store = open_store(settings.store)
    assert store.meta("server_id") == behind.store.meta("server_id")
    store.close()
