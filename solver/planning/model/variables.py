"""The variables of the planning model, and what they are chosen beside.

Time is indexed (Dyer & Wolsey 1990): a *column* is one task at one provider and start, regular or
overbooked, and a Boolean. Rooms do not multiply the columns: what matters to a room is only which
type begins when, so at each type and start as many rooms are taken as tasks are placed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import overlap
from solver.planning.instance.beside import collide
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.rooms import rooms_left
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, FixedBooking
from solver.planning.model.gap_terms import Derived, Literal, Values


class Variables:
    """Literals of columns, rooms and bookings that stay, in named stores.

    Parameters
    ----------
    instance, columns, left, outside, rooms, keep, roomless
        See :class:`solver.planning.model.planning_model.PlanningModel`.

    Attributes
    ----------
    model
        The CP-SAT model that they belong to.
    columns, at
        The columns that may be chosen, and where each lies; arrays of shape [n].
    assign
        [n] whether a column is chosen.
    keep_booking
        By task: whether a booking stays where it is.
    room_choice, room_of_choice, column_of_choice
        [m] whether a room is taken at a type and start, which room, and one of the columns there.
    room_key
        [n] the type and start of a column, as a number.
    choices_of_key
        The positions in `room_choice` of each such number.
    standing
        What stands in the model's part of the plan whatever is chosen.
    derived
        Literals that follow from others, in the order in which a hint works them out.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        left: Mapping[int, int],
        outside: Sequence[Assignment],
        *,
        rooms: int | None,
        keep: Sequence[Assignment],
        roomless: Collection[int],
    ) -> None:
        self.model = cp_model.CpModel()
        self.instance = instance
        self.left = left
        self.rooms = rooms
        self.roomless = list(roomless)
        self.kept_rooms = {(instance.tasks[p.task].kind, p.day, p.start, p.room) for p in keep}
        self.keep_booking: dict[int, Literal] = {}
        self.derived: list[Derived] = []
        self.outside = list(outside)
        self._patient_numbers: dict[str, int] = {}
        moved = {assignment.task for assignment in outside}
        self.standing = instance.fixed + [
            t.own
            for i, t in enumerate(instance.tasks)
            if t.own is not None and not t.is_displaced and i not in moved and i not in left
        ]
        self._drop_what_stands_in_the_way(columns)
        self._choose()

    # Columns

    def _drop_what_stands_in_the_way(self, columns: Columns) -> None:
        """Drop columns that overlap what stands and the masks did not know, or find no room."""
        instance = self.instance
        at = ColumnTimes.of(instance, columns)
        keep = np.ones(len(columns), np.bool_)
        providers = set(at.provider.tolist())
        spans = [(p.provider, instance.busy(p)) for p in self.outside if p.provider in providers]
        new = len(spans)
        spans += [(s.provider, s.busy) for s in self.standing[len(instance.fixed) :]]
        days = set(at.day.tolist())
        near = {d + ahead for d in days for ahead in (-1, 0, 1)}
        for i, (provider, (start, end)) in enumerate(spans):
            if start // DAY_MINUTES in near or (end - 1) // DAY_MINUTES in near:
                meets = at.keeping(provider, start, end)
                keep &= ~(meets & (~columns.is_overbooked | (i < new)))
        for s in self.standing[len(instance.fixed) :]:
            keep &= ~((at.provider == s.provider) & (at.at == s.at))
        patients = np.array([self.patient_number(i) for i in range(len(instance.tasks))])
        of_patient = patients[columns.task]
        for patient, (start, end) in self._patients_outside():
            keep &= ~((of_patient == patient) & (at.at < end) & (at.end > start))
        taken = [(assignment.room, instance.room_busy(assignment)) for assignment in self.outside]
        taken += [(s.room, s.room_busy) for s in self.standing[len(instance.fixed) :]]
        self.free_rooms = rooms_left(instance, days, taken)
        self.room_key = self._keys(columns, at)
        for key, members in grouped(self.room_key):
            if not self._rooms_for(columns, at, int(members[0]), key):
                keep[members] = False
        self.columns = columns[keep]
        self.at = ColumnTimes.of(instance, self.columns)
        self.room_key = self.room_key[keep]

    def patient_number(self, task: int) -> int:
        """Return a number for the patient of a task, -1 where it has none."""
        patient, numbers = self.instance.tasks[task].patient, self._patient_numbers
        return -1 if patient is None else numbers.setdefault(patient, len(numbers))

    def _patients_outside(self) -> Iterator[tuple[int, Span]]:
        instance = self.instance
        for assignment in self.outside:
            task = instance.tasks[assignment.task]
            if task.patient is not None:
                at = assignment.day * DAY_MINUTES + assignment.start
                end = at + instance.kinds[task.kind].row.duration_minutes
                yield self.patient_number(assignment.task), (at, end)
        numbers = self._patient_numbers
        for s in self.standing[len(instance.fixed) :]:
            patient = s.booking.patient_key
            if patient is not None and patient in numbers:
                end = s.at + instance.kinds[s.kind].row.duration_minutes
                yield numbers[patient], (s.at, end)

    def _keys(self, columns: Columns, at: ColumnTimes) -> Ints:
        """[n] a number for each type and start; a booking's own place has one to itself."""
        key = (at.kind * len(self.instance.dates) + at.day) * DAY_MINUTES + at.start
        for i, task in enumerate(self.instance.tasks):
            if task.own is not None and i in self.left:
                own = (at.provider == task.own.provider) & (at.at == task.own.at)
                key[(columns.task == i) & own] = -1 - i
        return key

    def _rooms_for(self, columns: Columns, at: ColumnTimes, column: int, key: int) -> list[int]:
        """Return the rooms offered to the columns of a key, of which `column` is one."""
        kind, day, start = int(at.kind[column]), int(at.day[column]), int(at.start[column])
        free = np.flatnonzero(self.free_rooms[kind, day][:, at.position[column]])
        rooms: list[int]
        if self.rooms is not None and len(free) > self.rooms:
            surplus = self.instance.kinds[kind].surplus[free]
            first = free[np.argsort(surplus, kind="stable")].tolist()
            kept = [r for r in first[self.rooms :] if (kind, day, start, r) in self.kept_rooms]
            rooms = first[: self.rooms] + kept
        else:
            rooms = free.tolist()
        if key < 0:
            own = self.instance.tasks[int(columns.task[column])].own
            return [r for r in rooms if own is None or r != own.room]
        return rooms

    # Literals

    def _choose(self) -> None:
        """Give every column, every room at every type and start, and every stay a literal."""
        new = self.model.new_bool_var
        self.assign = [new("") for _ in range(len(self.columns))]
        for i in self.left:
            task = self.instance.tasks[i]
            if task.stays_if_not_moved or task.could_stay:
                self.keep_booking[i] = new("")
                if self._is_taken(self.own(i)):
                    self.model.add(self.keep_booking[i] == 0)
        self.room_choice: list[Literal] = []
        self.room_of_choice: list[int] = []
        self.column_of_choice: list[int] = []
        self.choices_of_key: dict[int, range] = {}
        in_rooms = np.flatnonzero(~np.isin(self.at.kind, self.roomless))
        for key, of_key in grouped(self.room_key[in_rooms]):
            members = in_rooms[of_key]
            first = len(self.room_choice)
            for room in self._rooms_for(self.columns, self.at, int(members[0]), key):
                self.room_choice.append(new(""))
                self.room_of_choice.append(room)
                self.column_of_choice.append(int(members[0]))
            self.choices_of_key[key] = range(first, len(self.room_choice))
            here = [self.assign[c] for c in members]
            there = self.room_choice[first:]
            self.model.add(cp_model.LinearExpr.sum(here) == cp_model.LinearExpr.sum(there))

    def _is_taken(self, own: FixedBooking) -> bool:
        """Whether the place that a booking has left has since been given to what stands outside."""
        instance = self.instance
        length = instance.kinds[own.kind].row.duration_minutes
        for assignment in self.outside:
            patient = instance.tasks[assignment.task].patient
            if instance.is_stay(assignment):
                if collide(own, instance.own(assignment.task)):
                    return True
            elif (
                (
                    assignment.room == own.room
                    and overlap(instance.room_busy(assignment), own.room_busy)
                )
                or (
                    assignment.provider == own.provider
                    and not assignment.is_overbooked
                    and overlap(instance.busy(assignment), own.busy)
                )
                or (
                    patient is not None
                    and patient == own.booking.patient_key
                    and overlap(instance.appointment(assignment), (own.at, own.at + length))
                )
            ):
                return True
        return False

    def derive(self, literal: Literal, value: Callable[[Values], bool]) -> None:
        """Say how a literal follows from others, for a whole hint."""
        self.derived.append((literal, value))

    # What constraints are built from

    def own(self, task: int) -> FixedBooking:
        """Return where a booking that may move stands."""
        own = self.instance.tasks[task].own
        assert own is not None
        return own

    @cached_property
    def is_move(self) -> Bools:
        """[n] whether a column is a booking's."""
        is_move = np.array([task.own is not None for task in self.instance.tasks], np.bool_)
        return is_move[self.columns.task]

    def busy(self, column: int) -> Span:
        """Return the provider busy span of a column."""
        return int(self.at.busy_start[column]), int(self.at.busy_end[column])

    def standing_of_kind(self, kind: int, day: int) -> int:
        """Return how many of a type stand on a date."""
        return sum(s.kind == kind and s.day == day for s in self.standing) + sum(
            self.instance.tasks[p.task].kind == kind and p.day == day for p in self.outside
        )

    def regular_standing(self, provider: int, day: int) -> int:
        """Return how many regular bookings stand at a provider and date."""
        return sum(
            (s.provider, s.day) == (provider, day) and not s.booking.is_overbooked
            for s in self.standing
        )

    def regular_stays(self, provider: int, day: int) -> list[Literal]:
        """Return the literals of regular bookings that may stay at a provider and date."""
        return [
            literal
            for i, literal in self.keep_booking.items()
            if (self.own(i).provider, self.own(i).day) == (provider, day)
            and not self.own(i).booking.is_overbooked
        ]

    def counts(self, s: FixedBooking) -> bool:
        """Whether what stands is in the run, at a provider and in a room of its own."""
        return 0 <= s.day < len(self.instance.dates) and s.provider >= 0 and s.room >= 0
