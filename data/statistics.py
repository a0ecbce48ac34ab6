"""Statistics per date and provider: calculated from the rows as they are, and kept.

Counted are appointments: what is booked, checked in, completed or a no-show, and apart from them
what was cancelled. A hold is none until it is confirmed, cancelled or not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.clinic.snapshot import ClinicSelection, load_clinic
from data.database.transaction import run
from data.errors import NotFoundError
from data.jobs.hourly import clinic_time
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Provider
from solver.clinic.windows import Windows

MOST_DAYS = 366


DAYS_BACK = 7
"""How many days before the hours it does the calculator looks at: a visit is completed late."""


_ONE_AT_A_TIME = CapacityLimiter(1)


_CALCULATE = text(
    """
    WITH hours AS (
        SELECT date, provider_id, open
        FROM jsonb_to_recordset(:hours) AS given(date date, provider_id uuid, open int4multirange)
    ), counted AS (
        SELECT
            booking.date,
            booking.provider_id,
            count(*) FILTER (WHERE is_live) AS booked,
            count(*) FILTER (WHERE booking.status = 'completed') AS completed,
            count(*) FILTER (WHERE booking.status = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE booking.status = 'no_show') AS no_shows,
            count(*) FILTER (WHERE is_live AND booking.is_overbooked) AS overbooked,
            round(avg(booking.score) FILTER (WHERE is_live) / 10000, 4) AS mean_score,
            range_agg(
                int4range(
                    booking.start_minute, booking.start_minute + booking.duration_minutes
                )
            ) FILTER (WHERE is_live) AS taken
        FROM bookings AS booking
        CROSS JOIN LATERAL (SELECT booking.status <> 'cancelled' AS is_live) AS live
        WHERE booking.date BETWEEN :first AND :last
          AND (:everyone OR booking.provider_id = ANY (:provider_ids))
          AND booking.status <> 'held'
          AND NOT (
              booking.status = 'cancelled'
              AND coalesce(
                  (
                      SELECT bool_or(action = 'hold') AND NOT bool_or(action = 'confirm')
                      FROM audit_log
                      WHERE entity = 'booking' AND entity_id = booking.id
                  ),
                  false
              )
          )
        GROUP BY booking.date, booking.provider_id
    ), in_roles AS (
        SELECT
            booking_roles.date,
            booking_roles.provider_id,
            range_agg(
                int4range(
                    booking.start_minute + role.from_minute,
                    booking.start_minute + least(role.to_minute, booking.duration_minutes)
                )
            ) AS assisted
        FROM booking_roles
        JOIN bookings AS booking ON booking.id = booking_roles.booking_id
        JOIN appointment_types AS kind ON kind.id = booking.appointment_type_id
        CROSS JOIN jsonb_to_recordset(kind.roles) AS role(
            key text, from_minute integer, to_minute integer
        )
        WHERE booking_roles.date BETWEEN :first AND :last
          AND (:everyone OR booking_roles.provider_id = ANY (:provider_ids))
          AND booking.status NOT IN ('cancelled', 'held')
          AND role.key = booking_roles.key AND role.from_minute < booking.duration_minutes
        GROUP BY booking_roles.date, booking_roles.provider_id
    ), figures AS (
        SELECT
            date,
            provider_id,
            coalesce(booked, 0) AS booked,
            coalesce(completed, 0) AS completed,
            coalesce(cancelled, 0) AS cancelled,
            coalesce(no_shows, 0) AS no_shows,
            coalesce(overbooked, 0) AS overbooked,
            coalesce(
                (
                    SELECT sum(upper(span) - lower(span))
                    FROM unnest((coalesce(taken, '{}') + coalesce(assisted, '{}')) * open) AS span
                ),
                0
            ) AS busy_minutes,
            coalesce((SELECT sum(upper(span) - lower(span)) FROM unnest(open) AS span), 0)
                AS open_minutes,
            mean_score
        FROM hours FULL JOIN counted USING (date, provider_id)
        LEFT JOIN in_roles USING (date, provider_id)
    ), kept AS (
        INSERT INTO daily_statistics AS former (
            date, provider_id, booked, completed, cancelled, no_shows, overbooked,
            busy_minutes, open_minutes, mean_score
        )
        SELECT figures.*
        FROM figures LEFT JOIN daily_statistics AS known USING (date, provider_id)
        WHERE (
            known.booked, known.completed, known.cancelled, known.no_shows, known.overbooked,
            known.busy_minutes, known.open_minutes, known.mean_score
        ) IS DISTINCT FROM (
            figures.booked, figures.completed, figures.cancelled, figures.no_shows,
            figures.overbooked, figures.busy_minutes, figures.open_minutes, figures.mean_score
        )
        ORDER BY date, provider_id
        ON CONFLICT (date, provider_id) DO UPDATE SET
            booked = excluded.booked,
            completed = excluded.completed,
            cancelled = excluded.cancelled,
            no_shows = excluded.no_shows,
            overbooked = excluded.overbooked,
            busy_minutes = excluded.busy_minutes,
            open_minutes = excluded.open_minutes,
            mean_score = excluded.mean_score,
            calculated_at = excluded.calculated_at
    )
    SELECT figures.*, providers.name AS provider_name
    FROM figures JOIN providers ON providers.id = figures.provider_id
    ORDER BY date, provider_id
    """
).bindparams(bindparam("hours", type_=JSONB))
"""One round: count, keep what differs from what is kept (in one order, so that two never wait for
each other in a circle), and return the figures as counted.
"""


async def calculate(
    engine: AsyncEngine, first: dt.date, last: dt.date, provider_ids: Sequence[str] = ()
) -> Sequence[Row[Any]]:
    """Return the figures of `first` to `last`, both included, by date and provider.

    Without `provider_ids` of every provider that is active or has had a booking on the date.

    Raises
    ------
    NotFoundError
        When there is no such provider.
    BusyError
        See :func:`data.database.transaction.run`.
    """
    async with engine.connect() as connection:
        clinic = await _clinic(connection, first, last, provider_ids)
    asked = await _lay_out(clinic, first, last, provider_ids)
    return await run(engine, lambda connection: _calculate(connection, asked))


async def keep_hours(connection: AsyncConnection, since: dt.datetime) -> Sequence[Row[Any]]:
    """Keep the figures of the days that the hours from `since` on may have changed.

    The work of a job, which changes no booking; see :func:`data.jobs.hourly.do_due_hours`.
    """
    now, zone = await clinic_time(connection)
    begun, today = since.astimezone(zone).date(), now.astimezone(zone).date()
    first = begun - dt.timedelta(days=DAYS_BACK)
    first = max(first, today - dt.timedelta(days=MOST_DAYS - 1))
    clinic = await _clinic(connection, first, today)
    await _calculate(connection, await _lay_out(clinic, first, today))
    return []


async def _clinic(
    connection: AsyncConnection, first: dt.date, last: dt.date, provider_ids: Sequence[str] = ()
) -> Clinic:
    """Read who works when."""
    part = ClinicSelection(provider_ids=provider_ids or None, room_ids=[], bookings=False)
    clinic = await load_clinic(connection, first, last, part)
    for provider_id in provider_ids:
        if provider_id not in clinic.provider_by_id:
            raise NotFoundError(f"There is no provider {provider_id}.")
    return clinic


async def _lay_out(
    clinic: Clinic, first: dt.date, last: dt.date, provider_ids: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what the statement is to be told, worked out one question at a time."""

    def hours() -> list[dict[str, str]]:
        days = [first + dt.timedelta(days=ahead) for ahead in range((last - first).days + 1)]
        shown = [p for p in clinic.providers if p.active or provider_ids]
        return [row for day in days for row in _hours(clinic, day, shown)]

    return {
        "hours": await anyio.to_thread.run_sync(hours, limiter=_ONE_AT_A_TIME),
        "first": first,
        "last": last,
        "everyone": not provider_ids,
        "provider_ids": list(provider_ids),
    }


def _hours(clinic: Clinic, day: dt.date, shown: Sequence[Provider]) -> Iterator[dict[str, str]]:
    """Yield who is open when; one that is not active never is."""
    windows = Windows.on(clinic, day).provider
    for provider in shown:
        spans = windows[provider.id] if provider.active else []
        open_ = ",".join(f"[{start},{end})" for start, end in spans)
        yield {"date": day.isoformat(), "provider_id": provider.id, "open": f"{{{open_}}}"}


async def _calculate(connection: AsyncConnection, asked: dict[str, Any]) -> Sequence[Row[Any]]:
    return (await connection.execute(_CALCULATE, asked)).all()
