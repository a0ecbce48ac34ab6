"""The write path of the book.

A booking is one short transaction: lock the rows of everything its rules count (a fixed order
keeps two transactions from waiting for each other), read what they guard in new statements, decide
by the same function as the slot query, insert, commit, and only then answer. The constraints of
the table have the last word, whoever else writes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.errors import (
    InvalidStateError,
    NotFoundError,
    PatientConflictError,
    SlotUnavailableError,
)
from data.snapshot import (
    BOOKINGS,
    CLINIC,
    HAS_RUN_OUT,
    IS_LIVE,
    PROVIDERS,
    ROOMS,
    TYPES,
    Part,
    load_clinic,
    to_settings,
)
from data.transaction import lock_days, run, share_clinic
from solver.clinic import Clinic, SlotRequest
from solver.objective import Weights
from solver.slots import Slot, find_slots, why_not
from solver.timeline import check_date

WOULD_BE_OVERBOOKED = "WOULD_BE_OVERBOOKED"

type Found = tuple[Row[Any], str, int]
"""A booking's row, the clinic's time zone and the type's duration: what a booking's times need."""


@dataclass(frozen=True, slots=True)
class BookingOrder:
    """What a caller wants booked; without `room_id` the best free room is taken."""

    appointment_type_id: str
    provider_id: str
    date: dt.date
    start: int
    patient_ref: str
    room_id: str | None = None
    accept_overbooked: bool = False
    allow_patient_overlap: bool = False
    notes: str | None = None


async def book(
    engine: AsyncEngine,
    order: BookingOrder,
    *,
    now: dt.datetime,
    weights: Weights,
    horizon_days: int,
) -> Found:
    """Book one appointment and return it, committed.

    Raises
    ------
    NotFoundError
        When the type, provider or room does not exist.
    DateOutOfRangeError
        When the date is past or beyond the horizon.
    SlotUnavailableError
        When a rule forbids the placement at the moment of writing.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """

    async def work(connection: AsyncConnection) -> Found:
        await share_clinic(connection)
        kind = await _existing(connection, order)
        settings = to_settings((await connection.execute(select(CLINIC))).one())
        check_date(settings, order.date, now, horizon_days)
        keys = [("provider", order.provider_id), ("patient", order.patient_ref)]
        if kind.daily_cap is not None:
            keys.append(("appointment_type", order.appointment_type_id))
        if order.room_id is not None:
            keys.append(("room", order.room_id))
        await lock_days(connection, keys, order.date)
        capped = None if kind.daily_cap is None else order.appointment_type_id
        slot = await _place(connection, order, capped, now, weights)
        if not order.allow_patient_overlap:
            await _refuse_patient_overlap(connection, order.patient_ref, slot)
        row = await _insert(connection, order, slot)
        return row, settings.timezone, kind.duration_minutes

    return await run(engine, work)


async def _existing(connection: AsyncConnection, order: BookingOrder) -> Row[Any]:
    """Return the appointment type; complain of what does not exist."""
    kind = await connection.execute(select(TYPES).where(TYPES.c.id == order.appointment_type_id))
    row = kind.one_or_none()
    if row is None:
        raise NotFoundError(f"There is no appointment type {order.appointment_type_id}.")
    for name, table, key in (
        ("provider", PROVIDERS, order.provider_id),
        ("room", ROOMS, order.room_id),
    ):
        if key is not None:
            found = await connection.execute(select(table.c.id).where(table.c.id == key))
            if found.one_or_none() is None:
                raise NotFoundError(f"There is no {name} {key}.")
    return row


async def _place(
    connection: AsyncConnection,
    order: BookingOrder,
    capped: str | None,
    now: dt.datetime,
    weights: Weights,
) -> Slot:
    """Return the placement to write, its room locked, as the rules have it this moment."""
    refused: set[str] = set()
    while True:
        clinic = await _load_around(connection, order, order.room_id, capped)
        slot = _decide(clinic, order, now, weights, refused)
        if order.room_id is not None:
            return slot
        # Any room will do. Only one room's row is locked at a time, so a room that turns out
        # to be taken is let go (with the savepoint) before the next one is tried.
        savepoint = await connection.begin_nested()
        await lock_days(connection, [("room", slot.room.id)], order.date)
        again = await _load_around(connection, order, slot.room.id, capped)
        narrowed = find_slots(again, _request(order, now, slot.room.id), limit=1, weights=weights)
        if narrowed.slots:
            return narrowed.slots[0]
        await savepoint.rollback()
        refused.add(slot.room.id)


async def _load_around(
    connection: AsyncConnection, order: BookingOrder, room_id: str | None, capped: str | None
) -> Clinic:
    part = Part(
        provider_ids=[order.provider_id],
        room_ids=None if room_id is None else [room_id],
        capped_type_id=capped,
    )
    return await load_clinic(connection, order.date, order.date, part)


def _request(order: BookingOrder, now: dt.datetime, room_id: str | None) -> SlotRequest:
    return SlotRequest(
        order.appointment_type_id,
        order.date,
        now,
        provider_ids=frozenset({order.provider_id}),
        room_id=room_id,
        start=order.start,
    )


def _decide(
    clinic: Clinic,
    order: BookingOrder,
    now: dt.datetime,
    weights: Weights,
    refused: set[str],
) -> Slot:
    request = _request(order, now, order.room_id)
    slots = find_slots(clinic, request, limit=1 + len(refused), rooms="all", weights=weights).slots
    slot = next((slot for slot in slots if slot.room.id not in refused), None)
    if slot is None:
        reasons = why_not(clinic, request) or ["ROOM_BUSY"]
        raise SlotUnavailableError("This place cannot be booked.", reasons=reasons)
    if slot.is_overbooked and not order.accept_overbooked:
        raise SlotUnavailableError(
            "This place could only be overbooked; send accept_overbooked to take it.",
            reasons=[WOULD_BE_OVERBOOKED],
        )
    return slot


async def _refuse_patient_overlap(
    connection: AsyncConnection, patient_ref: str, slot: Slot
) -> None:
    others = await connection.execute(
        select(BOOKINGS.c.id, BOOKINGS.c.start_minute, TYPES.c.duration_minutes)
        .join(TYPES, TYPES.c.id == BOOKINGS.c.appointment_type_id)
        .where(
            BOOKINGS.c.patient_ref == patient_ref,
            BOOKINGS.c.date == slot.date,
            IS_LIVE,
        )
    )
    for other in others:
        end = other.start_minute + other.duration_minutes
        if other.start_minute < slot.end and slot.start < end:
            raise PatientConflictError(
                "The patient has another booking at that time; "
                "send allow_patient_overlap to book all the same.",
                booking_id=str(other.id),
            )


async def _insert(connection: AsyncConnection, order: BookingOrder, slot: Slot) -> Row[Any]:
    await _release_expired_holds(connection, order.provider_id, slot)
    statement = (
        insert(BOOKINGS)
        .values(
            id=uuid4(),
            provider_id=order.provider_id,
            provider_no=select(PROVIDERS.c.no)
            .where(PROVIDERS.c.id == order.provider_id)
            .scalar_subquery(),
            room_id=slot.room.id,
            room_no=select(ROOMS.c.no).where(ROOMS.c.id == slot.room.id).scalar_subquery(),
            appointment_type_id=order.appointment_type_id,
            date=slot.date,
            start_minute=slot.start,
            end_minute=slot.end,
            patient_ref=order.patient_ref,
            status="booked",
            is_overbooked=slot.is_overbooked,
            notes=order.notes,
            score=slot.points,
        )
        .returning(BOOKINGS)
    )
    row: Row[Any] = (await connection.execute(statement)).one()
    return row


async def _release_expired_holds(connection: AsyncConnection, provider_id: str, slot: Slot) -> None:
    """Cancel the holds that have run out; to the rules they are gone, to constraints not yet."""
    await connection.execute(
        update(BOOKINGS)
        .where(
            BOOKINGS.c.date == slot.date,
            HAS_RUN_OUT,
            (BOOKINGS.c.provider_id == provider_id) | (BOOKINGS.c.room_id == slot.room.id),
        )
        .values(status="cancelled", expires_at=None, version=BOOKINGS.c.version + 1)
    )


async def get(engine: AsyncEngine, booking_id: str) -> Found:
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


async def find(engine: AsyncEngine, conditions: list[Any]) -> list[Found]:
    """Return bookings in the order of date, start and id."""
    statement = (
        select(BOOKINGS, CLINIC.c.timezone, TYPES.c.duration_minutes)
        .join(TYPES, TYPES.c.id == BOOKINGS.c.appointment_type_id)
        .join(CLINIC, text("true"))
        .where(*conditions)
        .order_by(BOOKINGS.c.date, BOOKINGS.c.start_minute, BOOKINGS.c.id)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).all()
    return [(row, row.timezone, row.duration_minutes) for row in rows]


async def cancel(engine: AsyncEngine, booking_id: str) -> None:
    """Cancel a live booking; its place is free again.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When it is completed, cancelled or marked a no-show.
    """

    async def work(connection: AsyncConnection) -> None:
        row = (
            await connection.execute(
                select(BOOKINGS.c.status).where(BOOKINGS.c.id == booking_id).with_for_update()
            )
        ).one_or_none()
        if row is None:
            raise NotFoundError(f"There is no booking {booking_id}.")
        if row.status not in ("held", "booked", "checked_in"):
            raise InvalidStateError(
                f"A booking that is {row.status} cannot be cancelled.", booking_status=row.status
            )
        await connection.execute(
            update(BOOKINGS)
            .where(BOOKINGS.c.id == booking_id)
            .values(
                status="cancelled",
                expires_at=None,
                version=BOOKINGS.c.version + 1,
                updated_at=text("now()"),
            )
        )

    await run(engine, work)
