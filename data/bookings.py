"""The write path of the book.

Every write is one short transaction: lock the rows of everything its rules count (a fixed order
keeps two transactions from waiting for each other), read what they guard in new statements, decide
by the same function as the slot query, write, commit, and only then answer. The constraints of the
table have the last word, whoever else writes.

The functions here do their part on a connection that is in a transaction already; see
:func:`data.transaction.run`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Row, case, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import ANONYMOUS
from data.errors import (
    InvalidFieldError,
    InvalidStateError,
    NotFoundError,
    PatientConflictError,
    SlotUnavailableError,
    StaleVersionError,
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
)
from data.transaction import DayKey, lock_days, share_clinic
from solver.clinic import (
    DAY_MINUTES,
    AppointmentType,
    Booking,
    Clinic,
    ClinicSettings,
    Provider,
    Room,
    SlotRequest,
    Span,
)
from solver.masks import ROOM_BUSY
from solver.objective import Weights
from solver.slots import Slot, judge
from solver.timeline import check_date, provider_busy_span, room_busy_span

WOULD_BE_OVERBOOKED = "WOULD_BE_OVERBOOKED"

EFFECTIVE_STATUS = case((HAS_RUN_OUT, "cancelled"), else_=BOOKINGS.c.status)
"""The status as everyone is to see it: a hold that has run out is as good as cancelled."""

type Found = tuple[Row[Any], str, int]
"""A booking's row, the clinic's time zone and the type's duration: what a booking's times need."""

type Move = Literal["cancel", "check_in", "complete"]
_MOVES: dict[Move, tuple[tuple[str, ...], str]] = {
    "cancel": (("held", "booked", "checked_in"), "cancelled"),
    "check_in": (("booked",), "checked_in"),
    "complete": (("checked_in",), "completed"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a decision depends on beside the book: the moment, the settings, who asks."""

    now: dt.datetime
    weights: Weights
    horizon_days: int
    actor: str = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Place:
    """Where an appointment is wanted; without `room_id` in the best free room."""

    appointment_type_id: str
    provider_id: str
    date: dt.date
    start: int
    room_id: str | None = None
    accept_overbooked: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept with a booking beside its place."""

    patient_ref: str | None = None
    notes: str | None = None
    allow_patient_overlap: bool = False


# Taking a place


async def book(
    connection: AsyncConnection, place: Place, details: Details, policy: Policy
) -> Found:
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
) -> Found:
    """Reserve a placement for some minutes; see :func:`book` for what it raises."""
    return await _take(connection, place, details, policy, hold_minutes=minutes)


async def _take(
    connection: AsyncConnection,
    place: Place,
    details: Details,
    policy: Policy,
    *,
    hold_minutes: int | None,
) -> Found:
    await share_clinic(connection)
    asked = await _Asked.about(connection, place, policy)
    await lock_days(connection, asked.keys(details.patient_ref))
    slot = await _win(connection, asked, policy)
    if not details.allow_patient_overlap:
        await _refuse_patient_overlap(
            connection, details.patient_ref, slot.date, (slot.start, slot.end)
        )
    await _release_expired_holds(connection, slot)
    expires_at = None
    if hold_minutes is not None:
        expires_at = func.statement_timestamp() + dt.timedelta(minutes=hold_minutes)
    statement = (
        insert(BOOKINGS)
        .values(
            id=uuid4(),
            appointment_type_id=place.appointment_type_id,
            patient_ref=details.patient_ref,
            notes=details.notes,
            status="booked" if hold_minutes is None else "held",
            expires_at=expires_at,
            **_placed(slot),
        )
        .returning(BOOKINGS)
    )
    row: Row[Any] = (await connection.execute(statement)).one()
    action = "book" if hold_minutes is None else "hold"
    await audit.record(connection, policy.actor, action, "booking", key=row.id, after=row)
    return row, asked.settings.timezone, asked.kind.duration_minutes


def _placed(slot: Slot) -> dict[str, Any]:
    """Return the columns that say where a booking is."""
    provider, room = slot.provider.id, slot.room.id
    return {
        "provider_id": provider,
        "provider_no": select(PROVIDERS.c.no).where(PROVIDERS.c.id == provider).scalar_subquery(),
        "room_id": room,
        "room_no": select(ROOMS.c.no).where(ROOMS.c.id == room).scalar_subquery(),
        "date": slot.date,
        "start_minute": slot.start,
        "end_minute": slot.end,
        "is_overbooked": slot.is_overbooked,
        "score": slot.points,
    }


async def reschedule(
    connection: AsyncConnection,
    booking_id: str,
    place: Place,
    policy: Policy,
    *,
    version: int | None,
    allow_patient_overlap: bool,
) -> Found:
    """Move a booking; its old place is given up only if the new one is won.

    `place` may leave the type, the provider and the room empty: the type never changes, the
    provider stays, and so does the room where it is free, else it is the best free one.

    Raises
    ------
    NotFoundError
        When there is no such booking, provider or room.
    InvalidStateError
        When it is not booked.
    StaleVersionError
        When it has changed since `version`.
    SlotUnavailableError
        When a rule forbids the new placement.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    await share_clinic(connection)
    seen = await _row(connection, booking_id)
    place = replace(
        place,
        appointment_type_id=str(seen.appointment_type_id),
        provider_id=place.provider_id or str(seen.provider_id),
    )
    _require_state(seen, ("booked",), "rescheduled", version)
    asked = await _Asked.about(connection, place, policy, frozenset({booking_id}))
    await lock_days(connection, asked.keys(seen.patient_ref))
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, ("booked",), "rescheduled", version)
    slot = await _win(
        connection,
        asked,
        policy,
        aside=frozenset({booking_id}),
        room_before=str(before.room_id),
    )
    if not allow_patient_overlap:
        await _refuse_patient_overlap(
            connection,
            before.patient_ref,
            slot.date,
            (slot.start, slot.end),
            frozenset({booking_id}),
        )
    await _release_expired_holds(connection, slot)
    after = await _change(connection, booking_id, **_placed(slot))
    await audit.record(
        connection,
        policy.actor,
        "reschedule",
        "booking",
        key=booking_id,
        before=_stored(before),
        after=after,
    )
    return after, asked.settings.timezone, asked.kind.duration_minutes


