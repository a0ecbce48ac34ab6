"""The best starts of a date's placements, by dynamic programming, provider by provider.

Who sees whom on a date is settled, and everything at other providers stays. For one order of a
provider's appointments the best starts are found exactly, as what the score gains from a start
depends on the start before alone (the timing problem; Vidal, Crainic, Gendreau & Prins 2015). The
order is bettered by moving one appointment at a time to another place in it, and by exchanging two.

It takes milliseconds where the planning model takes a second, so it comes first: the model then
finds what needs several providers, or other requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import overlap
from solver.planning.instance.rooms import rooms_left
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, FixedBooking
from solver.scoring.parts import side_quarters

_NEVER = -(10**15)


def retimed(
    instance: Instance, assignments: Sequence[Assignment], day: int, should_stop: Callable[[], bool]
) -> list[Assignment]:
    """Return the placements with better starts and rooms on one date, the others as they are.

    Overbooked placements and those that they overlap stay, and so do movable bookings.
    """
    standing = instance.staying(assignments)
    for provider in range(len(instance.providers)):
        if should_stop():
            break
        here = [p for p in assignments if (p.provider, p.day) == (provider, day)]
        booked = [s for s in standing if (s.provider, s.day) == (provider, day)]
        if not here or any(instance.tasks[p.task].own for p in here):
            continue
        others = [p for p in assignments if (p.provider, p.day) != (provider, day)]
        better = _Date(instance, here, booked, others).best()
        if better is not None:
            assignments = [*others, *better]
    return list(assignments)


@dataclass(frozen=True)
class _Stop:
    """An appointment of a provider's date, and where it could begin.

    Attributes
    ----------
    assignment
        None for what stays: bookings, and overbooked placements with those that they overlap.
    worth
        [s] what the score gains there, but for the gap part.
    start
        [s] minutes of the day.
    busy_start, busy_end, opens, closes
        [s] the provider's busy span and the window around it, absolute.
    rooms
        [rooms, s] which are free then.
    counts
        Whether its gap part counts.
    """

    assignment: Assignment | None
    worth: Ints
    start: Ints
    busy_start: Ints
    busy_end: Ints
    opens: Ints
    closes: Ints
    rooms: Bools
    counts: bool


class _Date:
    """One provider's date."""

    def __init__(
        self,
        instance: Instance,
        here: Sequence[Assignment],
        booked: Sequence[FixedBooking],
        others: Sequence[Assignment],
    ) -> None:
        self._instance = instance
        self._provider, self._day = here[0].provider, here[0].day
        self._shortest = int(instance.shortest[self._provider])
        self._others = others
        self._stops = self._lay_out(here, booked)
        self._between: dict[tuple[int, int], Ints] = {}

    def best(self) -> list[Assignment] | None:
        """Return the placements of the date at the best starts found; None where there are none."""
        if any(not len(stop.start) for stop in self._stops):
            return None
        began = [range(len(self._stops)), self._by_wish()]
        order, value = max(map(self._bettered, began), key=lambda found: found[1])
        return self._in_rooms(order) if value > 0 else None

    def _by_wish(self) -> list[int]:
        """Return the stops in the order of where they would best begin."""
        wish = [int(stop.busy_start[stop.worth.argmax()]) for stop in self._stops]
        return sorted(range(len(wish)), key=wish.__getitem__)

    def _bettered(self, began: Sequence[int]) -> tuple[list[int], int]:
        """Return an order that no move of one stop and no exchange of two betters; its value."""
        order, value = list(began), self._value(began)
        while True:
            order, value = self._moved(order, value)
            exchanged = ((self._value(other), other) for other in _exchanges(order))
            found = next((pair for pair in exchanged if pair[0] > value), None)
            if found is None:
                return order, value
            value, order = found

    def _moved(self, order: list[int], value: int) -> tuple[list[int], int]:
        """Take out one stop after the other and put it back where it is best."""
        stops = [i for i in order if self._stops[i].assignment is not None]
        is_better = len(order) > 1
        while is_better:
            is_better = False
            for i in stops:
                rest = [j for j in order if j != i]
                values = self._values_with(i, rest)
                place = int(np.argmax(values))
                if values[place] > value:
                    order, value = [*rest[:place], i, *rest[place:]], values[place]
                    is_better = True
        return order, value

    def _value(self, order: Sequence[int]) -> int:
        """Return what the best starts in this order score; negative when there are none."""
        return int(self._forward(order)[-1].max())

    def _values_with(self, i: int, rest: Sequence[int]) -> list[int]:
        """Return what an order is worth with a stop put in at each place of it."""
        before, after = self._forward(rest, is_whole=False), self._backward(rest)
        stop = self._stops[i]
        values = []
        for place in range(len(rest) + 1):
            if place:
                here = (before[place - 1][:, None] + self._from_to(rest[place - 1], i)).max(axis=0)
            else:
                here = self._side(stop, stop.busy_start - stop.opens)
            if place < len(rest):
                onward = (self._from_to(i, rest[place]) + after[place][None, :]).max(axis=1)
            else:
                onward = self._side(stop, stop.closes - stop.busy_end)
            values.append(int((here + stop.worth + onward).max()))
        return values

    # What there is to choose from

    def _lay_out(self, here: Sequence[Assignment], booked: Sequence[FixedBooking]) -> list[_Stop]:
        """Return the stops in the order in which they begin now."""
        instance = self._instance
        items: list[tuple[Span, Span | None, Assignment | None]] = [
            (s.busy, s.window, None) for s in booked
        ]
        items += [(instance.busy(p), instance.window(p), p) for p in here]
        items.sort(key=lambda item: item[0])
        groups: list[list[tuple[Span, Span | None, Assignment | None]]] = []
        for item in items:
            if groups and item[0][0] < max(span[1] for span, _, _ in groups[-1]):
                groups[-1].append(item)
            else:
                groups.append([item])
        self._staying = [
            p for group in groups if len(group) > 1 for *_, p in group if p is not None
        ]
        return [
            self._of_assignment(group[0][2])
            if len(group) == 1 and group[0][2] is not None
            else self._that_stays([(span, window) for span, window, _ in group])
            for group in groups
        ]

    def _that_stays(self, group: Sequence[tuple[Span, Span | None]]) -> _Stop:
        """Return what stays as one stop; the gap parts of its two ends count."""
        end = max(span[1] for span, _ in group)
        windows = [window for _, window in group if window is not None]
        return _Stop(
            assignment=None,
            worth=np.zeros(1, np.int64),
            start=np.zeros(1, np.int64),
            busy_start=np.array([group[0][0][0]]),
            busy_end=np.array([end]),
            opens=np.array([windows[0][0] if windows else group[0][0][0]]),
            closes=np.array([windows[-1][1] if windows else end]),
            rooms=np.zeros((len(self._instance.rooms), 1), np.bool_),
            counts=bool(windows),
        )

    def _of_assignment(self, assignment: Assignment) -> _Stop:
        instance, at = self._instance, (self._provider, self._day)
        task = instance.tasks[assignment.task]
        kind = instance.kinds[task.kind]
        sites = instance.columns(assignment.task)
        open_ = np.zeros(kind.shape, np.bool_)
        open_.ravel()[sites] = True
        rooms = self._free_rooms[task.kind]
        could = open_[at] & kind.regular[at] & rooms.any(axis=0)
        for start, end in self._patients_elsewhere(task.patient):
            could &= (kind.starts >= end) | (kind.starts + kind.row.duration_minutes <= start)
        chosen = np.flatnonzero(could)
        parts = np.array(instance.room_parts[task.kind], np.int64)
        worth = instance.preference(assignment.task)[chosen]
        worth = worth + np.where(rooms[:, chosen], parts[:, None], 0).max(axis=0, initial=0)
        return _Stop(
            assignment=assignment,
            worth=worth,
            start=kind.starts[chosen],
            busy_start=kind.busy_start[at][chosen].astype(np.int64),
            busy_end=kind.busy_end[at][chosen].astype(np.int64),
            opens=kind.opens[at][chosen].astype(np.int64),
            closes=kind.closes[at][chosen].astype(np.int64),
            rooms=rooms[:, chosen],
            counts=True,
        )

    @cached_property
    def _free_rooms(self) -> dict[int, Bools]:
        """[R, S] by kind, where a room is free of all but this provider's placements."""
        instance = self._instance
        taken = [(p.room, instance.room_busy(p)) for p in (*self._others, *self._staying)]
        return {k: free for (k, _), free in rooms_left(instance, [self._day], taken).items()}

    def _patients_elsewhere(self, patient: str | None) -> list[Span]:
        """Appointments of a patient at others, in minutes of the day."""
        if patient is None:
            return []
        instance, midnight = self._instance, self._day * DAY_MINUTES
        spans = [
            instance.appointment(p)
            for p in (*self._others, *self._staying)
            if instance.tasks[p.task].patient == patient
        ]
        return [(start - midnight, end - midnight) for start, end in spans]

    # What an order is worth

    def _forward(self, order: Sequence[int], *, is_whole: bool = True) -> list[Ints]:
        """[s] of each stop, the most that it and all before it score when it begins at s.

        What the last one gains from the end of its window is in it when the order `is_whole`.
        """
        first, last = self._stops[order[0]], self._stops[order[-1]]
        best = [first.worth + self._side(first, first.busy_start - first.opens)]
        for i, j in pairwise(order):
            gained = (best[-1][:, None] + self._from_to(i, j)).max(axis=0)
            best.append(np.maximum(_NEVER, gained + self._stops[j].worth))
        if is_whole:
            best[-1] = best[-1] + self._side(last, last.closes - last.busy_end)
        return best

    def _backward(self, order: Sequence[int]) -> list[Ints]:
        """[s] of each stop, the most that it and all after it score when it begins at s."""
        last = self._stops[order[-1]]
        best = [last.worth + self._side(last, last.closes - last.busy_end)]
        for j, i in pairwise(reversed(order)):
            gained = (self._from_to(i, j) + best[-1][None, :]).max(axis=1)
            best.append(np.maximum(_NEVER, gained + self._stops[i].worth))
        return best[::-1]

    def _from_to(self, first: int, second: int) -> Ints:
        """[s, t] the gap parts between two stops that follow each other."""
        if (first, second) not in self._between:
            one, two = self._stops[first], self._stops[second]
            ends, begins = one.busy_end[:, None], two.busy_start[None, :]
            after = np.minimum(one.closes[:, None], begins) - ends
            before = begins - np.maximum(two.opens[None, :], ends)
            gained = self._side(one, after) + self._side(two, before)
            self._between[first, second] = np.where(begins >= ends, gained, _NEVER)
        return self._between[first, second]

    def _side(self, stop: _Stop, idle: Ints) -> Ints:
        if not stop.counts:
            return np.zeros(idle.shape, np.int64)
        return self._instance.gap_quarter * side_quarters(idle, self._shortest)

    # From an order to placements

    def _in_rooms(self, order: Sequence[int]) -> list[Assignment] | None:
        best = self._forward(order)
        chosen = [int(best[-1].argmax())]
        for k in range(len(order) - 2, -1, -1):
            towards = self._from_to(order[k], order[k + 1])[:, chosen[0]]
            chosen.insert(0, int((best[k] + towards).argmax()))
        assignments = list(self._staying)
        for number, s in zip(order, chosen, strict=True):
            stop = self._stops[number]
            if stop.assignment is None:
                continue
            assignment = self._in_best_room(
                stop.assignment._replace(start=int(stop.start[s])), stop, s, assignments
            )
            if assignment is None:
                return None
            assignments.append(assignment)
        return assignments

    def _in_best_room(
        self, assignment: Assignment, stop: _Stop, s: int, before: Sequence[Assignment]
    ) -> Assignment | None:
        instance = self._instance
        parts = instance.room_parts[instance.tasks[assignment.task].kind]
        for room in sorted(np.flatnonzero(stop.rooms[:, s]).tolist(), key=lambda r: -parts[r]):
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
