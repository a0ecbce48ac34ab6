"""A real PostgreSQL with the roles and the schema that the service has."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine, migrate
from data.database.roles import SERVICE


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
