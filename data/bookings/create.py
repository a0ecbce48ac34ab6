"""Booking and holding: the write path of the book.

Every write is one short transaction: look at the place and refuse what cannot be, lock the rows of
everything its rules count (a fixed order keeps two transactions from waiting for each other), look
again in a new statement, decide by the same function as the slot query, write, commit, and only
then answer. The constraints of the table have the last word, whoever else writes.

The functions here do their part on a connection that is in a transaction already; see
:func:`data.database.transaction.run`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from data.bookings.decisions import (
    BookingRequest,
    Decision,
    Outcome,
    Place,
    Policy,
    load_around,
)
from data.bookings.grant import free_of_expired_holds, grant
from data.bookings.in_turn import decide_in_turn, foresee, lock_keys_of
from data.bookings.reading import BookingRecord
from data.bookings.statements import INSERT, placed
from data.database.locks import lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import SlotUnavailableError
from solver.clinic.patients import patient_key


@dataclass(frozen=True, slots=True)
class Override:
    """Rules of policy that a booking may break, by their codes, and why."""

    codes: frozenset[str] = frozenset()
    reason: str | None = None


NOTHING_OVERRIDDEN = Override()


@dataclass(frozen=True, slots=True)
class Details:
    """What a booking is told beside its place."""

    patient_ref: str | None = None
    notes: str | None = None
    allow_patient_overlap: bool = False
    override: Override = NOTHING_OVERRIDDEN


# Taking a place


async def book(
    connection: AsyncConnection, place: Place, details: Details, policy: Policy
) -> BookingRecord:
    """Book one appointment.

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
    return await _take(connection, place, details, policy, hold_minutes=None)


async def hold(
    connection: AsyncConnection, place: Place, details: Details, policy: Policy, minutes: int
) -> BookingRecord:
    """Reserve a placement for some minutes; see :func:`book` for what it raises."""
    return await _take(connection, place, details, policy, hold_minutes=minutes)


async def _take(
    connection: AsyncConnection,
    place: Place,
    details: Details,
    policy: Policy,
    *,
    hold_minutes: int | None,
) -> BookingRecord:
    granted = await grant(connection, Order(place, details, policy).request)
    await free_of_expired_holds(connection, granted.clinic, [placed(granted.slot)])
    action = "book" if hold_minutes is None else "hold"
    (found,) = await insert_granted(
        connection, [Granted(granted, details, policy, action, hold_minutes)]
    )
    return found


@dataclass(frozen=True, slots=True)
class Order:
    """One booking asked for."""

    place: Place
    details: Details
    policy: Policy

    @property
    def request(self) -> BookingRequest:
        """The place and whose it would be."""
        details = self.details
        return BookingRequest(
            self.place,
            self.policy,
            details.patient_ref,
            details.allow_patient_overlap,
            override=details.override.codes,
        )


async def book_together(
    connection: AsyncConnection, orders: Sequence[Order]
) -> list[BookingRecord | Exception | None]:
    """Book orders of one date in their order, as though one by one, with one read and one lock.

    Returns for each what :func:`book` returns or raises. None stands for an order whose room
    another writer has taken meanwhile, and for all that were refused after it: they are to be
    tried again.
    """
    requests = [order.request for order in orders]
    clinic = await load_around(connection, requests)
    rooms, locked = await asyncio.to_thread(foresee, clinic, requests)
    there = [request.in_room(room) for request, room in zip(requests, rooms, strict=True)]
    if locked:
        await lock_days(connection, locked)
        clinic = await load_around(connection, there)

    def decide() -> list[Outcome]:
        return list(decide_in_turn(clinic, there))

    outcomes = await asyncio.to_thread(decide)  # many take long enough to keep others waiting
    if not lock_keys_of(outcomes) <= locked:  # a buffer or a cap by now
        raise ChangedMeanwhileError
    granted = [
        Granted(outcome, order.details, order.policy, "book")
        for order, outcome in zip(orders, outcomes, strict=True)
        if isinstance(outcome, Decision)
    ]
    places = [placed(each.seen.slot) for each in granted]
    await free_of_expired_holds(connection, clinic, places)
    written = iter(await insert_granted(connection, granted))
    results: list[BookingRecord | Exception | None] = []
    for room, outcome in zip(rooms, outcomes, strict=True):
        if isinstance(outcome, Decision):
            results.append(next(written))
        elif None in results or (room is not None and isinstance(outcome, SlotUnavailableError)):
            results.append(None)  # who comes after one that is to be tried again waits for it
        else:
            results.append(outcome)
    return results


@dataclass(frozen=True, slots=True)
class Granted:
    """A place that is won, and what is to be written there."""

    seen: Decision
    details: Details
    policy: Policy
    action: str
    hold_minutes: int | None = None


WRITTEN_AT_ONCE = 1000
"""The most rows that one statement writes and answers with."""


async def insert_granted(
    connection: AsyncConnection, granted: Sequence[Granted]
) -> list[BookingRecord]:
    """Write bookings whose places are won, up to a thousand in one statement."""
    found: list[BookingRecord] = []
    for some in batched(granted, WRITTEN_AT_ONCE):
        found += await _insert(connection, some)
    return found


async def _insert(connection: AsyncConnection, granted: Sequence[Granted]) -> list[BookingRecord]:
    if not granted:
        return []
    asked = [
        {
            "id": str(uuid4()),
            "appointment_type_id": each.seen.slot.kind.id,
            "patient_ref": each.details.patient_ref,
            "patient_key": patient_key(each.details.patient_ref),
            "notes": each.details.notes,
            "status": "booked" if each.hold_minutes is None else "held",
            "hold_minutes": each.hold_minutes,
            "actor": each.policy.actor,
            "action": each.action,
            "override_reason": each.details.override.reason if each.seen.slot.overrides else None,
            **placed(each.seen.slot),
            "day": each.seen.slot.date.isoformat(),
        }
        for each in granted
    ]
    rows = {str(row.id): row for row in await connection.execute(INSERT, {"asked": asked})}
    return [
        (rows[fields["id"]], each.seen.clinic.settings.timezone)
        for each, fields in zip(granted, asked, strict=True)
    ]
