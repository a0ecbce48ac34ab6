"""A plan carried out: its moves and placements written in one transaction, or nothing of it.

Plans may be as large as ten thousand appointments, so everything is read and written by sets, and
the rules are read over once, with the days kept as they fill, before anything is locked. Under the
locks the book is read again, and only where it is another by then are the rules read again, too.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from data.bookings import outside_rules as outside
from data.bookings.commands import Details, Won, insert_won
from data.bookings.decisions import WOULD_BE_OVERBOOKED, Outcome, Place, Policy, Seen, Wish, keys_of
from data.bookings.holds import write_off_holds
from data.bookings.reading import BookingRecord, rows_by_id
from data.bookings.relocate import relocate_all, step_aside
from data.bookings.status import change_status
from data.clinic.guards import Walk, match_guards, shorten_guards
from data.clinic.snapshot import load_clinic
from data.database.locks import hold_clinic, lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import (
    NotFoundError,
    PatientConflictError,
    PlanNotApplicableError,
    PlanStaleError,
    RequestError,
    SlotUnavailableError,
)
from data.files.changes import AnyChange, SetChange
from data.what_if.clinic_changes import make
from models.tables import BOOKINGS
from solver.clinic.clock import DateOutOfRangeError, check_date, parse_time
from solver.clinic.entities import DAY_MINUTES, Booking, Clinic
from solver.clinic.patients import patient_key
from solver.clinic.request import SlotRequest
from solver.clinic.spans import overlap, provider_busy_span, room_busy_span
from solver.rules.checker import Checker, Violation
from solver.scoring.parts import POINTS, ScoreParts
from solver.slots.query import Slot

APPLY_SECONDS = 300
"""How long the rules may be read over while the transaction waits."""


BOOKING_CHANGED = "BOOKING_CHANGED"


GONE = "GONE"


HELD = "HELD"


FAR_AHEAD = dt.date(2500, 12, 31)


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
    """What was written: bookings by the request they are for, those that moved, and the lost ones.

    `cancelled` are lost ones in whose place the plan puts somebody else; `conflicts` are what the
    clinic's changes leave outside the rules, after the moves; `clinic` has the rows that they name.
    """

    booked: list[tuple[str, BookingRecord]]
    moved: list[BookingRecord]
    cancelled: list[BookingRecord] = field(default_factory=list)
    conflicts: list[Violation] = field(default_factory=list)
    clinic: Clinic | None = None
    left: Walk | None = None
    """The bookings whose guards are still to be looked at, once this is committed."""


async def apply(
    connection: AsyncConnection,
    scenario: Mapping[str, Any],
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
    won, given_up = await _decide(clinic, steps, policy, lost)
    if given_up and not cancel_lost:
        raise PlanNotApplicableError(
            f"The plan found no place for {len(given_up)} of the bookings and puts others in "
            "theirs: send cancel_lost: true to cancel them, and call their patients.",
            lost=sorted(given_up),
        )
    locked = keys_of(won)
    known: dict[str, int] = {}
    resized = _resized(changes)
    today = policy.now.astimezone(clinic.settings.zone).date()
    if changes:
        await hold_clinic(connection)
        known = await outside.broken_now(connection, since=today)
        await make(connection, changes, policy.actor)
        beside = dt.timedelta(days=1)
        await shorten_guards(connection, resized, span[0] - beside, span[1] + beside)
    if locked:
        await lock_days(connection, locked)
    now = await load_clinic(connection, *span)
    if now != clinic:
        won, still = await _decide(now, steps, policy, lost)
        if not keys_of(won) <= locked or not still <= given_up:
            raise ChangedMeanwhileError
        given_up = still
    before = await rows_by_id(connection, list(seen), lock=True)
    _require_in_place(moves, before)  # a hold may have run out
    if any(row.logged != seen[key].logged for key, row in before.items()):
        raise ChangedMeanwhileError
    cancelled = [await change_status(connection, key, "cancel", policy) for key in sorted(given_up)]
    applied = replace(
        await _write(connection, steps, won, before, span, policy), cancelled=cancelled
    )
    if not changes:
        return applied
    left = await match_guards(connection, Walk.of_types(resized) if resized else None)
    found = await outside.find_all_outside(connection, since=today, known=known)
    return replace(applied, conflicts=found.violations, clinic=found.clinic, left=left)


def _resized(changes: Sequence[AnyChange]) -> set[str]:
    """Return the types that `changes` make longer or shorter."""
    return {
        change.id
        for change in changes
        if isinstance(change, SetChange)
        and (change.entity, change.field) == ("appointment_types", "duration_minutes")
        and change.id is not None
    }


async def _as_changed(
    connection: AsyncConnection,
    changes: Sequence[AnyChange],
    policy: Policy,
    span: tuple[dt.date, dt.date],
) -> Clinic:
    """Return the clinic as it will be with `changes`, which are not made yet and lock nothing."""
    if not changes:
        return await load_clinic(connection, *span)
    attempt = await connection.begin_nested()
    await make(connection, changes, policy.actor)
    clinic = await load_clinic(connection, *span)
    await attempt.rollback()
    return clinic


async def _write(
    connection: AsyncConnection,
    steps: Sequence[Step],
    won: Sequence[Seen],
    before: Mapping[str, Row[Any]],
    span: tuple[dt.date, dt.date],
    policy: Policy,
) -> Applied:
    """Write what is won, all of it."""
    await write_off_holds(connection, BOOKINGS.c.date.between(*span))
    await step_aside(connection, [row.id for row in before.values()])
    moves: list[tuple[Row[Any], Seen]] = []
    placed: list[Won] = []
    keys: list[str] = []
    for step, each in zip(steps, won, strict=True):
        if step.booking_id is not None:
            moves.append((before[step.booking_id], each))
        else:
            placed.append(Won(each, Details(step.patient_ref), policy, "plan"))
            keys.append(step.request_id or "")
    moved = await relocate_all(connection, moves, policy, "plan")
    booked = await insert_won(connection, placed)
    return Applied(list(zip(keys, booked, strict=True)), moved)


def _step_of(row: Mapping[str, Any], patient_ref: str | None, accept_overbooked: bool) -> Step:
    place = _place(row, row["appointment_type_id"], accept_overbooked)
    return Step(place, patient_ref, request_id=row["request_id"])


def _step_of_move(move: Mapping[str, Any], row: Row[Any], accept_overbooked: bool) -> Step:
    place = _place(move["to"], str(row.appointment_type_id), accept_overbooked)
    return Step(place, row.patient_ref, booking_id=move["booking_id"])


def _place(row: Mapping[str, Any], kind: str, accept_overbooked: bool) -> Place:
    return Place(
        kind,
        row["provider_id"],
        dt.date.fromisoformat(row["date"]),
        parse_time(row["start_time"]),
        row["room_id"],
        accept_overbooked=accept_overbooked,
    )


def _require_in_place(moves: Sequence[Mapping[str, Any]], rows: Mapping[str, Row[Any]]) -> None:
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


def _wish_of(step: Step, policy: Policy) -> Wish:
    aside = frozenset() if step.booking_id is None else frozenset({step.booking_id})
    return Wish(step.place, policy, step.patient_ref, allow_patient_overlap=False, aside=aside)


async def _decide(
    clinic: Clinic, steps: Sequence[Step], policy: Policy, lost: frozenset[str]
) -> tuple[list[Seen], frozenset[str]]:
    """Return every step's place as it is won at its turn, and the `lost` bookings in the way.

    Off the event loop, for it takes long.
    """
    outcomes, given_up = await asyncio.to_thread(decide_beside_lost, clinic, steps, policy, lost)
    _refuse(
        [
            {**step.name, "reasons": _reasons(outcome)}
            for step, outcome in zip(steps, outcomes, strict=True)
            if not isinstance(outcome, Seen)
        ]
    )
    return [outcome for outcome in outcomes if isinstance(outcome, Seen)], given_up


def decide_beside_lost(
    clinic: Clinic, steps: Sequence[Step], policy: Policy, lost: frozenset[str]
) -> tuple[list[Outcome], frozenset[str]]:
    """Decide on each step, and on which `lost` bookings have to give way so that all are won.

    Where that does not help, none gives way.
    """
    beside = decide_steps(clinic, steps, policy)
    outcomes, given_up = beside, frozenset[str]()
    standing = [b for b in clinic.bookings if b.id in lost and b.is_live]
    while refused := [
        step for step, each in zip(steps, outcomes, strict=True) if not isinstance(each, Seen)
    ]:
        more = {
            b.id
            for b in standing
            if b.id not in given_up and any(_is_in_the_way(clinic, b, step) for step in refused)
        }
        if not more:
            return beside, frozenset()
        given_up |= more
        left = clinic.with_bookings(b for b in clinic.bookings if b.id not in given_up)
        outcomes = decide_steps(left, steps, policy)
    return outcomes, given_up


def _is_in_the_way(clinic: Clinic, booking: Booking, step: Step) -> bool:
    """Whether a booking may be why a step is refused: it overlaps it, or counts for its caps."""
    kinds, place = clinic.type_by_id, step.place
    kind, own = kinds[place.appointment_type_id], kinds[booking.appointment_type_id]
    days = (place.date - booking.date).days
    begin = days * DAY_MINUTES + place.start
    is_by_cap = days == 0 and kind.daily_cap is not None and kind.id == own.id
    if booking.provider_id == place.provider_id:
        provider = clinic.provider_by_id[place.provider_id]
        is_by_cap |= days == 0 and provider.daily_cap is not None
        spans = [
            provider_busy_span(provider, k, s) for k, s in ((own, booking.start), (kind, begin))
        ]
        if overlap(*spans):
            return True
    if booking.room_id == place.room_id:
        room = clinic.room_by_id[booking.room_id]
        taken = room_busy_span(room, own, booking.start)
        if overlap(taken, room_busy_span(room, kind, begin)):
            return True
    is_same_patient = (
        step.patient_ref is not None and patient_key(step.patient_ref) == booking.patient_key
    )
    return is_by_cap or (
        is_same_patient
        and begin < booking.start + own.duration_minutes
        and booking.start < begin + kind.duration_minutes
    )


def decide_steps(clinic: Clinic, steps: Sequence[Step], policy: Policy) -> list[Outcome]:
    """Decide on each step beside all that were won before it.

    One pass with the plain reading of the rules, which needs only the few bookings of the step's
    own provider, room, type and patient. What it refuses is judged as a single booking is, which
    tells the reasons.
    """
    return _Turns(clinic, steps, policy).outcomes()


class _Turns:
    """A book that fills up, kept by what its bookings take and on which dates."""

    def __init__(self, clinic: Clinic, steps: Sequence[Step], policy: Policy) -> None:
        self._clinic, self._steps, self._policy = clinic, steps, policy
        weights = policy.weights
        self._checker = Checker(
            clinic, (weights.preference, weights.gap, weights.room, weights.overbook)
        )
        self._book: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        self._known_dates: dict[dt.date, DateOutOfRangeError | None] = {}
        aside = {step.booking_id for step in steps}
        for booking in clinic.bookings:
            if booking.is_live and booking.id not in aside:
                self._add(booking)

    def outcomes(self) -> list[Outcome]:
        """Return what becomes of each step."""
        outcomes: list[Outcome] = []
        for number, step in enumerate(self._steps):
            try:
                won = self._won(step)
            except (RequestError, DateOutOfRangeError) as error:
                outcomes.append(error)
            else:
                self._add(won.as_booking(f"won {number}"))
                outcomes.append(won)
        return outcomes

    def _won(self, step: Step) -> Seen:
        place, wish = step.place, _wish_of(step, self._policy)
        kind, provider, room = wish.rows(self._clinic)
        self._require_date(place.date)
        assert room is not None  # a plan names its rooms
        around = [
            self._beside(owner, place.date)
            for owner in (provider.id, room.id, kind.id, _patient(wish.patient_key))
        ]
        at_provider, in_room, of_type, of_patient = around
        request = SlotRequest(kind.id, place.date, self._policy.now)
        reading = self._checker.read_among(
            request,
            provider,
            room,
            place.start,
            at_provider=at_provider,
            in_room=in_room,
            of_type=of_type,
        )
        end = place.start + kind.duration_minutes
        is_refused = reading.score is None or (
            reading.is_overbooked and not place.accept_overbooked
        )
        if is_refused or self._is_elsewhere(of_patient, place.date, (place.start, end)):
            known = {booking.id: booking for some in around for booking in some}
            return wish.decide(self._clinic.with_bookings(known.values()))
        assert reading.score is not None
        assert reading.parts is not None
        slot = Slot(
            provider,
            room,
            place.date,
            place.start,
            end,
            int(reading.score * POINTS),
            ScoreParts(*reading.parts),
            reading.is_overbooked,
        )
        return Seen(self._clinic, kind, provider, slot, step.patient_ref)

    def _require_date(self, day: dt.date) -> None:
        if day not in self._known_dates:
            policy = self._policy
            try:
                check_date(self._clinic.settings, day, policy.now, policy.horizon_days)
                self._known_dates[day] = None
            except DateOutOfRangeError as error:
                self._known_dates[day] = error
        refusal = self._known_dates[day]
        if refusal is not None:
            raise refusal

    def _is_elsewhere(self, own: Iterable[Booking], day: dt.date, span: tuple[int, int]) -> bool:
        kinds = self._clinic.type_by_id
        return any(
            b.date == day
            and b.start < span[1]
            and span[0] < b.start + kinds[b.appointment_type_id].duration_minutes
            for b in own
        )

    def _add(self, booking: Booking) -> None:
        owners = {booking.provider_id, booking.room_id, booking.appointment_type_id}
        if booking.patient_ref is not None:
            owners.add(_patient(booking.patient_key))
        for owner in owners:
            self._book[owner, booking.date].append(booking)

    def _beside(self, owner: str, date: dt.date) -> list[Booking]:
        dates = (date + dt.timedelta(days=days) for days in (-1, 0, 1))
        return [b for day in dates for b in self._book.get((owner, day), ())]


def _patient(key: str | None) -> str:
    return f"patient {key}"


def _reasons(error: Exception) -> list[str]:
    match error:
        case SlotUnavailableError():
            return list(error.extra["reasons"])
        case PatientConflictError() | NotFoundError():
            return [error.code]
        case _:
            return ["DATE_OUT_OF_RANGE"]
