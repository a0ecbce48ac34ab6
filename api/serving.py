"""The commands that run the service."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import structlog
import uvicorn
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine
from uvicorn.supervisors import Multiprocess

from api import logs
from api.app import OPEN_WHILE, create_app, spare_the_collector, with_console
from api.complaints import UsageError
from api.database import embedded_database, open_database, with_engine
from api.door import Door
from api.metrics import SHARED_DIRECTORY
from api.ports import DEALS_OUT, own_socket
from api.protocol import ImpatientProtocol
from api.settings import PREFIX, Settings, read_settings
from api.tables import slot_table
from data import demo as demo_clinic
from data import keys
from data.roles import owns_the_log

DEMO_HOST = "127.0.0.1"
DEMO_ROWS = 10
MAX_MESSAGE = 1024 * 1024
"""The largest message in bytes that a websocket takes; a browser's page sends less than 1 MB."""

log = structlog.get_logger(__name__)


def serve(host: str, port: int, data_dir: Path | None, workers: int) -> int:
    """Run the service until it is told to stop."""
    if data_dir is not None:
        os.environ[f"{PREFIX}DATA_DIR"] = str(data_dir)
    settings = read_settings()
    logs.configure(settings.log_level)
    with open_database(settings, data_dir) as url:
        asyncio.run(with_engine(url, _warn_of_an_owner))
        is_open = _is_open(host, settings, url)
        os.environ["DATABASE_URL"] = url  # the workers read it, too
        with _shared_door(is_open=is_open), _shared_figures(workers):
            _run("api.app:service", host, port, workers, factory=True, **_uvicorn_options(settings))
    return 0


async def _warn_of_an_owner(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if await owns_the_log(connection):
            log.warning(
                "database_role",
                detail="the role of DATABASE_URL owns the tables, so whoever takes over the "
                "service can rewrite the audit log; see slotwright migrate --make-roles",
            )


def _run(app: str, host: str, port: int, workers: int, **options: Any) -> None:
    if workers == 1 or not DEALS_OUT:
        uvicorn.run(app, host=host, port=port, workers=workers, **options)
        return
    try:
        own = own_socket(host, port)
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error.strerror or error}") from error
    with own:
        config = uvicorn.Config(app, host=host, port=port, workers=workers, **options)
        Multiprocess(config, sockets=[own]).run()


def _is_open(host: str, settings: Settings, url: str) -> bool:
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
def _shared_door(*, is_open: bool) -> Iterator[None]:
    """Let the processes of the service be open, until one of them sees a key."""
    os.environ.pop(OPEN_WHILE, None)
    if not is_open:
        yield
        return
    with _shared_directory("door") as directory:
        file = directory / "open"
        file.touch()
        os.environ[OPEN_WHILE] = str(file)
        yield


@contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """Let several processes put their figures together, in a directory of their own."""
    if workers == 1:
        yield
        return
    with _shared_directory("figures") as directory:
        os.environ[SHARED_DIRECTORY] = str(directory)
        yield


@contextmanager
def _shared_directory(what: str) -> Iterator[Path]:
    """Yield a directory for the processes of this service alone; it goes when they end."""
    memory = Path("/dev/shm")  # noqa: S108 - a page that a full disk has no room for kills a writer
    home = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"slotwright-{what}-", dir=home) as directory:
        yield Path(directory)


def demo(port: int, data_dir: Path | None) -> int:
    """Run the demo clinic; print one query's answer once it serves."""
    settings = read_settings()
    logs.configure("WARNING")
    directory = data_dir or settings.data_dir / "demo"
    console = Console()
    with embedded_database(directory) as url:
        asyncio.run(with_engine(url, _seed_demo))
        settings = settings.model_copy(update={"database_url": url, "data_dir": directory})
        door = Door(is_open=_is_open(DEMO_HOST, settings, url))
        config = uvicorn.Config(
            with_console(create_app(settings, door)),
            host=DEMO_HOST,
            port=port,
            **_uvicorn_options(settings),
        )
        spare_the_collector()
        asyncio.run(_serve_and_show(uvicorn.Server(config), console))
    return 0


async def _seed_demo(engine: AsyncEngine) -> None:
    await demo_clinic.seed(engine, dt.datetime.now(dt.UTC))


async def _serve_and_show(server: uvicorn.Server, console: Console) -> None:
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if serving.done():
        await serving
        return
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    query = demo_clinic.first_query(dt.datetime.now(dt.UTC))
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        answer = await client.get("/slots", params=query)
    answer.raise_for_status()
    body = answer.json()
    console.print(f"[bold]Console on {base}/console[/], the API on {base}/docs; Ctrl-C ends it\n")
    console.print(f"GET {answer.url}", soft_wrap=True)
    title = f"A check-up on {body['date']}, best in the morning: {body['total']} places"
    console.print(slot_table(body, title, DEMO_ROWS))
    await serving


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
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
    }
