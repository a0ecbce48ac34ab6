"""Every legal plan of a tiny problem, one by one: what the planner's answers are held against.

The static rules (time, skills, equipment, windows) are read by the checker; the others, those in
which placements meet, stand here again in their plainest form. Nothing of the model is used.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, combinations

from solver.clinic.clock import instant
from solver.clinic.entities import AppointmentType, Booking, Span
from solver.clinic.request import SlotRequest
from solver.planning.problem import Plan, Problem
from solver.rules.checker import Checker, _busy, _meet

type Value = tuple[int, int, int, int, Fraction]
"""Saved, priority, moved and minutes (negative), score: compared from left to right."""


class TooManyPlansError(Exception):
    """The problem is not tiny."""


@dataclass(frozen=True)
class Candidate:
    """Somewhere a request or a booking could go."""

    id: str
    provider_id: str
    room_id: str
    date: dt.date
    start: int


class BruteForce:
    """All legal plans of one problem."""

    def __init__(self, problem: Problem, most: int = 30_000) -> None:
        self.problem = problem
        self.most = most
        clinic = problem.clinic
        self.checker = Checker(clinic)
        zone = clinic.settings.zone
        self.movable = [
            b
            for b in clinic.bookings
            if b.id in problem.movable
            and b.is_live
            and b.date in problem.dates
            and instant(zone, b.date, b.start) >= problem.now
        ]
        self.displaced = {b.id for b in self.movable} & problem.displaced
        self.may_break = problem.left | ({b.id for b in clinic.bookings} - problem.movable)
        self.requests = {r.id: r for r in problem.requests}
        self.old = {b.id: b for b in self.movable}
        self.kind_of = {r.id: clinic.type_by_id[r.appointment_type_id] for r in problem.requests}
        self.kind_of |= {b.id: clinic.type_by_id[b.appointment_type_id] for b in clinic.bookings}
        self.patient_of = {r.id: r.patient_ref for r in problem.requests}
        self.patient_of |= {b.id: b.patient_ref for b in clinic.bookings}
        self.candidates = {id_: list(self._candidates(id_)) for id_ in [*self.requests, *self.old]}
        self.best: Value | None = None
        self.count = 0

    def _candidates(self, id_: str) -> Iterator[Candidate]:
        clinic = self.problem.clinic.with_bookings(())
        request, kind = self.requests.get(id_), self.kind_of[id_]
        checker = Checker(clinic)
        for date in self.problem.dates:
            if request is not None and request.dates is not None and date not in request.dates:
                continue
            ask = SlotRequest(kind.id, date, self.problem.now)
            for provider in clinic.providers:
                if request is not None and request.provider_id not in (None, provider.id):
                    continue
                for room in clinic.rooms:
                    for start in range(0, 1440, clinic.settings.grid_minutes):
                        broken = set(checker.read(ask, provider, room, start).broken)
                        place = (provider.id, room.id, date, start)
                        if broken & {0, 1, 2} or self._is_own(id_, place):
                            continue
                        yield Candidate(id_, *place)

    def _is_own(self, id_: str, place: tuple[str, str, dt.date, int]) -> bool:
        old = self.old.get(id_)
        return old is not None and place == (old.provider_id, old.room_id, old.date, old.start)

    # The rules in which bookings meet

    def kind(self, b: Booking) -> AppointmentType:
        return self.kind_of[b.id]

    def span(self, b: Booking, owner: str) -> Span:
        clinic = self.problem.clinic
        row = clinic.provider_by_id.get(owner) or clinic.room_by_id[owner]
        start, end = _busy(row, self.kind(b), b.start)
        shift = (b.date - self.problem.start_date).days * 1440
        return start + shift, end + shift

    def booked(self, c: Candidate, book: frozenset[Booking]) -> Booking | None:
        """The booking that a candidate becomes at its turn, if it may."""
        clinic = self.problem.clinic
        kind, provider = self.kind_of[c.id], clinic.provider_by_id[c.provider_id]
        new = Booking(c.id, c.provider_id, c.room_id, kind.id, c.date, c.start)
        todays = [b for b in book if b.date == c.date]
        for b in book:
            if b.room_id == c.room_id and _meet(self.span(new, c.room_id), self.span(b, c.room_id)):
                return None
        of_type = [b for b in todays if b.appointment_type_id == kind.id]
        if kind.daily_cap is not None and len(of_type) >= kind.daily_cap:
            return None
        patient = self.patient_of[c.id]
        mine = (c.start, c.start + kind.duration_minutes)
        for b in todays:
            theirs = (b.start, b.start + self.kind(b).duration_minutes)
            if patient is not None and self.patient_of[b.id] == patient and _meet(mine, theirs):
                return None
        here = [b for b in book if b.provider_id == c.provider_id]
        busy = self.span(new, c.provider_id)
        met = sum(_meet(busy, self.span(b, c.provider_id)) for b in here)
        regular = sum(not b.is_overbooked for b in here if b.date == c.date)
        overbooked = sum(b.is_overbooked for b in here if b.date == c.date)
        is_full = provider.daily_cap is not None and regular >= provider.daily_cap
        if not met and not is_full:
            return new
        if not self.problem.allow_overbooking:
            return None
        if any(b.start == c.start for b in here if b.date == c.date):
            return None
        is_allowed = self.checker._is_allowed(provider, kind, c.date, c.start, met, overbooked)
        return replace(new, is_overbooked=True) if is_allowed else None

    # The search

    def run(self) -> Value:
        """The value of the best plan."""
        movable = [b.id for b in self.movable]
        live = [b for b in self.problem.clinic.bookings if b.is_live]
        subsets = chain.from_iterable(combinations(movable, n) for n in range(len(movable) + 1))
        for subset in subsets:
            lifted = frozenset(subset)
            book = frozenset(b for b in live if b.id not in lifted)
            if not self.is_sound(book):
                continue
            states = self.reachable(book, sorted(lifted), must=set(lifted - self.displaced))
            requests = sorted(self.requests)
            for state in states:
                self.search(state, requests, lifted)
        assert self.best is not None
        return self.best

    def is_sound(self, book: frozenset[Booking]) -> bool:
        """Whether nothing stands against a rule that could move and is not left alone."""
        known = (b for b in book if self.is_known(b))
        read = Checker(self.problem.clinic.with_bookings(known)).violations()
        return all(v.booking.id in self.may_break for v in read)

    def is_known(self, b: Booking) -> bool:
        clinic = self.problem.clinic
        return b.provider_id in clinic.provider_by_id and b.room_id in clinic.room_by_id

    def reachable(
        self, book: frozenset[Booking], ids: list[str], must: set[str]
    ) -> set[frozenset[Booking]]:
        """All books that moving some of `ids`, in any order, leads to."""
        seen = {book}
        pending = [book]
        while pending:
            state = pending.pop()
            pending += self.next_books(state, ids, seen)
        return {state for state in seen if must <= {b.id for b in state}}

    def next_books(
        self, state: frozenset[Booking], ids: list[str], seen: set[frozenset[Booking]]
    ) -> list[frozenset[Booking]]:
        """The books, not seen before, that one more of `ids` leads to."""
        placed = {b.id for b in state}
        found = []
        for id_ in ids:
            if id_ not in placed:
                for c in self.candidates[id_]:
                    new = self.booked(c, state)
                    if new is not None and (after := state | {new}) not in seen:
                        seen.add(after)
                        found.append(after)
        self.tick(len(seen))
        return found

    def tick(self, count: int) -> None:
        if count > self.most:
            raise TooManyPlansError

    def search(self, book: frozenset[Booking], ids: list[str], lifted: frozenset[str]) -> None:
        """Go through all books that placing requests leads to, but for the hopeless."""
        moved = {b.id for b in book} & lifted
        saved = len(self.displaced) - len(lifted - moved)
        distance = sum(self.minutes(b) for b in book if b.id in moved)
        seen = {book}
        pending = [book]
        while pending:
            state = pending.pop()
            placed = {b.id for b in state}
            priority = sum(self.requests[i].priority for i in ids if i in placed)
            top = (saved, priority, -len(moved), -distance)
            if self.best is None or top >= self.best[:4]:
                value = (*top, self.score(state))
                if self.best is None or value > self.best:
                    self.best = value
            hope = sum(r.priority for r in self.requests.values())
            if (saved, hope, -len(moved), -distance) < self.best[:4]:
                continue
            pending += self.next_books(state, ids, seen)

    def minutes(self, b: Booking) -> int:
        old = self.old[b.id]
        return abs((b.date - old.date).days * 1440 + b.start - old.start)

    # What a finished plan is worth

    def score(self, book: frozenset[Booking]) -> Fraction:
        return sum((self.score_of(b, book) for b in book), Fraction(0))

    def score_of(self, b: Booking, book: frozenset[Booking]) -> Fraction:
        if b.date not in self.problem.dates:
            return Fraction(0)
        clinic, kind = self.problem.clinic, self.kind(b)
        provider, room = clinic.provider_by_id[b.provider_id], clinic.room_by_id[b.room_id]
        request = self.requests.get(b.id)
        preferred = None if request is None else request.preferred
        ask = SlotRequest(kind.id, b.date, self.problem.now, preferred=preferred)
        others = [o for o in book if o is not b and o.provider_id == b.provider_id]
        mine = self.checker.busy(b, b.date, provider)
        end = b.start + kind.duration_minutes
        gap = Fraction(0)
        is_open = self.checker.open_minutes(provider, b.date)
        is_met = any(_meet(mine, self.checker.busy(o, b.date, provider)) for o in others)
        is_inside = end <= 1440 and all(is_open[b.start : end])
        if is_inside and not is_met:
            gap = self.checker._gap(provider, b.date, mine, (b.start, end), others)
        parts = (
            self.checker._preference(ask, kind, b.start),
            gap,
            Fraction(1, 1 + len(room.equipment - kind.required_equipment)),
            Fraction(not b.is_overbooked),
        )
        return sum((w * p for w, p in zip(self.checker.weights, parts, strict=True)), Fraction(0))

    def value_of(self, plan: Plan) -> Value:
        """Make a plan's moves and placements in their order; what it is worth then.

        Raises
        ------
        AssertionError
            When one of them may not be made at its turn, or is not what it is called.
        """
        clinic = self.problem.clinic
        moved = {move.id for move in plan.moves}
        assert moved.isdisjoint(plan.lost)
        assert set(plan.lost) <= self.displaced
        gone = moved | set(plan.lost)
        book = frozenset(b for b in clinic.bookings if b.is_live and b.id not in gone)
        assert self.is_sound(book)
        for p in chain(plan.moves, plan.placements):
            place = Candidate(p.id, p.provider_id, p.room_id, p.date, p.start)
            assert place in self.candidates[p.id]
            assert p.id not in {b.id for b in book}
            new = self.booked(place, book)
            assert new is not None
            assert new.is_overbooked == p.is_overbooked
            at = Checker(clinic.with_bookings(b for b in book))
            reading = at.read(
                SlotRequest(self.kind_of[p.id].id, p.date, self.problem.now),
                clinic.provider_by_id[p.provider_id],
                clinic.room_by_id[p.room_id],
                p.start,
            )
            assert reading.broken == ()
            assert reading.is_overbooked == p.is_overbooked
            book |= {new}
        assert self.is_sound(book)
        return (
            len(self.displaced) - len(plan.lost),
            sum(self.requests[p.id].priority for p in plan.placements),
            -len(moved),
            -sum(self.minutes(b) for b in book if b.id in moved),
            self.score(book),
        )
