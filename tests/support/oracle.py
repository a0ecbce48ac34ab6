"""Every legal plan of a tiny problem, one by one: what the planner's answers are held against.

The rules are written out for it in :mod:`tests.support.rules_by_hand`; nothing is shared with what
makes plans, nor with what else reads them.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, combinations, permutations

from solver.clinic.entities import Booking
from solver.clinic.teams.roles import Member, Team
from solver.planning.problem import Plan, Problem
from tests.support.rules_by_hand import RulesByHand

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
    team: Team = ()


class BruteForce:
    """All plans of one problem that are legal, and pack behind nothing that the run may move.

    With `step` those, too, that pack behind anything, what they place themselves included: at its
    turn each placement may start at any multiple of so many minutes that is then a start.
    """

    def __init__(self, problem: Problem, most: int = 30_000, step: int | None = None) -> None:
        self.problem = problem
        self.most, self.step = most, step
        clinic = problem.clinic
        self.rules = RulesByHand(problem)
        self._known_starts: dict[tuple[str, str, str, dt.date], list[int]] = {}
        self.movable = [
            b
            for b in clinic.bookings
            if b.id in problem.movable
            and b.is_live
            and b.date in problem.dates
            and self.rules.instant(b.date, b.start) >= problem.now
        ]
        self.displaced = {b.id for b in self.movable} & problem.displaced
        self.may_break = problem.left | ({b.id for b in clinic.bookings} - problem.movable)
        moving = {b.id for b in self.movable if self.rules.is_known(b)}
        self.fixed = [b for b in clinic.bookings if b.is_live and b.id not in moving]
        self.requests = {r.id: r for r in problem.requests}
        self.old = {b.id: b for b in self.movable}
        self.kind_of = {r.id: clinic.type_by_id[r.appointment_type_id] for r in problem.requests}
        self.kind_of |= {b.id: clinic.type_by_id[b.appointment_type_id] for b in clinic.bookings}
        self.patient_of = {r.id: r.patient_ref for r in problem.requests}
        self.patient_of |= {b.id: b.patient_ref for b in clinic.bookings}
        self.candidates = {id_: list(self._candidates(id_)) for id_ in [*self.requests, *self.old]}
        self.best: Value | None = None

    def _candidates(self, id_: str) -> Iterator[Candidate]:
        """Where it could go in its type's rhythm, or right behind what the run may not move."""
        clinic = self.problem.clinic
        request, kind = self.requests.get(id_), self.kind_of[id_]
        for date in self.problem.dates:
            if request is not None and request.dates is not None and date not in request.dates:
                continue
            for provider in clinic.providers:
                if request is not None and request.provider_id not in (None, provider.id):
                    continue
                for room in clinic.rooms:
                    for start in self._starts(provider.id, room.id, kind.id, date):
                        place = (provider.id, room.id, date, start)
                        new = Booking(id_, provider.id, room.id, kind.id, date, start)
                        if self.rules.is_bookable(new) and not self._is_own(id_, place):
                            for team in self._teams(new):
                                yield Candidate(id_, *place, team)

    def _teams(self, b: Booking) -> Iterator[Team]:
        """Every complete team of those who could be in the roles, whatever else is booked."""
        roles = self.rules.roles(b)
        others = [p.id for p in self.problem.clinic.providers if p.id != b.provider_id]
        for chosen in permutations(others, len(roles)):
            pairs = zip(roles, chosen, strict=True)
            if all(self.rules.is_able(b, role, span, member) for (role, span), member in pairs):
                pairs = zip(roles, chosen, strict=True)
                yield tuple(Member(role.key, member) for (role, _), member in pairs)

    def _starts(self, provider: str, room: str, kind: str, date: dt.date) -> list[int]:
        if self.step is not None:
            return list(range(0, 1440, self.step))
        key = (provider, room, kind, date)
        if key not in self._known_starts:
            asked = (Booking("", provider, room, kind, date, m) for m in range(1440))
            self._known_starts[key] = [
                b.start for b in asked if self.rules.is_in_rhythm(b, self.fixed)
            ]
        return self._known_starts[key]

    def _is_own(self, id_: str, place: tuple[str, str, dt.date, int]) -> bool:
        old = self.old.get(id_)
        return old is not None and place == (old.provider_id, old.room_id, old.date, old.start)

    def booked(self, c: Candidate, book: frozenset[Booking]) -> Booking | None:
        """The booking that a candidate becomes at its turn, if it may."""
        rules, kind = self.rules, self.kind_of[c.id]
        new = Booking(
            c.id,
            c.provider_id,
            c.room_id,
            kind.id,
            c.date,
            c.start,
            self.patient_of[c.id],
            team=c.team,
        )
        if (
            rules.is_room_taken(new, book)
            or rules.is_equipment_out(new, book)
            or rules.is_role_unfilled(new, book, is_new=True)
            or rules.is_type_full(new, book)
            or rules.is_pair_full(new, book)
            or rules.has_no_time_to_travel(new, book)
            or rules.is_session_full(new, book, is_new=True)
        ):
            return None
        if self.step is not None and not rules.is_in_rhythm(new, book):
            return None
        for b in book:
            is_same = new.patient_key is not None and b.patient_key == new.patient_key
            if is_same and rules.patient_is_elsewhere(new, b):
                return None
        if not rules.overlapping(new, book) and not rules.is_provider_full(new, book):
            return new
        if not self.problem.allow_overbooking or not rules.may_overbook(new, book):
            return None
        return replace(new, is_overbooked=True)

    # The search

    def run(self) -> Value:
        """The value of the best plan."""
        movable = [b.id for b in self.movable]
        live = [b for b in self.problem.clinic.bookings if b.is_live]
        subsets = chain.from_iterable(combinations(movable, n) for n in range(len(movable) + 1))
        for subset in subsets:
            freed = frozenset(subset)
            book = frozenset(b for b in live if b.id not in freed)
            if not self.is_sound(book):
                continue
            states = self.reachable(book, sorted(freed), must=set(freed - self.displaced))
            requests = sorted(self.requests)
            for state in states:
                self.search(state, requests, freed)
        assert self.best is not None
        return self.best

    def is_sound(self, book: frozenset[Booking]) -> bool:
        """Whether nothing breaks a rule that could move and is not left alone."""
        known = frozenset(b for b in book if self.rules.is_known(b))
        return not any(
            self.rules.breaks_a_rule(b, known) for b in known if b.id not in self.may_break
        )

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

    def search(self, book: frozenset[Booking], ids: list[str], freed: frozenset[str]) -> None:
        """Go through all books that placing requests leads to, but for the hopeless."""
        moved = {b.id for b in book} & freed
        saved = len(self.displaced) - len(freed - moved)
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

    # The value of a finished plan

    def score(self, book: frozenset[Booking]) -> Fraction:
        return sum((self.score_of(b, book) for b in book), Fraction(0))

    def score_of(self, b: Booking, book: frozenset[Booking]) -> Fraction:
        if b.date not in self.problem.dates:
            return Fraction(0)
        request = self.requests.get(b.id)
        return self.rules.score(b, book, None if request is None else request.preferred)

    def value_of(self, plan: Plan) -> Value:
        """Make a plan's moves and placements in their order, and return its value.

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
            place = Candidate(p.id, p.provider_id, p.room_id, p.date, p.start, p.team)
            assert place in self.candidates[p.id]
            assert p.id not in {b.id for b in book}
            new = self.booked(place, book)
            assert new is not None
            assert new.is_overbooked == p.is_overbooked
            book |= {new}
        assert self.is_sound(book)
        return (
            len(self.displaced) - len(plan.lost),
            sum(self.requests[p.id].priority for p in plan.placements),
            -len(moved),
            -sum(self.minutes(b) for b in book if b.id in moved),
            self.score(book),
        )
