"""The commands that run the service."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from uvicorn.supervisors import Multiprocess

from api.server.app import OPEN_WHILE
from api.server.database import open_database, with_engine
from api.server.http_protocol import ImpatientProtocol
from api.server.reuse_port import AddressError
from api.service import logs
from api.service.error_messages import UsageError
from api.service.interrupt import raises
from api.service.machine import raise_descriptors
from api.service.metrics import SHARED_DIRECTORY
from api.service.settings import PREFIX, Settings, read_settings
from data import api_keys as keys
from data.database.roles import owns_the_log
from data.database.scratch import ScratchDirectory, remove_abandoned, shared_memory

START_SECONDS = 120
"""How long one of several processes may take to start; on a busy machine, imports take long."""


FEW_DESCRIPTORS = 4096
"""With fewer files and connections open at once, a service is easily kept from answering."""


MAX_MESSAGE = 1024 * 1024
"""The largest message in bytes that a websocket takes; a browser's page sends less than 1 MB."""


log = structlog.get_logger(__name__)


def serve(bound: socket.socket, host: str, data_dir: Path | None, workers: int) -> int:
    """Run the service until it is told to stop, on a socket that keeps its port."""
    if data_dir is not None:
        os.environ[f"{PREFIX}DATA_DIR"] = str(data_dir)
    settings = read_settings()
    begin(settings.log_level)
    with raises(), open_database(settings, data_dir) as url:
        asyncio.run(with_engine(url, _warn_of_an_owner))
        is_open = is_open_to_all(host, settings, url)
        os.environ["DATABASE_URL"] = url  # the workers read it, too
        with _shared_keyless(is_open=is_open), _shared_figures(workers):
            return _run(bound, host, workers, settings)


def begin(log_level: str) -> None:
    """Prepare this process, and those it starts, for serving."""
    logs.configure(log_level)
    remove_abandoned()
    descriptors = raise_descriptors()
    if descriptors < FEW_DESCRIPTORS:
        log.warning(
            "few_descriptors",
            detail=f"this process may have {descriptors} files and connections open at once, so "
            "some hundred idle ones shut others out; allow it more, as with ulimit -Hn 65536 or "
            "LimitNOFILE=65536",
        )


async def _warn_of_an_owner(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if await owns_the_log(connection):
            log.warning(
                "database_role",
                detail="the role of DATABASE_URL owns the tables, so whoever takes over the "
                "service can rewrite the audit log; see slotwright migrate --make-roles",
            )


def _run(bound: socket.socket, host: str, workers: int, settings: Settings) -> int:
    options = {"host": host, "port": bound.getsockname()[1], "factory": True}
    config = uvicorn.Config(
        "api.server.app:service", workers=workers, **options, **uvicorn_options(settings)
    )
    base = address_of(bound)
    if workers > 1:
        log.info(f"service at {base}; it has no console with --workers above 1")
        Workers(config, sockets=[bound]).run()
        return 0
    server = _Server(config, lambda: log.info(f"console at {base}/console"))
    with suppress(KeyboardInterrupt):  # which the server raises once it has shut down
        server.run(sockets=[bound])
    return 0 if server.started else AddressError.exit_code


class Workers(Multiprocess):
    """Processes that serve, of which one that dies is replaced at once.

    While this process has the workers' end of the line on which it asks after them open, too, it
    waits for the answer of one that died as it started for as long as a start may take.
    """

    def init_processes(self) -> None:
        """Start all."""
        super().init_processes()
        self._let_go_of_their_ends()

    def keep_subprocess_alive(self) -> None:
        """Ask after each; replace those that died."""
        super().keep_subprocess_alive()
        self._let_go_of_their_ends()

    def _let_go_of_their_ends(self) -> None:
        for process in self.processes:
            process.child_conn.close()


class _Server(uvicorn.Server):
    """A server that says when it serves."""

    def __init__(self, config: uvicorn.Config, say: Callable[[], None]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self.started:
            self._say()


def address_of(bound: socket.socket) -> str:
    """Return the URL under which this machine reaches a socket."""
    host, port = bound.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_open_to_all(host: str, settings: Settings, url: str) -> bool:
    """Whether everyone who reaches the service may do everything, for want of a first key.

    Raises
    ------
    UsageError
        When that would be so, and others than this machine's users could reach it.
    """
    if settings.oidc_issuer is not None or asyncio.run(with_engine(url, keys.every)):
        return False
    if not _is_loopback(host):
        raise UsageError(
            f"--host {host}: the service would be open to everyone who reaches this machine; "
            "make a key first, with slotwright keys create --role admin"
        )
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _shared_keyless(*, is_open: bool) -> Iterator[None]:
    """Let the processes of the service be open, until one of them sees a key."""
    os.environ.pop(OPEN_WHILE, None)
    if not is_open:
        yield
        return
    with ScratchDirectory("keyless", shared_memory()) as directory:
        file = Path(directory, "open")
        file.touch()
        os.environ[OPEN_WHILE] = str(file)
        yield


@contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """Let several processes put their figures together, in a directory of their own."""
    if workers == 1:
        yield
        return
    with ScratchDirectory("figures", shared_memory()) as directory:
        os.environ[SHARED_DIRECTORY] = directory
        yield


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return what every server of the service is told: its protocol, proxies, limits and logs."""
    return {
        "http": ImpatientProtocol,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": 20,
        "timeout_keep_alive": 30,
        "server_header": False,
        "ws_max_size": MAX_MESSAGE,
        "timeout_worker_healthcheck": START_SECONDS,
    }
