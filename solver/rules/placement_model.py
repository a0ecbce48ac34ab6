"""The scheduling rules as a CP-SAT model, one method a rule.

A candidate is one provider, room, start and kind (regular or overbooked). It implies a presence
literal of its provider at that start and one of its room at that start, each carrying an optional
interval; the rules speak of those literals only, so a thousand candidates over few providers and
rooms stay few intervals.

The candidates stand in one of two relations:

* *rivals* (the default): exactly one is chosen. Enumerating the solutions enumerates the feasible
  placements; maximising the score proves the best one.
* *independent*: each is judged as though it were alone, against what is booked. The most that can
  be chosen at once are then all the feasible ones, found and proved in a single solve.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.clock import clock_changes
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, OverbookingRule, Span
from solver.clinic.spans import merge, provider_busy_span, room_busy_span, window_around


class SolveError(RuntimeError):
    """The solver ended without the proof that was asked for."""


@dataclass(frozen=True)
class Candidates:
    """Placements to decide on, column by column, each of shape [n]; positions in a Day."""

    provider: Ints
    room: Ints
    start: Ints
    """Minutes after midnight."""
    is_overbooked: Bools

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: slice | Ints | Bools) -> Candidates:
        return Candidates(
            self.provider[chosen],
            self.room[chosen],
            self.start[chosen],
            self.is_overbooked[chosen],
        )

    @classmethod
    def every(cls, day: Day, starts: Ints) -> Candidates:
        """Every provider, room, start and kind there is, none left out beforehand."""
        grid = np.indices((len(day.providers), len(day.rooms), len(starts), 2)).reshape(4, -1)
        return cls(grid[0], grid[1], starts[grid[2]], grid[3] == 1)


@dataclass(frozen=True, slots=True)
class _AtProvider:
    """A provider's presence at one start; `world` keeps independent ones apart."""

    provider: int
    start: int
    is_overbooked: bool
    literal: cp_model.IntVar
    world: int


@dataclass(frozen=True, slots=True)
class _AtRoom:
    room: int
    start: int
    literal: cp_model.IntVar
    world: int


