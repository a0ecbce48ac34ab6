"""The time-indexed linear relaxation, sifted: a bound, and the columns worth a solver's time.

The relaxation has a row per task and per moment at which a provider's busy span can begin, so it is
tight (Dyer & Wolsey 1990) and far too wide to be solved whole. Sifting (Bixby, Gregory, Lustig,
Marsten & Shanno 1992; column generation over columns that are all known) starts with a few columns
a task, prices all of them against the duals, adds the best, and ends when none is left. The dual
values give a valid bound in every round: the rows' worth plus what the best column of each task
would still add. The columns that ever came in are the *kernel*.

Rooms enter as cuts: at one moment, the tasks whose types need rooms of a family are at most as
many as the family has free rooms (Hall's condition). Where a cut is broken it is added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from solver.clinic import DAY_MINUTES
from solver.instance import Instance, Put
from solver.joint import Columns, Layout
from solver.timeline import Ints

type Floats = NDArray[np.float64]

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Sifted:
    """What sifting found: the kernel's columns, the relaxation's value and a proven bound."""

    kernel: Columns
    value: float
    bound: float
    is_complete: bool


class Sifter:
    """The relaxation of a part of a problem: some columns, all else standing.

    Parameters
    ----------
    instance, columns, left, outside
        As for the joint model.
    worth
        [n] what each column is worth.

    Attributes
    ----------
    priced
        [n] each column's reduced worth at the duals that prove the best bound.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        left: Mapping[int, int],
        worth: Floats,
        outside: Sequence[Put] = (),
    ) -> None:
        self._instance = instance
        self._columns = columns
        self._at = Layout.of(instance, columns)
        self._worth = worth
        self._tasks, self._row_of = np.unique(columns.task, return_inverse=True)
        self._count = np.array([left[i] for i in self._tasks.tolist()], np.float64)
        self._first = np.searchsorted(self._tasks, self._tasks)
        self._outside = outside
        self._days = len(instance.dates)
        self._standing = instance.staying(outside)
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
        """Families of rooms that serve some kinds and no others, and how many are free when."""
        instance = self._instance
        kinds = np.unique(self._at.kind).tolist()
        serving = {
            k: frozenset(np.flatnonzero(instance.kinds[k].room_free.any((1, 2)))) for k in kinds
        }
        distinct = sorted(set(serving.values()), key=sorted)
        families: set[frozenset[np.int64]] = set()
        for size in range(1, min(len(distinct), 6) + 1):
            families |= {frozenset().union(*some) for some in combinations(distinct, size)}
        self._families = sorted(families, key=sorted)
        self._in_family = np.array(
            [
                [k in serving and serving[k] <= f for k in range(len(instance.kinds))]
                for f in self._families
            ],
            np.bool_,
        ).reshape(len(self._families), len(instance.kinds))
        minutes = self._days * DAY_MINUTES
        free = np.zeros((len(self._families), minutes + 1), np.int64)
        spans = [(s.room, s.room_busy) for s in self._standing if s.room >= 0]
        spans += [(put.room, instance.room_busy(put)) for put in self._outside]
        taken = np.zeros((len(instance.rooms), minutes + 1), np.int64)
        for room, (start, end) in spans:
            if end > 0 and start < minutes:
                taken[room, max(0, start)] += 1
                taken[room, min(minutes, end)] -= 1
        busy = np.cumsum(taken, axis=1) > 0
        for f, family in enumerate(self._families):
            rooms = np.array(sorted(family), np.int64)
            free[f] = len(rooms) - busy[rooms].sum(axis=0)
        self._free = free
        least = np.array([int(k.room_after.min(initial=0)) for k in instance.kinds])
        before = np.array([k.row.buffer_before for k in instance.kinds])
        self._room_from = np.clip(self._at.at - before[self._at.kind], 0, minutes)
        self._room_to = np.clip(self._at.at + least[self._at.kind], 0, minutes)

    def _limit(self, key: tuple[int, ...]) -> float:
        instance = self._instance
        match key[0]:
            case 0:
                return float(self._count[key[1]])
            case 1:
                return 1.0
            case 2:
                cap = instance.providers[key[1]].daily_cap
                assert cap is not None
                standing = sum(
                    (s.provider, s.day) == key[1:] and not s.booking.is_overbooked
                    for s in self._standing
                )
                return float(max(0, cap - standing))
            case 3:
                standing = sum(
                    (s.provider, s.day) == key[1:] and s.booking.is_overbooked
                    for s in self._standing
                )
                most = max((r.max_per_day for r in instance.clinic.overbooking_rules), default=0)
                return float(max(0, most - standing))
            case 4:
                cap = instance.kinds[key[1]].row.daily_cap
                assert cap is not None
                standing = sum((s.kind, s.day) == key[1:] for s in self._standing)
                standing += sum(
                    (instance.tasks[p.task].kind, p.day) == key[1:] for p in self._outside
                )
                return float(max(0, cap - standing))
            case _:
                return float(max(0, self._free[key[1], key[2]]))

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
            if self._in_family[family, kind]
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
        should_stop: Callable[[], bool] | None = None,
    ) -> Sifted:
        """Sift until nothing prices in, `tolerance` is met, or time is up.

        `start` are positions of columns to begin with, beside the `first` best of each task;
        `per_task` come in a round at most.
        """
        began = time.perf_counter()
        self._cut_minutes: dict[int, set[int]] = {}
        self.priced: Floats | None = None
        noise = np.random.default_rng(0).random(len(self._columns)) * 1e-3
        self._add(start)
        self._add(self._best_of_each(self._worth + noise, first).tolist())
        bound = np.inf
        value = 0.0
        is_complete = False
        while True:
            left = time_limit - (time.perf_counter() - began)
            if left <= 0 or (should_stop is not None and should_stop()):
                break
            self._lp.SetTimeLimit(max(1, int(left * 1000)))
            if self._lp.Solve() != pywraplp.Solver.OPTIMAL:
                break
            value = self._objective.Value()
            priced, worth = self._price()
            if worth < bound:
                bound, self.priced = worth, priced
            new = self._best_of_each(priced, per_task)
            new = new[priced[new] > _TOLERANCE]
            new = np.array([c for c in new.tolist() if c not in self._variables], np.int64)
            cuts = self._cut() if len(new) < len(self._tasks) // 4 + 1 else 0
            if not cuts and (not len(new) or bound - value <= tolerance):
                is_complete = not len(new)
                break
            self._add(new)
        kernel = np.array(sorted(self._variables), np.int64)
        return Sifted(self._columns[kernel], value, float(bound), is_complete)

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
            of_family = self._in_family[family][self._at.kind]
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
            member = self._in_family[family][self._at.kind[used]]
            np.add.at(load, self._room_from[used[member]], share[member])
            np.add.at(load, self._room_to[used[member]], -share[member])
            over = np.cumsum(load) - np.maximum(0, self._free[family])
            for hour in np.unique(np.flatnonzero(over > 1e-4) // 60).tolist():
                minute = hour * 60 + int(over[hour * 60 : hour * 60 + 60].argmax())
                if minute in self._cut_minutes.setdefault(family, set()):
                    continue
                self._cut_minutes[family].add(minute)
                row = self._row((5, family, minute))
                added += 1
                for c, variable in self._variables.items():
                    if (
                        self._in_family[family, self._at.kind[c]]
                        and self._room_from[c] <= minute < self._room_to[c]
                    ):
                        row.SetCoefficient(variable, 1)
        return added


def priority_worth(instance: Instance, columns: Columns, share: float) -> Floats:
    """[n] the priority of each column, and `share` of a point for the best preference."""
    worth = np.array([t.priority for t in instance.tasks], np.float64)[columns.task]
    at = Layout.of(instance, columns)
    order = np.argsort(columns.task, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(columns.task[order])) + 1):
        if len(members):
            task = int(columns.task[members[0]])
            worth[members] += share * instance.preference(task, at.start[members]) / instance.unit
    return worth


