"""The steps of a plan, decided on one after another as the book fills up.

The rules are read over once, with the days kept as they fill; what is refused is judged as a single
booking is, which tells the reasons.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.bookings.decisions import BookingRequest, Decision, Outcome, Place, Policy
from data.bookings.index import BookIndex, patient_owner, pool_keys, session_keys
from data.errors import RequestError
from data.files.role_rows import team_of
from solver.clinic.clinic import Clinic
from solver.clinic.clock import DateOutOfRangeError, check_date
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Booking
from solver.clinic.patients import patient_key
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.limits import is_counted_with
from solver.clinic.sessions.of_day import SessionsOfDay, owners_at
from solver.clinic.spans import overlap, provider_busy_span, room_busy_span
from solver.clinic.teams.in_roles import people_busy
from solver.rules.checked_slots import SlotChecker
from solver.scoring.parts import POINTS, ScoreParts
from solver.slots.query import Slot


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


def _request_of(step: Step, policy: Policy) -> BookingRequest:
    ignored = frozenset() if step.booking_id is None else frozenset({step.booking_id})
    return BookingRequest(
        step.place, policy, step.patient_ref, allow_patient_overlap=False, ignored=ignored
    )


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
        step for step, each in zip(steps, outcomes, strict=True) if not isinstance(each, Decision)
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
    """Whether a booking may be why a step is refused.

    It overlaps it, counts for its caps, or has pieces of an equipment pool when the step would.
    """
    place = step.place
    kind, own = (
        clinic.kind_at(place.appointment_type_id, place.provider_id),
        clinic.kind_of(booking),
    )
    days = (place.date - booking.date).days
    begin = days * DAY_MINUTES + place.start
    is_by_cap = days == 0 and kind.daily_cap is not None and kind.id == own.id
    counted = kind.id, place.provider_id, place.room_id, place.date, place.start
    is_by_cap |= days == 0 and is_counted_with(clinic, booking, *counted)
    if booking.provider_id == place.provider_id:
        provider = clinic.provider_by_id[place.provider_id]
        differs = clinic.provider_type(provider.id, kind.id)
        of_pair = None if differs is None or kind.id != own.id else differs.daily_cap
        caps = provider.daily_cap, provider.daily_minutes, of_pair
        is_by_cap |= days == 0 and caps != (None, None, None)
        taken = provider_busy_span(provider, own, booking.start)
        if overlap(taken, provider_busy_span(provider, kind, begin)):
            return True
    if booking.room_id == place.room_id:
        room = clinic.room_by_id[booking.room_id]
        taken = room_busy_span(room, own, booking.start)
        if overlap(taken, room_busy_span(room, kind, begin)):
            return True
    is_same_patient = (
        step.patient_ref is not None and patient_key(step.patient_ref) == booking.patient_key
    )
    appointment = booking.start, booking.start + own.duration_minutes
    for pool in clinic.pools_of(kind):
        if pool.id in {need.pool_id for need in own.required_pools} and overlap(
            pool.out(*appointment), pool.out(begin, begin + kind.duration_minutes)
        ):
            return True
    if _share_somebody(clinic, booking, own, step, kind, begin):
        return True
    return is_by_cap or (
        is_same_patient and overlap(appointment, (begin, begin + kind.duration_minutes))
    )


def _share_somebody(
    clinic: Clinic,
    booking: Booking,
    own: AppointmentType,
    step: Step,
    kind: AppointmentType,
    begin: int,
) -> bool:
    """Whether somebody in a role of one of the two is busy with the other at the same time."""
    if not booking.team and not step.place.team:
        return False
    theirs = people_busy(clinic, own, booking.provider_id, booking.start, booking.team)
    mine = people_busy(clinic, kind, step.place.provider_id, begin, step.place.team)
    return any(key in mine and overlap(span, mine[key]) for key, span in theirs.items())


def decide_steps(clinic: Clinic, steps: Sequence[Step], policy: Policy) -> list[Outcome]:
    """Decide on each step beside all that were won before it.

    One pass with the plain reading of the rules, which needs only the few bookings of the step's
    own provider, room, type and patient. What it refuses is judged as a single booking is, which
    tells the reasons.
    """
    return _Turns(clinic, steps, policy).outcomes()


class _Turns:
    """The steps of a plan in their order, beside a book that fills up."""

    def __init__(self, clinic: Clinic, steps: Sequence[Step], policy: Policy) -> None:
        self._clinic, self._steps, self._policy = clinic, steps, policy
        weights = policy.weights
        self._checker = SlotChecker(
            clinic, (weights.preference, weights.gap, weights.room, weights.overbook)
        )
        ignored = {step.booking_id for step in steps}
        self._book = BookIndex(
            clinic, (b for b in clinic.bookings if b.is_live and b.id not in ignored)
        )
        self._known_dates: dict[dt.date, DateOutOfRangeError | None] = {}

    def outcomes(self) -> list[Outcome]:
        """Return what becomes of each step."""
        outcomes: list[Outcome] = []
        for number, step in enumerate(self._steps):
            try:
                granted = self._won(step)
            except (RequestError, DateOutOfRangeError) as error:
                outcomes.append(error)
            else:
                self._book.add(granted.as_booking(f"won {number}"))
                outcomes.append(granted)
        return outcomes

    def _won(self, step: Step) -> Decision:
        place, request = step.place, _request_of(step, self._policy)
        kind, provider, room = request.rows(self._clinic)
        self._require_date(place.date)
        assert room is not None  # a plan names its rooms
        around = [
            self._book.beside(owner, place.date)
            for owner in (provider.id, room.id, kind.id, patient_owner(request.patient_key))
        ]
        at_provider, in_room, of_type, of_patient = around
        counting = session_keys(self._clinic, kind.id, place.date, place.start)
        elsewhere = [b for key in counting for b in self._book.beside(key, place.date)]
        pooled = [self._book.beside(key, place.date) for key in pool_keys(self._clinic, kind.id)]
        of_pools = {booking.id: booking for some in pooled for booking in some}
        people = request.people_in(self._clinic)
        members = {b.id: b for key in people for b in self._book.beside(key, place.date)}
        slot_request = SlotRequest(kind.id, place.date, self._policy.now, team=place.team)
        reading = self._checker.read_among(
            slot_request,
            provider,
            room,
            place.start,
            at_provider=at_provider,
            in_room=in_room,
            of_type=of_type,
            elsewhere=elsewhere,
            of_pools=list(of_pools.values()),
            of_members=list(members.values()),
        )
        end = place.start + kind.duration_minutes
        is_refused = reading.score is None or (
            reading.is_overbooked and not place.accept_overbooked
        )
        if is_refused or self._is_elsewhere(of_patient, place.date, (place.start, end)):
            known = of_pools | members | {b.id: b for some in (*around, elsewhere) for b in some}
            return request.decide(self._clinic.with_bookings(known.values()))
        assert reading.score is not None
        assert reading.parts is not None
        sessions = SessionsOfDay.on(self._clinic, place.date)
        slot = Slot(
            kind,
            provider,
            room,
            place.date,
            place.start,
            end,
            int(reading.score * POINTS),
            ScoreParts(*reading.parts),
            reading.is_overbooked,
            session_ids=sessions.admitting(
                owners_at(provider.id, room.id), (place.start, end), kind.id
            ),
            team=team_of(dict(reading.team)),
        )
        return Decision(self._clinic, slot, step.patient_ref)

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
        return any(
            b.date == day
            and b.start < span[1]
            and span[0] < b.start + self._clinic.kind_of(b).duration_minutes
            for b in own
        )
