"""The write path of the book.

Every write is one short transaction: look at the place and refuse what cannot be, lock the rows of
everything its rules count (a fixed order keeps two transactions from waiting for each other), look
again in a new statement, decide by the same function as the slot query, write, commit, and only
then answer. The constraints of the table have the last word, whoever else writes.

The functions here do their part on a connection that is in a transaction already; see
:func:`data.transaction.run`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import (
    Boolean,
    Date,
    Integer,
    Row,
    SmallInteger,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.deciding import (
    Outcome,
    Place,
    Policy,
    Seen,
    Wish,
    decide_in_turn,
    foresee_keys,
    keys_of,
    load_around,
    refuse_patient_overlap,
)
from data.errors import (
    InvalidFieldError,
    InvalidStateError,
    NotFoundError,
    PatientConflictError,
    RequestError,
    SlotUnavailableError,
    StaleVersionError,
)
from data.holds import write_off_holds
from data.snapshot import (
    BOOKINGS,
    CLINIC,
    EFFECTIVE_STATUS,
    PROVIDERS,
    ROOMS,
    TYPES,
)
from data.transaction import ChangedMeanwhileError, lock_days
from solver.clinic import Clinic
from solver.patients import patient_key
from solver.slots import Slot

type Found = tuple[Row[Any], str, int]
"""A booking's row, the clinic's time zone and the type's duration: what a booking's times need."""

type Move = Literal["cancel", "check_in", "complete"]
_MOVES: dict[Move, tuple[tuple[str, ...], str]] = {
    "cancel": (("held", "booked", "checked_in"), "cancelled"),
    "check_in": (("booked",), "checked_in"),
    "complete": (("checked_in",), "completed"),
}


@dataclass(frozen=True, slots=True)
class Details:
    """What a booking is told beside its place."""

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
    wish = Wish(place, policy, details.patient_ref, details.allow_patient_overlap)
    won = await _win(connection, wish)
    await _release_holds_that_ran_out(connection, won.clinic, [won.slot])
    action = "book" if hold_minutes is None else "hold"
    (found,) = await insert_won(connection, [Won(won, details, policy, action, hold_minutes)])
    return found


@dataclass(frozen=True, slots=True)
class Order:
    """One booking asked for."""

    place: Place
    details: Details
    policy: Policy

    @property
    def wish(self) -> Wish:
        """The place and whose it would be."""
        details = self.details
        return Wish(self.place, self.policy, details.patient_ref, details.allow_patient_overlap)


async def book_together(
    connection: AsyncConnection, orders: Sequence[Order]
) -> list[Found | Exception]:
    """Book orders of one date in their order, each beside those before it.

    The same as one after another, with one look, one lock and one commit for all: what is refused
    takes nothing from the others. Returns what :func:`book` returns or raises for each.
    """
    wishes = [order.wish for order in orders]
    clinic = await load_around(connection, wishes)
    locked = await asyncio.to_thread(foresee_keys, clinic, wishes)
    if locked:
        await lock_days(connection, locked)
        clinic = await load_around(connection, wishes)

    def decide() -> list[Outcome]:
        return list(decide_in_turn(clinic, wishes))

    outcomes = await asyncio.to_thread(decide)  # many take long enough to keep others waiting
    if not keys_of(outcomes) <= locked:  # another room, a buffer or a cap by now
        raise ChangedMeanwhileError
    won = [
        Won(outcome, order.details, order.policy, "book")
        for order, outcome in zip(orders, outcomes, strict=True)
        if isinstance(outcome, Seen)
    ]
    await _release_holds_that_ran_out(connection, clinic, [each.seen.slot for each in won])
    written = iter(await insert_won(connection, won))
    return [next(written) if isinstance(o, Seen) else o for o in outcomes]


@dataclass(frozen=True, slots=True)
class Won:
    """A place that is won, and what is to be written there."""

    seen: Seen
    details: Details
    policy: Policy
    action: str
    hold_minutes: int | None = None


WRITTEN_AT_ONCE = 1000
"""The most rows that one statement writes and answers with."""


async def insert_won(connection: AsyncConnection, won: Sequence[Won]) -> list[Found]:
    """Write bookings whose places are won, up to a thousand in one statement."""
    found: list[Found] = []
    for some in batched(won, WRITTEN_AT_ONCE):
        found += await _insert(connection, some)
    return found


async def _insert(connection: AsyncConnection, won: Sequence[Won]) -> list[Found]:
    if not won:
        return []
    asked = [
        {
            "id": str(uuid4()),
            "appointment_type_id": each.seen.kind.id,
            "patient_ref": each.details.patient_ref,
            "patient_key": patient_key(each.details.patient_ref),
            "notes": each.details.notes,
            "status": "booked" if each.hold_minutes is None else "held",
            "hold_minutes": each.hold_minutes,
            "actor": each.policy.actor,
            "action": each.action,
            **_placed(each.seen.slot),
            "day": each.seen.slot.date.isoformat(),
        }
        for each in won
    ]
    rows = {str(row.id): row for row in await connection.execute(_INSERT, {"asked": asked})}
    return [
        (
            rows[fields["id"]],
            each.seen.clinic.settings.timezone,
            each.seen.kind.duration_minutes,
        )
        for each, fields in zip(won, asked, strict=True)
    ]


_ASKED = (
    func.jsonb_to_recordset(bindparam("asked", type_=JSONB))
    .table_valued(
        column("id", Uuid),
        column("appointment_type_id", Uuid),
        column("provider_id", Uuid),
        column("room_id", Uuid),
        column("day", Date),
        column("start", SmallInteger),
        column("end", SmallInteger),
        column("is_overbooked", Boolean),
        column("points", SmallInteger),
        column("patient_ref", Text),
        column("patient_key", Text),
        column("notes", Text),
        column("status", Text),
        column("hold_minutes", Integer),
        column("actor", Text),
        column("action", Text),
    )
    .render_derived(name="asked", with_types=True)
)
_INSERT = audit.with_entries(
    insert(BOOKINGS).from_select(
        [
            "id",
            "appointment_type_id",
            "provider_id",
            "provider_no",
            "room_id",
            "room_no",
            "date",
            "start_minute",
            "end_minute",
            "is_overbooked",
            "score",
            "patient_ref",
            "patient_key",
            "notes",
            "status",
            "expires_at",
        ],
        select(
            _ASKED.c.id,
            _ASKED.c.appointment_type_id,
            _ASKED.c.provider_id,
            PROVIDERS.c.no,
            _ASKED.c.room_id,
            ROOMS.c.no,
            _ASKED.c.day,
            _ASKED.c.start,
            _ASKED.c.end,
            _ASKED.c.is_overbooked,
            _ASKED.c.points,
            _ASKED.c.patient_ref,
            _ASKED.c.patient_key,
            _ASKED.c.notes,
            _ASKED.c.status,
            func.statement_timestamp() + func.make_interval(0, 0, 0, 0, 0, _ASKED.c.hold_minutes),
        )
        .join(PROVIDERS, PROVIDERS.c.id == _ASKED.c.provider_id)
        .join(ROOMS, ROOMS.c.id == _ASKED.c.room_id),
    ),
    BOOKINGS,
    _ASKED,
)
_PLACED: dict[str, Any] = {
    "provider_id": bindparam("provider_id"),
    "provider_no": select(PROVIDERS.c.no)
    .where(PROVIDERS.c.id == bindparam("provider_id"))
    .scalar_subquery(),
    "room_id": bindparam("room_id"),
    "room_no": select(ROOMS.c.no).where(ROOMS.c.id == bindparam("room_id")).scalar_subquery(),
    "date": bindparam("day"),
    "start_minute": bindparam("start"),
    "end_minute": bindparam("end"),
    "is_overbooked": bindparam("is_overbooked"),
    "score": bindparam("points"),
}
"""The columns that say where a booking is, of the values of :func:`_placed`."""


def _placed(slot: Slot) -> dict[str, Any]:
    return {
        "provider_id": slot.provider.id,
        "room_id": slot.room.id,
        "day": slot.date,
        "start": slot.start,
        "end": slot.end,
        "is_overbooked": slot.is_overbooked,
        "points": slot.points,
    }


_CHANGED = {"version": BOOKINGS.c.version + 1, "updated_at": func.now()}
_CHANGE = update(BOOKINGS).where(BOOKINGS.c.id == bindparam("booking_id"))
_MOVE = audit.with_entry(
    _CHANGE.values(
        **_CHANGED, **_PLACED, status=bindparam("status"), expires_at=bindparam("expires_at")
    ),
    BOOKINGS,
)
_MOVED = (
    func.jsonb_to_recordset(bindparam("asked", type_=JSONB))
    .table_valued(
        column("id", Uuid),
        column("status", Text),
        column("provider_id", Uuid),
        column("room_id", Uuid),
        column("day", Date),
        column("start", SmallInteger),
        column("end", SmallInteger),
        column("is_overbooked", Boolean),
        column("points", SmallInteger),
        column("actor", Text),
        column("action", Text),
        column("before", JSONB),
    )
    .render_derived(name="asked", with_types=True)
)
_MOVE_ALL = audit.with_entries(
    update(BOOKINGS)
    .where(
        BOOKINGS.c.id == _MOVED.c.id,
        PROVIDERS.c.id == _MOVED.c.provider_id,
        ROOMS.c.id == _MOVED.c.room_id,
    )
    .values(
        **_CHANGED,
        status=_MOVED.c.status,
        provider_id=_MOVED.c.provider_id,
        provider_no=PROVIDERS.c.no,
        room_id=_MOVED.c.room_id,
        room_no=ROOMS.c.no,
        date=_MOVED.c.day,
        start_minute=_MOVED.c.start,
        end_minute=_MOVED.c.end,
        is_overbooked=_MOVED.c.is_overbooked,
        score=_MOVED.c.points,
    ),
    BOOKINGS,
    _MOVED,
)
_CONFIRM = audit.with_entry(
    _CHANGE.values(
        **_CHANGED,
        status="booked",
        expires_at=None,
        patient_ref=bindparam("patient_ref"),
        patient_key=bindparam("patient_key"),
        notes=bindparam("notes"),
    ),
    BOOKINGS,
)
_SET_STATUS = audit.with_entry(
    _CHANGE.values(**_CHANGED, status=bindparam("status"), expires_at=None), BOOKINGS
)


async def move_won(
    connection: AsyncConnection, before: Row[Any], won: Seen, policy: Policy, action: str
) -> Found:
    """Write a booking to the place that it has won."""
    after = await audit.written(
        connection,
        _MOVE,
        {
            "booking_id": before.id,
            "status": before.status,
            "expires_at": before.expires_at,
            **_placed(won.slot),
        },
        actor=policy.actor,
        action=action,
        before=before.logged,
    )
    return after, won.clinic.settings.timezone, won.kind.duration_minutes


async def move_all_won(
    connection: AsyncConnection, moves: Sequence[tuple[Row[Any], Seen]], policy: Policy, action: str
) -> list[Found]:
    """Write bookings, which have stepped aside, to the places that they have won."""
    found: list[Found] = []
    for some in batched(moves, WRITTEN_AT_ONCE):
        asked = [
            {
                "id": str(before.id),
                "status": before.status,
                "actor": policy.actor,
                "action": action,
                "before": before.logged,
                **_placed(won.slot),
                "day": won.slot.date.isoformat(),
            }
            for before, won in some
        ]
        rows = {row.id: row for row in await connection.execute(_MOVE_ALL, {"asked": asked})}
        found += [
            (rows[before.id], won.clinic.settings.timezone, won.kind.duration_minutes)
            for before, won in some
        ]
    return found


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
    seen = await _row(connection, booking_id)
    _require_state(seen, ("booked",), "rescheduled", version)
    place = replace(
        place,
        appointment_type_id=str(seen.appointment_type_id),
        provider_id=place.provider_id or str(seen.provider_id),
    )
    wish = Wish(
        place,
        policy,
        seen.patient_ref,
        allow_patient_overlap,
        aside=frozenset({booking_id}),
        room_before=str(seen.room_id),
    )
    won = await _win(connection, wish)
    before = await _lock_unchanged(connection, seen)
    await _release_holds_that_ran_out(connection, won.clinic, [won.slot])
    return await move_won(connection, before, won, policy, "reschedule")


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
        When a patient's bookings would overlap.
    """
    if a == b:
        raise InvalidFieldError("b", "must name another booking than a")
    seen = {key: await _row(connection, key) for key in sorted((a, b))}
    for row in seen.values():
        _require_state(row, ("booked",), "swapped", None)
    either_is = any(row.is_overbooked for row in seen.values())
    wishes = {
        key: Wish(
            _place_of(seen[other], seen[key], accept_overbooked=accept_overbooked or either_is),
            policy,
            seen[key].patient_ref,
            allow_patient_overlap=False,
            aside=frozenset({a, b}),
        )
        for key, other in ((a, b), (b, a))
    }
    looks = [await wishes[key].look(connection) for key in (a, b)]
    locked = looks[0].keys() | looks[1].keys()
    await lock_days(connection, locked)
    before = {key: await _lock_unchanged(connection, row) for key, row in seen.items()}
    won = await _win_both(connection, (a, b), wishes)
    if not won[a].keys() | won[b].keys() <= locked:  # a buffer or a cap has just been edited
        raise ChangedMeanwhileError
    for seen_by_one in won.values():
        await _release_holds_that_ran_out(connection, seen_by_one.clinic, [seen_by_one.slot])
    await step_aside(connection, [a, b])
    after = {key: await move_won(connection, before[key], won[key], policy, "swap") for key in won}
    return after[a], after[b]


