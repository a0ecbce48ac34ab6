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
    ColumnElement,
    Date,
    DateTime,
    Interval,
    Row,
    Select,
    Text,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.database.locks import JOB_LOCKS
from data.events.events import Audience, run_and_tell
from models.tables import BOOKINGS, CLINIC, TYPES

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


def mark_no_shows(grace_minutes: int) -> Work:
    """Return the work of the no-show marker.

    It marks what is booked and ended more than `grace_minutes` ago by the database's clock. A
    booking that someone else is writing to is left for the next hour: a check-in under way wins.
    """

    async def work(connection: AsyncConnection, _: dt.datetime) -> Sequence[Row[Any]]:
        now, zone = await clinic_time(connection)
        until = surely_past(now - dt.timedelta(minutes=grace_minutes), zone)
        today = now.astimezone(zone).date()
        marked = await connection.execute(_MARK_NO_SHOWS, {"today": today, "until": until})
        return list(marked)

    return work


async def clinic_time(connection: AsyncConnection) -> tuple[dt.datetime, ZoneInfo]:
    """Return the moment by the database's clock, and the clinic's time zone.

    Local times are worked out here and told to the database, which may know other offsets.
    """
    now, timezone = (await connection.execute(select(func.now(), CLINIC.c.timezone))).one()
    return now, ZoneInfo(timezone)


def surely_past(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return a local time without an offset: what is before it was before `moment`.

    It is the moment's own but where that comes twice, and this is its first time.
    """
    local = moment.astimezone(zone)
    twice = dt.timedelta(0)
    if local.fold == 0:
        first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
        assert first is not None
        assert second is not None
        twice = max(first - second, twice)
    return (moment - twice).astimezone(zone).replace(tzinfo=None)


def _minutes(minutes: ColumnElement[int]) -> ColumnElement[dt.timedelta]:
    return func.make_interval(0, 0, 0, 0, 0, minutes, type_=Interval)


def _no_shows() -> Select[Any]:
    columns = BOOKINGS.c
    ends = columns.date + _minutes(columns.start_minute + TYPES.c.duration_minutes)
    overdue = (
        select(
            columns.id,
            literal(audit.NO_SHOW_MARKER, Text).label("actor"),
            literal("no_show", Text).label("action"),
            audit.as_logged(BOOKINGS.name).label("before"),
        )
        .join(TYPES, TYPES.c.id == columns.appointment_type_id)
        .where(
            columns.status == "booked",
            columns.date <= bindparam("today", type_=Date),
            ends < bindparam("until", type_=DateTime),
        )
        .with_for_update(of=BOOKINGS, skip_locked=True)
        .cte("overdue")
    )
    write = (
        update(BOOKINGS)
        .where(
            columns.id == any_(func.array(select(overdue.c.id).scalar_subquery())),
            columns.status == "booked",
        )
        .values(status="no_show", version=columns.version + 1, updated_at=func.now())
    )
    return audit.with_entries(write, BOOKINGS, overdue)


_MARK_NO_SHOWS = _no_shows()