async def swap(
    connection: AsyncConnection, a: str, b: str, policy: Policy, *, accept_overbooked: bool
) -> tuple[Found, Found]:
    """Let two bookings exchange provider, room, date and start, both or neither.

    Raises
    ------
    InvalidFieldError
        When the two are one.
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When one is not booked.
    SlotUnavailableError
        When a rule forbids either new placement, in whichever order they are made.
    PatientConflictError
        When a patient's other bookings overlap the new time.
    """
    if a == b:
        raise InvalidFieldError("b", "must name another booking than a")
    await share_clinic(connection)
    seen = {key: await _row(connection, key) for key in sorted((a, b))}
    for row in seen.values():
        _require_state(row, ("booked",), "swapped", None)
    either_is = any(row.is_overbooked for row in seen.values())
    asked = {
        key: await _Asked.about(
            connection,
            _place_of(seen[other], seen[key], accept_overbooked=accept_overbooked or either_is),
            policy,
            frozenset({a, b}),
        )
        for key, other in ((a, b), (b, a))
    }
    keys = [key for k in (a, b) for key in asked[k].keys(seen[k].patient_ref)]
    await lock_days(connection, keys)
    before = {key: await _row(connection, key, lock=True) for key in sorted((a, b))}
    for key, row in before.items():
        _require_state(row, ("booked",), "swapped", None)
        if row.version != seen[key].version:
            raise StaleVersionError("One of the bookings has just been changed.")
    slots = await _win_both(connection, (a, b), asked, policy)
    for key, slot in slots.items():
        await _refuse_patient_overlap(
            connection,
            before[key].patient_ref,
            slot.date,
            (slot.start, slot.end),
            frozenset({a, b}),
        )
        await _release_expired_holds(connection, slot)
    # Neither can be written where the other still stands, so both step aside first.
    await connection.execute(
        update(BOOKINGS).where(BOOKINGS.c.id.in_([a, b])).values(status="cancelled")
    )
    after = {}
    for key, slot in slots.items():
        row = await _change(connection, key, status="booked", **_placed(slot))
        await audit.record(
            connection,
            policy.actor,
            "swap",
            "booking",
            key=key,
            before=_stored(before[key]),
            after=row,
        )
        after[key] = (row, asked[key].settings.timezone, asked[key].kind.duration_minutes)
    return after[a], after[b]


