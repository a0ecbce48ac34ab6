"""A plan carried out: its moves and placements written in one transaction, or nothing of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.bookings import (
    WOULD_BE_OVERBOOKED,
    Details,
    Found,
    Place,
    Policy,
    Seen,
    Wish,
    insert_won,
    move_won,
    step_aside,
)
from data.errors import (
    NotFoundError,
    PatientConflictError,
    PlanStaleError,
    RequestError,
    SlotUnavailableError,
)
from data.snapshot import BOOKINGS, EFFECTIVE_STATUS, HAS_RUN_OUT, load_clinic
from data.transaction import ChangedMeanwhileError, lock_days
from solver.clinic import Booking, Clinic
from solver.timeline import DateOutOfRangeError, parse_time

APPLY_SECONDS = 60
"""How long the rules may be read over while the transaction waits."""
BOOKING_CHANGED = "BOOKING_CHANGED"
GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Step:
    """One write of a plan: a request to book, or a booking to move."""

    place: Place
    patient_ref: str | None
    request_id: str | None = None
    booking_id: str | None = None

    @property
    def name(self) -> dict[str, str]:
        """What the step is about, as the plan names it."""
        if self.booking_id is not None:
            return {"booking_id": self.booking_id}
        return {"request_id": self.request_id or ""}


@dataclass(frozen=True, slots=True)
class Applied:
    """What was written: bookings by the request they are for, and those that moved."""

    booked: list[tuple[str, Found]]
    moved: list[Found]


async def apply(
    connection: AsyncConnection,
    scenario: Mapping[str, Any],
    patients: Mapping[str, str | None],
    policy: Policy,
    *,
    accept_overbooked: bool,
) -> Applied:
    """Carry out the plan of one scenario of a result.

    Moves come first, then placements, each in its order and each under every rule with all before
    it in the book. Bookings that the plan could not save stay where they are.

    Raises
    ------
    PlanStaleError
        Naming all that no longer fits, with the reasons.
    SlotUnavailableError
        When it would overbook and the caller did not accept that.
    """
    moves = [move for move in scenario["moves"] if move["to"] is not None]
    over = [row["request_id"] for row in scenario["placements"] if row["is_overbooked"]]
    over += [move["booking_id"] for move in moves if move["to"].get("is_overbooked")]
    if over and not accept_overbooked:
        raise SlotUnavailableError(
            "The plan overbooks; send accept_overbooked to carry it out.",
            reasons=[WOULD_BE_OVERBOOKED],
            overbooked=over,
        )
    await connection.execute(
        text(f"SET LOCAL idle_in_transaction_session_timeout = '{APPLY_SECONDS}s'")
    )
    seen = await _rows(connection, [move["booking_id"] for move in moves])
    _require_in_place(moves, seen)
    steps = [
        *(_step_of_move(move, seen[move["booking_id"]]) for move in moves),
        *(_step_of(row, patients.get(row["request_id"])) for row in scenario["placements"]),
    ]
    if not steps:
        return Applied([], [])
    first, last = (pick(step.place.date for step in steps) for pick in (min, max))
    before_locks = await load_clinic(connection, first, last)
    locked = {
        key
        for won in await _decide(before_locks, steps, policy)
        for key in won.keys()  # noqa: SIM118
    }
    await lock_days(connection, locked)
    clinic = await load_clinic(connection, first, last)
    won = await _decide(clinic, steps, policy)
    if not {key for each in won for key in each.keys()} <= locked:  # noqa: SIM118
        raise ChangedMeanwhileError
    before = await _rows(connection, list(seen), lock=True)
    if any(before[key].version != row.version for key, row in seen.items()):
        raise ChangedMeanwhileError
    await _write_off_holds_that_ran_out(connection, first, last)
    await step_aside(connection, [row.id for row in before.values()])
    applied = Applied([], [])
    for step, each in zip(steps, won, strict=True):
        if step.booking_id is not None:
            row = before[step.booking_id]
            applied.moved.append(await move_won(connection, row, each, policy, "plan"))
        else:
            details = Details(step.patient_ref)
            found = await insert_won(connection, each, details, policy, action="plan")
            applied.booked.append((step.request_id or "", found))
    return applied


def _step_of(row: Mapping[str, Any], patient_ref: str | None) -> Step:
    return Step(_place(row, row["appointment_type_id"]), patient_ref, request_id=row["request_id"])


def _step_of_move(move: Mapping[str, Any], row: Row[Any]) -> Step:
    place = _place(move["to"], str(row.appointment_type_id))
    return Step(place, row.patient_ref, booking_id=move["booking_id"])


def _place(row: Mapping[str, Any], kind: str) -> Place:
    return Place(
        kind,
        row["provider_id"],
        dt.date.fromisoformat(row["date"]),
        parse_time(row["start_time"]),
        row["room_id"],
        accept_overbooked=True,
    )


async def _rows(
    connection: AsyncConnection, ids: Sequence[str], *, lock: bool = False
) -> dict[str, Row[Any]]:
    query = (
        select(
            BOOKINGS,
            EFFECTIVE_STATUS.label("effective_status"),
            audit.as_logged(BOOKINGS.name).label("logged"),
        )
        .where(BOOKINGS.c.id.in_(ids))
        .order_by(BOOKINGS.c.id)
    )
    rows = await connection.execute(query.with_for_update(of=BOOKINGS) if lock else query)
    return {str(row.id): row for row in rows}


def _require_in_place(moves: Sequence[Mapping[str, Any]], rows: Mapping[str, Row[Any]]) -> None:
    """Refuse to move bookings that are no longer where the plan found them."""
    stale = []
    for move in moves:
        key, place = move["booking_id"], move["from"]
        row = rows.get(key)
        if row is None or row.effective_status not in ("held", "booked"):
            stale.append({"booking_id": key, "reasons": [GONE]})
        elif (
            str(row.provider_id) != place["provider_id"]
            or str(row.room_id) != place["room_id"]
            or row.date.isoformat() != place["date"]
            or row.start_minute != parse_time(place["start_time"])
        ):
            stale.append({"booking_id": key, "reasons": [BOOKING_CHANGED]})
    _refuse(stale)


def _refuse(stale: list[dict[str, Any]]) -> None:
    if stale:
        raise PlanStaleError(
            "The book has changed since the plan was made; nothing was written.", stale=stale
        )


async def _decide(clinic: Clinic, steps: Sequence[Step], policy: Policy) -> list[Seen]:
    """Return every step's place as it is won at its turn; off the event loop, for it takes long."""
    return await asyncio.to_thread(_decide_all, clinic, steps, policy)