class PlacementModel:
    """The seven rules over a set of candidates of one appointment type on one date."""

    def __init__(
        self,
        day: Day,
        kind: AppointmentType,
        candidates: Candidates,
        *,
        earliest: int = 0,
        grid: int | None = None,
        independent: bool = False,
    ) -> None:
        self._day = day
        self._kind = kind
        self._earliest = earliest
        self._grid = grid or day.clinic.settings.grid_minutes
        self._independent = independent
        self.model = _Model()
        self.chosen: list[cp_model.IntVar] = []
        self._implied: list[tuple[_AtProvider, _AtRoom]] = []
        self._at_provider: dict[tuple[int, int, bool], _AtProvider] = {}
        self._at_room: dict[tuple[int, int], _AtRoom] = {}
        self._facts: dict[int, _ProviderFacts] = {}

        self._choose_among(candidates)
        self._time_is_bookable()
        self._active_with_skills_and_equipment()
        self._within_open_windows()
        self._room_is_free()
        self._type_under_its_cap()
        self._regular_within_capacity()
        self._overbooked_by_allowance()

    # Candidates and the literals they imply

    def _choose_among(self, candidates: Candidates) -> None:
        model = self.model
        for provider, room, start, is_overbooked in zip(
            candidates.provider.tolist(),
            candidates.room.tolist(),
            candidates.start.tolist(),
            candidates.is_overbooked.tolist(),
            strict=True,
        ):
            choice = model.new_bool_var("")
            self.chosen.append(choice)
            at = self._provider_presence(provider, start, is_overbooked)
            place = self._room_presence(room, start)
            self._implied.append((at, place))
            model.add_implication(choice, at.literal)
            model.add_implication(choice, place.literal)
        if not self._independent:
            model.add_exactly_one(self.chosen)
            model.add_exactly_one(at.literal for at in self._at_provider.values())
            model.add_exactly_one(at.literal for at in self._at_room.values())

    def _provider_presence(self, provider: int, start: int, is_overbooked: bool) -> _AtProvider:
        key = (provider, start, is_overbooked)
        at = self._at_provider.get(key)
        if at is None:
            world = len(self._at_provider) if self._independent else 0
            literal = self.model.new_bool_var("")
            at = self._at_provider[key] = _AtProvider(*key, literal, world)
        return at

    def _room_presence(self, room: int, start: int) -> _AtRoom:
        key = (room, start)
        at = self._at_room.get(key)
        if at is None:
            world = len(self._at_room) if self._independent else 0
            literal = self.model.new_bool_var("")
            at = self._at_room[key] = _AtRoom(*key, literal, world)
        return at

    # The rules

    def _time_is_bookable(self) -> None:
        """Starts lie on the grid and after the notice; nothing meets a clock change."""
        changes = clock_changes(self._day.clinic.settings.zone, self._day.date)
        for at in self._at_provider.values():
            end = at.start + self._kind.duration_minutes
            if (
                at.start % self._grid
                or at.start < self._earliest
                or end > DAY_MINUTES
                or any(at.start < to and from_ < end for from_, to in changes)
            ):
                self._exclude(at.literal)

    def _active_with_skills_and_equipment(self) -> None:
        """Rule 1: active rows only; the provider has the skills, the room the equipment."""
        for at in self._at_provider.values():
            provider = self._day.providers[at.provider]
            if not (
                self._kind.active
                and provider.active
                and provider.skills >= self._kind.required_skills
            ):
                self._exclude(at.literal)
        for place in self._at_room.values():
            room = self._day.rooms[place.room]
            if not (room.active and room.equipment >= self._kind.required_equipment):
                self._exclude(place.literal)

    def _within_open_windows(self) -> None:
        """Rule 2: the appointment lies in one open window of the provider and of the room."""
        for at in self._at_provider.values():
            self._stay_open(at.literal, self._day.provider_windows[at.provider], at.start)
        for place in self._at_room.values():
            self._stay_open(place.literal, self._day.room_windows[place.room], place.start)

    def _room_is_free(self) -> None:
        """Rule 3: a room's busy spans never overlap."""
        intervals = defaultdict(list)
        for place in self._at_room.values():
            span = room_busy_span(self._day.rooms[place.room], self._kind, place.start)
            intervals[place.room, place.world].append(self._interval(span, place.literal))
        self._no_overlap(intervals, self._room_busy)

    def _type_under_its_cap(self) -> None:
        """Rule 5: the type's live bookings on the date stay within its cap."""
        cap = self._kind.daily_cap
        if cap is None:
            return
        book = self._day.book
        position = self._day.clinic.appointment_types.index(self._kind)
        booked = int((book.on_date & (book.appointment_type == position)).sum())
        worlds = defaultdict(list)
        for at in self._at_provider.values():
            worlds[at.world].append(at.literal)
        for literals in worlds.values():
            self._at_most(literals, cap - booked)

    def _regular_within_capacity(self) -> None:
        """Rule 6: a regular placement meets no booking of its provider and fits under the cap."""
        intervals = defaultdict(list)
        literals = defaultdict(list)
        for at in self._at_provider.values():
            if not at.is_overbooked:
                intervals[at.provider, at.world].append(
                    self._interval(self._busy_span(at), at.literal)
                )
                literals[at.provider, at.world].append(at.literal)
        self._no_overlap(intervals, lambda provider: self._provider_facts(provider).busy)
        for (provider, _), present in literals.items():
            cap = self._day.providers[provider].daily_cap
            if cap is not None:
                booked = self._provider_facts(provider).regular
                self._at_most(present, cap - booked)

    def _overbooked_by_allowance(self) -> None:
        """Rule 7: an overbooked placement could not be regular, and some allowance covers it.

        Under each allowance that covers it, one row bounds the bookings it meets and one the
        provider's overbooked bookings of the day; the placement uses exactly one allowance.
        """
        in_world: dict[tuple[int, int], list[_AtProvider]] = defaultdict(list)
        for at in self._at_provider.values():
            if at.is_overbooked:
                in_world[at.provider, at.world].append(at)
        for (provider, _), present in in_world.items():
            facts = self._provider_facts(provider)
            cap = self._day.providers[provider].daily_cap
            cap_is_reached = cap is not None and facts.regular >= cap
            of_the_day = facts.overbooked + cp_model.LinearExpr.sum([at.literal for at in present])
            for at in present:
                meets = facts.meets(self._busy_span(at))
                if at.start in facts.starts or not (meets or cap_is_reached):
                    self._exclude(at.literal)
                    continue
                allowances = []
                for rule in self._allowances(provider, at.start):
                    allowance = self.model.new_bool_var("")
                    allowances.append(allowance)
                    if meets > rule.max_overlap:
                        self._exclude(allowance)
                    self.model.add(of_the_day <= rule.max_per_day).only_enforce_if(allowance)
                self.model.add_exactly_one([*allowances, at.literal.negated()])

    # What they are built from

    def _exclude(self, literal: cp_model.IntVar) -> None:
        self.model.add_bool_and([literal.negated()])

    def _at_most(self, literals: list[cp_model.IntVar], places: int) -> None:
        """Bound the literals by the places left; a book that is over its cap leaves none."""
        self.model.add(cp_model.LinearExpr.sum(literals) <= max(0, places))

    def _stay_open(self, literal: cp_model.IntVar, windows: Sequence[Span], start: int) -> None:
        if window_around(windows, start, start + self._kind.duration_minutes) is None:
            self._exclude(literal)

    def _interval(self, span: Span, literal: cp_model.IntVar) -> cp_model.IntervalVar:
        return self.model.new_optional_fixed_size_interval_var(
            span[0], span[1] - span[0], literal, ""
        )

    def _no_overlap(
        self,
        intervals: dict[tuple[int, int], list[cp_model.IntervalVar]],
        busy: Callable[[int], list[Span]],
    ) -> None:
        """Keep each resource's intervals apart from one another and from what is booked.

        Bookings may overlap among themselves (overbooked ones do); merged they say the same.
        """
        booked: dict[int, list[cp_model.IntervalVar]] = {}
        for (resource, _), optional in intervals.items():
            if resource not in booked:
                booked[resource] = [
                    self.model.new_fixed_size_interval_var(start, end - start, "")
                    for start, end in busy(resource)
                ]
            if len(optional) + len(booked[resource]) > 1:
                self.model.add_no_overlap(optional + booked[resource])

    def _busy_span(self, at: _AtProvider) -> Span:
        """Rule 4: the provider busy span."""
        return provider_busy_span(self._day.providers[at.provider], self._kind, at.start)

    def _room_busy(self, room: int) -> list[Span]:
        book = self._day.book
        here = np.flatnonzero(book.room == room)
        return merge(_spans(book.room_busy, here))

    def _provider_facts(self, provider: int) -> _ProviderFacts:
        if provider not in self._facts:
            self._facts[provider] = _ProviderFacts.of(self._day, provider)
        return self._facts[provider]

    def _allowances(self, provider: int, start: int) -> list[OverbookingRule]:
        provider_id, weekday = self._day.providers[provider].id, self._day.date.isoweekday()
        return [
            rule
            for rule in self._day.clinic.overbooking_rules
            if rule.covers(provider_id, self._kind, weekday, start)
        ]

    # The three ways to solve it

    def certify(self) -> Bools:
        """[n] which independent candidates are feasible, each proved so or proved not.

        Raises
        ------
        SolveError
            When the solver ends without a proof.
        """
        assert self._independent
        self.model.maximize(cp_model.LinearExpr.sum(self.chosen))
        solver = _solver()
        solver.parameters.optimize_with_core = True
        status = solver.solve(self.model)
        if status != cp_model.OPTIMAL:
            raise SolveError(f"certifying ended {solver.status_name(status)}")
        return np.array(self._values(solver), np.bool_)

    def enumerate(self) -> Ints:
        """Positions of every feasible candidate among rivals, ascending."""
        assert not self._independent
        solver = _solver()
        solver.parameters.enumerate_all_solutions = True
        solver.parameters.fill_additional_solutions_in_response = True
        allowances = 1 + len(self._day.clinic.overbooking_rules)
        solver.parameters.solution_pool_size = len(self.chosen) * allowances
        status = solver.solve(self.model)
        if status == cp_model.INFEASIBLE:
            return np.empty(0, np.int64)
        if status != cp_model.OPTIMAL:
            raise SolveError(f"enumerating ended {solver.status_name(status)}")
        indices = [literal.index for literal in self.chosen]
        found = {
            next(i for i, index in enumerate(indices) if solution.values[index])
            for solution in solver.response_proto.additional_solutions
        }
        return np.array(sorted(found), np.int64)

    def best(
        self, at_provider: Sequence[Fraction], in_room: Sequence[Fraction]
    ) -> tuple[int, Fraction] | None:
        """Return a rival that is worth most, and what it is worth, proved; None without any.

        Both have a value for each candidate: what its provider's presence at the start is worth,
        and its room's. Candidates that share a presence literal have the same value there.
        """
        assert not self._independent
        worth: dict[int, tuple[cp_model.IntVar, Fraction]] = {}
        for (at, place), first, second in zip(self._implied, at_provider, in_room, strict=True):
            worth[at.literal.index] = at.literal, first
            worth[place.literal.index] = place.literal, second
        unit = lcm(*(value.denominator for _, value in worth.values()))
        self.model.maximize(sum(int(value * unit) * literal for literal, value in worth.values()))
        solver = _solver()
        status = solver.solve(self.model)
        if status == cp_model.INFEASIBLE:
            return None
        if status != cp_model.OPTIMAL:
            raise SolveError(f"proving the best ended {solver.status_name(status)}")
        return self._values(solver).index(True), Fraction(round(solver.objective_value), unit)

    def _values(self, solver: cp_model.CpSolver) -> list[bool]:
        values = solver.response_proto.solution
        return [bool(values[choice.index]) for choice in self.chosen]


