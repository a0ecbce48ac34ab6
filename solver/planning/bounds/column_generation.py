"""The time-indexed linear relaxation of the priority, solved by column generation.

The relaxation has a row for each task and for each moment at which a busy span of a provider can
begin; it is tight (Dyer & Wolsey 1990) and far too wide to be solved whole. All columns are known,
so generating them is sifting (Bixby, Gregory, Lustig, Marsten & Shanno 1992): a restricted master
of a few columns a task is solved, all columns are priced against its duals π, those of the greatest
reduced cost enter, and so on until none is left that could.

The value is maximised. All duals are at least 0, and the reduced cost of a column is its value less
the duals of its rows: a column can raise the master's value only if its reduced cost is positive.
In every round, with b the right-hand sides and n_t the members of task t,

    Σ π b + Σ_t n_t max(0, greatest reduced cost of t)

is at least the value of any plan. A plan that contains a column of negative reduced cost falls
short of that bound by as much (reduced-cost fixing).

Rooms enter as cuts, of :mod:`solver.planning.bounds.room_cuts`, once the solution violates them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from ortools.linear_solver import pywraplp

from solver.arrays import Bools, Floats, Ints
from solver.clinic.entities import DAY_MINUTES
from solver.planning.bounds.relaxation_rows import Key, RelaxationRows, Row
from solver.planning.instance.columns import Columns, ColumnTimes, grouped, positions
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment


@dataclass(frozen=True, kw_only=True)
class ColumnGenerationParams:
    """How many columns enter, and when it ends."""

    first: int = 10
    """Columns of each task, of the greatest values, in the first restricted master."""
    per_task: int = 4
    """Columns of each task that enter in a round, at most."""
    gap: float = 0.0
    """It ends once the bound is no more than this above the master's value, and no cut violated."""
    stall: float = 0.0
    """So it does once two rounds have raised the master's value by less than this share of it: the
    columns that matter are there long before the duals prove it."""
    least_reduced_cost: float = 1e-6
    """A column enters if its reduced cost is above this."""
    least_violation: float = 1e-4
    """Rooms by which a cut has to be violated to be added."""
    noise: float = 1e-3
    """Values of the first columns are blurred by at most this, so that ties fall at random."""
    most_generated: int = 2500
    """Generated columns that one model has: the solver's time grows much faster than they do."""


DEFAULT_PARAMS = ColumnGenerationParams()


@dataclass(frozen=True)
class Relaxation:
    """What column generation brought.

    Attributes
    ----------
    bound
        No plan has a greater value; infinite if there was no time for one round.
    reduced_cost
        [n] each column's reduced cost at the duals that prove the bound; None without a bound.
    generated
        Positions of the columns that have entered the restricted master, in order.
    """

    bound: float
    reduced_cost: Floats | None
    generated: Ints

    def could_exceed(self, value: int) -> Bools:
        """[n] whether a column could be in a plan of a value of at least `value` + 1."""
        assert self.reduced_cost is not None
        could: Bools = self.reduced_cost >= value + 1 - self.bound - 1e-6
        return could

    def count(self, value: int) -> int:
        """Return how many columns could be in a plan of at least `value` + 1; 0 if unknown."""
        return 0 if self.reduced_cost is None else int(self.could_exceed(value).sum())

    def best_generated(self, most: int = DEFAULT_PARAMS.most_generated) -> Ints:
        """Positions of the `most` generated columns of the greatest reduced costs."""
        assert self.reduced_cost is not None
        order = np.argsort(-self.reduced_cost[self.generated], kind="stable")
        return self.generated[order[:most]]

    def columns(
        self, instance: Instance, assignments: Sequence[Assignment], value: int | None
    ) -> Columns:
        """Return the columns for one model, of the relaxation of a whole problem.

        Those that could be in a plan of at least `value` + 1, or the best generated ones if that is
        None; and those of `assignments` in any case.
        """
        every = Columns.of(instance, range(len(instance.tasks)))
        keep = np.zeros(len(every), np.bool_)
        keep[self.best_generated() if value is None else self.could_exceed(value)] = True
        keep[positions(instance, every, assignments)] = True
        return every[keep]


