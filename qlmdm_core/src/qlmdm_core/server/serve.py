"""Runs the application under gunicorn: processes with threads, bounded, stopped gracefully.

The parent binds the socket, checks everything once, and starts the workers; each worker opens
its own database and key. Nothing is shared after the fork but the socket.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import ssl
import stat
import struct
from datetime import datetime, timezone
from typing import Any

import falcon
import gunicorn.app.base
import gunicorn.glogging

from qlmdm_core.errors import QlmdmError, SettingsError, StoreCorruptError
from qlmdm_core.server import crypto, logs
from qlmdm_core.server.app import create_app
from qlmdm_core.server.context import Context
from qlmdm_core.server.plugin_routes import PluginRoute
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.worker import Worker
from qlmdm_core.store import Store

log = logging.getLogger(__name__)

BACKLOG = 1024
STALL_SECONDS = 30
"""So long may the other side send or take nothing, before its connection is given up."""
GRACE_SECONDS = 30
"""So long may requests take that were begun when the server was told to stop."""


class AddressError(QlmdmError):
    """The address to listen on is taken, or is not ours to take."""


def serve(context: Context) -> None:
    """Check everything, then serve until told to stop (SIGTERM, SIGINT). Does not return.

    Raises `QlmdmError` before anything was started.
    """
    settings = context.settings
    logs.configure(settings.logs)
    _check_tls(settings)
    engine = crypto.best_engine()
    _check_trust(context, engine)
    listener = bind(settings.listen)
    if engine == "gpg":
        log.warning(
            "pysequoia can't be imported: gpg verifies and signs, some seventy times more slowly; "
            "install it with: pip install 'qlmdm-core[server]'"
        )
    log.info(
        "listening on %s (%s), %d processes of %d threads, signing by %s",
        settings.listen,
        "TLS" if settings.tls.certificate else "no TLS of its own",
        settings.workers,
        settings.threads,
        engine,
    )
    _Gunicorn(context, engine, listener).run()


def bind(listen: str) -> socket.socket:
    """A listening socket. Raises `AddressError`, or `SettingsError` for an address that is none."""
    family, address = _address(listen)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            _bind_unix(listener, str(address))
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        # socket(7): accepted sockets inherit these; they bound each read and write.
        stall = struct.pack("ll", STALL_SECONDS, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror):
            raise SettingsError(f"{listen}: {error.strerror}", key="listen") from None
        said = f"can't listen on {listen}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            said += "; is another server running? Stop it, or change `listen` in the settings"
        else:
            said += "; change `listen` in the settings"
        raise AddressError(said) from None
    return listener


def _address(listen: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if listen.startswith("unix:/"):
        return socket.AF_UNIX, listen[len("unix:") :]
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"expected ADDRESS:PORT or unix:/path, not {listen!r}", key="listen")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


def _bind_unix(listener: socket.socket, path: str) -> None:
    """Take a path; a socket that a dead server left is replaced, a living one's is not."""
    try:
        listener.bind(path)
    except OSError:
        if not _is_dead_socket(path):
            raise
        os.unlink(path)
        listener.bind(path)
    os.chmod(path, 0o660)


def _is_dead_socket(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _check_tls(settings: ServerSettings) -> None:
    if settings.tls.certificate is None or settings.tls.key is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{settings.tls.certificate}, {settings.tls.key}: can't be used: {error}", key="tls"
        ) from None


def _check_trust(context: Context, engine: crypto.Engine) -> None:
    """The database is ours and whole, and clients would believe our answers."""
    with context.store() as store:
        opened = crypto.open_crypto(context.settings, engine)
        try:
            root = crypto.newest_root(store, opened.verifier)
            crypto.check_online_key(root, opened.signer)
            if root.server_id != store.meta("server_id"):
                raise StoreCorruptError("the root document is another server's")
        finally:
            opened.close()
    if root.is_expired(_now()):
        log.error("root document %d has expired; renew it: qlmdm-keys renew", root.version)


def _now() -> datetime:
    return datetime.now(timezone.utc)


class _Gunicorn(gunicorn.app.base.BaseApplication):  # type: ignore[misc] # it has no types
    def __init__(self, context: Context, engine: crypto.Engine, listener: socket.socket) -> None:
        self._context = context
        self._engine = engine
        self._listener = listener
        self._open: list[Any] = []
        super().__init__()

    def load_config(self) -> None:
        settings = self._context.settings
        values = {
            "bind": f"fd://{self._listener.fileno()}",
            "worker_class": Worker,
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_connections": 1000,
            "backlog": BACKLOG,
            "timeout": 120,
            "graceful_timeout": GRACE_SECONDS,
            "keepalive": 5,
            "limit_request_line": 2048,
            "limit_request_fields": 64,
            "limit_request_field_size": 4096,
            "umask": 0o077,
            "forwarded_allow_ips": ",".join(settings.trusted_proxies),
            "logger_class": _GunicornLogger,
            "worker_exit": self._close,
            "proc_name": "qlmdm-server",
            "control_socket_disable": True,
        }
        if os.access("/dev/shm", os.W_OK):  # noqa: S108 - where gunicorn asks to have its heartbeat
            values["worker_tmp_dir"] = "/dev/shm"  # noqa: S108
        if settings.tls.certificate:
            values["certfile"] = settings.tls.certificate
            values["keyfile"] = settings.tls.key
            values["ssl_context"] = _tls_context
        for name, value in values.items():
            if name in self.cfg.settings:  # control_socket_disable is new
                self.cfg.set(name, value)

    def load(self) -> falcon.App[Any, Any]:
        """Called by gunicorn in each worker."""
        try:
            return self._load()
        except QlmdmError as error:
            log.error("can't start: %s", error)  # noqa: TRY400 - the message has it all
            raise

    def _load(self) -> falcon.App[Any, Any]:
        context = self._context
        store = context.open_store()
        self._open.append(store)
        opened = crypto.open_crypto(context.settings, self._engine)
        self._open.append(opened)
        app = create_app(
            store,
            context.settings,
            signer=opened.signer,
            verifier=opened.verifier,
            clock=_now,
            routes=_plugin_routes(context, store),
        )
        # A parsed report is a thousand objects that live for a millisecond and hold no cycles:
        # looking at them, and at all loaded modules, takes a sixth of the time of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        return app

    def _close(self, arbiter: object, worker: object) -> None:  # noqa: ARG002 - gunicorn's
        while self._open:
            self._open.pop().close()


def _plugin_routes(context: Context, store: Store) -> list[PluginRoute]:
    plugins = context.plugins
    services = {"store": store, "settings": context.loaded}
    found = plugins.call("qlmdm_register_routes", services=services)
    for failure in plugins.failures:
        log.error("%s", failure)
    return [PluginRoute(entry.distribution, route) for entry, route in found]


def _tls_context(config: Any, default: Any) -> ssl.SSLContext:  # noqa: ARG001 - gunicorn's
    context: ssl.SSLContext = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _GunicornLogger(gunicorn.glogging.Logger):  # type: ignore[misc] # it has no types
    """gunicorn's own messages, in our style."""

    def setup(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.handlers[:] = []
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)
        self.error_log.addFilter(_not_a_stalled_peer)
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.handlers[:] = []
        self.access_log.propagate = False
        self.cfg = cfg


def _not_a_stalled_peer(record: logging.LogRecord) -> bool:
    """A peer that stopped sending (see `STALL_SECONDS`) is no error of ours."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