async def _win_both(
    connection: AsyncConnection, pair: tuple[str, str], asked: dict[str, _Asked], policy: Policy
) -> dict[str, Slot]:
    """Return both new placements, the second feasible with the first in place."""
    aside = frozenset(pair)
    refusal: SlotUnavailableError | None = None
    for first, second in (pair, pair[::-1]):
        try:
            won = await _win(connection, asked[first], policy, aside=aside)
            standing = Booking(
                first,
                won.provider.id,
                won.room.id,
                asked[first].kind.id,
                won.date,
                won.start,
                is_overbooked=won.is_overbooked,
            )
            other = await _win(connection, asked[second], policy, aside=aside, beside=(standing,))
        except SlotUnavailableError as error:
            refusal = refusal or error
        else:
            return {first: won, second: other}
    assert refusal is not None
    raise refusal


def _place_of(row: Row[Any], mover: Row[Any], *, accept_overbooked: bool) -> Place:
    return Place(
        str(mover.appointment_type_id),
        str(row.provider_id),
        row.date,
        row.start_minute,
        str(row.room_id),
        accept_overbooked,
    )


# Deciding


@dataclass(frozen=True)
class _Asked:
    """A place asked for, with the rows it names."""

    place: Place
    settings: ClinicSettings
    kind: AppointmentType
    provider: Provider
    room: Room | None

    @classmethod
    async def about(
        cls,
        connection: AsyncConnection,
        place: Place,
        policy: Policy,
        aside: frozenset[str] = frozenset(),
    ) -> _Asked:
        """Read the rows, and refuse without any lock what is refused as the book stands now."""
        clinic = await _around(connection, place, place.room_id, place.appointment_type_id, aside)
        kind = clinic.type_by_id.get(place.appointment_type_id)
        provider = clinic.provider_by_id.get(place.provider_id)
        room = None if place.room_id is None else clinic.room_by_id.get(place.room_id)
        if kind is None:
            raise NotFoundError(f"There is no appointment type {place.appointment_type_id}.")
        if provider is None:
            raise NotFoundError(f"There is no provider {place.provider_id}.")
        if room is None and place.room_id is not None:
            raise NotFoundError(f"There is no room {place.room_id}.")
        check_date(clinic.settings, place.date, policy.now, policy.horizon_days)
        asked = cls(place, clinic.settings, kind, provider, room)
        _decide(clinic, asked, policy, certify=False)
        return asked

    @property
    def capped_type_id(self) -> str | None:
        """The type, if its bookings are counted."""
        return None if self.kind.daily_cap is None else self.kind.id

    def keys(self, patient_ref: str | None) -> list[DayKey]:
        """Return the days to lock: those whose bookings the rules count or compare."""
        place = self.place
        keys: list[DayKey] = []
        if self.capped_type_id is not None:
            keys.append(("appointment_type", self.capped_type_id, place.date))
        if patient_ref is not None:
            keys.append(("patient", patient_ref, place.date))
        span = provider_busy_span(self.provider, self.kind, place.start)
        keys += [("provider", self.provider.id, day) for day in _days(place.date, span)]
        if self.room is not None:
            keys += self.room_keys(self.room)
        return keys

    def room_keys(self, room: Room) -> list[DayKey]:
        """Return the days of `room` to lock."""
        span = room_busy_span(room, self.kind, self.place.start)
        return [("room", room.id, day) for day in _days(self.place.date, span)]


