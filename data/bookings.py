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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any, Literal
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Boolean,
    Date,
    Integer,
    Row,
    Select,
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
    foresee,
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
from data.events import AMENDED
from data.holds import EXPIRE, write_off_holds
from data.snapshot import (
    BOOKINGS,
    CLINIC,
    EFFECTIVE_STATUS,
    PROVIDERS,
    ROOMS,
    TYPES,
    Part,
    load_clinic,
)
from data.transaction import ChangedMeanwhileError, lock_days
from solver.clinic.clock import format_time, instant
from solver.clinic.entities import Clinic
from solver.clinic.patients import patient_key
from solver.rules.checker import Checker
from solver.slots.query import Slot

type Found = tuple[Row[Any], str, int]
"""A booking's row, the clinic's time zone and the type's duration: what a booking's times need."""

type Move = Literal["cancel", "check_in", "complete", "no_show"]
_MOVES: dict[Move, tuple[tuple[str, ...], str, str]] = {
    "cancel": (("held", "booked", "checked_in"), "cancelled", "cancelled"),
    "check_in": (("booked", "no_show"), "checked_in", "checked in"),
    "complete": (("checked_in",), "completed", "completed"),
    "no_show": (("booked",), "no_show", "marked as a no-show"),
}
"""From which states a move leads to which, and what is said to have been done."""
_TO_AND_FRO = [
    {"held", "cancelled"},
    {"booked", "cancelled"},
    {"checked_in", "cancelled"},
    {"booked", "checked_in"},
    {"checked_in", "completed"},
    {"booked", "no_show"},
    {"no_show", "checked_in"},
]
"""Pairs of states between which a change can be taken back, and taking it back likewise."""


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
    await _release_holds_that_ran_out(connection, won.clinic, [_placed(won.slot)])
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
) -> list[Found | Exception | None]:
    """Book orders of one date in their order, each beside those before it.

    The same as one after another, with one look, one lock and one commit for all: what is refused
    takes nothing from the others. Returns what :func:`book` returns or raises for each; None for
    one whose room others have taken meanwhile, which is to be tried again in another.
    """
    wishes = [order.wish for order in orders]
    clinic = await load_around(connection, wishes)
    rooms, locked = await asyncio.to_thread(foresee, clinic, wishes)
    there = [wish.in_room(room) for wish, room in zip(wishes, rooms, strict=True)]
    if locked:
        await lock_days(connection, locked)
        clinic = await load_around(connection, there)

    def decide() -> list[Outcome]:
        return list(decide_in_turn(clinic, there))

    outcomes = await asyncio.to_thread(decide)  # many take long enough to keep others waiting
    if not keys_of(outcomes) <= locked:  # a buffer or a cap by now
        raise ChangedMeanwhileError
    won = [
        Won(outcome, order.details, order.policy, "book")
        for order, outcome in zip(orders, outcomes, strict=True)
        if isinstance(outcome, Seen)
    ]
    places = [_placed(each.seen.slot) for each in won]
    await _release_holds_that_ran_out(connection, clinic, places)
    written = iter(await insert_won(connection, won))
    results: list[Found | Exception | None] = []
    for room, outcome in zip(rooms, outcomes, strict=True):
        if isinstance(outcome, Seen):
            results.append(next(written))
        elif None in results or (room is not None and isinstance(outcome, SlotUnavailableError)):
            results.append(None)  # who comes after one that is to be tried again waits for it
        else:
            results.append(outcome)
    return results


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


def _stands(row: Row[Any]) -> dict[str, Any]:
    """Return where a booking is, as :func:`_placed` does of a slot, as long as its type now is."""
    return {
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "day": row.date,
        "start": row.start_minute,
        "end": row.start_minute + row.duration_minutes,
        "is_overbooked": row.is_overbooked,
        "points": row.score,
    }


