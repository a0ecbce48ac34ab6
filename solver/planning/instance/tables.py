"""A planning problem laid out as arrays: what can be placed where, beside the fixed bookings.

Bookings that may move are taken out of the book before the masks are built, so the masks know only
the fixed bookings. Every appointment type has one dense table over providers, dates and starts; a
*position* is an index into it, raveled. Minutes are *absolute*: they count from the midnight at
which the horizon begins, so that busy spans that reach over midnight need no special case.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cached_property

import numpy as np

from solver.arrays import Ints, Small
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.capacity import Capacity
from solver.planning.instance.layout import (
    booking_tasks,
    fixed_booking,
    may_move,
    patient_spans,
    posts_of,
    request_tasks,
    score_unit,
    type_tables,
)
from solver.planning.instance.session_places import SessionPlaces
from solver.planning.instance.tasks import Assignment, FixedBooking, Task, no_room
from solver.planning.instance.type_table import TypeTable
from solver.planning.pools import PoolsLeft
from solver.planning.problem import Problem
from solver.scoring.parts import shortest_durations

TABLE_BYTES = 20
"""What a type's table takes of the memory at each position."""


KEPT_BYTES = 64 * 2**20
"""What the positions of tasks that are kept may take of the memory, in each process."""


class Instance:
    """A problem as arrays. See the module.

    Attributes
    ----------
    kinds
        A table per appointment type, in the clinic's order.
    fixed
        Bookings that stay in any plan, of the horizon and the dates beside it.
    session_places, capacity, pools
        The places of sessions, all left; what these and caps, and pools, leave beside `fixed`.
    tasks
        What is to be placed; those of bookings first.
    unit
        The score's unit: scores are whole multiples of 1 / `unit`.
    """

    def __init__(self, problem: Problem, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.problem, self.dates, self.places = problem, problem.dates, problem.clinic.places
        movable = [b for b in problem.clinic.bookings if may_move(problem, b)]
        moving = {b.id for b in movable}
        self.clinic = problem.clinic.with_bookings(
            b for b in problem.clinic.bookings if b.id not in moving
        )
        self.days = [Day.of(self.clinic, date) for date in self.dates]
        self.providers, self.rooms = self.days[0].providers, self.days[0].rooms
        self.provider_at = {p.id: i for i, p in enumerate(self.providers)}
        self.room_at = {r.id: i for i, r in enumerate(self.rooms)}
        self._post_of_room = posts_of(self.clinic, self.rooms)
        self.shortest = shortest_durations(self.clinic, self.providers)
        self.kinds = type_tables(self)
        self.fixed = [fixed_booking(self, b) for b in self.clinic.bookings if b.is_live]
        self._patient_spans = patient_spans(self.fixed)
        places = self.session_places = SessionPlaces.of(self)
        self.capacity = Capacity(self.clinic, self.providers, self.dates, places).after(self.fixed)
        self.pools = PoolsLeft(self.clinic, len(self.dates)).after(self, self.fixed)
        self.tasks = [*booking_tasks(self, movable), *request_tasks(self)]
        self.unit = score_unit(problem, self.kinds)
        self._columns: dict[object, Small] = {}
        self._columns_bytes, self._kept_bytes = 0, kept_bytes
        self._options: dict[object, int] = {}
        self._preferences: dict[tuple[int, Span | None], Ints] = {}
        self._alone: dict[Assignment, tuple[int, Span, Span]] = {}

    @property
    def table_bytes(self) -> int:
        """What the types' tables take of the memory, about."""
        return sum(TABLE_BYTES * kind.regular.size for kind in self.kinds)

    # Tasks and their positions

    @cached_property
    def asked(self) -> dict[int, int]:
        """By task: how many members it has."""
        return {i: len(task.members) for i, task in enumerate(self.tasks)}

    def columns(self, task: int) -> Small:
        """[n] positions in the type's raveled table where the task may be placed.

        Tasks that may go to the same places share them. Once all that is kept takes more memory
        than `kept_bytes`, the oldest is dropped, to be worked out again.
        """
        t = self.tasks[task]
        if not t.days:
            return np.empty(0, np.int32)
        key = self.places_of(t)
        known = self._columns.get(key)
        if known is None:
            known = self._columns[key] = self._work_out_columns(t)
            self._options[key] = len(known)
            self._columns_bytes += known.nbytes
            while self._columns_bytes > self._kept_bytes and len(self._columns) > 1:
                oldest = next(iter(self._columns))
                self._columns_bytes -= self._columns.pop(oldest).nbytes
        return known

    def options(self, task: int) -> int:
        """Return how many positions a task has."""
        known = self._options.get(self.places_of(self.tasks[task]))
        return len(self.columns(task)) if known is None else known

    def places_of(self, t: Task) -> tuple[object, ...]:
        """Return what decides where a task may be placed."""
        spans: tuple[object, ...] = ()
        if t.patient in self.booked_patients:
            spans = tuple(tuple(self._patient_spans.get((t.patient, d), ())) for d in t.days)
        return t.kind, t.days, t.provider, spans

    def _work_out_columns(self, t: Task) -> Small:
        kind = self.kinds[t.kind]
        open_ = np.zeros(kind.shape, np.bool_)
        rows = slice(None) if t.provider < 0 else kind.posts_of(t.provider)
        for d in t.days:
            open_[rows, d] = kind.regular[rows, d] | kind.allowed[rows, d]
            for appointment, place in self._patient_spans.get((t.patient, d), ()):
                overlaps = kind.overlapping(appointment, place, self.places)
                open_[rows, d] &= ~overlaps[kind.variant_of[rows]]
        return np.flatnonzero(open_).astype(np.int32)

    @cached_property
    def booked_patients(self) -> frozenset[str]:
        """The patients of fixed bookings."""
        return frozenset(patient for patient, _ in self._patient_spans if patient is not None)

    # Scores

    def units(self, score: Fraction) -> int:
        """Return a score, or a share of one, in score units."""
        scaled = score * self.unit
        assert scaled.denominator == 1
        return scaled.numerator

    @cached_property
    def most_score(self) -> int:
        """What the scores of no plan exceed, in score units."""
        return self.unit * (sum(len(t.members) for t in self.tasks) + len(self.fixed))

    @cached_property
    def gap_quarter(self) -> int:
        """A quarter of the gap part, weighted, in score units."""
        return self.units(self.problem.weights.gap / 4)

    @cached_property
    def regular_bonus(self) -> int:
        """The overbooking part of a regular placement, weighted, in score units."""
        return self.units(self.problem.weights.overbook)

    @cached_property
    def room_parts(self) -> list[list[int]]:
        """The room part, weighted, in score units, by type and room."""
        weight = self.problem.weights.room
        return [[self.units(weight / int(1 + s)) for s in k.surplus] for k in self.kinds]

    def preference(self, task: int) -> Ints:
        """[V, S] the weighted preference part of the task, in score units."""
        t = self.tasks[task]
        known = self._preferences.get((t.kind, t.preferred))
        if known is None:
            kind, decay = self.kinds[t.kind], self.clinic.settings.preference_decay_minutes
            away = kind.away_from(t.preferred)
            unit = self.units(self.problem.weights.preference / decay)
            known = unit * np.maximum(0, decay - away)
            self._preferences[t.kind, t.preferred] = known
        return known

    def alone(self, assignment: Assignment) -> tuple[int, Span, Span]:
        """Return what an assignment scores but for its gap part, its busy span and its window.

        Kept, since one plan has most of its assignments in common with the next.
        """
        known = self._alone.get(assignment)
        if known is None:
            kind = self.table(assignment)
            s = int(np.searchsorted(kind.starts, assignment.start))
            variant = int(kind.variant_of[self.post(assignment)])
            score = int(self.preference(assignment.task)[variant, s])
            score += self.room_parts[self.tasks[assignment.task].kind][assignment.room]
            score += 0 if assignment.is_overbooked else self.regular_bonus
            known = self._alone[assignment] = score, self.busy(assignment), self.window(assignment)
        return known

    # Where assignments are

    def distance(self, task: int, day: int, start: int) -> int:
        """Return by how many minutes a booking's task moves when put there."""
        own = self.tasks[task].own
        return 0 if own is None else abs(day * DAY_MINUTES + start - own.at)

    def post(self, assignment: Assignment) -> int:
        """Return the post of an assignment in its type's table: its provider where its room is."""
        room = assignment.room
        number = self._post_of_room[room] if room >= 0 else no_room(room)
        return assignment.provider + number * len(self.providers)

    def place(self, assignment: Assignment) -> int:
        """Return where an assignment is, an index into the clinic's locations, or `NOWHERE`."""
        return self.table(assignment).variant(self.post(assignment)).place

    def table(self, assignment: Assignment) -> TypeTable:
        """Return the table of an assignment's type."""
        return self.kinds[self.tasks[assignment.task].kind]

    def busy(self, assignment: Assignment) -> Span:
        """Return the provider busy span, absolute; a booking that stays keeps its minutes."""
        if self.is_stay(assignment):
            return self.own(assignment.task).busy
        kind, at = self.table(assignment), assignment.at
        return at - int(kind.before[assignment.provider]), at + int(kind.after[assignment.provider])

    def room_busy(self, assignment: Assignment) -> Span:
        """Return the room busy span, absolute."""
        if self.is_stay(assignment):
            return self.own(assignment.task).room_busy
        variant, at = self.table(assignment).variant(assignment.provider), assignment.at
        return at - variant.row.buffer_before, at + int(variant.room_after[assignment.room])

    def appointment(self, assignment: Assignment) -> Span:
        """Return the appointment itself, absolute."""
        if self.is_stay(assignment):
            return self.own(assignment.task).appointment
        duration = int(self.table(assignment).duration[assignment.provider])
        return assignment.at, assignment.at + duration

    def window(self, assignment: Assignment) -> Span:
        """Return the provider's open window around the appointment, absolute."""
        if self.is_stay(assignment) and (around := self.own(assignment.task).window):
            return around
        kind = self.table(assignment)
        s = int(np.searchsorted(kind.starts, assignment.start))
        at = (self.post(assignment), assignment.day, s)
        return int(kind.opens[at]), int(kind.closes[at])

    # Bookings that may move

    def own(self, task: int) -> FixedBooking:
        """Return the place of a booking's task before anything moves."""
        own = self.tasks[task].own
        assert own is not None
        return own

    def stay(self, task: int) -> Assignment:
        """Return the assignment by which a displaced booking stays: no move."""
        own = self.own(task)
        return Assignment(task, *own.place, own.booking.is_overbooked)

    def is_stay(self, assignment: Assignment) -> bool:
        """Whether an assignment puts a booking where it is: no move leads there."""
        own = self.tasks[assignment.task].own
        return own is not None and assignment[1:5] == own.place

    def made(self, assignments: Iterable[Assignment]) -> list[Assignment]:
        """Return the moves and placements among `assignments`, without bookings that stay."""
        return [assignment for assignment in assignments if not self.is_stay(assignment)]

    def staying(self, assignments: Iterable[Assignment]) -> list[FixedBooking]:
        """Return the bookings that keep their places in a plan of these assignments.

        Those are the fixed ones, those that are not displaced nor moved, and the displaced ones
        that `assignments` let stay.
        """
        assignments = list(assignments)
        assigned = {assignment.task for assignment in assignments}
        stays = {assignment.task for assignment in assignments if self.is_stay(assignment)}
        return self.fixed + [
            t.own
            for i, t in enumerate(self.tasks)
            if t.own is not None and (i in stays or not (t.is_displaced or i in assigned))
        ]
