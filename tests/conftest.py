"""One real PostgreSQL for the session; every test that uses it starts from empty tables."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.open_until_first_key import KeylessAccess
from api.server.app import create_app
from api.service.settings import Settings
from data.audit import CALCULATOR, NO_SHOW_MARKER
from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from data.jobs.retention import CLEANER
from tests.support.databases import migrated

settings.register_profile(
    "slotwright",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "mutation",  # a tenth of the examples, the same ones every time, and no shrinking
    settings.get_profile("slotwright"),
    max_examples=10,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("slotwright")

SLOWEST = ("faults", "console", "deploy", "benchmarks", "search")
"""Folders whose files take longest; they go first, so that no process has one left at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in SLOWEST)


TABLES = (
    "booking_roles, bookings, availability, overbooking_rules, provider_types, sessions, providers,"
    " rooms, appointment_types, equipment_pools, travel, locations"
)


@pytest.fixture(scope="session")
def database() -> Iterator[EmbeddedPostgres]:
    with (
        tempfile.TemporaryDirectory(prefix="slotwright-test-") as directory,
        EmbeddedPostgres(Path(directory), durable=False) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def database_url(database: EmbeddedPostgres) -> str:
    """The migrated database, as the service's own role."""
    return migrated(database)


@pytest.fixture(scope="session")
async def admin_engine(database: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    """The same database as its superuser, for what the service may not do."""
    engine = create_engine(database.admin_url, pool_size=4)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def migrated_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


async def empty_tables(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement in (  # the audit log's own trigger would refuse
            "SET LOCAL session_replication_role = replica",
            "TRUNCATE audit_log",
            "SET LOCAL session_replication_role = origin",
            f"TRUNCATE {TABLES}, resource_days, idempotency_keys, what_if_runs, what_if_events,"
            " api_keys, daily_statistics, job_runs, outbox",
        ):
            await connection.execute(text(statement))
        await connection.execute(  # a service that is started finds no job to do
            text(
                "INSERT INTO job_runs"
                " SELECT unnest(CAST(:jobs AS text[])), now() + interval '1 hour'"
            ),
            {"jobs": [NO_SHOW_MARKER, CALCULATOR, CLEANER]},
        )
        await connection.execute(
            text(
                "UPDATE clinic SET name = 'Clinic', timezone = 'UTC', grid_minutes = 15,"
                " preference_decay_minutes = 240, min_notice_minutes = 0"
            )
        )


@pytest.fixture
async def engine(migrated_engine: AsyncEngine, admin_engine: AsyncEngine) -> AsyncEngine:
    await empty_tables(admin_engine)
    return migrated_engine


@contextlib.asynccontextmanager
async def served(database_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service in this process, open until a key is made."""
    app = create_app(Settings(DATABASE_URL=database_url, **settings), KeylessAccess(is_open=True))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
async def client(engine: AsyncEngine, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service, without rate limits, on the session's database."""
    async with served(database_url, rate_limits="off") as client:
        yield client