async def step_aside(connection: AsyncConnection, ids: Collection[Any]) -> None:
    """Take bookings from their places, since none can be written where another still stands."""
    await connection.execute(
        update(BOOKINGS).where(BOOKINGS.c.id.in_(ids)).values(status="cancelled", expires_at=None)
    )


async def _win_both(
    connection: AsyncConnection, pair: tuple[str, str], wishes: dict[str, Wish]
) -> dict[str, Seen]:
    """Return both new placements, the second feasible with the first in place."""
    refusal: RequestError | None = None
    for first, second in (pair, pair[::-1]):
        try:
            won = await wishes[first].look(connection, certify=True)
            standing = won.as_booking(first)
            other = await wishes[second].look(connection, beside=(standing,), certify=True)
        except (SlotUnavailableError, PatientConflictError) as error:
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


# Winning a place


async def _win(connection: AsyncConnection, wish: Wish) -> Seen:
    """Return the placement to write, as the rules have it now that its days are locked."""
    if wish.place.room_id is not None:
        return await _lock_and_look_again(connection, wish, await wish.look(connection))
    # Any room will do. Only one room's days are locked at a time, so a room that turns out to be
    # taken is let go (with the savepoint) before the next one is tried.
    refused: frozenset[str] = frozenset()
    while True:
        seen = await wish.look(connection, refused=refused)
        savepoint = await connection.begin_nested()
        try:
            won = await _lock_and_look_again(connection, wish, seen)
        except SlotUnavailableError:
            await savepoint.rollback()
            refused |= {seen.slot.room.id}
        else:
            await savepoint.commit()
            return won


