"""A plan carried out: its moves and placements written in one transaction, or nothing of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.bookings import Details, Found, Won, insert_won, move_won, step_aside
from data.deciding import (
    WOULD_BE_OVERBOOKED,
    Place,
    Policy,
    Seen,
    Wish,
    decide_in_turn,
    keys_of,
)
from data.errors import (
    NotFoundError,
    PatientConflictError,
    PlanStaleError,
    SlotUnavailableError,
)
from data.holds import write_off_holds
from data.snapshot import BOOKINGS, EFFECTIVE_STATUS, load_clinic
from data.transaction import ChangedMeanwhileError, lock_days
from solver.clinic import Clinic
from solver.timeline import parse_time

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
    clinic = await load_clinic(connection, first, last)
    locked = {
        key
        for won in await _decide(clinic, steps, policy)
        for key in won.keys()  # noqa: SIM118
    }
    await lock_days(connection, locked)
    clinic = await load_clinic(connection, first, last)
    won = await _decide(clinic, steps, policy)
    if not keys_of(won) <= locked:
        raise ChangedMeanwhileError
    before = await _rows(connection, list(seen), lock=True)
    if any(before[key].version != row.version for key, row in seen.items()):
        raise ChangedMeanwhileError
    await write_off_holds(connection, BOOKINGS.c.date.between(first, last))
    await step_aside(connection, [row.id for row in before.values()])
    moved, placed, keys = [], [], []
    for step, each in zip(steps, won, strict=True):
        if step.booking_id is not None:
            row = before[step.booking_id]
            moved.append(await move_won(connection, row, each, policy, "plan"))
        else:
            placed.append(Won(each, Details(step.patient_ref), policy, "plan"))
            keys.append(step.request_id or "")
    booked = await insert_won(connection, placed)
    return Applied(list(zip(keys, booked, strict=True)), moved)


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


def _wish_of(step: Step, policy: Policy) -> Wish:
    aside = frozenset() if step.booking_id is None else frozenset({step.booking_id})
    return Wish(step.place, policy, step.patient_ref, allow_patient_overlap=False, aside=aside)


async def _decide(clinic: Clinic, steps: Sequence[Step], policy: Policy) -> list[Seen]:
    """Return every step's place as it is won at its turn; off the event loop, for it takes long."""
    wishes = [_wish_of(step, policy) for step in steps]
    outcomes = await asyncio.to_thread(lambda: list(decide_in_turn(clinic, wishes)))
    _refuse(
        [
            {**step.name, "reasons": _reasons(outcome)}
            for step, outcome in zip(steps, outcomes, strict=True)
            if not isinstance(outcome, Seen)
        ]
    )
    return [outcome for outcome in outcomes if isinstance(outcome, Seen)]


def _reasons(error: Exception) -> list[str]:
    match error:
        case SlotUnavailableError():
            return list(error.extra["reasons"])
        case PatientConflictError() | NotFoundError():
            return [error.code]
        case _:
            return ["DATE_OUT_OF_RANGE"]
