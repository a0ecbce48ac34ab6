"""A place granted: looked at, locked, looked at again, written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.bookings.decisions import BookingRequest, Decision, Place, Policy
from data.bookings.reading import BookingRecord, row_of
from data.bookings.statements import DETAIL_COLUMNS, RELOCATE, UPDATE_DETAILS, cancel_expired_holds
from data.database.locks import lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import SlotUnavailableError
from models.tables import BOOKINGS
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Minutes
from solver.clinic.patients import patient_key


async def write(
    connection: AsyncConnection,
    before: Row[Any],
    policy: Policy,
    action: str,
    place: dict[str, Any] | None = None,
    *,
    override_reason: str | None = None,
    **told: Any,
) -> BookingRecord:
    """Change a booking that is locked: to another place if there is one, and what it is told."""
    told = {name: getattr(before, name) for name in DETAIL_COLUMNS} | told
    if told["status"] != "held":
        told["expires_at"] = None
    told["patient_key"] = patient_key(told["patient_ref"])
    after = await audit.written(
        connection,
        UPDATE_DETAILS if place is None else RELOCATE,
        {"booking_id": before.id, **told, **(place or {})},
        actor=policy.actor,
        action=action,
        before=before.logged,
        override_reason=override_reason,
    )
    return after, before.timezone


def place_of(row: Row[Any], mover: Row[Any], *, accept_overbooked: bool) -> Place:
    """Return the place at which a row stands, for the appointment of another."""
    return Place(
        str(mover.appointment_type_id),
        str(row.provider_id),
        row.date,
        row.start_minute,
        str(row.room_id),
        accept_overbooked,
    )


def minutes_of(row: Row[Any]) -> Minutes:
    """Return the duration and the buffers that a booking has kept."""
    return Minutes(row.duration_minutes, row.buffer_before, row.buffer_after)


# Winning a place


async def grant(connection: AsyncConnection, request: BookingRequest) -> Decision:
    """Return the placement to write, as the rules have it now that its days are locked."""
    if request.place.room_id is not None:
        return await _lock_and_look_again(connection, request, await request.look(connection))
    # Any room will do. Only one room's days are locked at a time, so a room that turns out to be
    # taken is let go (with the savepoint) before the next one is tried.
    refused: frozenset[str] = frozenset()
    while True:
        seen = await request.look(connection, refused=refused)
        try:
            async with connection.begin_nested():
                return await _lock_and_look_again(connection, request, seen)
        except SlotUnavailableError:
            refused |= {seen.slot.room.id}


async def _lock_and_look_again(
    connection: AsyncConnection, request: BookingRequest, seen: Decision
) -> Decision:
    locked = seen.lock_keys()
    await lock_days(connection, locked)
    granted = await request.look(connection, room=seen.slot.room, certify=True)
    if not granted.lock_keys() <= locked:  # a buffer or a cap has just been edited
        raise ChangedMeanwhileError
    return granted


async def free_of_expired_holds(
    connection: AsyncConnection, clinic: Clinic, places: Sequence[dict[str, Any]]
) -> None:
    """Cancel the holds in the way of places that are won, if any is among what was read."""
    if all(booking.is_live for booking in clinic.bookings):
        return
    here = or_(
        BOOKINGS.c.provider_id.in_({place["provider_id"] for place in places}),
        BOOKINGS.c.room_id.in_({place["room_id"] for place in places}),
    )
    await cancel_expired_holds(
        connection, BOOKINGS.c.date.in_({place["day"] for place in places}), here
    )


async def lock_unchanged(connection: AsyncConnection, seen: Row[Any]) -> Row[Any]:
    """Lock a booking, which is to be as it was `seen`: not its version alone, but every field."""
    row = await row_of(connection, str(seen.id), lock=True)
    if row.logged != seen.logged:
        raise ChangedMeanwhileError
    return row
