"""Alembic's entry: runs the migrations on the connection it is handed, or on DATABASE_URL."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from data.database.engine import create_engine
from models import (
    access,
    audit,
    bookings,
    clinic,
    events,
    idempotency,
    jobs,
    statistics,
    what_if,
)
from models.base import Base

TABLES = access, audit, bookings, clinic, events, idempotency, jobs, statistics, what_if
"""Named so that the metadata knows them."""


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def _run_on_url(url: str) -> None:
    engine = create_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


handed = context.config.attributes.get("connection")
if handed is not None:
    _run(handed)
else:
    if "DATABASE_URL" not in os.environ:
        raise SystemExit("DATABASE_URL: set it to the database to migrate")
    asyncio.run(_run_on_url(os.environ["DATABASE_URL"]))
