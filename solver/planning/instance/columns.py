"""Columns: candidate placements of a problem, as parallel arrays of shape [n]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Ints, Small
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.places import NOWHERE, Places
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

FAR = 10**7
"""More minutes than any horizon has; keeps owners apart on one axis."""


type Narrow = Callable[[int, Small], Small]
"""Picks from the positions of a task, which is given by its number."""


@dataclass(frozen=True)
class Columns:
    """Tasks at positions of their type's table, regular or overbooked; each of shape [n]."""

    task: Ints
    position: Ints
    is_overbooked: Bools

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, chosen: Ints | Bools) -> Columns:
        return Columns(self.task[chosen], self.position[chosen], self.is_overbooked[chosen])

    @classmethod
    def of(
        cls,
        instance: Instance,
        tasks: Iterable[int],
        narrow: Narrow = lambda _task, positions: positions,
    ) -> Columns:
        """Return the columns of some tasks; `narrow` picks from the positions of each."""
        task, position, is_overbooked = [], [], []
        for number in tasks:
            kind = instance.kinds[instance.tasks[number].kind]
            positions = narrow(number, instance.columns(number))
            for table, over in ((kind.regular, False), (kind.allowed, True)):
                passed = positions[table.ravel()[positions]]
                task.append(np.full(len(passed), number, np.int64))
                position.append(passed)
                is_overbooked.append(np.full(len(passed), over))
        if not task:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))
        return cls(np.concatenate(task), np.concatenate(position), np.concatenate(is_overbooked))

    @classmethod
    def of_provider_days(
        cls,
        instance: Instance,
        tasks: Iterable[int],
        provider_days: Iterable[tuple[int, int]],
        narrow: Narrow = lambda _task, positions: positions,
    ) -> Columns:
        """Return the columns of some tasks that lie in some provider-days; see :meth:`of`."""
        tasks, provider_days = list(tasks), list(provider_days)
        chosen = {}
        for number in {instance.tasks[i].kind for i in tasks}:
            mask = np.zeros(instance.kinds[number].shape, np.bool_)
            for provider, day in provider_days:
                mask[instance.kinds[number].posts_of(provider), day] = True
            chosen[number] = mask.ravel()
        return cls.of(
            instance,
            tasks,
            lambda i, positions: narrow(i, positions[chosen[instance.tasks[i].kind][positions]]),
        )

    @classmethod
    def at(cls, instance: Instance, assignments: Sequence[Assignment]) -> Columns:
        """Return the columns that assignments choose; a booking that stays chooses none."""
        made, position = instance.made(assignments), []
        for assignment in made:
            kind = instance.table(assignment)
            s = int(np.searchsorted(kind.starts, assignment.start))
            where = instance.post(assignment), assignment.day, s
            position.append(int(np.ravel_multi_index(where, kind.shape)))
        return cls(
            np.array([assignment.task for assignment in made], np.int64),
            np.array(position, np.int64),
            np.array([assignment.is_overbooked for assignment in made], np.bool_),
        )

    def clear_of(self, instance: Instance, assignments: Sequence[Assignment]) -> Columns:
        """Return the columns but for regular ones that overlap a regular one of `assignments`."""
        at = ColumnTimes.of(instance, self)
        overlaps = np.zeros(len(self), np.bool_)
        for assignment in assignments:
            if not assignment.is_overbooked:
                overlaps |= at.overlapping(assignment.provider, instance.busy(assignment))
        return self[~overlaps | self.is_overbooked]

    def joined(self, other: Columns) -> Columns:
        """Return these columns and then those of `other` that are not among them."""
        mine = set(self.keys)
        new = other[np.array([key not in mine for key in other.keys], np.bool_)]
        return Columns(
            np.concatenate([self.task, new.task]),
            np.concatenate([self.position, new.position]),
            np.concatenate([self.is_overbooked, new.is_overbooked]),
        )

    @property
    def keys(self) -> list[tuple[int, int, bool]]:
        """What tells columns apart."""
        parts = self.task.tolist(), self.position.tolist(), self.is_overbooked.tolist()
        return list(zip(*parts, strict=True))

    @staticmethod
    def count(instance: Instance, task: int, narrow: Narrow) -> int:
        """Return how many columns :meth:`of` returns for one task."""
        kind = instance.kinds[instance.tasks[task].kind]
        positions = narrow(task, instance.columns(task))
        return sum(int(table.ravel()[positions].sum()) for table in (kind.regular, kind.allowed))


