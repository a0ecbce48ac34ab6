"""The rows of the time-indexed linear relaxation: right-hand sides, coefficients, and their duals.

All coefficients are 1. A row is known by its key, a :class:`Row` and one or two numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import IntEnum

import numpy as np

from solver.arrays import Floats, Ints
from solver.clinic.entities import DAY_MINUTES
from solver.planning.bounds.room_cuts import RoomSets
from solver.planning.instance.columns import Columns, ColumnTimes
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

type Key = tuple[int, ...]


class Row(IntEnum):
    """What a row limits, and the numbers that follow in its key."""

    TASK = 0
    """Placements of a task <= how many are asked for. Position of the task among those here."""
    CLIQUE = 1
    """Regular busy spans of a provider over one moment <= 1. Position of the moment."""
    REGULAR = 2
    """Regular placements <= what the provider's daily caps leave. Provider and day."""
    OVERBOOKED = 3
    """Overbooked placements <= what the overbooking rules leave. Provider and day."""
    TYPE = 4
    """Placements <= what the type's daily cap leaves. Type and day."""
    ROOMS = 5
    """A room cut. Position of the set of rooms, and absolute minute."""


class RelaxationRows:
    """In which rows each of some columns is, all assignments in `frozen` fixed.

    Parameters
    ----------
    instance, columns
        The problem, and the columns of shape [n].
    counts
        By task: how many placements are asked for.
    frozen
        Assignments that are not among the columns and stay as they are.

    Attributes
    ----------
    tasks, row_of
        The tasks that have columns; [n] each column's position among them.
    count
        [tasks] how many are asked for.
    kind
        [n] each column's type.
    room_from, room_to
        [n] the absolute minutes for which some room is busy with it, within the horizon.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        counts: Mapping[int, int],
        frozen: Sequence[Assignment],
    ) -> None:
        self._instance = instance
        self._is_overbooked = columns.is_overbooked
        self._at = at = ColumnTimes.of(instance, columns)
        self.kind = at.kind
        self.tasks, self.row_of = np.unique(columns.task, return_inverse=True)
        self.count = np.array([counts[i] for i in self.tasks.tolist()], np.float64)
        self._frozen = frozen
        self._fixed = instance.staying(frozen)
        self._capacity = instance.capacity.after(self._fixed[len(instance.fixed) :])
        for assignment in instance.made(frozen):  # none is in the provider-days of the columns
            self._capacity.type_left[instance.tasks[assignment.task].kind, assignment.day] -= 1
        self._is_limited = self._capacity.is_limited
        self._most_regular = self._capacity.most_regular
        self._days = len(instance.dates)
        self._lay_out_cliques()
        self._lay_out_rooms()
        providers, kinds = len(instance.providers), len(instance.kinds)
        self._shapes: dict[Row, tuple[int, ...]] = {
            Row.TASK: (len(self.tasks),),
            Row.CLIQUE: (len(self._moments),),
            Row.REGULAR: (providers, self._days),
            Row.OVERBOOKED: (providers, self._days),
            Row.TYPE: (kinds, self._days),
            Row.ROOMS: (len(self.room_sets), self._days * DAY_MINUTES),
        }

    def _lay_out_cliques(self) -> None:
        """Cliques: at the moments, of each provider, at which a regular busy span begins.

        Those are enough: spans that share a moment share the one at which the last of them begins.
        """
        regular = ~self._is_overbooked
        horizon = (self._days + 2) * DAY_MINUTES
        begin = self._at.provider * horizon + self._at.busy_start + DAY_MINUTES
        end = self._at.provider * horizon + self._at.busy_end + DAY_MINUTES
        self._moments = np.unique(begin[regular])
        self._clique_from = np.searchsorted(self._moments, begin)
        self._clique_to = np.where(regular, np.searchsorted(self._moments, end), self._clique_from)

    def _lay_out_rooms(self) -> None:
        instance, minutes = self._instance, self._days * DAY_MINUTES
        taken = [(s.room, s.room_busy) for s in self._fixed if s.room >= 0]
        taken += [(assignment.room, instance.room_busy(assignment)) for assignment in self._frozen]
        self.room_sets = RoomSets(instance, np.unique(self.kind).tolist(), taken)
        self.room_from = np.clip(self._at.at - self.room_sets.before[self.kind], 0, minutes)
        self.room_to = np.clip(self._at.at + self.room_sets.after[self.kind], 0, minutes)

    def of(self, column: int) -> Iterator[Key]:
        """Yield the keys of the rows that a column is in, but for room cuts."""
        instance = self._instance
        provider, day = int(self._at.provider[column]), int(self._at.day[column])
        kind = int(self.kind[column])
        yield Row.TASK, int(self.row_of[column])
        if self._is_overbooked[column]:
            yield Row.OVERBOOKED, provider, day
        else:
            for moment in range(int(self._clique_from[column]), int(self._clique_to[column])):
                yield Row.CLIQUE, moment
            if self._is_limited[provider]:
                yield Row.REGULAR, provider, day
        if instance.kinds[kind].row.daily_cap is not None:
            yield Row.TYPE, kind, day

    def cuts_of(self, column: int, cuts: Mapping[int, Collection[int]]) -> list[Key]:
        """Return the keys of the room cuts that a column is in; `cuts`: minutes by set of rooms."""
        kind = int(self.kind[column])
        start, end = int(self.room_from[column]), int(self.room_to[column])
        return [
            (Row.ROOMS, rooms, minute)
            for rooms, minutes in cuts.items()
            if self.room_sets.serves[rooms, kind]
            for minute in minutes
            if start <= minute < end
        ]

    def cut_by(self, columns: Ints, rooms: int, minute: int) -> Ints:
        """Return those of some columns that are in the room cut of a set at a minute."""
        is_over = (self.room_from[columns] <= minute) & (minute < self.room_to[columns])
        cut: Ints = columns[self.room_sets.serves[rooms][self.kind[columns]] & is_over]
        return cut

    def limit(self, key: Key) -> float:
        """Return a row's right-hand side: what fixed bookings and frozen assignments leave."""
        at = key[1:]
        match Row(key[0]):
            case Row.TASK:
                return float(self.count[key[1]])
            case Row.CLIQUE:
                return 1.0
            case Row.ROOMS:
                return float(max(0, self.room_sets.free[at]))
            case Row.TYPE:
                return float(max(0, self._capacity.type_left[at]))
            case Row.OVERBOOKED:
                return float(self._capacity.overbooked_left[at])
            case Row.REGULAR:
                return float(max(0, self._most_regular[at]))

    def cost(self, duals: Mapping[Key, float]) -> Floats:
        """[n] the sum of the duals of the rows that each column is in."""
        by_row = {row: np.zeros(shape) for row, shape in self._shapes.items()}
        for (row, *at), dual in duals.items():
            by_row[Row(row)][tuple(at)] = dual
        cost: Floats = by_row[Row.TASK][self.row_of] + by_row[Row.TYPE][self.kind, self._at.day]
        before = np.append(0.0, np.cumsum(by_row[Row.CLIQUE]))
        cost += before[self._clique_to] - before[self._clique_from]
        provider_day = self._at.provider, self._at.day
        overbooked, regular = by_row[Row.OVERBOOKED], by_row[Row.REGULAR]
        cost += np.where(self._is_overbooked, overbooked[provider_day], regular[provider_day])
        for number in np.flatnonzero(by_row[Row.ROOMS].any(axis=1)).tolist():
            before = np.append(0.0, np.cumsum(by_row[Row.ROOMS][number]))
            is_served = self.room_sets.serves[number][self.kind]
            cost += np.where(is_served, before[self.room_to] - before[self.room_from], 0.0)
        return cost
