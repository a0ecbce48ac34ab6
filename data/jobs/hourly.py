"""Work done once for every hour of the database's clock, by whichever process comes first.

The hours that a job has done are written in the transaction of its work. A job that comes late
does all hours that were missed, in one go.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Row,
    func,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.locks import JOB_LOCKS
from data.events.events import Audience, run_and_tell
from models.tables import CLINIC

STATEMENT_TIMEOUT = "60s"


type Work = Callable[[AsyncConnection, dt.datetime], Awaitable[Sequence[Row[Any]]]]
"""What a job does in the transaction, told the first hour to do; returns the bookings changed."""


_TRY = text("SELECT pg_try_advisory_xact_lock(:space, hashtext(:job))").bindparams(space=JOB_LOCKS)


_TAKE_HOURS = text(
    """
    INSERT INTO job_runs (job, hour)
    SELECT :job, hour
    FROM generate_series(
        coalesce(
            (SELECT max(hour) FROM job_runs WHERE job = :job) + interval '1 hour',
            date_trunc('hour', now())
        ),
        date_trunc('hour', now()),
        interval '1 hour'
    ) AS hour
    RETURNING hour
    """
)


async def do_due_hours(
    engine: AsyncEngine, job: str, work: Work, audience: Audience
) -> Sequence[dt.datetime]:
    """Do a job's work if this hour's is not done yet; return the hours that are done by it.

    When another process is at it, nothing is left to do.
    """

    async def once(connection: AsyncConnection, told: list[Row[Any]]) -> Sequence[dt.datetime]:
        if not await connection.scalar(_TRY, {"job": job}):
            return []
        hours = (await connection.scalars(_TAKE_HOURS, {"job": job})).all()
        if hours:
            await connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
            told += await work(connection, min(hours))
        return hours

    return await run_and_tell(engine, audience, once)


async def clinic_time(connection: AsyncConnection) -> tuple[dt.datetime, ZoneInfo]:
    """Return the moment by the database's clock, and the clinic's time zone.

    Local times are worked out here and told to the database, which may know other offsets.
    """
    now, timezone = (await connection.execute(select(func.now(), CLINIC.c.timezone))).one()
    return now, ZoneInfo(timezone)
