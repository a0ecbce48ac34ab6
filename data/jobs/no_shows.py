"""Every hour: bookings that have ended and nobody has come to are marked as no-shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
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
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.jobs.hourly import Work, clinic_time
from models.tables import BOOKINGS


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
    ends = columns.date + _minutes(columns.start_minute + columns.duration_minutes)
    overdue = (
        select(
            columns.id,
            literal(audit.NO_SHOW_MARKER, Text).label("actor"),
            literal("no_show", Text).label("action"),
            audit.as_logged(BOOKINGS.name).label("before"),
        )
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
