"""The time-indexed linear relaxation, sifted: a bound, and the columns worth a solver's time.

The relaxation has a row per task and per moment at which a provider's busy span can begin, so it is
tight (Dyer & Wolsey 1990) and far too wide to be solved whole. Sifting (Bixby, Gregory, Lustig,
Marsten & Shanno 1992; column generation over columns that are all known) starts with a few columns
a task, prices all of them against the duals, adds the best, and ends when none is left. The dual
values give a valid bound in every round: the rows' worth plus what the best column of each task
would still add. The columns that ever came in are the *kernel*.

Rooms enter as cuts, of :mod:`solver.planning.bounds.room_cuts`. Where a cut is broken it is added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from solver.arrays import Bools, Floats, Ints
from solver.clinic.entities import DAY_MINUTES
from solver.planning.bounds.room_cuts import Families
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GeneratedColumns:
    """What sifting found: the kernel's columns, the relaxation's value and a proven bound."""

    kernel: Columns
    value: float
    bound: float
    is_complete: bool


class ColumnGeneration:
    """The relaxation of a part of a problem: some columns, all else standing.

    Parameters
    ----------
    instance, columns, left, outside
        As for the planning model.
    worth
        [n] what each column is worth.

    Attributes
    ----------
    priced
        [n] each column's reduced worth at the duals that prove the best bound.
    entered
        Positions of the kernel's columns.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        left: Mapping[int, int],
        worth: Floats,
        outside: Sequence[Assignment] = (),
    ) -> None:
        self._instance = instance
        self._columns = columns
        self._at = ColumnTimes.of(instance, columns)
        self._worth = worth
        self._tasks, self._row_of = np.unique(columns.task, return_inverse=True)
        self._count = np.array([left[i] for i in self._tasks.tolist()], np.float64)
        self._outside = outside
        self._days = len(instance.dates)
        self._standing = instance.staying(outside)
        self._capacity = instance.capacity.after(self._standing[len(instance.fixed) :])
        for assignment in instance.made(outside):  # none is in the provider-days of the columns
            self._capacity.type_left[instance.tasks[assignment.task].kind, assignment.day] -= 1
        self._lp = pywraplp.Solver.CreateSolver("GLOP")
        self._infinity = self._lp.infinity()
        self._objective = self._lp.Objective()
        self._objective.SetMaximization()
        self._variables: dict[int, pywraplp.Variable] = {}
        self._rows: dict[tuple[int, ...], pywraplp.Constraint] = {}
        self._limits: dict[tuple[int, ...], float] = {}
        self._lay_out_moments()
        self._lay_out_rooms()

    # Rows: (0, task) · (1, provider, minute) · (2, provider, day) regular · (3, provider, day)
    # overbooked · (4, kind, day) · (5, family, minute)

    def _lay_out_moments(self) -> None:
        """The moments at which a provider's regular spans begin: where cliques are looked at."""
        regular = ~self._columns.is_overbooked
        horizon = (self._days + 2) * DAY_MINUTES
        key = self._at.provider * horizon + self._at.busy_start + DAY_MINUTES
        self._moments = np.unique(key[regular])
        end = self._at.provider * horizon + self._at.busy_end + DAY_MINUTES
        self._from = np.searchsorted(self._moments, key)
        self._to = np.where(regular, np.searchsorted(self._moments, end), self._from)
        self._pair = self._at.provider * self._days + self._at.day
        self._kind_day = self._at.kind * self._days + self._at.day

    def _lay_out_rooms(self) -> None:
        instance, minutes = self._instance, self._days * DAY_MINUTES
        taken = [(s.room, s.room_busy) for s in self._standing if s.room >= 0]
        taken += [(assignment.room, instance.room_busy(assignment)) for assignment in self._outside]
        kinds = np.unique(self._at.kind).tolist()
        families = self._families = Families(instance, kinds, taken)
        self._room_from = np.clip(self._at.at - families.before[self._at.kind], 0, minutes)
        self._room_to = np.clip(self._at.at + families.after[self._at.kind], 0, minutes)

    def _limit(self, key: tuple[int, ...]) -> float:
        match key[0]:
            case 0:
                return float(self._count[key[1]])
            case 1:
                return 1.0
            case 2:
                return float(max(0, self._capacity.regular_left[key[1], key[2]]))
            case 3:
                return float(self._capacity.overbooked_left[key[1], key[2]])
            case 4:
                return float(max(0, self._capacity.type_left[key[1], key[2]]))
            case _:
                return float(max(0, self._families.free[key[1], key[2]]))

    def _row(self, key: tuple[int, ...]) -> pywraplp.Constraint:
        row = self._rows.get(key)
        if row is None:
            self._limits[key] = self._limit(key)
            row = self._rows[key] = self._lp.Constraint(-self._infinity, self._limits[key])
        return row

    def _add(self, columns: Iterable[int]) -> None:
        instance = self._instance
        for c in columns:
            if c in self._variables:
                continue
            variable = self._lp.NumVar(0, self._infinity, "")
            self._variables[c] = variable
            self._objective.SetCoefficient(variable, float(self._worth[c]))
            provider, day = int(self._at.provider[c]), int(self._at.day[c])
            kind = int(self._at.kind[c])
            self._row((0, int(self._row_of[c]))).SetCoefficient(variable, 1)
            if self._columns.is_overbooked[c]:
                self._row((3, provider, day)).SetCoefficient(variable, 1)
            else:
                for moment in range(int(self._from[c]), int(self._to[c])):
                    self._row((1, moment)).SetCoefficient(variable, 1)
                if instance.providers[provider].daily_cap is not None:
                    self._row((2, provider, day)).SetCoefficient(variable, 1)
            if instance.kinds[kind].row.daily_cap is not None:
                self._row((4, kind, day)).SetCoefficient(variable, 1)
            start, end = int(self._room_from[c]), int(self._room_to[c])
            for family, minute in self._cuts_over(kind, start, end):
                self._rows[5, family, minute].SetCoefficient(variable, 1)

    def _cuts_over(self, kind: int, start: int, end: int) -> list[tuple[int, int]]:
        return [
            (family, minute)
            for family, minutes in self._cut_minutes.items()
            if self._families.holds[family, kind]
            for minute in minutes
            if start <= minute < end
        ]

    # Rounds

    def run(
        self,
        start: Iterable[int],
        *,
        time_limit: float,
        first: int = 8,
        per_task: int = 6,
        tolerance: float = 0.0,
        stall: float = 0.0,
        should_stop: Callable[[], bool] | None = None,
    ) -> GeneratedColumns:
        """Sift until nothing prices in, `tolerance` is met, or time is up.

        `start` are positions of columns to begin with, beside the `first` best of each task;
        `per_task` come in a round at most. With a `stall`, it also ends when two rounds have not
        bettered the value by that share: the columns worth having are there long before the
        duals prove it.
        """
        began = time.perf_counter()
        self._cut_minutes: dict[int, set[int]] = {}
        self.priced: Floats | None = None
        noise = np.random.default_rng(0).random(len(self._columns)) * 1e-3
        self._add(start)
        self._add(self._best_of_each(self._worth + noise, first).tolist())
        bound = np.inf
        values = [0.0, 0.0]
        is_complete = False
        while True:
            left = time_limit - (time.perf_counter() - began)
            if left <= 0 or (should_stop is not None and should_stop()):
                break
            self._lp.SetTimeLimit(max(1, int(left * 1000)))
            if self._lp.Solve() != pywraplp.Solver.OPTIMAL:
                break
            values.append(self._objective.Value())
            priced, worth = self._price()
            if worth < bound:
                bound, self.priced = worth, priced
            best = self._best_of_each(priced, per_task)
            new = [c for c in best[priced[best] > _TOLERANCE].tolist() if c not in self._variables]
            cuts = self._cut() if len(new) < len(self._tasks) // 4 + 1 else 0
            has_stalled = values[-1] - values[-3] < stall * values[-1]
            is_near = bound - values[-1] <= tolerance or has_stalled
            if not cuts and (not new or is_near):
                is_complete = not new
                break
            self._add(new)
        kernel = self.entered = np.array(sorted(self._variables), np.int64)
        return GeneratedColumns(self._columns[kernel], values[-1], float(bound), is_complete)

    def _best_of_each(self, worth: Floats, most: int) -> Ints:
        """Positions of the columns of the greatest `worth`, at most so many of each task."""
        order = np.lexsort((-worth, self._row_of))
        rows = self._row_of[order]
        begins = np.searchsorted(rows, rows)
        return order[np.arange(len(order)) - begins < most]

    def _price(self) -> tuple[Floats, float]:
        """[n] reduced worth of every column, and the bound that the duals prove."""
        minutes = self._days * DAY_MINUTES
        task = np.zeros(len(self._tasks))
        moments = np.zeros(len(self._moments) + 1)
        regular = np.zeros(len(self._instance.providers) * self._days)
        overbooked = np.zeros(len(self._instance.providers) * self._days)
        kinds = np.zeros(len(self._instance.kinds) * self._days)
        rooms = np.zeros((len(self._families), minutes + 1))
        total = 0.0
        for key, row in self._rows.items():
            dual = max(0.0, row.dual_value())
            if not dual:
                continue
            total += dual * self._limits[key]
            match key[0]:
                case 0:
                    task[key[1]] = dual
                case 1:
                    moments[key[1] + 1] = dual
                case 2:
                    regular[key[1] * self._days + key[2]] = dual
                case 3:
                    overbooked[key[1] * self._days + key[2]] = dual
                case 4:
                    kinds[key[1] * self._days + key[2]] = dual
                case _:
                    rooms[key[1], key[2] + 1 if key[2] < minutes else minutes] += dual
        moments = np.cumsum(moments)
        is_over = self._columns.is_overbooked
        cost = task[self._row_of] + kinds[self._kind_day]
        cost += moments[self._to] - moments[self._from]
        cost += np.where(is_over, overbooked[self._pair], regular[self._pair])
        for family in np.flatnonzero(rooms.any(axis=1)).tolist():
            along = np.cumsum(rooms[family])
            of_family = self._families.holds[family][self._at.kind]
            cost += np.where(of_family, along[self._room_to] - along[self._room_from], 0.0)
        priced = self._worth - cost
        best = np.zeros(len(self._tasks))
        np.maximum.at(best, self._row_of, priced)
        return priced, total + float(best @ self._count)

    def _cut(self) -> int:
        """Add room cuts that the relaxation's solution breaks, at most one a family and hour."""
        used = np.array(sorted(self._variables), np.int64)
        share = np.array([self._variables[c].solution_value() for c in used.tolist()])
        used, share = used[share > _TOLERANCE], share[share > _TOLERANCE]
        added = 0
        for family in range(len(self._families)):
            load = np.zeros(self._days * DAY_MINUTES + 1)
            member = self._families.holds[family][self._at.kind[used]]
            np.add.at(load, self._room_from[used[member]], share[member])
            np.add.at(load, self._room_to[used[member]], -share[member])
            over = np.cumsum(load) - np.maximum(0, self._families.free[family])
            for hour in np.unique(np.flatnonzero(over > 1e-4) // 60).tolist():
                minute = hour * 60 + int(over[hour * 60 : hour * 60 + 60].argmax())
                if minute in self._cut_minutes.setdefault(family, set()):
                    continue
                self._cut_minutes[family].add(minute)
                row = self._row((5, family, minute))
                added += 1
                for c, variable in self._variables.items():
                    if (
                        self._families.holds[family, self._at.kind[c]]
                        and self._room_from[c] <= minute < self._room_to[c]
                    ):
                        row.SetCoefficient(variable, 1)
        return added


def priority_worth(instance: Instance, columns: Columns, share: float) -> Floats:
    """[n] the priority of each column, and `share` of a point for the best preference."""
    worth = np.array([t.priority for t in instance.tasks], np.float64)[columns.task]
    at = ColumnTimes.of(instance, columns)
    for task, members in grouped(columns.task):
        worth[members] += share * instance.preference(task)[at.start_index[members]] / instance.unit
    return worth


KERNEL_UP_TO = 2500
"""Columns of a kernel that are tried together: the solver's time grows much faster than they do."""


def could_better(priced: Floats, bound: float, value: float) -> Bools:
    """[n] whether a column could be in a plan of more than `value` (reduced-cost fixing)."""
    could: Bools = priced >= value + 1 - bound - 1e-6
    return could


def best_of(kernel: Ints, priced: Floats) -> Ints:
    """Return the columns of a kernel that lose least by coming in, :data:`KERNEL_UP_TO` of them."""
    return kernel[np.argsort(-priced[kernel], kind="stable")[:KERNEL_UP_TO]]
