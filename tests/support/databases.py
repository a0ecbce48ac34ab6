"""A real PostgreSQL with the service's roles and schema, and transactions left open on purpose."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine, migrate
from data.database.roles import SERVICE

STUCK = text("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")


@contextlib.asynccontextmanager
async def left_open(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that stays open as long as it likes, and is committed at the end."""
    async with engine.connect() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection
        await connection.commit()


async def until_stuck(engine: AsyncEngine, *tasks: asyncio.Task[Any]) -> None:
    """Return when each of the tasks has come to its end or waits for a lock in the database."""
    deadline = time.monotonic() + 20
    while True:
        async with engine.connect() as connection:
            stuck = (await connection.execute(STUCK)).scalar_one()
        if sum(not task.done() for task in tasks) <= stuck:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)  # between two looks


async def _migrate(admin_url: str) -> None:
    engine = create_engine(admin_url, pool_size=1)
    await migrate(engine, make_roles=True)
    await engine.dispose()


def migrated(server: EmbeddedPostgres, database: str = "postgres") -> str:
    """Bring a database's schema up; return its URL for the service's role."""
    url = make_url(server.admin_url).set(database=database)
    with ThreadPoolExecutor(1) as thread:  # an event loop may be running here
        thread.submit(asyncio.run, _migrate(url.render_as_string())).result()
    return url.set(username=SERVICE).render_as_string()


@cache
def _prepared() -> tempfile.TemporaryDirectory[str]:
    """Make the directory of a stopped server that has the schema."""
    home = tempfile.TemporaryDirectory(prefix="slotwright-prepared-")
    with EmbeddedPostgres(Path(home.name), durable=False) as server:
        migrated(server)
    return home


@contextmanager
def migrated_server(directory: Path, *, durable: bool = False) -> Iterator[EmbeddedPostgres]:
    """Run a server of its own whose ``url`` is ready for a service."""
    shutil.copytree(Path(_prepared().name, "cluster"), directory / "cluster")  # sooner than anew
    with EmbeddedPostgres(directory, durable=durable) as server:
        yield server
