"""The variables of the planning model, and what is frozen beside them.

Time is indexed (Dyer & Wolsey 1990): a *column* is one task at one provider and start, regular or
overbooked, and a Boolean. Rooms do not multiply the columns: what matters to a room is only which
type begins when, so at each type and start as many rooms are taken as columns are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import overlap
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.layout import presences, roles_of
from solver.planning.instance.rooms import rooms_left
from solver.planning.instance.stay_feasibility import collide
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, FixedBooking, InRole
from solver.planning.model.gap_terms import Derived, Literal, Values
from solver.planning.model.roles import Roles, clash, is_too_far


class Variables:
    """Literals of columns, rooms and bookings that stay, in named stores.

    Parameters
    ----------
    instance, columns, free, frozen, rooms, incumbent, roomless
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
    roles
        Who could be in the roles of columns.
    room_choice, room_of_choice, column_of_choice
        [m] whether a room is taken at a type and start, which room, and one of the columns there.
    room_key
        [n] the type, variant and start of a column, as a number.
    choices_of_key
        The indices in `room_choice` of each such number.
    unmoved
        Bookings that may move, but not in this model: neither freed nor moved by `frozen`.
    booked
        The fixed bookings, and then the unmoved ones.
    capacity
        What the daily caps leave beside `booked` and `frozen`.
    pools_before, pools
        What the equipment pools leave beside `booked`, and beside `booked` and `frozen`.
    derived
        Literals that follow from others, in the order in which a hint works them out.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        free: Mapping[int, int],
        frozen: Sequence[Assignment],
        *,
        rooms: int | None,
        incumbent: Sequence[Assignment],
        roomless: Collection[int],
    ) -> None:
        self.model = cp_model.CpModel()
        self.instance = instance
        self.free = free
        self.frozen = list(frozen)
        self.roomless = list(roomless)
        self._rooms = rooms
        self._incumbent_rooms = {
            (instance.tasks[p.task].kind, p.day, p.start, p.room) for p in incumbent
        }
        self.keep_booking: dict[int, Literal] = {}
        self.derived: list[Derived] = []
        self._patient_numbers: dict[str, int] = {}
        moved = {assignment.task for assignment in frozen}
        self.unmoved = [
            t.own
            for i, t in enumerate(instance.tasks)
            if t.own is not None and not t.is_displaced and i not in moved and i not in free
        ]
        self.booked = instance.fixed + self.unmoved
        self.capacity = instance.capacity.after(self.unmoved)
        for assignment in frozen:  # none is in the provider-days of the columns
            task = instance.tasks[assignment.task]
            self.capacity.type_left[task.kind, assignment.day] -= 1
            self.capacity.sessions.take_unless_late(task, assignment)
        self.pools_before = instance.pools.after(instance, self.unmoved)
        self.pools = self.pools_before.after(instance, (), frozen)
        self._drop_blocked(columns)
        self._choose()

    # Columns

    def _drop_blocked(self, columns: Columns) -> None:
        """Drop those that overlap what is frozen or unmoved, or find no room or no equipment."""
        instance = self.instance
        at = ColumnTimes.of(instance, columns)
        keep = np.ones(len(columns), np.bool_)
        providers, days = set(at.provider.tolist()), set(at.day.tolist())
        near = {d + ahead for d in days for ahead in (-1, 0, 1)}
        frozen = [(p.provider, instance.busy(p)) for p in self.frozen if p.provider in providers]
        in_roles = [each for p in self.frozen for each in roles_of(instance, p)]
        frozen += [(each.provider, each.busy) for each in in_roles if each.provider in providers]
        unmoved = [(each.provider, each.busy) for s in self.unmoved for each in s.presences]
        for i, (provider, busy) in enumerate([*frozen, *unmoved]):
            if busy[0] // DAY_MINUTES in near or (busy[1] - 1) // DAY_MINUTES in near:
                # overbooked columns may overlap bookings: rule 7 has a say there
                blocked = ~columns.is_overbooked | (i < len(frozen))
                keep &= ~(at.overlapping(provider, busy) & blocked)
        for s in self.unmoved:
            keep &= ~((at.provider == s.provider) & (at.at == s.at))
        in_roles += [each for s in self.unmoved for each in s.presences]
        for each in in_roles if instance.places.are_several else ():
            of_provider = at.provider == each.provider
            is_near = at.too_near(each.day, each.location, each.busy, instance.places)
            keep &= ~(of_provider & is_near)
        patients = np.array([self.patient_number(i) for i in range(len(instance.tasks))])
        of_patient = patients[columns.task]
        for patient, day, place, (start, end) in self._patients_elsewhere():
            is_elsewhere = at.too_near(day, place, (start, end), instance.places, for_patient=True)
            is_elsewhere |= (at.at < end) & (at.end > start)
            keep &= ~((of_patient == patient) & is_elsewhere)
        taken = [(assignment.room, instance.room_busy(assignment)) for assignment in self.frozen]
        taken += [(s.room, s.room_busy) for s in self.unmoved]
        self.free_rooms = rooms_left(instance, days, taken)
        self.room_key = self._keys(columns, at)
        for key, members in grouped(self.room_key):
            if not self._rooms_for(columns, at, int(members[0]), key):
                keep[members] = False
        for number in filter(self.pools.takes_from, np.unique(at.kind).tolist()):
            of_kind = np.flatnonzero(at.kind == number)
            where = at.variant[of_kind], at.day[of_kind], at.start_index[of_kind]
            keep[of_kind] &= self.pools.free_at(number, instance.kinds[number])[where]
        self.columns = columns[keep]
        self.at = ColumnTimes.of(instance, self.columns)
        self.room_key = self.room_key[keep]

    def patient_number(self, task: int) -> int:
        """Return a number for the patient of a task, -1 where it has none."""
        patient, numbers = self.instance.tasks[task].patient, self._patient_numbers
        return -1 if patient is None else numbers.setdefault(patient, len(numbers))

    def _patients_elsewhere(self) -> Iterator[tuple[int, int, int, Span]]:
        """Yield patients' numbers with the dates, places and spans of what is frozen or unmoved."""
        instance = self.instance
        for assignment in self.frozen:
            if instance.tasks[assignment.task].patient is not None:
                place, span = instance.place(assignment), instance.appointment(assignment)
                yield self.patient_number(assignment.task), assignment.day, place, span
        numbers = self._patient_numbers
        for s in self.unmoved:
            patient = s.booking.patient_key
            if patient is not None and patient in numbers:
                yield numbers[patient], s.day, s.location, s.appointment

    def _keys(self, columns: Columns, at: ColumnTimes) -> Ints:
        """[n] a number for each variant of a type and start; a booking's own place has its own."""
        variants = max((len(kind.variants) for kind in self.instance.kinds), default=1)
        key = (at.kind * variants + at.variant) * len(self.instance.dates) + at.day
        key = key * DAY_MINUTES + at.start
        for i, task in enumerate(self.instance.tasks):
            if task.own is not None and i in self.free:
                own = (at.provider == task.own.provider) & (at.at == task.own.at)
                of_task = (columns.task == i) & own
                key[of_task] = -1 - (i * variants + at.variant[of_task])
        return key

    def _rooms_for(self, columns: Columns, at: ColumnTimes, column: int, key: int) -> list[int]:
        """Return the rooms offered to the columns of a key, of which `column` is one."""
        kind, day, start = int(at.kind[column]), int(at.day[column]), int(at.start[column])
        variant = int(at.variant[column])
        free = np.flatnonzero(self.free_rooms[kind, variant, day][:, at.start_index[column]])
        rooms: list[int] = free.tolist()
        if self._rooms is not None and len(free) > self._rooms:
            surplus = self.instance.kinds[kind].surplus[free]
            first = free[np.argsort(surplus, kind="stable")].tolist()
            used = self._incumbent_rooms
            rooms = first[: self._rooms]
            rooms += [r for r in first[self._rooms :] if (kind, day, start, r) in used]
        if key < 0:
            own = self.instance.tasks[int(columns.task[column])].own
            return [r for r in rooms if own is None or r != own.room]
        return rooms

    # Literals

    def _choose(self) -> None:
        """Create the literals: of every column, of bookings, of rooms by type and start."""
        new = self.model.new_bool_var
        self.assign = [new("") for _ in range(len(self.columns))]
        self.roles = Roles(self.model, self.instance, self.columns, self.at, _engaged(self))
        for i in self.free:
            task = self.instance.tasks[i]
            if task.stays_if_not_moved or task.could_stay:
                self.keep_booking[i] = new("")
                if _is_taken(self.instance, self.frozen, self.own(i)):
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
            chosen = cp_model.LinearExpr.sum([self.assign[c] for c in members])
            self.model.add(chosen == cp_model.LinearExpr.sum(self.room_choice[first:]))

    def derive(self, literal: Literal, value: Callable[[Values], bool]) -> None:
        """Say how a literal follows from others, for a hint of every literal."""
        self.derived.append((literal, value))

    def comes_late(self, column: int, room: int) -> bool:
        """Whether a column, in some room, is best placed last by the limits of sessions."""
        at = self.at
        kind, provider = int(at.kind[column]), int(at.provider[column])
        day, start = int(at.day[column]), int(at.start[column])
        is_request = not self.is_move[column]
        return is_request and self.capacity.sessions.comes_late(kind, provider, room, day, start)

    # What constraints are built from

    def own(self, task: int) -> FixedBooking:
        """Return where a booking that may move is before anything moves."""
        return self.instance.own(task)

    @cached_property
    def is_move(self) -> Bools:
        """[n] whether a column is a booking's."""
        is_move = np.array([task.own is not None for task in self.instance.tasks], np.bool_)
        return is_move[self.columns.task]

    def busy(self, column: int) -> Span:
        """Return the provider busy span of a column."""
        return int(self.at.busy_start[column]), int(self.at.busy_end[column])

    def type_stays(self, kind: int, day: int) -> dict[int, Literal]:
        """Return the part of `keep_booking` that is of a type and date."""
        return {
            i: literal
            for i, literal in self.keep_booking.items()
            if (self.own(i).kind, self.own(i).day) == (kind, day)
        }

    def regular_stays(self, provider: int, day: int) -> dict[int, Literal]:
        """Return the part of `keep_booking` that is regular and of a provider and date."""
        return {
            i: literal
            for i, literal in self.keep_booking.items()
            if (self.own(i).provider, self.own(i).day) == (provider, day)
            and not self.own(i).booking.is_overbooked
        }


