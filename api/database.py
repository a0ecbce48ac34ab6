"""The database a command works on: the one the settings name, or an embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from api import logs
from api.settings import Settings, read_settings
from data.embedded import EmbeddedPostgres
from data.engine import create_engine, migrate

EMBEDDED = "postgres"
"""The embedded server's directory in the data directory."""


@contextmanager
def open_database(settings: Settings, data_dir: Path | None) -> Iterator[str]:
    """Yield the database's URL; without DATABASE_URL, of an embedded server."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    directory = data_dir or settings.data_dir
    with EmbeddedPostgres(directory / EMBEDDED) as server:
        yield server.url


async def with_engine[Result](url: str, work: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    """Do `work` on an engine of its own."""
    engine = create_engine(url, pool_size=2)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def on_database[Result](
    data_dir: Path | None, work: Callable[[AsyncEngine], Awaitable[Result]]
) -> Result:
    """Do `work` on the migrated database of the settings."""

    async def migrated(engine: AsyncEngine) -> Result:
        await migrate(engine)
        return await work(engine)

    settings = read_settings()
    logs.configure("WARNING")
    with open_database(settings, data_dir) as url:
        return asyncio.run(with_engine(url, migrated))
