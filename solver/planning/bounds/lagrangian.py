"""The score's bound by Lagrangian duality (Fisher 1981), and what it says of single columns.

Of plans of at least some priority, these rows are relaxed, each with a multiplier of at least 0, in
scores:

- placements of a task <= its members;
- regular placements of a provider-day <= what its daily caps leave;
- placements of a type on a date <= what its daily cap leaves;
- rooms used of a set at a step of the grid <= those that are free (room cuts);
- the priority of what is placed >= that priority.

What is left separates by provider-day: the best regular schedule, with the gap part, in which a
placement counts its task's score less the multipliers of its rows
(:mod:`solver.planning.bounds.day_schedules`), and the best overbooked placement as often as the
rules allow. The sum of all of them, and of multipliers times right-hand sides, bounds the score of
every plan, at any multipliers.

The best schedule of a provider-day less the best one through a given start is the opportunity cost
of that start: columns of a small one are worth a solver's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Floats, Ints
from solver.planning.bounds.day_schedules import DaySchedules
from solver.planning.bounds.room_rows import RoomRows
from solver.planning.bounds.subgradient import SubgradientParams, SubgradientRounds
from solver.planning.bounds.type_tasks import IMPOSSIBLE, TypeTasks, start_scores
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.tables import Instance

type Floats32 = NDArray[np.float32]


STEPS = SubgradientParams(
    rounds=300,
    first_step=2.0,
    last_step=0.005,
    mean_weight=1 - 0.8,
    square_weight=1 - 0.95,
    damping=0.1,
)


@dataclass(frozen=True, kw_only=True)
class LagrangianParams:
    """Where the multipliers begin, and how they change. Their unit is a score."""

    steps: SubgradientParams = STEPS
    first_task: float = 0.3
    """The multiplier of a task at first, beside what its priority counts for."""
    first_priority: float = 1.0
    """The multiplier of a point of priority at first."""
    settled_share: float = 0.5
    """The share of the rounds after which the latter changes, too: before, placements are far from
    the right-hand sides."""


DEFAULT_PARAMS = LagrangianParams()


@dataclass(frozen=True)
class Multipliers:
    """Multipliers, the bound that they prove, and the opportunity costs of starts at them.

    Attributes
    ----------
    task
        [tasks] the multiplier of each, less what its priority counts for.
    costs
        By type, by provider and day: [S] the opportunity cost of a regular start, before the gain
        of the task that takes it.
    overbooked
        By provider and day: the gain of the best overbooked placement, at least 0.
    priority
        The multiplier of a point of priority.
    total
        A proven bound on score + `priority` × priority; see :meth:`bound`.
    """

    task: Floats
    costs: Sequence[Mapping[tuple[int, int], Floats32]]
    overbooked: Mapping[tuple[int, int], float]
    priority: float
    total: float

    def bound(self, priority: int) -> float:
        """Return what no plan of at least so much priority scores more than."""
        return self.total - self.priority * priority

    def of(self, provider_days: Iterable[tuple[int, int]]) -> Multipliers:
        """Return what is needed of it for the columns of some provider-days."""
        provider_days = list(provider_days)
        costs = [{at: of_kind[at] for at in provider_days} for of_kind in self.costs]
        overbooked = {at: self.overbooked[at] for at in provider_days}
        return replace(self, costs=costs, overbooked=overbooked)

    def cheapest(self, instance: Instance, columns: Columns, most: int) -> Columns:
        """Return the columns of the least opportunity cost, `most` of them."""
        cost = self.opportunity_cost(instance, columns)
        return columns[np.sort(np.argsort(cost, kind="stable")[:most])]

    def opportunity_cost(self, instance: Instance, columns: Columns) -> Floats:
        """[n] the best schedule of a provider-day less the best one that has the column.

        In scores; of a regular column at least 0, but for rounding. An overbooked one is taken to
        cost what it overlaps all of its gap part.
        """
        at = ColumnTimes.of(instance, columns)
        provider_days = sorted({*zip(at.provider.tolist(), at.day.tolist(), strict=True)})
        row = np.zeros((len(instance.providers), len(instance.dates)), np.int64)
        for number, provider_day in enumerate(provider_days):
            row[provider_day] = number
        of_provider_day = row[at.provider, at.day]
        gain, cost = np.zeros(len(columns)), np.zeros(len(columns))
        for i, of_task in grouped(columns.task):
            gain[of_task] = start_scores(instance, i)[at.start_index[of_task]] - self.task[i]
        for k, of_kind in grouped(at.kind):
            table = np.array([self.costs[k][provider_day] for provider_day in provider_days])
            cost[of_kind] = table[of_provider_day[of_kind], at.start_index[of_kind]]
        overbooked = np.array([self.overbooked[provider_day] for provider_day in provider_days])
        of_overbooked = overbooked[of_provider_day]
        of_overbooked += (instance.regular_bonus + 4 * instance.gap_quarter) / instance.unit
        return np.where(columns.is_overbooked, of_overbooked, cost) - gain


def best_multipliers(
    instance: Instance,
    priority: int,
    time_limit: float,
    should_stop: Callable[[], bool] = lambda: False,
    params: LagrangianParams = DEFAULT_PARAMS,
) -> Multipliers:
    """Look for the multipliers that prove the least bound.

    Parameters
    ----------
    instance
        The problem; bookings that may move are not among what is placed.
    priority
        Plans of at least so much are of interest.
    time_limit
        Seconds.
    """
    dual = _ScoreDual(instance, priority)
    at = dual.first(params)
    rounds = SubgradientRounds(len(at), params.steps, time_limit, should_stop)
    least, best = np.inf, at
    while not rounds.is_over():
        bound, excess = dual.evaluate(at)
        if bound < least:
            least, best = bound, at
        rounds.advance()
        excess[(at <= 0) & (excess < 0) | ~dual.is_relaxed] = 0
        excess[-1] *= rounds.share > params.settled_share
        mean, size = rounds.averaged(excess)
        direction = mean / size
        direction[dual.of_rooms] *= dual.rooms.scale
        at = np.maximum(0.0, at + rounds.step * direction)
    return dual.multipliers(best, least)


class _Placed(NamedTuple):
    """What the subproblems place, each of shape [n], and how many times."""

    kind: Ints
    provider: Ints
    day: Ints
    start: Ints
    times: Floats


class _Split(NamedTuple):
    """Multipliers: of tasks less their priority, of provider-days, and [S, D] by type of places.

    The latter are those of the type's daily cap and of the room cuts, added up.
    """

    tasks: Floats
    provider_days: Floats
    places: list[Floats]


class _ScoreDual:
    """The Lagrangian dual function of the score.

    Multipliers are one vector: of tasks, provider-days, types by date, room cuts, and the priority.

    Attributes
    ----------
    is_relaxed
        Which of them there is a row for: provider-days and types without a cap have none.
    """

    def __init__(self, instance: Instance, priority: int) -> None:
        self._instance = instance
        self._priorities = np.array([t.priority for t in instance.tasks], np.float64)
        self._least = priority
        self._days = len(instance.dates)
        self._bonus = instance.regular_bonus / instance.unit
        self._quarter = instance.gap_quarter / instance.unit
        self._tasks = [TypeTasks(instance, k) for k in range(len(instance.kinds))]
        self._fixed_score = _score_of_fixed(instance)
        self._lay_out_schedules()
        self._lay_out_rows()
        self._overbooked_gap = self._lay_out_overbooked_gap()

    def _lay_out_schedules(self) -> None:
        self._schedules = DaySchedules.of(self._instance, self._quarter)
        self._mirrored = self._schedules.mirrored()
        moments = self._schedules.moments
        self._start_at = np.array(
            [np.searchsorted(k.starts, moments + k.before[:, None]) for k in self._instance.kinds]
        )
        """[types, P, M] the position of the start from which somebody is busy at a moment."""

    def _lay_out_rows(self) -> None:
        """Right-hand sides of the relaxed rows, and where each kind of row is in the vector."""
        instance, days = self._instance, self._days
        kinds = [k for k, tasks in enumerate(self._tasks) if len(tasks.tasks)]
        self.rooms = RoomRows(instance, kinds)
        counts = [len(t.members) for t in instance.tasks]
        capacity = instance.capacity
        self._most_overbooked = capacity.overbooked_left.ravel().astype(np.float64)
        self._limits = np.concatenate(
            [
                np.array(counts, np.float64),
                np.maximum(0.0, capacity.most_regular).ravel(),
                np.maximum(0.0, capacity.type_left).ravel(),
                self.rooms.limits,
                [-float(self._least)],
            ]
        )
        self._is_capped = capacity.is_limited
        self.is_relaxed = np.concatenate(
            [
                np.ones(len(counts), np.bool_),
                np.repeat(self._is_capped, days),
                np.repeat(capacity.has_type_cap, days),
                np.ones(len(self.rooms.limits) + 1, np.bool_),
            ]
        )
        sizes = (
            len(counts),
            capacity.regular_left.size,
            capacity.type_left.size,
            len(self.rooms.limits),
        )
        ends = np.cumsum(sizes).tolist()
        self._of_tasks = slice(0, ends[0])
        self._of_provider_days = slice(ends[0], ends[1])
        self._of_types = slice(ends[1], ends[2])
        self.of_rooms = slice(ends[2], ends[3])

    def _lay_out_overbooked_gap(self) -> Floats:
        """[types, N] the most that an overbooked placement can add to the gap parts of all.

        It overlaps something. If it is no longer than that, it reaches out on one side alone, and
        there a neighbour's fragment may become a touch: 2 quarters; else on both sides: 4. Where a
        cap may have made it overbooked it may overlap nothing, and has 4 of its own as well.
        """
        instance = self._instance
        lengths = np.array([k.before + k.after for k in instance.kinds])
        could = np.array(
            [(k.regular_anywhere | k.allowed_anywhere).any(axis=(1, 2)) for k in instance.kinds]
        )
        shortest = np.where(could, lengths, np.iinfo(np.int64).max).min(axis=0)
        for s in instance.fixed:
            if s.provider >= 0:
                shortest[s.provider] = min(shortest[s.provider], s.busy[1] - s.busy[0])
        quarters = np.where(lengths <= shortest, 2, 4) + np.where(self._is_capped, 4, 0)
        return np.repeat(quarters * self._quarter, self._days, axis=1)

    def first(self, params: LagrangianParams) -> Floats:
        """Return the multipliers to begin with."""
        at = np.zeros(len(self._limits))
        at[-1] = params.first_priority
        at[self._of_tasks] = params.first_task + params.first_priority * self._priorities
        return at

    def _split(self, at: Floats) -> _Split:
        tasks = at[self._of_tasks] - at[-1] * self._priorities
        of_types = at[self._of_types].reshape(-1, self._days)
        rooms = self.rooms.costs(at[self.of_rooms])
        places = [cost + of_types[k][None, :] for k, cost in enumerate(rooms)]
        return _Split(tasks, at[self._of_provider_days], places)

    def _gains(self, split: _Split) -> list[Floats]:
        """By type: [S, N] the gain of the best task there, less the multipliers of the place."""
        return [
            (of_type.best_gains(split.tasks[of_type.tasks]) - split.places[k][:, None, :]).reshape(
                -1, self._schedules.count
            )
            for k, of_type in enumerate(self._tasks)
        ]

    def _best_overbooked(
        self, gains: Sequence[Floats], gap: Floats | None
    ) -> tuple[Floats, Ints, Ints]:
        """[N] the gain of the best overbooked placement, with its `gap` part; its type and start.

        `gap` is of shape [types, N].
        """
        count = self._schedules.count
        best = np.full(count, IMPOSSIBLE)
        kinds, starts = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for k, gain in enumerate(gains):
            allowed = self._instance.kinds[k].allowed_anywhere
            if not allowed.any():
                continue
            could = np.where(allowed.transpose(2, 0, 1).reshape(gain.shape), gain, IMPOSSIBLE)
            start = could.argmax(axis=0)
            value = could[start, np.arange(count)] - self._bonus
            value = value if gap is None else value + gap[k]
            better = value > best
            best, kinds = np.where(better, value, best), np.where(better, k, kinds)
            starts = np.where(better, start, starts)
        return best, kinds, starts

    def evaluate(self, at: Floats) -> tuple[float, Floats]:
        """Return the bound, and by how much what is placed exceeds each right-hand side.

        The latter, with its sign turned, is a subgradient of the former.
        """
        split = self._split(at)
        gains = self._gains(split)
        regular = self._schedules.best([gain - split.provider_days for gain in gains])
        best, kinds, starts = self._best_overbooked(gains, self._overbooked_gap)
        some = np.flatnonzero((best > 0) & (self._most_overbooked > 0))
        bound = float(at @ self._limits) + float(regular.value.sum())
        bound += float(best[some] @ self._most_overbooked[some])
        used = np.zeros(len(at))
        provider_day, kind, moment = regular.starts.T
        np.add.at(used[self._of_provider_days], provider_day, 1)
        placed = _Placed(
            kind=np.concatenate([kind, kinds[some]]),
            provider=np.concatenate([provider_day, some]) // self._days,
            day=np.concatenate([provider_day, some]) % self._days,
            start=np.concatenate(
                [self._start_at[kind, provider_day // self._days, moment], starts[some]]
            ),
            times=np.concatenate([np.ones(len(kind)), self._most_overbooked[some]]),
        )
        self._add_use(used, split, placed)
        return bound, used - self._limits

    def _add_use(self, used: Floats, split: _Split, placed: _Placed) -> None:
        """Add up what is placed in the rows of tasks, types, rooms and the priority."""
        number = placed.kind * self._days + placed.day
        np.add.at(used[self._of_types], number, placed.times)
        for of_kind_and_day, here in grouped(number):
            k, d = divmod(of_kind_and_day, self._days)
            of_type = self._tasks[k]
            gains = of_type.gains(d, split.tasks[of_type.tasks])
            chosen = of_type.best_tasks(gains, d, placed.provider[here], placed.start[here])
            np.add.at(used, of_type.tasks[chosen], placed.times[here])
        used[self.of_rooms] = self.rooms.use(placed.kind, placed.day, placed.start, placed.times)
        used[-1] = -float(self._priorities @ used[self._of_tasks])

    def multipliers(self, at: Floats, bound: float) -> Multipliers:
        """Return these multipliers with the bound that they prove and the opportunity costs."""
        split = self._split(at)
        gains = self._gains(split)
        reduced = [gain - split.provider_days for gain in gains]
        forwards = self._schedules.best(reduced)
        backwards = self._mirrored.best(reduced)
        every = np.arange(self._schedules.count)
        provider_days = [divmod(n, self._days) for n in every.tolist()]
        costs = []
        for k, places in enumerate(split.places):
            through = forwards.reached[self._schedules.at[k], every]
            through = through + backwards.reached[self._mirrored.at[k], every]
            cost = forwards.value - through + split.provider_days
            cost = cost.reshape(len(places), -1, self._days) + places[:, None, :]
            table: Floats32 = cost.reshape(len(places), -1).astype(np.float32)
            costs.append({at_: table[:, n] for n, at_ in enumerate(provider_days)})
        best, _, _ = self._best_overbooked(gains, None)
        overbooked = {at_: max(0.0, float(best[n])) for n, at_ in enumerate(provider_days)}
        total = bound + at[-1] * self._least + self._fixed_score
        return Multipliers(split.tasks, costs, overbooked, float(at[-1]), total)


def _score_of_fixed(instance: Instance) -> float:
    """Return what fixed bookings score but for their gap parts."""
    score = 0
    for s in instance.fixed:
        if 0 <= s.day < len(instance.dates) and s.provider >= 0 and s.room >= 0:
            score += instance.units(instance.problem.weights.preference)
            score += instance.room_parts[s.kind][s.room]
            score += 0 if s.booking.is_overbooked else instance.regular_bonus
    return score / instance.unit