_CHANGED = {"version": func.abs(BOOKINGS.c.version) + 1, "updated_at": func.now()}
_CHANGE = update(BOOKINGS).where(BOOKINGS.c.id == bindparam("booking_id"))
_TOLD: dict[str, Any] = {
    name: bindparam(name)
    for name in ("status", "expires_at", "patient_ref", "patient_key", "notes")
}
"""What a booking is told beside its place."""
_MOVE = audit.with_entry(_CHANGE.values(**_CHANGED, **_PLACED, **_TOLD), BOOKINGS)
_TELL = audit.with_entry(_CHANGE.values(**_CHANGED, **_TOLD), BOOKINGS)
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


async def _write(
    connection: AsyncConnection,
    before: Row[Any],
    policy: Policy,
    action: str,
    place: dict[str, Any] | None = None,
    **told: Any,
) -> Found:
    """Change a booking that is locked: to another place if there is one, and what it is told."""
    told = {name: getattr(before, name) for name in _TOLD} | told
    if told["status"] != "held":
        told["expires_at"] = None
    told["patient_key"] = patient_key(told["patient_ref"])
    after = await audit.written(
        connection,
        _TELL if place is None else _MOVE,
        {"booking_id": before.id, **told, **(place or {})},
        actor=policy.actor,
        action=action,
        before=before.logged,
    )
    return after, before.timezone, before.duration_minutes


async def move_won(
    connection: AsyncConnection, before: Row[Any], won: Seen, policy: Policy, action: str
) -> Found:
    """Write a booking to the place that it has won."""
    return await _write(connection, before, policy, action, _placed(won.slot))


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

    def wish_of(row: Row[Any]) -> Wish:
        there = replace(
            place,
            appointment_type_id=str(row.appointment_type_id),
            provider_id=place.provider_id or str(row.provider_id),
        )
        return Wish(
            there,
            policy,
            row.patient_ref,
            allow_patient_overlap,
            aside=frozenset({booking_id}),
            room_before=str(row.room_id),
        )

    seen = await _row(connection, booking_id)
    _require_state(seen, ("booked",), "rescheduled", version)
    wish = wish_of(seen)
    won = await _win(connection, wish)
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, ("booked",), "rescheduled", version)
    if wish_of(before) != wish:
        raise ChangedMeanwhileError
    await _release_holds_that_ran_out(connection, won.clinic, [_placed(won.slot)])
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

    def wishes_of(rows: Mapping[str, Row[Any]]) -> dict[str, Wish]:
        for row in rows.values():
            _require_state(row, ("booked",), "swapped", None)
        accept = accept_overbooked or any(row.is_overbooked for row in rows.values())
        return {
            key: Wish(
                _place_of(rows[other], rows[key], accept_overbooked=accept),
                policy,
                rows[key].patient_ref,
                allow_patient_overlap=False,
                aside=frozenset({a, b}),
            )
            for key, other in ((a, b), (b, a))
        }

    seen = {key: await _row(connection, key) for key in sorted((a, b))}
    wishes = wishes_of(seen)
    looks = [await wishes[key].look(connection) for key in (a, b)]
    locked = looks[0].keys() | looks[1].keys()
    await lock_days(connection, locked)
    # Those that have been swapped meanwhile have the same two places, and these are locked.
    before = {key: await _row(connection, key, lock=True) for key in seen}
    won = await _win_both(connection, (a, b), wishes_of(before))
    if not won[a].keys() | won[b].keys() <= locked:  # moved elsewhere; or a buffer or a cap edited
        raise ChangedMeanwhileError
    for seen_by_one in won.values():
        place = _placed(seen_by_one.slot)
        await _release_holds_that_ran_out(connection, seen_by_one.clinic, [place])
    await step_aside(connection, [a, b])
    after = {key: await move_won(connection, before[key], won[key], policy, "swap") for key in won}
    return after[a], after[b]