def _days(day: dt.date, span: Span) -> Iterable[dt.date]:
    """Yield the dates that a busy span touches; spans that meet touch one in common."""
    for ahead in range(span[0] // DAY_MINUTES, (span[1] - 1) // DAY_MINUTES + 1):
        yield day + dt.timedelta(days=ahead)


async def _win(
    connection: AsyncConnection,
    asked: _Asked,
    policy: Policy,
    *,
    aside: frozenset[str] = frozenset(),
    beside: tuple[Booking, ...] = (),
    room_before: str | None = None,
) -> Slot:
    """Return the placement to write, its room locked, as the rules have it this moment.

    The bookings `aside` do not count, those `beside` do. `room_before` is taken if it is free.
    """
    place = asked.place
    refused: set[str] = set()
    while True:
        clinic = await _around(
            connection, place, place.room_id, asked.capped_type_id, aside, beside
        )
        slot = _decide(clinic, asked, policy, refused, room_before)
        if asked.room is not None:
            return slot
        # Any room will do. Only one room's days are locked at a time, so a room that turns out
        # to be taken is let go (with the savepoint) before the next one is tried.
        savepoint = await connection.begin_nested()
        await lock_days(connection, asked.room_keys(slot.room))
        again = await _around(connection, place, slot.room.id, asked.capped_type_id, aside, beside)
        request = _request(place, policy, slot.room.id)
        narrowed = judge(again, request, weights=policy.weights)
        if narrowed.slots:
            await savepoint.commit()
            return narrowed.slots[0]
        await savepoint.rollback()
        refused.add(slot.room.id)


async def _around(
    connection: AsyncConnection,
    place: Place,
    room_id: str | None,
    capped_type_id: str | None,
    aside: frozenset[str],
    beside: tuple[Booking, ...] = (),
) -> Clinic:
    """Read what decides on a place: its provider, its room or all, and what is booked there."""
    part = Part(
        provider_ids=[place.provider_id],
        room_ids=None if room_id is None else [room_id],
        capped_type_id=capped_type_id,
    )
    clinic = await load_clinic(connection, place.date, place.date, part)
    if not aside and not beside:
        return clinic
    return clinic.with_bookings([*(b for b in clinic.bookings if b.id not in aside), *beside])


def _request(place: Place, policy: Policy, room_id: str | None) -> SlotRequest:
    return SlotRequest(
        place.appointment_type_id,
        place.date,
        policy.now,
        provider_ids=frozenset({place.provider_id}),
        room_id=room_id,
        start=place.start,
    )


def _decide(
    clinic: Clinic,
    asked: _Asked,
    policy: Policy,
    refused: Collection[str] = (),
    room_before: str | None = None,
    *,
    certify: bool = True,
) -> Slot:
    """Return the best slot at the place asked for, or say why there is none."""
    place = asked.place
    request = _request(place, policy, place.room_id)
    limit = 1 + len(refused) if room_before is None else max(1, len(clinic.rooms))
    verdict = judge(clinic, request, limit=limit, weights=policy.weights, certify=certify)
    free = [slot for slot in verdict.slots if slot.room.id not in refused]
    if not free:
        reasons = list(verdict.reasons) or [ROOM_BUSY]
        raise SlotUnavailableError("This place cannot be booked.", reasons=reasons)
    slot = next((slot for slot in free if slot.room.id == room_before), free[0])
    if slot.is_overbooked and not place.accept_overbooked:
        raise SlotUnavailableError(
            "This place could only be overbooked; send accept_overbooked to take it.",
            reasons=[WOULD_BE_OVERBOOKED],
        )
    return slot


async def _refuse_patient_overlap(
    connection: AsyncConnection,
    patient_ref: str | None,
    day: dt.date,
    span: Span,
    aside: frozenset[str] = frozenset(),
) -> None:
    if patient_ref is None:
        return
    others = await connection.execute(
        select(BOOKINGS.c.id, BOOKINGS.c.start_minute, TYPES.c.duration_minutes)
        .join(TYPES, TYPES.c.id == BOOKINGS.c.appointment_type_id)
        .where(BOOKINGS.c.patient_ref == patient_ref, BOOKINGS.c.date == day, IS_LIVE)
    )
    for other in others:
        end = other.start_minute + other.duration_minutes
        if str(other.id) not in aside and other.start_minute < span[1] and span[0] < end:
            raise PatientConflictError(
                "The patient has another booking at that time; "
                "send allow_patient_overlap to book all the same.",
                booking_id=str(other.id),
            )


async def _release_expired_holds(connection: AsyncConnection, slot: Slot) -> None:
    """Cancel the holds that have run out; to the rules they are gone, to constraints not yet."""
    here = (BOOKINGS.c.provider_id == slot.provider.id) | (BOOKINGS.c.room_id == slot.room.id)
    await connection.execute(
        update(BOOKINGS)
        .where(BOOKINGS.c.date == slot.date, HAS_RUN_OUT, here)
        .values(status="cancelled", expires_at=None, version=BOOKINGS.c.version + 1)
    )


# Changing the state


async def confirm(
    connection: AsyncConnection, booking_id: str, details: Details, policy: Policy
) -> Found:
    """Book what a hold reserves, once, while it lasts.

    Raises
    ------
    NotFoundError
        When there is no such hold.
    InvalidFieldError
        When no one said who the patient is.
    InvalidStateError
        When the hold has run out, was cancelled or is booked already.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    await share_clinic(connection)
    seen = await _row(connection, booking_id)
    patient_ref = details.patient_ref or seen.patient_ref
    if patient_ref is None:
        raise InvalidFieldError("patient_ref", "is needed, since the hold has none")
    # The hold may run out at this very moment and its place be decided on by another.
    await lock_days(
        connection,
        [
            ("patient", patient_ref, seen.date),
            ("provider", str(seen.provider_id), seen.date),
            ("room", str(seen.room_id), seen.date),
        ],
    )
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, ("held",), "confirmed", None)
    duration = await _duration(connection, before)
    if not details.allow_patient_overlap:
        span = (before.start_minute, before.start_minute + duration)
        await _refuse_patient_overlap(
            connection, patient_ref, before.date, span, frozenset({booking_id})
        )
    after = await _change(
        connection,
        booking_id,
        status="booked",
        expires_at=None,
        patient_ref=patient_ref,
        notes=details.notes or before.notes,
    )
    await audit.record(
        connection,
        policy.actor,
        "confirm",
        "booking",
        key=booking_id,
        before=_stored(before),
        after=after,
    )
    return after, await _timezone(connection), duration


async def move(
    connection: AsyncConnection,
    booking_id: str,
    action: Move,
    policy: Policy,
    *,
    version: int | None = None,
) -> Found:
    """Cancel, check in or complete a booking.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When its status does not allow the move.
    StaleVersionError
        When it has changed since `version`.
    """
    allowed, status = _MOVES[action]
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, allowed, status.replace("_", " "), version)
    after = await _change(connection, booking_id, status=status, expires_at=None)
    await audit.record(
        connection,
        policy.actor,
        action,
        "booking",
        key=booking_id,
        before=_stored(before),
        after=after,
    )
    return after, await _timezone(connection), await _duration(connection, after)


async def _row(connection: AsyncConnection, booking_id: str, *, lock: bool = False) -> Row[Any]:
    query = select(BOOKINGS, EFFECTIVE_STATUS.label("effective_status"))
    query = query.where(BOOKINGS.c.id == booking_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no booking {booking_id}.")
    return row


def _stored(row: Row[Any]) -> dict[str, Any]:
    """Return a row as it is stored, for the log."""
    fields = dict(row._mapping)  # noqa: SLF001
    fields.pop("effective_status", None)
    return fields


def _require_state(row: Row[Any], allowed: tuple[str, ...], done: str, version: int | None) -> None:
    if version is not None and version != row.version:
        raise StaleVersionError(
            f"The booking is at version {row.version} by now.", version=row.version
        )
    if row.effective_status not in allowed:
        raise InvalidStateError(
            f"A booking that is {row.effective_status.replace('_', ' ')} cannot be {done}.",
            booking_status=row.effective_status,
        )


async def _change(connection: AsyncConnection, booking_id: str, **values: Any) -> Row[Any]:
    row: Row[Any] = (
        await connection.execute(
            update(BOOKINGS)
            .where(BOOKINGS.c.id == booking_id)
            .values(version=BOOKINGS.c.version + 1, updated_at=func.now(), **values)
            .returning(BOOKINGS)
        )
    ).one()
    return row


async def _timezone(connection: AsyncConnection) -> str:
    timezone: str = (await connection.execute(select(CLINIC.c.timezone))).scalar_one()
    return timezone


async def _duration(connection: AsyncConnection, row: Row[Any]) -> int:
    query = select(TYPES.c.duration_minutes).where(TYPES.c.id == row.appointment_type_id)
    duration: int = (await connection.execute(query)).scalar_one()
    return duration


# Reading


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
        select(
            BOOKINGS,
            EFFECTIVE_STATUS.label("effective_status"),
            CLINIC.c.timezone,
            TYPES.c.duration_minutes,
        )
        .join(TYPES, TYPES.c.id == BOOKINGS.c.appointment_type_id)
        .join(CLINIC, text("true"))
        .where(*conditions)
        .order_by(BOOKINGS.c.date, BOOKINGS.c.start_minute, BOOKINGS.c.id)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).all()
    return [(row, row.timezone, row.duration_minutes) for row in rows]