def _decide_all(clinic: Clinic, steps: Sequence[Step], policy: Policy) -> list[Seen]:
    moving = {step.booking_id for step in steps}
    book = _Book(clinic, (b for b in clinic.bookings if b.id not in moving))
    won: list[Seen] = []
    stale: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        wish = Wish(step.place, policy, step.patient_ref, allow_patient_overlap=False)
        try:
            seen = wish.decide(book.around(step), room_id=step.place.room_id)
        except (RequestError, DateOutOfRangeError) as error:
            stale.append({**step.name, "reasons": _reasons(error)})
            continue
        won.append(seen)
        place = step.place
        book.add(
            Booking(
                f"step {number}",
                place.provider_id,
                seen.slot.room.id,
                place.appointment_type_id,
                place.date,
                place.start,
                step.patient_ref,
                is_overbooked=seen.slot.is_overbooked,
            )
        )
    _refuse(stale)
    return won


def _reasons(error: Exception) -> list[str]:
    match error:
        case SlotUnavailableError():
            return list(error.extra["reasons"])
        case PatientConflictError() | NotFoundError():
            return [error.code]
        case _:
            return ["DATE_OUT_OF_RANGE"]


class _Book:
    """A clinic whose bookings are found by what they take, so that one place needs few rows."""

    def __init__(self, clinic: Clinic, bookings: Iterable[Booking]) -> None:
        self._clinic = clinic
        self._by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        for booking in bookings:
            self.add(booking)

    def add(self, booking: Booking) -> None:
        """Put one more booking in."""
        for owner in (
            booking.provider_id,
            booking.room_id,
            booking.appointment_type_id,
            f"patient {booking.patient_ref}",
        ):
            self._by_owner[owner, booking.date].append(booking)

    def around(self, step: Step) -> Clinic:
        """Return what decides on a step's place."""
        clinic, place = self._clinic, step.place
        dates = [place.date + dt.timedelta(days=days) for days in (-1, 0, 1)]
        owners = (
            place.provider_id,
            place.room_id,
            place.appointment_type_id,
            f"patient {step.patient_ref}",
        )
        found = {
            b.id: b for owner in owners for date in dates for b in self._by_owner[str(owner), date]
        }
        return Clinic(
            clinic.settings,
            tuple(p for p in clinic.providers if p.id == place.provider_id),
            tuple(r for r in clinic.rooms if r.id == place.room_id),
            clinic.appointment_types,
            tuple(
                row
                for row in clinic.availability
                if row.provider_id in (None, place.provider_id)
                and row.room_id in (None, place.room_id)
            ),
            tuple(
                rule
                for rule in clinic.overbooking_rules
                if rule.provider_id in (None, place.provider_id)
            ),
            tuple(found.values()),
        )


async def _write_off_holds_that_ran_out(
    connection: AsyncConnection, first: dt.date, last: dt.date
) -> None:
    await connection.execute(
        update(BOOKINGS)
        .where(BOOKINGS.c.date.between(first, last), HAS_RUN_OUT)
        .values(status="cancelled", expires_at=None, version=BOOKINGS.c.version + 1)
    )
