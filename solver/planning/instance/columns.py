"""Columns: candidate placements of a problem, as parallel arrays of shape [n]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Ints, Small
from solver.clinic.entities import DAY_MINUTES
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

FAR = 10**7
"""More minutes than any horizon has; keeps owners apart on one axis."""


@dataclass(frozen=True)
class Columns:
    """Tasks at sites of their kind's table, each of shape [n]."""

    task: Ints
    site: Ints
    is_overbooked: Bools

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, chosen: Ints | Bools) -> Columns:
        return Columns(self.task[chosen], self.site[chosen], self.is_overbooked[chosen])

    @classmethod
    def at(cls, instance: Instance, assignments: Sequence[Assignment]) -> Columns:
        """The columns that placements are; a booking that stays is none."""
        site, assignments = [], instance.made(assignments)
        for assignment in assignments:
            kind = instance.kinds[instance.tasks[assignment.task].kind]
            s = int(np.searchsorted(kind.starts, assignment.start))
            site.append(
                int(np.ravel_multi_index((assignment.provider, assignment.day, s), kind.shape))
            )
        return cls(
            np.array([assignment.task for assignment in assignments], np.int64),
            np.array(site, np.int64),
            np.array([assignment.is_overbooked for assignment in assignments], np.bool_),
        )

    @classmethod
    def inside(
        cls,
        instance: Instance,
        tasks: Iterable[int],
        provider_days: Iterable[tuple[int, int]],
        narrow: Callable[[int, Small], Small] = lambda _task, sites: sites,
    ) -> Columns:
        """The columns of some tasks at some providers' dates; see :meth:`of`."""
        tasks, provider_days = list(tasks), list(provider_days)
        chosen = {}
        for number in {instance.tasks[i].kind for i in tasks}:
            mask = np.zeros(instance.kinds[number].shape, np.bool_)
            for provider, day in provider_days:
                mask[provider, day] = True
            chosen[number] = mask.ravel()
        return cls.of(
            instance,
            tasks,
            lambda i, sites: narrow(i, sites[chosen[instance.tasks[i].kind][sites]]),
        )

    def clear_of(self, instance: Instance, assignments: Sequence[Assignment]) -> Columns:
        """Return those that could stand beside placements: a regular one meets no regular one."""
        at = ColumnTimes.of(instance, self)
        meets = np.zeros(len(self), np.bool_)
        for assignment in assignments:
            if not assignment.is_overbooked:
                start, end = instance.busy(assignment)
                meets |= at.keeping(assignment.provider, start, end)
        return self[~meets | self.is_overbooked]

    def joined(self, other: Columns) -> Columns:
        """Return these and those of another that are not among them."""
        mine = set(self.keys)
        new = other[np.array([key not in mine for key in other.keys], np.bool_)]
        return Columns(
            np.concatenate([self.task, new.task]),
            np.concatenate([self.site, new.site]),
            np.concatenate([self.is_overbooked, new.is_overbooked]),
        )

    @property
    def keys(self) -> list[tuple[int, int, bool]]:
        """What tells columns apart."""
        parts = self.task.tolist(), self.site.tolist(), self.is_overbooked.tolist()
        return list(zip(*parts, strict=True))

    @staticmethod
    def count(instance: Instance, task: int, narrow: Callable[[int, Small], Small]) -> int:
        """Return how many columns a task has, of the sites that `narrow` picks."""
        kind = instance.kinds[instance.tasks[task].kind]
        sites = narrow(task, instance.columns(task))
        return sum(int(table.ravel()[sites].sum()) for table in (kind.regular, kind.allowed))

    @classmethod
    def of(
        cls,
        instance: Instance,
        tasks: Iterable[int],
        narrow: Callable[[int, Small], Small] = lambda _task, sites: sites,
    ) -> Columns:
        """The columns of some tasks; `narrow` picks from a task's sites."""
        task, site, is_overbooked = [], [], []
        for number in tasks:
            kind = instance.kinds[instance.tasks[number].kind]
            sites = narrow(number, instance.columns(number))
            for table, over in ((kind.regular, False), (kind.allowed, True)):
                passed = sites[table.ravel()[sites]]
                task.append(np.full(len(passed), number, np.int64))
                site.append(passed)
                is_overbooked.append(np.full(len(passed), over))
        if not task:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))
        return cls(np.concatenate(task), np.concatenate(site), np.concatenate(is_overbooked))


@dataclass(frozen=True)
class ColumnTimes:
    """Where columns lie, each of shape [n]; minutes are absolute but for `start`."""

    kind: Ints
    provider: Ints
    day: Ints
    position: Ints
    start: Ints
    at: Ints
    end: Ints
    busy_start: Ints
    busy_end: Ints

    @classmethod
    def of(cls, instance: Instance, columns: Columns) -> ColumnTimes:
        """Work out the places of columns."""
        kinds = np.array([task.kind for task in instance.tasks], np.int64)[columns.task]
        fields = np.zeros((8, len(columns)), np.int64)
        for number in np.unique(kinds).tolist():
            kind = instance.kinds[number]
            of_kind = np.flatnonzero(kinds == number)
            site = columns.site[of_kind]
            provider, day, position = np.unravel_index(site, kind.shape)
            start = kind.starts[position]
            at = start + day * DAY_MINUTES
            fields[:, of_kind] = (
                provider,
                day,
                position,
                start,
                at,
                at + kind.row.duration_minutes,
                at - kind.before[provider],
                at + kind.after[provider],
            )
        return cls(kinds, *fields)

    def keeping(self, provider: int, start: int, end: int) -> Bools:
        """[n] whether a column keeps a provider busy at some time between two minutes."""
        keeping: Bools = (
            (self.provider == provider) & (self.busy_start < end) & (self.busy_end > start)
        )
        return keeping


def grouped(key: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each value of `key` with the positions that have it."""
    order = np.argsort(key, kind="stable")
    if len(order):
        for members in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            yield int(key[members[0]]), members


def grouped_pairs(first: Ints, second: Ints) -> Iterator[tuple[tuple[int, int], Ints]]:
    """Yield each pair of values with the positions, [n], at which it stands."""
    for key, members in grouped(first * FAR + second):
        yield divmod(key, FAR), members


def positions(instance: Instance, columns: Columns, assignments: Sequence[Assignment]) -> list[int]:
    """Return where `assignments` are among the columns, for those that are."""
    wanted = set(Columns.at(instance, assignments).keys)
    of_task = np.flatnonzero(np.isin(columns.task, [assignment.task for assignment in assignments]))
    found = zip(of_task.tolist(), columns[of_task].keys, strict=True)
    return [c for c, key in found if key in wanted]
