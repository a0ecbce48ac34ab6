"""A legal plan within about a second: the most pressing first, each at its best place.

It is what every better method starts from and what is left when there is no time for one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints, Small
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.beside import Beside
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.instance.type_table import TypeTable
from solver.planning.problem import Plan, Problem
from solver.scoring.parts import side_quarters

type Counts = NDArray[np.int16]


type _Places = tuple[int, tuple[int, ...], int]
"""A kind, dates, and a provider or -1: what requests that may go to the same places share."""


AT_ONCE = 20_000
"""Places among which the best is looked for at once."""


KEPT_PARTS = 40
"""For how many sorts of requests the dates of their places are kept apart."""


@dataclass(frozen=True)
class _Sheet:
    """What stands, seen from one kind's table.

    Attributes
    ----------
    meets
        [P, D, S] live bookings of the provider that the busy span meets.
    taken
        [R, D, S] live bookings in the room that the busy span meets.
    rooms
        [D, S] rooms that are free.
    behind, ahead
        [P, D, S] where the neighbour or the window's edge before and after is, absolute.
    buffers, turnover
        What busy spans have before and after a start: [P] of providers, after it [R] of rooms.
    """

    kind: TypeTable
    meets: Counts
    taken: Counts
    rooms: Counts
    behind: Small
    ahead: Small
    buffers: list[tuple[int, int]]
    turnover: list[int]

    @classmethod
    def blank(cls, kind: TypeTable) -> _Sheet:
        return cls(
            kind,
            np.zeros(kind.shape, np.int16),
            np.zeros(kind.room_free.shape, np.int16),
            kind.room_free.sum(axis=0, dtype=np.int16),
            kind.opens.copy(),
            kind.closes.copy(),
            list(zip(kind.before.tolist(), kind.after.tolist(), strict=True)),
            kind.room_after.tolist(),
        )


class Board:
    """The book as it fills up: which sites are still free, for every kind at once."""

    def __init__(self, instance: Instance, stays: Sequence[Assignment] = ()) -> None:
        self._instance = instance
        self._grid = instance.clinic.settings.grid_minutes
        self._sheets = [_Sheet.blank(kind) for kind in instance.kinds]
        shape = (len(instance.providers), len(instance.dates))
        self._regular = np.zeros(shape, np.int64)
        self._overbooked = np.zeros(shape, np.int64)
        self._of_kind = np.zeros((len(instance.kinds), shape[1]), np.int64)
        self._starts: set[tuple[int, int]] = set()
        self._full: set[tuple[_Places, int, bool]] = set()
        """Parts of the places of tasks that are full, whether for overbooked ones."""
        self._parts: dict[_Places, list[Small]] = {}
        self._patients: dict[tuple[str, int], list[Span]] = defaultdict(list)
        caps = [p.daily_cap for p in instance.providers]
        self._caps = np.array([2**31 if cap is None else cap for cap in caps], np.int64)
        for s in instance.staying(stays):
            if s.provider >= 0:
                self._occupy(s.provider, s.busy)
                self._starts.add((s.provider, s.at))
            if s.room >= 0:
                self._occupy_room(s.room, s.room_busy)
            if 0 <= s.day < shape[1]:
                self._of_kind[s.kind, s.day] += 1
                self._remember(s.booking.patient_key, s.kind, s.day, s.booking.start)
                if s.provider >= 0:
                    counts = self._overbooked if s.booking.is_overbooked else self._regular
                    counts[s.provider, s.day] += 1

    def add(self, assignment: Assignment) -> None:
        """Let a placement stand."""
        task = self._instance.tasks[assignment.task]
        self._full = {key for key in self._full if not key[-1]}  # there is more to meet now
        self._occupy(assignment.provider, self._instance.busy(assignment))
        self._occupy_room(assignment.room, self._instance.room_busy(assignment))
        self._starts.add((assignment.provider, assignment.day * DAY_MINUTES + assignment.start))
        self._of_kind[task.kind, assignment.day] += 1
        self._remember(task.patient, task.kind, assignment.day, assignment.start)
        (self._overbooked if assignment.is_overbooked else self._regular)[
            assignment.provider, assignment.day
        ] += 1

    def _remember(self, patient: str | None, kind: int, day: int, start: int) -> None:
        if patient is not None:
            end = start + self._instance.kinds[kind].row.duration_minutes
            self._patients[patient, day].append((start, end))

    def _occupy(self, provider: int, busy: Span) -> None:
        for sheet in self._sheets:
            before, after = sheet.buffers[provider]
            for day in self._days(busy):
                first, last = self._meeting(sheet, busy, day, before, after)
                if first < last:
                    sheet.meets[provider, day, first:last] += 1
                ahead = sheet.ahead[provider, day, :first]
                np.minimum(ahead, busy[0], out=ahead)
                behind = sheet.behind[provider, day, last:]
                np.maximum(behind, busy[1], out=behind)

    def _occupy_room(self, room: int, busy: Span) -> None:
        for sheet in self._sheets:
            before, after = sheet.kind.row.buffer_before, sheet.turnover[room]
            for day in self._days(busy):
                first, last = self._meeting(sheet, busy, day, before, after)
                if first < last:
                    taken = sheet.taken[room, day, first:last]
                    free = sheet.kind.room_free[room, day, first:last]
                    sheet.rooms[day, first:last] -= (taken == 0) & free
                    taken += 1

    def _meeting(
        self, sheet: _Sheet, busy: Span, day: int, before: int, after: int
    ) -> tuple[int, int]:
        """Return the range of positions whose span, so much before and after, meets `busy`."""
        grid, size = self._grid, len(sheet.kind.starts)
        midnight = day * DAY_MINUTES
        first = (busy[0] - midnight - after) // grid + 1
        last = -((midnight - busy[1] - before) // grid)
        return min(size, max(0, first)), min(size, max(0, last))

    def _days(self, busy: Span) -> range:
        """The days whose sites a busy span could meet."""
        first, last = busy[0] // DAY_MINUTES, busy[1] // DAY_MINUTES
        return range(max(0, first - 1), min(len(self._instance.dates), last + 2))

    def best(self, number: int, *, is_overbooked: bool) -> Assignment | None:
        """Return the best place of a kind for a task, or None.

        Where there are many, it is the best of the first dates that have one. What is full for
        regular placements stays so, and for overbooked ones until something is placed.
        """
        task = self._instance.tasks[number]
        places = task.kind, task.days, task.provider
        is_alike = task.own is None and not self._instance.has_patient_standing(number)
        for n, sites in enumerate(self._in_parts(number, places, is_alike=is_alike)):
            key = places, n, is_overbooked
            if is_alike and key in self._full:
                continue
            fits = sites[self._fits(task.kind, sites, is_overbooked=is_overbooked)]
            if is_alike and not len(fits):
                self._full.add(key)
            assignment = self._best_of(number, fits, is_overbooked=is_overbooked)
            if assignment is not None:
                return assignment
        return None

    def _in_parts(self, number: int, places: _Places, *, is_alike: bool) -> list[Small]:
        """Return where a task may go, date by date where that is much at once."""
        sites = self._instance.columns(number)
        if not is_alike or len(sites) <= AT_ONCE:
            return [sites]
        if places not in self._parts:
            if len(self._parts) >= KEPT_PARTS:
                del self._parts[next(iter(self._parts))]
            _, days, starts = self._instance.kinds[places[0]].shape
            day = sites // starts % days
            self._parts[places] = [sites[day == d] for d in places[1]]
        return self._parts[places]

    def _best_of(self, number: int, sites: Small, *, is_overbooked: bool) -> Assignment | None:
        """Return the best of the sites that are free."""
        instance, task = self._instance, self._instance.tasks[number]
        sheet, kind = self._sheets[task.kind], self._instance.kinds[task.kind]
        if task.own is not None:
            provider, day, s = np.unravel_index(sites, kind.shape)
            is_elsewhere = provider != task.own.provider
            sites = sites[is_elsewhere | (day * DAY_MINUTES + kind.starts[s] != task.own.at)]
        if not len(sites):
            return None
        provider, day, s = np.unravel_index(sites, kind.shape)
        if task.patient is not None:
            clear = self._clear_of_patient(task.patient, kind, day, kind.starts[s])
            sites, provider, day, s = sites[clear], provider[clear], day[clear], s[clear]
            if not len(sites):
                return None
        if task.own is not None:
            worth = -abs(day * DAY_MINUTES + kind.starts[s] - task.own.at)
        else:
            worth = instance.preference(number)[s]
            if not is_overbooked:
                worth += instance.gap_quarter * self._gap(sheet, sites, provider)
        chosen = int(worth.argmax())
        at = int(day[chosen]), int(s[chosen])
        free = np.flatnonzero(kind.room_free[:, *at] & (sheet.taken[:, *at] == 0))
        room = int(free[kind.surplus[free].argmin()])
        return Assignment(
            number, int(provider[chosen]), room, at[0], int(kind.starts[at[1]]), is_overbooked
        )

    def _fits(self, number: int, sites: Small, *, is_overbooked: bool) -> Bools:
        sheet, kind = self._sheets[number], self._instance.kinds[number]
        _, days, starts = kind.shape
        provider_day = sites // starts
        fits: Bools = sheet.rooms.ravel()[sites % (days * starts)] > 0
        cap = kind.row.daily_cap
        if cap is not None:
            fits &= (self._of_kind[number] < cap)[provider_day % days]
        meets = sheet.meets.ravel()[sites]
        is_free = (meets == 0) & (self._regular < self._caps[:, None]).ravel()[provider_day]
        if not is_overbooked:
            fits &= is_free & kind.regular.ravel()[sites]
            return fits
        fits &= ~is_free & kind.allowed.ravel()[sites]
        for position in np.flatnonzero(fits).tolist():
            p, d, s = map(int, np.unravel_index(int(sites[position]), kind.shape))
            start = int(kind.starts[s])
            pairs = self._instance.allowances(number, p, d, start)
            overbooked = self._overbooked[p, d]
            overlap = max((o for o, per_day in pairs if overbooked < per_day), default=-1)
            fits[position] = (
                meets[position] <= overlap and (p, d * DAY_MINUTES + start) not in self._starts
            )
        return fits

    def _clear_of_patient(
        self, patient: str, kind: TypeTable, day: NDArray[np.intp], starts: Ints
    ) -> Bools:
        clear = np.ones(len(day), np.bool_)
        for on in set(day.tolist()):
            for start, end in self._patients.get((patient, on), ()):
                meets = (starts < end) & (starts + kind.row.duration_minutes > start)
                clear &= ~((day == on) & meets)
        return clear

    def _gap(self, sheet: _Sheet, sites: Small, provider: NDArray[np.intp]) -> Ints:
        """[n] the gap part, in quarters, as the book stands."""
        kind, shortest = sheet.kind, self._instance.shortest[provider]
        quarters = np.zeros(len(sites), np.int64)
        for idle in (
            kind.busy_start.ravel()[sites] - sheet.behind.ravel()[sites],
            sheet.ahead.ravel()[sites] - kind.busy_end.ravel()[sites],
        ):
            quarters += side_quarters(idle, shortest)
        return quarters


def greedy_assignments(
    instance: Instance, is_over: Callable[[], bool] = lambda: False
) -> list[Assignment]:
    """Return a legal plan: displaced bookings first, then requests.

    Bookings that could stay do so as far as they fit beside one another, those first that collide
    with fewest. Requests go by priority, fewest options, longest first. Whatever finds no regular
    place is tried again as overbooked. Once it `is_over`, what has no place yet gets none.
    """
    assignments = _stays(instance)
    board = Board(instance, assignments)
    tasks = instance.tasks
    options = [instance.options(i) for i in range(len(tasks))]

    def pressing(number: int) -> tuple[int, int, int, int]:
        task = tasks[number]
        duration = instance.kinds[task.kind].row.duration_minutes
        return -task.priority, options[number], -duration, number

    stay = {assignment.task for assignment in assignments}
    moves = [i for i, t in enumerate(tasks) if t.is_displaced and i not in stay]
    requests = [i for i, t in enumerate(tasks) if t.own is None]
    for phase in (moves, requests):
        left = [i for i in sorted(phase, key=pressing) for _ in tasks[i].members if options[i]]
        for is_overbooked in (False, True):
            missed = []
            for number in left:
                if is_over():
                    break
                assignment = board.best(number, is_overbooked=is_overbooked)
                if assignment is None:
                    missed.append(number)
                else:
                    board.add(assignment)
                    assignments.append(assignment)
            left = missed
    return assignments


def _stays(instance: Instance) -> list[Assignment]:
    """Return displaced bookings that can stay, beside one another and beside what is not displaced.

    Overbooked ones come last: they meet whatever is there.
    """
    contested = [i for i, t in enumerate(instance.tasks) if t.could_stay]
    others = Beside(instance, (instance.own(i) for i in contested))
    collisions = {i: others.collisions(instance.own(i)) for i in contested}

    def first(number: int) -> tuple[bool, int, int, int]:
        is_overbooked = instance.own(number).booking.is_overbooked
        return is_overbooked, collisions[number], instance.options(number), number

    beside = Beside(instance, instance.staying(()))
    assignments = []
    for i in sorted(contested, key=first):
        if beside.has_place_for(instance.own(i)):
            beside.add(instance.own(i))
            assignments.append(instance.stay(i))
    return assignments


def greedy(problem: Problem) -> Plan:
    """Return a legal plan quickly, with the bounds that need no solver."""
    began = time.perf_counter()
    instance = Instance(problem)
    return instance.plan(
        greedy_assignments(instance),
        status="feasible",
        bounds=instance.easy_bounds(),
        seconds=time.perf_counter() - began,
    )