class ColumnGeneration:
    """The relaxation over some columns, all else frozen.

    Parameters
    ----------
    instance, columns
        The problem, and the columns, [n].
    counts
        By task: how many placements are asked for.
    values
        [n] the objective's coefficient of each column.
    frozen
        Assignments that stay as they are.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        counts: Mapping[int, int],
        values: Floats,
        frozen: Sequence[Assignment] = (),
    ) -> None:
        self._minutes = len(instance.dates) * DAY_MINUTES
        self._values = values
        self._rows = RelaxationRows(instance, columns, counts, frozen)
        self._master = pywraplp.Solver.CreateSolver("GLOP")
        self._infinity = self._master.infinity()
        self._objective = self._master.Objective()
        self._objective.SetMaximization()
        self._variables: dict[int, pywraplp.Variable] = {}
        self._constraints: dict[Key, pywraplp.Constraint] = {}
        self._limits: dict[Key, float] = {}
        self._cuts: dict[int, set[int]] = {}
        """By set of rooms: the minutes of its cuts in the master."""

    def run(
        self,
        start: Iterable[int] = (),
        *,
        time_limit: float,
        should_stop: Callable[[], bool] | None = None,
        params: ColumnGenerationParams = DEFAULT_PARAMS,
    ) -> Relaxation:
        """Generate columns until none prices in, the bound is near enough, or time is up.

        `start` are positions of columns to begin with, beside the first of each task.
        """
        began = time.perf_counter()
        noise = np.random.default_rng(0).random(len(self._values)) * params.noise
        self._enter(start)
        self._enter(self._best_of_each_task(self._values + noise, params.first).tolist())
        bound, reduced_cost = np.inf, None
        values = [0.0, 0.0]
        while True:
            seconds = time_limit - (time.perf_counter() - began)
            if seconds <= 0 or (should_stop is not None and should_stop()):
                break
            self._master.SetTimeLimit(max(1, int(seconds * 1000)))
            if self._master.Solve() != pywraplp.Solver.OPTIMAL:
                break
            values.append(self._objective.Value())
            priced, proved = self._price()
            if proved < bound:
                bound, reduced_cost = proved, priced
            best = self._best_of_each_task(priced, params.per_task)
            prices_in = best[priced[best] > params.least_reduced_cost]
            new = [c for c in prices_in.tolist() if c not in self._variables]
            is_nearly_priced = len(new) < len(self._rows.tasks) // 4 + 1
            cuts = self._add_cuts(params) if is_nearly_priced else 0
            has_stalled = values[-1] - values[-3] < params.stall * values[-1]
            is_near = bound - values[-1] <= params.gap or has_stalled
            if not cuts and (not new or is_near):
                break
            self._enter(new)
        generated = np.array(sorted(self._variables), np.int64)
        return Relaxation(float(bound), reduced_cost, generated)

    def _best_of_each_task(self, values: Floats, most: int) -> Ints:
        """Positions of the columns of the greatest `values`, at most so many of each task."""
        order = np.lexsort((-values, self._rows.row_of))
        rows = self._rows.row_of[order]
        begins = np.searchsorted(rows, rows)
        return order[np.arange(len(order)) - begins < most]

    # The restricted master

    def _constraint(self, key: Key) -> pywraplp.Constraint:
        constraint = self._constraints.get(key)
        if constraint is None:
            self._limits[key] = self._rows.limit(key)
            constraint = self._master.Constraint(-self._infinity, self._limits[key])
            self._constraints[key] = constraint
        return constraint

    def _enter(self, columns: Iterable[int]) -> None:
        """Let columns enter the restricted master."""
        for c in columns:
            if c in self._variables:
                continue
            variable = self._variables[c] = self._master.NumVar(0, self._infinity, "")
            self._objective.SetCoefficient(variable, float(self._values[c]))
            for key in chain(self._rows.of(c), self._rows.cuts_of(c, self._cuts)):
                self._constraint(key).SetCoefficient(variable, 1)

    def _price(self) -> tuple[Floats, float]:
        """[n] the reduced cost of every column, and the bound that the duals prove."""
        total, duals = 0.0, {}
        for key, constraint in self._constraints.items():
            dual = max(0.0, constraint.dual_value())
            if dual:
                duals[key] = dual
                total += dual * self._limits[key]
        reduced_cost = self._values - self._rows.cost(duals)
        best = np.zeros(len(self._rows.tasks))
        np.maximum.at(best, self._rows.row_of, reduced_cost)
        return reduced_cost, total + float(best @ self._rows.count)

    def _add_cuts(self, params: ColumnGenerationParams) -> int:
        """Add violated room cuts, the most violated one of each set of rooms and hour."""
        rows, sets = self._rows, self._rows.room_sets
        entered = np.array(list(self._variables), np.int64)
        used = np.sort(entered)
        share = np.array([self._variables[c].solution_value() for c in used.tolist()])
        is_used = share > params.least_reduced_cost
        used, share = used[is_used], share[is_used]
        added = 0
        for rooms in range(len(sets)):
            load = np.zeros(self._minutes + 1)
            member = sets.serves[rooms][rows.kind[used]]
            np.add.at(load, rows.room_from[used[member]], share[member])
            np.add.at(load, rows.room_to[used[member]], -share[member])
            excess = np.cumsum(load) - np.maximum(0, sets.free[rooms])
            for hour in np.unique(np.flatnonzero(excess > params.least_violation) // 60).tolist():
                minute = hour * 60 + int(excess[hour * 60 : hour * 60 + 60].argmax())
                if minute in self._cuts.setdefault(rooms, set()):
                    continue
                self._cuts[rooms].add(minute)
                added += 1
                constraint = self._constraint((Row.ROOMS, rooms, minute))
                for c in rows.cut_by(entered, rooms, minute).tolist():
                    constraint.SetCoefficient(self._variables[c], 1)
        return added


def priority_values(instance: Instance, columns: Columns, share: float) -> Floats:
    """[n] the priority of each column, and `share` of a point for the best preference."""
    values = np.array([t.priority for t in instance.tasks], np.float64)[columns.task]
    at = ColumnTimes.of(instance, columns)
    for task, members in grouped(columns.task):
        preference = instance.preference(task)[at.variant[members], at.start_index[members]]
        values[members] += share * preference / instance.unit
    return values