async def step_aside(connection: AsyncConnection, ids: Collection[Any]) -> None:
    """Take bookings from their places, since none can be written where another still stands.

    Their versions are below 0 meanwhile: nobody has changed them yet.
    """
    await connection.execute(
        update(BOOKINGS)
        .where(BOOKINGS.c.id.in_(ids))
        .values(status="cancelled", expires_at=None, version=-BOOKINGS.c.version)
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
        try:
            async with connection.begin_nested():
                return await _lock_and_look_again(connection, wish, seen)
        except SlotUnavailableError:
            refused |= {seen.slot.room.id}


async def _lock_and_look_again(connection: AsyncConnection, wish: Wish, seen: Seen) -> Seen:
    locked = seen.keys()
    await lock_days(connection, locked)
    won = await wish.look(connection, room=seen.slot.room, certify=True)
    if not won.keys() <= locked:  # a buffer or a cap has just been edited
        raise ChangedMeanwhileError
    return won


async def _release_holds_that_ran_out(
    connection: AsyncConnection, clinic: Clinic, places: Sequence[dict[str, Any]]
) -> None:
    """Cancel the holds in the way of places that are won, if any is among what was read."""
    if all(booking.is_live for booking in clinic.bookings):
        return
    here = or_(
        BOOKINGS.c.provider_id.in_({place["provider_id"] for place in places}),
        BOOKINGS.c.room_id.in_({place["room_id"] for place in places}),
    )
    await write_off_holds(connection, BOOKINGS.c.date.in_({place["day"] for place in places}), here)


# Changing the state


async def confirm(
    connection: AsyncConnection,
    booking_id: str,
    details: Details,
    policy: Policy,
    *,
    version: int | None = None,
    accept_overbooked: bool = False,
) -> Found:
    """Book what a hold reserves, once, while it lasts, as long as the rules allow it.

    Raises
    ------
    NotFoundError
        When there is no such hold.
    InvalidFieldError
        When no one said who the patient is.
    InvalidStateError
        When the hold has run out, was cancelled or is booked already.
    StaleVersionError
        When it has changed since `version`; without one, when it is not where it was held.
    SlotUnavailableError
        When a rule forbids the place by now; the hold stays until it runs out.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await _row(connection, booking_id)
    _require_state(seen, ("held",), "confirmed", version)
    if version is None:
        await _require_where_held(connection, seen)
    patient_ref = details.patient_ref or seen.patient_ref
    if patient_ref is None:
        raise InvalidFieldError("patient_ref", "is needed, since the hold has none")
    wish = Wish(
        _place_of(seen, seen, accept_overbooked=accept_overbooked or seen.is_overbooked),
        policy,
        patient_ref,
        details.allow_patient_overlap,
        aside=frozenset({booking_id}),
        is_given=True,
    )
    # The hold may run out at this very moment and its place be decided on by another.
    locked = foresee_keys(await load_around(connection, [wish]), [wish])
    await lock_days(connection, locked)
    clinic = await load_around(connection, [wish])
    if not foresee_keys(clinic, [wish]) <= locked:
        raise ChangedMeanwhileError
    before = await _lock_unchanged(connection, seen)
    _require_state(before, ("held",), "confirmed", None)
    place = await asyncio.to_thread(_decide_where_it_stands, clinic, wish, before)
    others = clinic.with_bookings(b for b in clinic.bookings if b.id != booking_id)
    await _release_holds_that_ran_out(connection, others, [place])
    notes = details.notes or before.notes
    told = {"status": "booked", "patient_ref": patient_ref, "notes": notes}
    return await _write(connection, before, policy, "confirm", place, **told)


async def _require_where_held(connection: AsyncConnection, row: Row[Any]) -> None:
    """Refuse a hold that a plan or an import has moved since it was made.

    Whoever made it has not seen the place where it now is.
    """
    held = await audit.first_written(connection, "booking", row.id)
    place = {
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "date": row.date.isoformat(),
        "start_minute": row.start_minute,
    }
    if held is not None and any(held.get(name) != value for name, value in place.items()):
        raise StaleVersionError(
            f"The hold was moved after it was made: it is on {row.date} at "
            f"{format_time(row.start_minute)} now. Read it again, and send its version to book it "
            "there.",
            version=row.version,
        )


def _decide_where_it_stands(clinic: Clinic, wish: Wish, row: Row[Any]) -> dict[str, Any]:
    """Return the place of a booking that stands in `clinic`, as the rules have it by now.

    What could be booked there afresh may stay, and so may what breaks no rule beside the others:
    one that came first is not overbooked by those that were since.
    """
    try:
        return _placed(wish.decide(clinic).slot)
    except SlotUnavailableError:
        (standing,) = (b for b in clinic.bookings if b.id == str(row.id))
        if any(Checker(clinic).violations_of(standing)):
            raise
    if not wish.allow_patient_overlap:
        span = (row.start_minute, row.start_minute + row.duration_minutes)
        refuse_patient_overlap(clinic, wish.patient_key, row.date, span, aside=str(row.id))
    return _stands(row)


async def move(
    connection: AsyncConnection,
    booking_id: str,
    action: Move,
    policy: Policy,
    *,
    version: int | None = None,
    confirm: bool = False,
) -> Found:
    """Cancel, check in or complete a booking, or mark a no-show.

    Whoever was marked as a no-show and comes after all is checked in.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When its status does not allow the move; when it is checked in or completed on another
        date than its own, without `confirm`; when it is a no-show before it has begun.
    StaleVersionError
        When it has changed since `version`.
    """
    allowed, status, done = _MOVES[action]
    before = await _row(connection, booking_id, lock=True)
    _require_state(before, allowed, done, version)
    if action in ("check_in", "complete") and not confirm:
        today = _today(before, policy)
        if today != before.date:
            raise InvalidStateError(
                f"The booking is on {before.date} and today is {today}; "
                f"send confirm: true if it is to be {done} all the same.",
                booking_status=before.effective_status,
            )
    if action == "no_show" and policy.now < _begins(before):
        raise InvalidStateError(
            "A booking cannot be marked as a no-show before it has begun.",
            booking_status=before.effective_status,
        )
    return await _write(connection, before, policy, action, status=status)


def _today(row: Row[Any], policy: Policy) -> dt.date:
    return policy.now.astimezone(ZoneInfo(row.timezone)).date()


def _begins(row: Row[Any]) -> dt.datetime:
    return instant(ZoneInfo(row.timezone), row.date, row.start_minute)


async def undo(
    connection: AsyncConnection,
    booking_id: str,
    policy: Policy,
    *,
    version: int | None = None,
    accept_overbooked: bool = False,
    allow_patient_overlap: bool = False,
) -> Found:
    """Take the last change of a booking's status back, while that is recent enough.

    Taking back is a change like any other, and can be taken back. What was cancelled is decided
    on afresh: its place must still be allowed, and free.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    StaleVersionError
        When it has changed since `version`.
    InvalidStateError
        When there is nothing to take back, or it is too late.
    SlotUnavailableError
        When a rule forbids the place that was given up.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await _row(connection, booking_id)
    _require_version(seen, version)
    last = await audit.last_change(connection, "booking", seen.id, "status")
    if (
        last is None
        or last.latter != seen.effective_status
        or last.action == EXPIRE
        or not _can_be_taken_back(last)
    ):
        raise InvalidStateError(
            "There is no change of status to take back.", booking_status=seen.effective_status
        )
    _require_recent(seen, last, policy)
    expires_at = last.before.get("expires_at")
    if expires_at is not None:
        expires_at = dt.datetime.fromisoformat(expires_at)
        if expires_at <= policy.now:
            raise InvalidStateError(
                "The time of the hold is over; cancel the booking, or hold the place again.",
                booking_status=seen.effective_status,
            )
    told = {"status": last.former, "expires_at": expires_at}
    if last.latter != "cancelled":
        before = await _lock_unchanged(connection, seen)
        return await _write(connection, before, policy, "undo", **told)
    wish = Wish(
        _place_of(seen, seen, accept_overbooked=accept_overbooked or seen.is_overbooked),
        policy,
        seen.patient_ref,
        allow_patient_overlap,
        aside=frozenset({booking_id}),
        is_given=True,
    )
    won = await _win(connection, wish)
    before = await _lock_unchanged(connection, seen)
    place = _placed(won.slot)
    await _release_holds_that_ran_out(connection, won.clinic, [place])
    return await _write(connection, before, policy, "undo", place, **told)


def _can_be_taken_back(last: Row[Any]) -> bool:
    """Whether a change of status may; a confirmation taken back is confirmed, not taken back."""
    is_confirmed = (last.former, last.latter) == ("held", "booked")
    return is_confirmed or {last.former, last.latter} in _TO_AND_FRO


def _require_recent(row: Row[Any], last: Row[Any], policy: Policy) -> None:
    """Refuse to take back what is too old; a late check-in can be all day."""
    if (last.former, last.latter) == ("no_show", "checked_in"):
        if last.at.astimezone(ZoneInfo(row.timezone)).date() == _today(row, policy):
            return
        limit = "on the same day"
    else:
        if last.age <= dt.timedelta(minutes=policy.undo_minutes):
            return
        limit = f"for {policy.undo_minutes} minutes"
    raise InvalidStateError(
        f"It is too late: a change of status can be taken back {limit}.",
        booking_status=row.effective_status,
    )


async def amend(
    connection: AsyncConnection,
    booking_id: str,
    changes: Mapping[str, Any],
    policy: Policy,
    *,
    version: int | None = None,
    allow_patient_overlap: bool = False,
) -> Found:
    """Change a booking's `patient_ref` or `notes`, those of the two that are given.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    StaleVersionError
        When it has changed since `version`.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await _row(connection, booking_id)
    _require_version(seen, version)
    patient = patient_key(changes.get("patient_ref", seen.patient_ref))
    is_another = patient is not None and patient != patient_key(seen.patient_ref)
    if is_another:
        await lock_days(connection, [("patient", patient or "", seen.date)])
    before = await _lock_unchanged(connection, seen)
    if all(getattr(before, name) == value for name, value in changes.items()):
        return before, before.timezone, before.duration_minutes
    if is_another and before.effective_status != "cancelled" and not allow_patient_overlap:
        part = Part(provider_ids=(), room_ids=(), patient_keys=(patient or "",))
        clinic = await load_clinic(connection, before.date, before.date, part)
        span = (before.start_minute, before.start_minute + before.duration_minutes)
        refuse_patient_overlap(clinic, patient, before.date, span, aside=booking_id)
    return await _write(connection, before, policy, AMENDED, **changes)


_ROWS: Select[Any] = (
    select(
        *(column for column in BOOKINGS.c if column.computed is None),  # those are for constraints
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
    """Lock a booking, which is to be as it was `seen`: not its version alone, but every field."""
    row = await _row(connection, str(seen.id), lock=True)
    if row.logged != seen.logged:
        raise ChangedMeanwhileError
    return row


def _require_version(row: Row[Any], version: int | None) -> None:
    if version is not None and version != row.version:
        raise StaleVersionError(
            f"The booking is at version {row.version} by now.", version=row.version
        )


def _require_state(row: Row[Any], allowed: tuple[str, ...], done: str, version: int | None) -> None:
    _require_version(row, version)
    status = row.effective_status
    if status not in allowed:
        state = "a no-show" if status == "no_show" else status.replace("_", " ")
        raise InvalidStateError(
            f"A booking that is {state} cannot be {done}.", booking_status=status
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