async def _lock_and_look_again(connection: AsyncConnection, wish: Wish, seen: Seen) -> Seen:
    locked = seen.keys()
    await lock_days(connection, locked)
    won = await wish.look(connection, room=seen.slot.room, certify=True)
    if not won.keys() <= locked:  # a buffer or a cap has just been edited
        raise ChangedMeanwhileError
    return won


async def _release_holds_that_ran_out(
    connection: AsyncConnection, clinic: Clinic, won: Sequence[Slot]
) -> None:
    """Cancel the holds in the way of places that are won, if any is among what was read."""
    if all(booking.is_live for booking in clinic.bookings):
        return
    here = or_(
        BOOKINGS.c.provider_id.in_({slot.provider.id for slot in won}),
        BOOKINGS.c.room_id.in_({slot.room.id for slot in won}),
    )
    await write_off_holds(connection, BOOKINGS.c.date.in_({slot.date for slot in won}), here)


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
    seen = await _row(connection, booking_id)
    patient_ref = details.patient_ref or seen.patient_ref
    if patient_ref is None:
        raise InvalidFieldError("patient_ref", "is needed, since the hold has none")
    # The hold may run out at this very moment and its place be decided on by another.
    there = Place(
        str(seen.appointment_type_id),
        str(seen.provider_id),
        seen.date,
        seen.start_minute,
        str(seen.room_id),
    )
    wish = Wish(there, policy, patient_ref, details.allow_patient_overlap)
    locked = foresee_keys(await load_around(connection, [wish]), [wish])
    await lock_days(connection, locked)
    clinic = await load_around(connection, [wish])
    if not foresee_keys(clinic, [wish]) <= locked:
        raise ChangedMeanwhileError
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, ("held",), "confirmed", None)
    if not details.allow_patient_overlap:
        span = (before.start_minute, before.start_minute + before.duration_minutes)
        refuse_patient_overlap(
            clinic, patient_key(patient_ref), before.date, span, aside=booking_id
        )
    after = await audit.written(
        connection,
        _CONFIRM,
        {
            "booking_id": before.id,
            "patient_ref": patient_ref,
            "patient_key": patient_key(patient_ref),
            "notes": details.notes or before.notes,
        },
        actor=policy.actor,
        action="confirm",
        before=before.logged,
    )
    return after, before.timezone, before.duration_minutes


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
    after = await audit.written(
        connection,
        _SET_STATUS,
        {"booking_id": before.id, "status": status},
        actor=policy.actor,
        action=action,
        before=before.logged,
    )
    return after, before.timezone, before.duration_minutes


