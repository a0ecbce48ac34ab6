"""A legal plan within about a second: tasks by priority, each at its best place, never undone.

The search starts from it, and returns it when there is no time for anything else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints, Small
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.places import NOWHERE
from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.layout import presences
from solver.planning.instance.result import to_plan
from solver.planning.instance.stay_feasibility import Beside
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, InRole
from solver.planning.instance.type_table import TypeTable
from solver.planning.problem import Plan, Problem
from solver.planning.sheet import Sheet
from solver.scoring.parts import side_quarters

type _Places = tuple[int, tuple[int, ...], int]
"""A type, dates, and a provider or -1: what requests that may go to the same places share."""


@dataclass(frozen=True, kw_only=True)
class GreedyParams:
    """How places are looked through."""

    at_once: int = 20_000
    """The most positions of a task among which the best is looked for at once; where there are
    more, it is the best of the first date that has one."""
    kept_parts: int = 40
    """For how many sets of alike requests the positions of each date are kept."""


DEFAULT_PARAMS = GreedyParams()


class Board:
    """The book as it fills up: which positions are still free, for every type at once.

    Parameters
    ----------
    stays
        Displaced bookings that stay.
    """

    def __init__(
        self,
        instance: Instance,
        stays: Sequence[Assignment] = (),
        params: GreedyParams = DEFAULT_PARAMS,
    ) -> None:
        self._params = params
        self._instance = instance
        limits = instance.session_places.limits
        self._sheets = [Sheet.blank(k, has_limits=bool(limits)) for k in instance.kinds]
        self._variants = [(s, v) for s in self._sheets for v in range(len(s.kind.variants))]
        staying = instance.staying(stays)
        self._capacity = instance.capacity.after(staying[len(instance.fixed) :])
        self._pools = instance.pools.after(instance, staying[len(instance.fixed) :])
        self._starts: set[tuple[int, int]] = set()
        self._full: set[tuple[_Places, int, bool]] = set()
        """By places, part of these and whether for overbooked placements: what has no room left."""
        self._parts: dict[_Places, list[Small]] = {}
        self._patients: dict[tuple[str, int], list[tuple[Span, int]]] = defaultdict(list)
        for s in staying:
            self._engage(s.presences)
            if s.provider >= 0:
                self._starts.add((s.provider, s.at))
            if s.room >= 0:
                self._occupy_room(s.room, s.room_busy)
            if s.booking.patient_key is not None:
                self._remember(s.booking.patient_key, s.day, s.location, s.appointment)
        self._full_sessions: set[int] = set()
        self._fill_sessions()

    def add(self, assignment: Assignment) -> None:
        """Add an assignment."""
        task = self._instance.tasks[assignment.task]
        self._full = {key for key in self._full if not key[-1]}  # there is more to overlap now
        self._engage(presences(self._instance, assignment))
        self._occupy_room(assignment.room, self._instance.room_busy(assignment))
        self._starts.add((assignment.provider, assignment.at))
        if task.patient is not None:
            appointment, place = self._instance.appointment(assignment), self._instance.place
            self._remember(task.patient, assignment.day, place(assignment), appointment)
        self._capacity.take(
            task.kind,
            assignment.provider,
            assignment.day,
            is_overbooked=assignment.is_overbooked,
        )
        self._pools.take(task.kind, self._instance.appointment(assignment))
        self._capacity.sessions.take(task.kind, assignment)
        self._fill_sessions()

    def _fill_sessions(self) -> None:
        """Close what is held to a session that takes no more, and what would count in several."""
        sessions = self._capacity.sessions
        for number in np.flatnonzero(sessions.left <= 0).tolist():
            if number not in self._full_sessions:
                self._full_sessions.add(number)
                limit = sessions.limits[number]
                minutes = sessions.closed_when_full(limit)
                for sheet, admits in zip(self._sheets, limit.kinds, strict=True):
                    if admits and minutes[sheet.kind.starts].any():
                        sheet.fill(limit, minutes)

    def _remember(self, patient: str, day: int, place: int, appointment: Span) -> None:
        """Add a patient's appointment, given in absolute minutes."""
        start, end = appointment
        midnight = day * DAY_MINUTES
        self._patients[patient, day].append(((start - midnight, end - midnight), place))

    def _engage(self, presences: Iterable[InRole]) -> None:
        """Keep people busy with an appointment: its provider, and whoever is in a role of it."""
        for each in presences:
            if each.provider >= 0:
                self._occupy(each.provider, each.busy)
                self._leave_time(each.provider, each.day, each.location, each.busy)

    def _occupy(self, provider: int, busy: Span) -> None:
        row = self._instance.providers[provider]
        for sheet in self._sheets:
            before, after = sheet.buffers[provider]
            posts = sheet.kind.posts_of(provider)
            for day in _days(busy, len(self._instance.dates)):
                if sheet.able:
                    sheet.engage(row, provider, busy, day)
                first, last = sheet.overlapping(busy, day, before, after)
                if first < last:
                    sheet.overlaps[posts, day, first:last] += 1
                ahead = sheet.ahead[posts, day, :first]
                np.minimum(ahead, busy[0], out=ahead)
                behind = sheet.behind[posts, day, last:]
                np.maximum(behind, busy[1], out=behind)

    def _leave_time(self, provider: int, day: int, place: int, busy: Span) -> None:
        """Rule 11: leave time for the way to and from a place where the provider is on a date."""
        if place == NOWHERE or not 0 <= day < len(self._instance.dates):
            return
        row, places = self._instance.providers[provider], self._instance.places
        for sheet in self._sheets:
            if sheet.able:
                sheet.leave_time(row, provider, busy, day, place, places)
            if sheet.missed is not None:
                for post, *way in sheet.ways(provider, place, places):
                    first, last = sheet.overlapping(busy, day, *way)
                    sheet.missed[post, day, first:last] = True

    def _occupy_room(self, room: int, busy: Span) -> None:
        for sheet, v in self._variants:
            variant = sheet.kind.variants[v]
            before, after = variant.row.buffer_before, int(variant.room_after[room])
            for day in _days(busy, len(self._instance.dates)):
                first, last = sheet.overlapping(busy, day, before, after)
                if first < last:
                    taken = sheet.taken[v][room, day, first:last]
                    free = variant.room_free[room, day, first:last]
                    sheet.rooms[v, day, first:last] -= (taken == 0) & free
                    taken += 1

    def best(self, number: int, *, is_overbooked: bool) -> Assignment | None:
        """Return the best regular or overbooked assignment of a task that is free, or None.

        A booking that moves goes as near as it can; a request where its preference and, if it is
        regular, its gap part are best. Where there are many positions, it is the best of the first
        date that has one. What is full for regular placements stays so, and for overbooked ones
        until something is placed.
        """
        task = self._instance.tasks[number]
        places = task.kind, task.days, task.provider
        is_alike = task.own is None and task.patient not in self._instance.booked_patients
        for n, positions in enumerate(self._in_parts(number, places, is_alike=is_alike)):
            key = places, n, is_overbooked
            if is_alike and key in self._full:
                continue
            fits = positions[self._fits(task.kind, positions, is_overbooked=is_overbooked)]
            if is_alike and not len(fits):
                self._full.add(key)
            assignment = self._best_of(number, fits, is_overbooked=is_overbooked)
            if assignment is not None:
                return assignment
        return None

    def _in_parts(self, number: int, places: _Places, *, is_alike: bool) -> list[Small]:
        """Return the positions of a task, date by date where they are many."""
        positions = self._instance.columns(number)
        if not is_alike or len(positions) <= self._params.at_once:
            return [positions]
        if places not in self._parts:
            if len(self._parts) >= self._params.kept_parts:
                del self._parts[next(iter(self._parts))]
            _, days, starts = self._instance.kinds[places[0]].shape
            day = positions // starts % days
            self._parts[places] = [positions[day == d] for d in places[1]]
        return self._parts[places]

    def _best_of(self, number: int, positions: Small, *, is_overbooked: bool) -> Assignment | None:
        """Return the best assignment of a task among free positions, in the least equipped room."""
        instance, task = self._instance, self._instance.tasks[number]
        sheet, kind = self._sheets[task.kind], self._instance.kinds[task.kind]
        if task.own is not None:
            post, day, s = np.unravel_index(positions, kind.shape)
            is_elsewhere = post % kind.providers != task.own.provider
            positions = positions[
                is_elsewhere | (day * DAY_MINUTES + kind.starts[s] != task.own.at)
            ]
        if not len(positions):
            return None
        post, day, s = np.unravel_index(positions, kind.shape)
        if task.patient is not None:
            clear = self._clear_of_patient(task.patient, kind, post, day, s)
            positions, post, day, s = positions[clear], post[clear], day[clear], s[clear]
            if not len(positions):
                return None
        if task.own is not None:
            value = -abs(day * DAY_MINUTES + kind.starts[s] - task.own.at)
        else:
            value = instance.preference(number)[kind.variant_of[post], s]
            if not is_overbooked:
                value += instance.gap_quarter * _gap(
                    instance, sheet, positions, post % kind.providers
                )
        chosen = int(value.argmax())
        at = int(day[chosen]), int(s[chosen])
        v = int(kind.variant_of[post[chosen]])
        whose = int(post[chosen]) % kind.providers
        is_free = kind.variants[v].room_free[:, *at] & (sheet.taken[v][:, *at] == 0)
        free = np.flatnonzero(is_free)
        room = int(free[kind.surplus[free].argmin()])
        start, team = int(kind.starts[at[1]]), sheet.team(whose, v, *at)
        return Assignment(number, whose, room, at[0], start, is_overbooked, team)

    def _fits(self, number: int, positions: Small, *, is_overbooked: bool) -> Bools:
        sheet, kind = self._sheets[number], self._instance.kinds[number]
        _, days, starts = kind.shape
        post_day = positions // starts
        variant = kind.variant_of[post_day // days]
        provider_day = post_day % (kind.providers * days)
        rooms = sheet.rooms.reshape(len(kind.variants), -1)
        fits: Bools = rooms[variant, positions % (days * starts)] > 0
        fits &= (self._capacity.type_left[number] > 0)[provider_day % days]
        if sheet.full is not None:
            fits &= ~sheet.full.ravel()[positions]
        if number in self._capacity.pair_left:
            fits &= (self._capacity.pair_left[number] > 0).ravel()[provider_day]
        if sheet.missed is not None:
            fits &= ~sheet.missed.ravel()[positions]
        if self._pools.takes_from(number):
            free = self._pools.free_at(number, kind).reshape(len(kind.variants), -1)
            fits &= free[variant, positions % (days * starts)]
        if sheet.able:
            fits &= sheet.completes().ravel()[positions]
        overlaps = sheet.overlaps.ravel()[positions]
        is_free = (overlaps == 0) & self._capacity.takes_regular(number).ravel()[provider_day]
        if not is_overbooked:
            fits &= is_free & kind.regular.ravel()[positions]
            return fits
        fits &= ~is_free & kind.allowed.ravel()[positions]
        for n in np.flatnonzero(fits).tolist():
            post, d, s = map(int, np.unravel_index(int(positions[n]), kind.shape))
            p = post % kind.providers
            start = int(kind.starts[s])
            pairs = self._capacity.allowances(number, p, d, start)
            overbooked = self._capacity.overbooked[p, d]
            most = max((o for o, per_day in pairs if overbooked < per_day), default=-1)
            fits[n] = overlaps[n] <= most and (p, d * DAY_MINUTES + start) not in self._starts
        return fits

    def _clear_of_patient(
        self,
        patient: str,
        kind: TypeTable,
        post: NDArray[np.intp],
        day: NDArray[np.intp],
        s: NDArray[np.intp],
    ) -> Bools:
        """[n] whether a placement overlaps no appointment of the patient, nor the way to one."""
        clear = np.ones(len(day), np.bool_)
        for on in set(day.tolist()):
            for appointment, place in self._patients.get((patient, on), ()):
                overlaps = kind.overlapping(appointment, place, self._instance.places)
                overlaps = overlaps[kind.variant_of[post], s]
                clear &= ~((day == on) & overlaps)
        return clear


def _days(busy: Span, days: int) -> range:
    """The days, of so many, on which a placement could overlap a busy span."""
    first, last = busy[0] // DAY_MINUTES, busy[1] // DAY_MINUTES
    return range(max(0, first - 1), min(days, last + 2))


def _gap(instance: Instance, sheet: Sheet, positions: Small, provider: NDArray[np.intp]) -> Ints:
    """[n] the gap part, in quarters, beside what is booked and placed so far."""
    kind, shortest = sheet.kind, instance.shortest[provider]
    quarters = np.zeros(len(positions), np.int64)
    for idle in (
        kind.busy_start.ravel()[positions] - sheet.behind.ravel()[positions],
        sheet.ahead.ravel()[positions] - kind.busy_end.ravel()[positions],
    ):
        quarters += side_quarters(idle, shortest)
    return quarters


def greedy_assignments(
    instance: Instance,
    is_over: Callable[[], bool] = lambda: False,
    params: GreedyParams = DEFAULT_PARAMS,
) -> list[Assignment]:
    """Return a legal plan: displaced bookings first, then requests.

    Bookings that could stay do so as far as they fit beside one another, those first that collide
    with the fewest. Requests go by priority, then the fewest positions, then the longest first.
    What finds no regular place is tried again as overbooked. Once it `is_over`, what has no place
    yet gets none.
    """
    assignments = _stays(instance)
    board = Board(instance, assignments, params)
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
    """Return displaced bookings that can stay, beside one another and those that are not displaced.

    Overbooked ones come last: they are checked against whatever they overlap.
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


def greedy(problem: Problem, params: GreedyParams = DEFAULT_PARAMS) -> Plan:
    """Return a legal plan quickly, with the bounds that need no solver."""
    began = time.perf_counter()
    instance = Instance(problem)
    return to_plan(
        instance,
        greedy_assignments(instance, params=params),
        status="feasible",
        bounds=easy_bounds(instance),
        seconds=time.perf_counter() - began,
    )
