"""What is told of bookings: events, made of the rows that a transaction wrote."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.transaction import run
from solver.clinic.clock import format_time

type Event = dict[str, Any]
"""One event, ready for JSON; no word of the patient but the booking's id."""


AMENDED = "amend"
"""The action of a write that changes no more than what a booking is told beside its place."""


_MADE = (None, "held")


_TYPES = {
    "cancelled": "booking.cancelled",
    "checked_in": "booking.checked_in",
    "completed": "booking.completed",
    "no_show": "booking.no_show",
}


class Audience:
    """Whoever is told of the bookings that are written; this one does not listen."""

    async def before_commit(self, connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
        """Take part in the transaction that wrote `rows`."""

    def after_commit(self, rows: Sequence[Row[Any]]) -> None:
        """Learn, without making anyone wait, that `rows` are committed."""


async def run_and_tell[Result](
    engine: AsyncEngine,
    audience: Audience,
    work: Callable[[AsyncConnection, list[Row[Any]]], Awaitable[Result]],
) -> Result:
    """Run `work` as :func:`data.database.transaction.run` does; tell of the rows that it adds."""
    told: list[Row[Any]] = []

    async def once(connection: AsyncConnection) -> Result:
        told.clear()
        result = await work(connection, told)
        if told:
            await audience.before_commit(connection, told)
        return result

    result = await run(engine, once)
    if told:
        audience.after_commit(told)
    return result


def events_of(rows: Sequence[Row[Any]]) -> list[Event]:
    """Return the events that written bookings mean, in their order."""
    return [event for row in rows if (event := _event_of(row)) is not None]


def _event_of(row: Row[Any]) -> Event | None:
    """Return what a written booking means, by its status and the one before; holds mean nothing."""
    before = getattr(row, "status_before", None)
    if row.status == "held" or (row.status == "cancelled" and before in (*_MADE, "cancelled")):
        return None
    if getattr(row, "action", None) == AMENDED:
        kind = "booking.changed"
    elif row.status == "booked":
        made = before in (*_MADE, "cancelled")
        moved = before == "booked"
        kind = f"booking.{'created' if made else 'rescheduled' if moved else 'changed'}"
    else:
        kind = _TYPES[row.status]
    return {
        "id": str(uuid4()),
        "type": kind,
        "at": row.updated_at.astimezone(dt.UTC).isoformat(),
        "booking_id": str(row.id),
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "appointment_type_id": str(row.appointment_type_id),
        "date": row.date.isoformat(),
        "start_time": format_time(row.start_minute),
        "status": row.status,
        "version": row.version,
    }
