"""Retiming: the best starts of one date's placements, by dynamic programming per provider.

Each provider's tasks of the date are given, and everything at other providers is frozen. For one
order of a provider's appointments the best starts are found exactly, as what the score gains from a
start depends on the start before alone (the timing problem; Vidal, Crainic, Gendreau & Prins 2015).
The order is improved by relocating one appointment at a time and by exchanging two (local search).

It takes milliseconds where the planning model takes a second, so it comes first: the model then
finds what needs several providers, or other requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.places import NOWHERE, Places
from solver.clinic.spans import overlap
from solver.planning.instance.layout import roles_of
from solver.planning.instance.rooms import rooms_left
from solver.planning.instance.session_places import SessionPlaces
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, FixedBooking
from solver.planning.instance.type_table import TypeTable
from solver.planning.pools import PoolsLeft
from solver.scoring.parts import side_quarters

_NEVER = -(10**15)
"""The score of what cannot be."""


MOST_STARTS = 288
"""Of one appointment, as many as a grid of five minutes has in a day. Where a finer grid has more,
half as many are tried, evenly spread, and those at which it would touch what is there now: two
appointments are held against each other start by start."""


def retimed(
    instance: Instance, assignments: Sequence[Assignment], day: int, should_stop: Callable[[], bool]
) -> list[Assignment]:
    """Return assignments with better starts and rooms on one date, the others as they are.

    Overbooked placements and those that they overlap are frozen, and so is every provider whose
    date has a booking that was moved or stays by an assignment, or somebody in a role: of an
    appointment of the provider's, or the provider.
    """
    staying = instance.staying(assignments)
    pools = instance.pools.after(instance, staying[len(instance.fixed) :])
    in_roles = _in_roles(instance, assignments, staying, day)
    for provider in range(len(instance.providers)):
        if should_stop():
            break
        here = [p for p in assignments if (p.provider, p.day) == (provider, day)]
        booked = [s for s in staying if (s.provider, s.day) == (provider, day)]
        if not here or any(instance.tasks[p.task].own for p in here) or provider in in_roles:
            continue
        if any(p.team for p in here):
            continue
        others = [p for p in assignments if (p.provider, p.day) != (provider, day)]
        sessions = instance.session_places.after(staying)
        if sessions.limits:
            for p in instance.made(assignments):
                sessions.take(instance.tasks[p.task].kind, p)
        better = _ProviderDay(instance, here, booked, others, (sessions, pools)).best()
        if better is not None:
            assignments = [*others, *better]
    return list(assignments)


def _in_roles(
    instance: Instance,
    assignments: Sequence[Assignment],
    staying: Sequence[FixedBooking],
    day: int,
) -> set[int]:
    """Return the providers who are in a role of something on a date or one beside it."""
    if not instance.clinic.has_roles:
        return set()
    engaged = [each for s in staying for each in s.in_roles]
    engaged += [each for p in assignments for each in roles_of(instance, p)]
    return {each.provider for each in engaged if abs(each.day - day) <= 1}


@dataclass(frozen=True)
class _Stop:
    """An appointment of a provider-day, and where it could begin; or a frozen part of the day.

    Attributes
    ----------
    places
        Where it is; of a frozen part, where all of it are.
    assignment
        None for what is frozen: bookings, and overbooked placements with those that they overlap.
    score
        [s] what it scores there but for the gap part.
    start
        [s] minutes of the day.
    busy_start, busy_end, opens, closes
        [s] the provider's busy span and the window around it, absolute.
    rooms
        [rooms, s] which are free then.
    counts
        Whether its gap part counts.
    """

    places: tuple[int, ...]
    assignment: Assignment | None
    score: Ints
    start: Ints
    busy_start: Ints
    busy_end: Ints
    opens: Ints
    closes: Ints
    rooms: Bools
    counts: bool


class _Item(NamedTuple):
    """What keeps the provider busy on the date: a booking, without assignment, or a placement."""

    busy: Span
    window: Span | None
    place: int
    assignment: Assignment | None


class _ProviderDay:
    """One provider-day: its stops, and local search over their order."""

    def __init__(
        self,
        instance: Instance,
        here: Sequence[Assignment],
        booked: Sequence[FixedBooking],
        others: Sequence[Assignment],
        left: tuple[SessionPlaces, PoolsLeft],
    ) -> None:
        self._instance, self._others = instance, others
        self._sessions, self._pools_before = left
        self._provider, self._day = here[0].provider, here[0].day
        self._shortest = int(instance.shortest[self._provider])
        self._stops = self._lay_out(here, booked)
        self._between: dict[tuple[int, int], Ints] = {}

    def best(self) -> list[Assignment] | None:
        """Return the assignments at the best starts found; None where there are none."""
        if any(not len(stop.start) for stop in self._stops):
            return None
        orders = range(len(self._stops)), self._by_best_start()
        order, score = max(map(self._local_optimum, orders), key=lambda found: found[1])
        return self._in_rooms(order) if score > 0 else None

    def _by_best_start(self) -> list[int]:
        """Return the stops in the order of the starts at which each alone scores the most."""
        starts = [int(stop.busy_start[stop.score.argmax()]) for stop in self._stops]
        return sorted(range(len(starts)), key=starts.__getitem__)

    def _local_optimum(self, order: Sequence[int]) -> tuple[list[int], int]:
        """Return an order that no relocation and no exchange improves, and its score."""
        order, score = list(order), self._score(order)
        while True:
            order, score = self._relocated(order, score)
            exchanged = ((self._score(other), other) for other in _exchanges(order))
            found = next((pair for pair in exchanged if pair[0] > score), None)
            if found is None:
                return order, score
            score, order = found

    def _relocated(self, order: list[int], score: int) -> tuple[list[int], int]:
        """Take out one stop after the other and put it back where it is best."""
        stops = [i for i in order if self._stops[i].assignment is not None]
        is_better = len(order) > 1
        while is_better:
            is_better = False
            for i in stops:
                rest = [j for j in order if j != i]
                scores = self._scores_with(i, rest)
                place = int(np.argmax(scores))
                if scores[place] > score:
                    order, score = [*rest[:place], i, *rest[place:]], scores[place]
                    is_better = True
        return order, score

    def _score(self, order: Sequence[int]) -> int:
        """Return what the best starts in this order score; negative when there are none."""
        return int(self._forward(order)[-1].max())

    def _scores_with(self, i: int, rest: Sequence[int]) -> list[int]:
        """Return what an order scores with a stop put in at each place of it."""
        before, after = self._forward(rest, is_whole=False), self._backward(rest)
        stop = self._stops[i]
        scores = []
        for place in range(len(rest) + 1):
            if place:
                here = (before[place - 1][:, None] + self._from_to(rest[place - 1], i)).max(axis=0)
            else:
                here = self._side(stop, stop.busy_start - stop.opens)
            if place < len(rest):
                onward = (self._from_to(i, rest[place]) + after[place][None, :]).max(axis=1)
            else:
                onward = self._side(stop, stop.closes - stop.busy_end)
            scores.append(int((here + stop.score + onward).max()))
        return scores

    # Stops

    def _lay_out(self, here: Sequence[Assignment], booked: Sequence[FixedBooking]) -> list[_Stop]:
        """Return the stops in the order in which they begin now: a stop a set that overlaps."""
        instance = self._instance
        items = [_Item(s.busy, s.window, s.location, None) for s in booked]
        items += [_Item(instance.busy(p), instance.window(p), instance.place(p), p) for p in here]
        items.sort(key=lambda item: item.busy)
        self._moments = np.unique([minute for item in items for minute in item.busy])
        self._at_places = [(item.place, item.busy) for item in items if item.assignment is None]
        groups: list[list[_Item]] = []
        for item in items:
            if groups and item.busy[0] < max(other.busy[1] for other in groups[-1]):
                groups[-1].append(item)
            else:
                groups.append([item])
        several = (item for group in groups if len(group) > 1 for item in group)
        self._frozen = [item.assignment for item in several if item.assignment is not None]
        return [
            self._free_stop(group[0].assignment)
            if len(group) == 1 and group[0].assignment is not None
            else _frozen_stop(group, len(instance.rooms))
            for group in groups
        ]

    def _free_stop(self, assignment: Assignment) -> _Stop:
        """Return a regular placement as a stop, with all starts at which it could be there."""
        instance, at = self._instance, (self._instance.post(assignment), self._day)
        task = instance.tasks[assignment.task]
        kind = instance.kinds[task.kind]
        open_ = np.zeros(kind.shape, np.bool_)
        open_.ravel()[instance.columns(assignment.task)] = True
        variant = int(kind.variant_of[at[0]])
        free = self._free_rooms[task.kind, variant]
        rooms = self._sessions.rooms_open_to(task.kind, assignment, kind.starts, free)
        could = open_[at] & kind.regular[at] & rooms.any(axis=0)
        if self._pools.takes_from(task.kind):
            could &= self._pools.free_at(task.kind, kind)[variant, self._day]
        for appointment, place in self._patient_elsewhere(task.patient):
            could &= ~kind.overlapping(appointment, place, instance.places)[variant]
        chosen = np.flatnonzero(could)
        if len(chosen) > MOST_STARTS:
            chosen = _tried(chosen, at, assignment.start, kind, self._moments)
        parts = np.array(instance.room_parts[task.kind], np.int64)
        best_room = np.where(rooms[:, chosen], parts[:, None], 0).max(axis=0, initial=0)
        return _Stop(
            places=(instance.place(assignment),),
            assignment=assignment,
            score=instance.preference(assignment.task)[variant, chosen] + best_room,
            start=kind.starts[chosen],
            busy_start=kind.busy_start[at][chosen].astype(np.int64),
            busy_end=kind.busy_end[at][chosen].astype(np.int64),
            opens=kind.opens[at][chosen].astype(np.int64),
            closes=kind.closes[at][chosen].astype(np.int64),
            rooms=rooms[:, chosen],
            counts=True,
        )

    @cached_property
    def _free_rooms(self) -> dict[tuple[int, int], Bools]:
        """By type and variant: [R, S] where a room is free of all but what is retimed."""
        instance = self._instance
        taken = [(p.room, instance.room_busy(p)) for p in (*self._others, *self._frozen)]
        left = rooms_left(instance, [self._day], taken)
        return {(kind, variant): free for (kind, variant, _), free in left.items()}

    @cached_property
    def _pools(self) -> PoolsLeft:
        """What the equipment pools leave beside all but what is retimed."""
        frozen = (*self._others, *self._frozen)
        return self._pools_before.after(self._instance, (), frozen)

    def _patient_elsewhere(self, patient: str | None) -> list[tuple[Span, int]]:
        """Return the frozen appointments of a patient, in minutes of the day, with their places.

        What is of another date has no place, as no way there is compared.
        """
        instance, midnight = self._instance, self._day * DAY_MINUTES
        spans = [
            (instance.appointment(p), instance.place(p) if p.day == self._day else NOWHERE)
            for p in (*self._others, *self._frozen)
            if patient is not None and instance.tasks[p.task].patient == patient
        ]
        return [((start - midnight, end - midnight), place) for (start, end), place in spans]

    # The score of an order

    def _forward(self, order: Sequence[int], *, is_whole: bool = True) -> list[Ints]:
        """[s] of each stop, the most that it and all before it score when it begins at s.

        What the last one gains from the end of its window is in it when the order `is_whole`.
        """
        first, last = self._stops[order[0]], self._stops[order[-1]]
        best = [first.score + self._side(first, first.busy_start - first.opens)]
        for i, j in pairwise(order):
            gained = (best[-1][:, None] + self._from_to(i, j)).max(axis=0)
            best.append(np.maximum(_NEVER, gained + self._stops[j].score))
        if is_whole:
            best[-1] = best[-1] + self._side(last, last.closes - last.busy_end)
        return best

    def _backward(self, order: Sequence[int]) -> list[Ints]:
        """[s] of each stop, the most that it and all after it score when it begins at s."""
        last = self._stops[order[-1]]
        best = [last.score + self._side(last, last.closes - last.busy_end)]
        for j, i in pairwise(reversed(order)):
            gained = (self._from_to(i, j) + best[-1][None, :]).max(axis=1)
            best.append(np.maximum(_NEVER, gained + self._stops[i].score))
        return best[::-1]

    def _from_to(self, first: int, second: int) -> Ints:
        """[s, t] the gap parts between two stops that follow each other."""
        if (first, second) not in self._between:
            one, two = self._stops[first], self._stops[second]
            ends, begins = one.busy_end[:, None], two.busy_start[None, :]
            after = np.minimum(one.closes[:, None], begins) - ends
            before = begins - np.maximum(two.opens[None, :], ends)
            gained = self._side(one, after) + self._side(two, before)
            way = _way(self._instance.places, one, two)
            self._between[first, second] = np.where(begins >= ends + way, gained, _NEVER)
        return self._between[first, second]

    def _side(self, stop: _Stop, idle: Ints) -> Ints:
        """Return the gap part of one side of a stop, beside so many minutes of idle time."""
        if not stop.counts:
            return np.zeros(idle.shape, np.int64)
        return self._instance.gap_quarter * side_quarters(idle, self._shortest)

    # From an order to assignments

    def _in_rooms(self, order: Sequence[int]) -> list[Assignment] | None:
        """Return the assignments of an order's best starts; None if one finds no room, or pieces.

        What one has of an equipment pool it may still have when the next one begins.
        """
        instance, best = self._instance, self._forward(order)
        chosen = [int(best[-1].argmax())]
        for k in range(len(order) - 2, -1, -1):
            towards = self._from_to(order[k], order[k + 1])[:, chosen[0]]
            chosen.insert(0, int((best[k] + towards).argmax()))
        assignments = list(self._frozen)
        pools = self._pools.after(instance, ())
        for number, s in zip(order, chosen, strict=True):
            stop = self._stops[number]
            if stop.assignment is not None:
                moved = stop.assignment._replace(start=int(stop.start[s]))
                placed = _in_best_room(instance, moved, stop.rooms[:, s], assignments)
                if placed is None:
                    return None
                kind, appointment = instance.tasks[placed.task].kind, instance.appointment(placed)
                if not pools.fits(kind, appointment):
                    return None
                pools.take(kind, appointment)
                assignments.append(placed)
        return assignments if _leave_time(self._instance, self._at_places, assignments) else None


def _tried(could: Ints, at: tuple[int, int], start: int, kind: TypeTable, moments: Ints) -> Ints:
    """Return, of too many starts of a post and day, those to be tried; `start` is one of them."""
    begins, ends = kind.busy_start[at][could], kind.busy_end[at][could]
    opens, closes = kind.opens[at][could], kind.closes[at][could]
    is_tried = np.isin(begins, moments) | np.isin(ends, moments)
    is_tried |= (begins <= opens) | (ends >= closes) | (kind.starts[could] == start)
    is_tried[:: -(-2 * len(could) // MOST_STARTS)] = True
    return could[is_tried]


def _in_best_room(
    instance: Instance, assignment: Assignment, rooms: Bools, before: Sequence[Assignment]
) -> Assignment | None:
    """Return an assignment in the best of some rooms that is free beside those before it."""
    parts = instance.room_parts[instance.tasks[assignment.task].kind]
    for room in sorted(np.flatnonzero(rooms).tolist(), key=lambda r: -parts[r]):
        moved = assignment._replace(room=room)
        busy = instance.room_busy(moved)
        if not any(o.room == room and overlap(busy, instance.room_busy(o)) for o in before):
            return moved
    return None


def _exchanges(order: Sequence[int]) -> Iterator[list[int]]:
    for k, m in combinations(range(len(order)), 2):
        other = list(order)
        other[k], other[m] = other[m], other[k]
        yield other


def _frozen_stop(group: Sequence[_Item], rooms: int) -> _Stop:
    """Return spans that overlap as one stop; the gap parts of its two ends count."""
    start, end = group[0].busy[0], max(item.busy[1] for item in group)
    windows = [item.window for item in group if item.window is not None]
    return _Stop(
        places=tuple({item.place for item in group}),
        assignment=None,
        score=np.zeros(1, np.int64),
        start=np.zeros(1, np.int64),
        busy_start=np.array([start]),
        busy_end=np.array([end]),
        opens=np.array([windows[0][0] if windows else start]),
        closes=np.array([windows[-1][1] if windows else end]),
        rooms=np.zeros((rooms, 1), np.bool_),
        counts=bool(windows),
    )


def _way(places: Places, one: _Stop, two: _Stop) -> int:
    """Return the minutes of the longest way from one stop to another."""
    minutes = places.minutes
    pairs = [(p, q) for p in one.places for q in two.places if NOWHERE not in (p, q)]
    return max((int(minutes[p, q]) for p, q in pairs if p != q), default=0)


def _leave_time(
    instance: Instance, booked: Sequence[tuple[int, Span]], assignments: Sequence[Assignment]
) -> bool:
    """Whether there is time for all ways, those past a stop between two others as well."""
    places = instance.places
    if not places.are_several:
        return True
    at = [*booked, *((instance.place(p), instance.busy(p)) for p in assignments)]
    return all(
        places.are_apart(one, other)
        for i, one in enumerate(at)
        for other in at[max(i + 1, len(booked)) :]
    )