class _Model(cp_model.CpModel):
    """A model without the camel-case names, which take longer to make than a small model."""

    def _add_pre_pep8_methods(self) -> None:
        """Leave the deprecated names out."""


def _spans(busy: tuple[Ints, Ints], chosen: Ints) -> list[Span]:
    return list(zip(busy[0][chosen].tolist(), busy[1][chosen].tolist(), strict=True))


@dataclass(frozen=True)
class _ProviderFacts:
    """What is booked at one provider."""

    spans: list[Span]
    busy: list[Span]
    starts: frozenset[int]
    regular: int
    overbooked: int

    @classmethod
    def of(cls, day: Day, provider: int) -> _ProviderFacts:
        book = day.book
        here = np.flatnonzero(book.provider == provider)
        todays = here[book.on_date[here]]
        overbooked = int(book.is_overbooked[todays].sum())
        spans = _spans(book.provider_busy, here)
        return cls(
            spans=spans,
            busy=merge(spans),
            starts=frozenset(book.start[here].tolist()),
            regular=len(todays) - overbooked,
            overbooked=overbooked,
        )

    def meets(self, span: Span) -> int:
        """Count the bookings whose busy span `span` meets."""
        return sum(start < span[1] and span[0] < end for start, end in self.spans)


def _solver() -> cp_model.CpSolver:
    """Return a solver set up for models this small, where preparing costs more than solving."""
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False  # whoever runs the process handles signals
    parameters = solver.parameters
    parameters.num_workers = 1
    parameters.cp_model_presolve = False
    parameters.linearization_level = 0
    parameters.symmetry_level = 0
    parameters.cp_model_probing_level = 0
    return solver
