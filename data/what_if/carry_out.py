"""A plan carried out: its moves and placements written in one transaction, or nothing of it.

Plans may be as large as ten thousand appointments, so everything is read and written by sets, and
the rules are read over once, with the days kept as they fill, before anything is locked. Under the
locks the book is read again, and only where it is another by then are the rules read again, too.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from data.bookings import outside_rules as outside
from data.bookings.create import Details, Granted, insert_granted
from data.bookings.decisions import WOULD_BE_OVERBOOKED, Decision, Place, Policy
from data.bookings.in_turn import lock_keys_of
from data.bookings.reading import BookingRecord, rows_by_id
from data.bookings.relocate import relocate_all, vacate_places
from data.bookings.statements import cancel_expired_holds
from data.bookings.status import change_status
from data.clinic.snapshot import FOR_PLANS, load_clinic
from data.database.locks import lock_clinic, lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import (
    NotFoundError,
    PatientConflictError,
    PlanNotApplicableError,
    PlanStaleError,
    SlotUnavailableError,
)
from data.files.changes import AnyChange
from data.files.role_rows import team_of
from data.what_if.clinic_changes import make
from data.what_if.steps import Step, decide_beside_lost
from models.tables import BOOKINGS
from solver.clinic.clinic import Clinic
from solver.clinic.clock import parse_time
from solver.rules.checker import Violation
from solver.whatif.run_result import MoveResult, PlacementResult, PlaceResult, ScenarioResult

APPLY_SECONDS = 300
"""How long the rules may be read over while the transaction waits."""


BOOKING_CHANGED = "BOOKING_CHANGED"


GONE = "GONE"


HELD = "HELD"


@dataclass(frozen=True, slots=True)
class Applied:
    """What was written: bookings by the request they are for, those that moved, and the lost ones.

    `cancelled` are lost ones in whose place the plan puts somebody else; `conflicts` are what the
    clinic's changes leave outside the rules, after the moves; `clinic` has the rows that they name.
    """

    booked: list[tuple[str, BookingRecord]]
    moved: list[BookingRecord]
    cancelled: list[BookingRecord] = field(default_factory=list)
    conflicts: list[Violation] = field(default_factory=list)
    clinic: Clinic | None = None


async def apply(
    connection: AsyncConnection,
    scenario: ScenarioResult,
    patients: Mapping[str, str | None],
    policy: Policy,
    *,
    accept_overbooked: bool,
    cancel_lost: bool = False,
    changes: Sequence[AnyChange] = (),
) -> Applied:
    """Carry out the plan of one scenario of a result, and before it `changes` of the clinic.

    Moves come first, then placements, each in its order and each under every rule with all before
    it in the book. Bookings that the plan could not save stay where they are, but for those in
    whose place it puts somebody else: with `cancel_lost` they are cancelled.

    Raises
    ------
    PlanStaleError
        Naming all that no longer fits, with the reasons.
    PlanNotApplicableError
        When lost bookings would have to be cancelled and the caller did not say so.
    SlotUnavailableError
        When it would overbook and the caller did not accept that.
    """
    moves = [move for move in scenario["moves"] if move["to"] is not None]
    over = [row["request_id"] for row in scenario["placements"] if row["is_overbooked"]]
    over += [move["booking_id"] for move in moves if move["to"] and move["to"].get("is_overbooked")]
    if over and not accept_overbooked:
        raise SlotUnavailableError(
            "The plan overbooks; send accept_overbooked to carry it out.",
            reasons=[WOULD_BE_OVERBOOKED],
            overbooked=over,
        )
    await connection.execute(
        text(f"SET LOCAL idle_in_transaction_session_timeout = '{APPLY_SECONDS}s'")
    )
    seen = await rows_by_id(connection, [move["booking_id"] for move in moves])
    _require_in_place(moves, seen)
    steps = [
        *(_step_of_move(move, seen[move["booking_id"]], accept_overbooked) for move in moves),
        *(
            _step_of(row, patients.get(row["request_id"]), accept_overbooked)
            for row in scenario["placements"]
        ),
    ]
    if not steps and not changes:
        return Applied([], [])
    dates = [step.place.date for step in steps] or [policy.now.date()]
    span = min(dates), max(dates)
    clinic = await _as_changed(connection, changes, policy, span)
    lost = frozenset(move["booking_id"] for move in scenario["moves"] if move["to"] is None)
    granted, given_up = await _decide(clinic, steps, policy, lost)
    if given_up and not cancel_lost:
        raise PlanNotApplicableError(
            f"The plan found no place for {len(given_up)} of the bookings and puts others in "
            "theirs: send cancel_lost: true to cancel them, and call their patients.",
            lost=sorted(given_up),
        )
    locked = lock_keys_of(granted)
    known: dict[str, int] = {}
    today = policy.now.astimezone(clinic.settings.zone).date()
    if changes:
        await lock_clinic(connection)
        known = await outside.broken_rule_bits(connection, since=today)
        await make(connection, changes, policy.actor)
    if locked:
        await lock_days(connection, locked)
    now = await load_clinic(connection, *span, FOR_PLANS)
    if now != clinic:
        granted, still = await _decide(now, steps, policy, lost)
        if not lock_keys_of(granted) <= locked or not still <= given_up:
            raise ChangedMeanwhileError
        given_up = still
    before = await rows_by_id(connection, list(seen), lock=True)
    _require_in_place(moves, before)  # a hold may have run out
    if any(row.logged != seen[key].logged for key, row in before.items()):
        raise ChangedMeanwhileError
    cancelled = [await change_status(connection, key, "cancel", policy) for key in sorted(given_up)]
    applied = replace(
        await _write(connection, steps, granted, before, span, policy), cancelled=cancelled
    )
    if not changes:
        return applied
    found = await outside.find_all_outside(connection, since=today, known=known)
    return replace(applied, conflicts=found.violations, clinic=found.clinic)


async def _as_changed(
    connection: AsyncConnection,
    changes: Sequence[AnyChange],
    policy: Policy,
    span: tuple[dt.date, dt.date],
) -> Clinic:
    """Return the clinic as it will be with `changes`, which are not made yet and lock nothing."""
    if not changes:
        return await load_clinic(connection, *span, FOR_PLANS)
    attempt = await connection.begin_nested()
    await make(connection, changes, policy.actor)
    clinic = await load_clinic(connection, *span, FOR_PLANS)
    await attempt.rollback()
    return clinic


async def _write(
    connection: AsyncConnection,
    steps: Sequence[Step],
    granted: Sequence[Decision],
    before: Mapping[str, Row[Any]],
    span: tuple[dt.date, dt.date],
    policy: Policy,
) -> Applied:
    """Write what is won, all of it."""
    await cancel_expired_holds(connection, BOOKINGS.c.date.between(*span))
    await vacate_places(connection, [row.id for row in before.values()])
    moves: list[tuple[Row[Any], Decision]] = []
    placed: list[Granted] = []
    keys: list[str] = []
    for step, each in zip(steps, granted, strict=True):
        if step.booking_id is not None:
            moves.append((before[step.booking_id], each))
        else:
            placed.append(Granted(each, Details(step.patient_ref), policy, "plan"))
            keys.append(step.request_id or "")
    moved = await relocate_all(connection, moves, policy, "plan")
    booked = await insert_granted(connection, placed)
    return Applied(list(zip(keys, booked, strict=True)), moved)


def _step_of(row: PlacementResult, patient_ref: str | None, accept_overbooked: bool) -> Step:
    place = _place(row, row["appointment_type_id"], accept_overbooked)
    return Step(place, patient_ref, request_id=row["request_id"])


def _step_of_move(move: MoveResult, row: Row[Any], accept_overbooked: bool) -> Step:
    assert move["to"] is not None
    place = _place(move["to"], str(row.appointment_type_id), accept_overbooked)
    return Step(place, row.patient_ref, booking_id=move["booking_id"])


def _place(row: PlaceResult, kind: str, accept_overbooked: bool) -> Place:
    return Place(
        kind,
        row["provider_id"],
        dt.date.fromisoformat(row["date"]),
        parse_time(row["start_time"]),
        row["room_id"],
        accept_overbooked=accept_overbooked,
        team=team_of(row.get("team")),
    )


def _require_in_place(moves: Sequence[MoveResult], rows: Mapping[str, Row[Any]]) -> None:
    """Refuse to move bookings that are no longer where the plan found them, and holds."""
    stale = []
    for move in moves:
        key, place = move["booking_id"], move["from"]
        row = rows.get(key)
        if row is not None and row.effective_status == "held":
            stale.append({"booking_id": key, "reasons": [HELD]})
        elif row is None or row.effective_status != "booked":
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


async def _decide(
    clinic: Clinic, steps: Sequence[Step], policy: Policy, lost: frozenset[str]
) -> tuple[list[Decision], frozenset[str]]:
    """Return every step's place as it is won at its turn, and the `lost` bookings in the way.

    Off the event loop, for it takes long.
    """
    outcomes, given_up = await asyncio.to_thread(decide_beside_lost, clinic, steps, policy, lost)
    _refuse(
        [
            {**step.name, "reasons": _reasons(outcome)}
            for step, outcome in zip(steps, outcomes, strict=True)
            if not isinstance(outcome, Decision)
        ]
    )
    return [outcome for outcome in outcomes if isinstance(outcome, Decision)], given_up


def _reasons(error: Exception) -> list[str]:
    match error:
        case SlotUnavailableError():
            return list(error.extra["reasons"])
        case PatientConflictError() | NotFoundError():
            return [error.code]
        case _:
            return ["DATE_OUT_OF_RANGE"]