class Lagrangian:
    """The same relaxation, bounded by prices on the tasks alone (Held & Karp 1971; Fisher 1981).

    At given prices every provider's date is a weighted interval scheduling problem that dynamic
    programming solves exactly, all of them at once; the prices follow the subgradient. Every
    evaluation is a valid bound. It needs no linear programme, and so it serves where the columns
    are too many for one.
    """

    def __init__(self, instance: Instance) -> None:
        self._tasks = [t for t in instance.tasks if t.own is None and t.days]
        self._worth = np.array([t.priority for t in self._tasks], np.float64)
        self._count = np.array([len(t.members) for t in self._tasks], np.float64)
        kinds = instance.kinds
        self._used = sorted({t.kind for t in self._tasks})
        providers, days = len(instance.providers), len(instance.dates)
        self._pairs = providers * days
        provider = np.repeat(np.arange(providers), days)
        day = np.tile(np.arange(days), providers)
        self._of_kind = [
            np.array([i for i, t in enumerate(self._tasks) if t.kind == k], np.int64)
            for k in self._used
        ]
        on_date = np.zeros((len(self._tasks), self._pairs), np.bool_)
        for i, t in enumerate(self._tasks):
            on_date[i] = np.isin(day, t.days) & ((t.provider < 0) | (provider == t.provider))
        self._may = [
            on_date[of_kind] & kinds[k].regular.any(axis=2).ravel()
            for k, of_kind in zip(self._used, self._of_kind, strict=True)
        ]
        over = np.array([kinds[t.kind].allowed.any(axis=2).ravel() for t in self._tasks], np.bool_)
        self._may_over = on_date & over.reshape(on_date.shape)
        most = max((r.max_per_day for r in instance.clinic.overbooking_rules), default=0)
        standing = np.zeros((providers, days))
        for s in instance.fixed:
            if s.provider >= 0 and 0 <= s.day < days and s.booking.is_overbooked:
                standing[s.provider, s.day] += 1
        self._overs = np.maximum(0, most - standing).ravel()
        self._length = np.array([(kinds[k].before + kinds[k].after)[provider] for k in self._used])
        self._lay_out_ends(instance, day)

    def _lay_out_ends(self, instance: Instance, day: Ints) -> None:
        """[ends, kinds, pairs] where a busy span may end, and [kinds, pairs] moments it takes."""
        ends, begins = [], []
        for k in self._used:
            kind = instance.kinds[k]
            midnight = day[:, None] * DAY_MINUTES
            shape = (self._pairs, len(kind.starts))
            ends.append(kind.busy_end.reshape(shape) - midnight)
            begins.append(kind.busy_start.reshape(shape) - midnight)
        may = [instance.kinds[k].regular.reshape(self._pairs, -1) for k in self._used]
        used = [e[m] for e, m in zip(ends, may, strict=True)]
        used += [b[m] for b, m in zip(begins, may, strict=True)]
        moments = np.unique(np.concatenate(used)) if used else np.zeros(0, np.int64)
        self._moments = len(moments)
        self._ends_here = np.zeros((self._moments, len(self._used), self._pairs), np.bool_)
        self._begin = np.zeros((self._moments, len(self._used), self._pairs), np.int64)
        for row, (m, e, b) in enumerate(zip(may, ends, begins, strict=True)):
            pair, start = np.nonzero(m)
            end = np.searchsorted(moments, e[pair, start])
            self._ends_here[end, row, pair] = True
            self._begin[end, row, pair] = np.searchsorted(moments, b[pair, start])

    def evaluate(self, prices: Floats) -> tuple[float, Floats]:
        """Return the bound at some prices, and how often each task is placed then."""
        profit = self._worth - prices
        worth = np.zeros((len(self._used), self._pairs))
        best = np.zeros((len(self._used), self._pairs), np.int64)
        for row, (of_kind, may) in enumerate(zip(self._of_kind, self._may, strict=True)):
            offered = np.where(may, profit[of_kind][:, None], 0.0)
            best[row] = of_kind[offered.argmax(axis=0)]
            worth[row] = offered.max(axis=0)
        total = np.zeros((self._moments + 1, self._pairs))
        chosen = np.full((self._moments, self._pairs), -1, np.int64)
        every = np.arange(self._pairs)
        for moment in range(self._moments):
            gain = np.where(self._ends_here[moment], total[self._begin[moment], every] + worth, 0.0)
            top = gain.argmax(axis=0)
            gained = gain[top, every]
            before = total[moment - 1] if moment else total[self._moments]
            chosen[moment] = np.where(gained > before + 1e-12, top, -1)
            total[moment] = np.maximum(before, gained)
        placed = np.zeros(len(self._tasks))
        at = np.full(self._pairs, self._moments - 1)
        for moment in range(self._moments - 1, -1, -1):
            pair = np.flatnonzero((at == moment) & (chosen[moment] >= 0))
            row = chosen[moment, pair]
            np.add.at(placed, best[row, pair], 1)
            at[at == moment] -= 1
            at[pair] = self._begin[moment, row, pair]
        bound = float(
            self._count @ prices + (total[self._moments - 1].sum() if self._moments else 0)
        )
        offered = np.where(self._may_over, profit[:, None], 0.0)
        top_over = offered.argmax(axis=0)
        gained = np.maximum(0.0, offered[top_over, every]) * self._overs
        np.add.at(placed, top_over, np.where(gained > 0, self._overs, 0))
        return bound + float(gained.sum()), placed

    def run(self, target: float, *, time_limit: float, should_stop: Callable[[], bool]) -> float:
        """Return the best bound found; `target` is what some plan reaches."""
        began = time.perf_counter()
        length = np.array([self._length[self._used.index(t.kind)].mean() for t in self._tasks])
        best, prices = np.inf, np.zeros(len(self._tasks))
        for rate in np.linspace(0, 0.2, 21):
            trial = np.maximum(0, self._worth - rate * length)
            bound, _ = self.evaluate(trial)
            if bound < best:
                best, prices = bound, trial
        step, since = 1.0, 0
        direction = np.zeros(len(prices))
        centre = prices
        while time.perf_counter() - began < time_limit and not should_stop() and step > 1e-3:
            bound, placed = self.evaluate(prices)
            if bound < best - 1e-4 * abs(best - target):
                best, centre, since = bound, prices, 0
            else:
                since += 1
                if since >= 12:
                    step, since, prices = step * 0.6, 0, centre
            direction = 0.6 * (self._count - placed) + 0.4 * direction
            norm = float(direction @ direction)
            if not norm:
                break
            towards = max(bound - target, 0.001 * target)
            prices = np.maximum(0, prices - step * towards / norm * direction)
        return best
