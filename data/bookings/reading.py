"""Bookings as they are read, one by one or many, and what is required of one before a write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Date, Row, SmallInteger, Uuid, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.bookings.statements import ROWS
from data.errors import InvalidStateError, NotFoundError, StaleVersionError
from models.tables import BOOKINGS

type BookingRecord = tuple[Row[Any], str]
"""A booking's row and the clinic's time zone: what a booking's times need."""


async def rows_by_id(
    connection: AsyncConnection, ids: Collection[str], *, lock: bool = False
) -> dict[str, Row[Any]]:
    """Return those bookings that are there, locked in the order of their ids if they are to be."""
    query = ROWS.add_columns(audit.as_logged(BOOKINGS.name).label("logged"))
    query = query.where(BOOKINGS.c.id.in_(ids)).order_by(BOOKINGS.c.id)
    rows = await connection.execute(query.with_for_update(of=BOOKINGS) if lock else query)
    return {str(row.id): row for row in rows}


async def row_of(connection: AsyncConnection, booking_id: str, *, lock: bool = False) -> Row[Any]:
    """Read one booking, locked if wanted.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    """
    row = (await rows_by_id(connection, [booking_id], lock=lock)).get(booking_id)
    if row is None:
        raise NotFoundError(f"There is no booking {booking_id}.")
    return row


def require_version(row: Row[Any], version: int | None) -> None:
    """Refuse a booking that has changed since a version, if one is given."""
    if version is not None and version != row.version:
        raise StaleVersionError(
            f"The booking is at version {row.version} by now.", version=row.version
        )


def require_state(row: Row[Any], allowed: tuple[str, ...], done: str, version: int | None) -> None:
    """Refuse a booking that is in none of the `allowed` states, or has changed since `version`."""
    require_version(row, version)
    status = row.effective_status
    if status not in allowed:
        state = "a no-show" if status == "no_show" else status.replace("_", " ")
        raise InvalidStateError(
            f"A booking that is {state} cannot be {done}.", booking_status=status
        )


# Reading


async def get(engine: AsyncEngine, booking_id: str) -> BookingRecord:
    """Return one booking.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    """
    rows = await find(engine, [BOOKINGS.c.id == booking_id])
    if not rows:
        raise NotFoundError(f"There is no booking {booking_id}.")
    return rows[0]


@dataclass(frozen=True, slots=True)
class PageCursor:
    """A place in the order of date, start and id; what comes after it is meant."""

    date: dt.date
    start: int
    id: str


async def find(
    engine: AsyncEngine,
    conditions: list[Any],
    *,
    after: PageCursor | None = None,
    limit: int | None = None,
) -> list[BookingRecord]:
    """Return bookings in the order of date, start and id, at most `limit`, from `after` a place."""
    columns = BOOKINGS.c
    statement = ROWS.where(*conditions).order_by(columns.date, columns.start_minute, columns.id)
    if after is not None:
        place = tuple_(columns.date, columns.start_minute, columns.id)
        statement = statement.where(
            columns.date >= after.date,  # what an index knows
            place
            > tuple_(
                literal(after.date, Date),
                literal(after.start, SmallInteger),
                literal(after.id, Uuid(as_uuid=False)),
            ),
        )
    async with engine.connect() as connection:
        rows = (await connection.execute(statement.limit(limit))).all()
    return [(row, row.timezone) for row in rows]