def _engaged(v: Variables) -> list[InRole]:
    """Return who is busy with what is frozen or unmoved, if somebody has a role."""
    if not v.instance.clinic.has_roles:
        return []
    engaged = [each for p in v.frozen for each in presences(v.instance, p)]
    return engaged + [each for s in v.unmoved for each in s.presences]


def _is_taken(instance: Instance, frozen: Sequence[Assignment], own: FixedBooking) -> bool:
    """Whether a frozen assignment has since been given the place that a booking has left.

    Or somebody who is in a role of either.
    """
    for assignment in frozen:
        patient = instance.tasks[assignment.task].patient
        if instance.is_stay(assignment):
            if collide(own, instance.own(assignment.task), instance.places):
                return True
            continue
        in_room = assignment.room == own.room
        at_provider = assignment.provider == own.provider and not assignment.is_overbooked
        is_same = patient is not None and patient == own.booking.patient_key
        if _is_too_far(instance, assignment, own, is_same=is_same):
            return True
        if _is_engaged(instance, assignment, own):
            return True
        if (
            (in_room and overlap(instance.room_busy(assignment), own.room_busy))
            or (at_provider and overlap(instance.busy(assignment), own.busy))
            or (is_same and overlap(instance.appointment(assignment), own.appointment))
        ):
            return True
    return False


def _is_engaged(instance: Instance, assignment: Assignment, own: FixedBooking) -> bool:
    """Whether somebody in a role of an assignment, or of a booking, is busy with the other one."""
    for n, one in enumerate(presences(instance, assignment)):
        for m, other in enumerate(own.presences):
            if one.provider != other.provider or not (n or m):
                continue
            is_later = n == 0 and assignment.is_overbooked
            if (is_too_far if is_later else clash)(one, other, instance.places):
                return True
    return False


def _is_too_far(
    instance: Instance, assignment: Assignment, own: FixedBooking, *, is_same: bool
) -> bool:
    """Whether provider or patient has no time between an assignment and a booking of its date.

    The patient `is_same` or another one.
    """
    if assignment.day != own.day:
        return False
    place = instance.place(assignment)
    pairs = [(instance.busy(assignment), own.busy)] * (assignment.provider == own.provider)
    pairs += [(instance.appointment(assignment), own.appointment)] * is_same
    are_apart = instance.places.are_apart
    return not all(are_apart((place, new), (own.location, old)) for new, old in pairs)