def within(instance: Instance, radius: int | None, task: int, positions: Small) -> Small:
    """Return the positions to which a booking moves by `radius` minutes at most.

    All of them without a radius, for a request, and for a displaced booking.
    """
    own, kind = instance.tasks[task].own, instance.kinds[instance.tasks[task].kind]
    if radius is None or own is None or instance.tasks[task].is_displaced:
        return positions
    _, day, s = np.unravel_index(positions, kind.shape)
    return positions[np.abs(day * DAY_MINUTES + kind.starts[s] - own.at) <= radius]


@dataclass(frozen=True)
class ColumnTimes:
    """Where columns lie, each of shape [n].

    Attributes
    ----------
    variant, place
        Which of its type's variants the provider has there, and where that is.
    start, start_index
        Minutes of the day, and the index into the starts of the type's table.
    at, end, busy_start, busy_end
        The appointment and the provider's busy span, in absolute minutes.
    """

    kind: Ints
    variant: Ints
    place: Ints
    provider: Ints
    day: Ints
    start_index: Ints
    start: Ints
    at: Ints
    end: Ints
    busy_start: Ints
    busy_end: Ints

    @classmethod
    def of(cls, instance: Instance, columns: Columns) -> ColumnTimes:
        """Work out where columns lie."""
        kinds = np.array([task.kind for task in instance.tasks], np.int64)[columns.task]
        fields = np.zeros((10, len(columns)), np.int64)
        for number in np.unique(kinds).tolist():
            kind = instance.kinds[number]
            of_kind = np.flatnonzero(kinds == number)
            post, day, index = np.unravel_index(columns.position[of_kind], kind.shape)
            provider, variant = post % kind.providers, kind.variant_of[post]
            places = np.array([each.place for each in kind.variants], np.int64)
            start = kind.starts[index]
            at = start + day * DAY_MINUTES
            fields[:, of_kind] = (
                variant,
                places[variant],
                provider,
                day,
                index,
                start,
                at,
                at + kind.duration[provider],
                at - kind.before[provider],
                at + kind.after[provider],
            )
        return cls(kinds, *fields)

    def overlapping(self, provider: int, busy: Span) -> Bools:
        """[n] whether a column's busy span at its provider overlaps `busy` at `provider`."""
        overlapping: Bools = (
            (self.provider == provider) & (self.busy_start < busy[1]) & (self.busy_end > busy[0])
        )
        return overlapping

    def too_near(
        self, day: int, place: int, span: Span, places: Places, *, for_patient: bool = False
    ) -> Bools:
        """[n] whether there is no time for the way between a column and a span of a date and place.

        A provider's busy span counts, `for_patient` the appointment alone.
        """
        start, end = self.busy_start, self.busy_end
        if for_patient:
            start, end = self.at, self.end
        return too_near((self.day, self.place, start, end), day, place, span, places)


def too_near(
    new: tuple[Ints, Ints, Ints, Ints], day: int, place: int, span: Span, places: Places
) -> Bools:
    """[n] whether there is no time for the way between spans and one of a date and place.

    The former are given with their dates, their places, starts and ends.
    """
    on, there, start, end = new
    if place == NOWHERE:
        return np.zeros(len(on), np.bool_)
    near: Bools = (on == day) & (there != place) & (there != NOWHERE)
    to, back = places.between(place, there[near])
    near[near] = (start[near] < span[1] + to) & (end[near] + back > span[0])
    return near


def grouped(key: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each value of `key`, in order, with the indices that have it."""
    order = np.argsort(key, kind="stable")
    if len(order):
        for members in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            yield int(key[members[0]]), members


def grouped_pairs(first: Ints, second: Ints) -> Iterator[tuple[tuple[int, int], Ints]]:
    """Yield each pair of values, in order, with the indices, [n], that have it."""
    for key, members in grouped(first * FAR + second):
        yield divmod(key, FAR), members


def positions(instance: Instance, columns: Columns, assignments: Sequence[Assignment]) -> list[int]:
    """Return the indices of those columns that assignments choose."""
    wanted = set(Columns.at(instance, assignments).keys)
    of_task = np.flatnonzero(np.isin(columns.task, [assignment.task for assignment in assignments]))
    found = zip(of_task.tolist(), columns[of_task].keys, strict=True)
    return [c for c, key in found if key in wanted]
