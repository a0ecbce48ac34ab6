"""The database a command works on: the one the settings name, or an embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from api.service import logs
from api.service.error_messages import UsageError
from api.service.interrupt import raises
from api.service.settings import Settings, read_settings
from data.database.address import place_of
from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine, migrate

EMBEDDED = "postgres"
"""The embedded server's directory in the data directory."""


@contextmanager
def open_database(settings: Settings, data_dir: Path | None) -> Iterator[str]:
    """Yield the URL of the database, its schema the newest; without DATABASE_URL, of an own one."""
    if settings.database_url is not None:
        bring_up(settings.database_url)
        with raises():  # what the server is at is called off
            yield settings.database_url
    else:
        with embedded_database(data_dir or settings.data_dir) as url:
            yield url


def bring_up(url: str, **options: Any) -> None:
    """Bring the schema of the database that DATABASE_URL names to the newest version.

    Raises
    ------
    UsageError
        When there is no PostgreSQL at that address.
    """
    try:
        with raises():
            asyncio.run(with_engine(url, partial(migrate, **options)))
    except OSError as error:  # also a time-out, and a certificate that does not fit
        reason = error.strerror or str(error) or "it does not answer"
        raise UsageError(f"no PostgreSQL at {place_of(url)} (DATABASE_URL): {reason}") from error


@contextmanager
def embedded_database(data_dir: Path) -> Iterator[str]:
    """Yield the URL of the embedded server of a data directory, its schema the newest."""
    with raises(), EmbeddedPostgres(data_dir / EMBEDDED) as server:
        asyncio.run(with_engine(server.admin_url, partial(migrate, make_roles=True)))
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
    settings = read_settings()
    logs.configure("WARNING")
    with open_database(settings, data_dir) as url:
        return asyncio.run(with_engine(url, work))


def on_existing_database[Result](
    data_dir: Path | None, work: Callable[[AsyncEngine], Awaitable[Result]]
) -> Result:
    """Do `work` that only looks: as :func:`on_database`, but no embedded database is made for it.

    Raises
    ------
    UsageError
        When there is none.
    """
    settings = read_settings()
    directory = data_dir or settings.data_dir
    if settings.database_url is None and not (directory / EMBEDDED).exists():
        raise UsageError(
            f"there is no database in {directory}; name another with --data-dir or DATABASE_URL, "
            "or make one with slotwright serve or import"
        )
    return on_database(data_dir, work)


def database_name(data_dir: Path | None) -> str:
    """Return how a person would know the database that a command works on; without a password."""
    settings = read_settings()
    if settings.database_url is None:
        return f"the database in {data_dir or settings.data_dir}"
    return make_url(settings.database_url).render_as_string(hide_password=True)