_ROWS = (
    select(
        BOOKINGS,
        EFFECTIVE_STATUS.label("effective_status"),
        CLINIC.c.timezone,
        TYPES.c.duration_minutes,
    )
    .join(TYPES, TYPES.c.id == BOOKINGS.c.appointment_type_id)
    .join(CLINIC, text("true"))
)


async def rows_by_id(
    connection: AsyncConnection, ids: Collection[str], *, lock: bool = False
) -> dict[str, Row[Any]]:
    """Return those bookings that are there, locked in the order of their ids if they are to be."""
    query = _ROWS.add_columns(audit.as_logged(BOOKINGS.name).label("logged"))
    query = query.where(BOOKINGS.c.id.in_(ids)).order_by(BOOKINGS.c.id)
    rows = await connection.execute(query.with_for_update(of=BOOKINGS) if lock else query)
    return {str(row.id): row for row in rows}


async def _row(connection: AsyncConnection, booking_id: str, *, lock: bool = False) -> Row[Any]:
    row = (await rows_by_id(connection, [booking_id], lock=lock)).get(booking_id)
    if row is None:
        raise NotFoundError(f"There is no booking {booking_id}.")
    return row


async def _lock_unchanged(connection: AsyncConnection, seen: Row[Any]) -> Row[Any]:
    """Lock a booking, which is to be as it was `seen`."""
    row = await _row(connection, str(seen.id), lock=True)
    if row.version != seen.version:
        raise ChangedMeanwhileError
    return row


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


@dataclass(frozen=True, slots=True)
class After:
    """A place in the order of date, start and id; what comes after it is meant."""

    date: dt.date
    start: int
    id: str


async def find(
    engine: AsyncEngine,
    conditions: list[Any],
    *,
    after: After | None = None,
    limit: int | None = None,
) -> list[Found]:
    """Return bookings in the order of date, start and id, at most `limit`, from `after` a place."""
    columns = BOOKINGS.c
    statement = _ROWS.where(*conditions).order_by(columns.date, columns.start_minute, columns.id)
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
    return [(row, row.timezone, row.duration_minutes) for row in rows]
