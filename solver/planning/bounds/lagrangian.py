"""What each request is worth to the plan: prices at which provider-days compete for requests.

The score of a week is a sum over provider-days once every request has a price (Lagrangian duality;
Fisher 1981): each provider's date takes the schedule that is worth most to it, prices paid, and
what all of them gain bounds every plan. Prices rise where several dates take the same request and
fall where none does, by the step of Adam (Kingma & Ba 2015). A point of priority has a price, too,
as no plan of less priority is of interest; it begins at one full score.

At such prices it shows what a plan loses by any one placement, beside the best schedule of that
date: the placements that lose least are the ones worth a solver's time.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.planning.bounds.day_schedules import Floats, Schedules
from solver.planning.bounds.room_cuts import Families
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.tables import Instance

type Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SubgradientParams:
    """How prices change from round to round (Adam: Kingma and Ba 2015)."""

    rounds: int = 300
    first_step: float = 2.0
    last_step: float = 0.005
    """Steps of the prices in the first and in the last round, in scores."""
    momentum: float = 0.8
    memory: float = 0.95
    """What of the mean of the subgradients, and of their squares, is kept from round to round."""
    priority_price: float = 1.0
    """Scores that a point of priority counts for at first."""
    settled_share: float = 0.5
    """The part of the rounds after which that changes, too: before, demand is far from supply."""


DEFAULT_PARAMS = SubgradientParams()


_NOT = -1e9


@dataclass(frozen=True)
class Prices:
    """Prices, and what provider-days lose at them.

    Attributes
    ----------
    task
        [tasks] the price of each, less what its priority counts for.
    losses
        By kind, by provider and day: [S] what the date loses when something of the kind begins
        then, before what that is worth.
    over
        By provider and day: what the best overbooked placement is worth there, at least 0.
    priority
        The price of a point of priority.
    total
        A proven bound on the score with the priority at its price; see :meth:`bound`.
    """

    task: Floats
    losses: Sequence[Mapping[tuple[int, int], Floats32]]
    over: Mapping[tuple[int, int], float]
    priority: float
    total: float

    def bound(self, priority: int) -> float:
        """Return what no plan of at least so much priority scores more than."""
        return self.total - self.priority * priority

    def at(self, provider_days: Iterable[tuple[int, int]]) -> Prices:
        """Return what is needed of it for some provider-days."""
        provider_days = list(provider_days)
        losses = [
            {provider_day: of_kind[provider_day] for provider_day in provider_days}
            for of_kind in self.losses
        ]
        over = {provider_day: self.over[provider_day] for provider_day in provider_days}
        return replace(self, losses=losses, over=over)

    def best(self, instance: Instance, columns: Columns, most: int) -> Columns:
        """Return the columns that lose least, `most` of them."""
        lost = self.lost(instance, columns)
        return columns[np.sort(np.argsort(lost, kind="stable")[:most])]

    def lost(self, instance: Instance, columns: Columns) -> Floats:
        """[n] what a date loses with each column, beside its best schedule.

        An overbooked one is taken to cost what it meets all of its gap part.
        """
        at = ColumnTimes.of(instance, columns)
        provider_days = sorted({*zip(at.provider.tolist(), at.day.tolist(), strict=True)})
        row = np.zeros((len(instance.providers), len(instance.dates)), np.int64)
        for number, provider_day in enumerate(provider_days):
            row[provider_day] = number
        of_provider_day = row[at.provider, at.day]
        worth, loss = np.zeros(len(columns)), np.zeros(len(columns))
        for i, of_task in grouped(columns.task):
            worth[of_task] = _worth(instance, i)[at.start_index[of_task]] - self.task[i]
        for k, of_kind in grouped(at.kind):
            table = np.array([self.losses[k][provider_day] for provider_day in provider_days])
            loss[of_kind] = table[of_provider_day[of_kind], at.start_index[of_kind]]
        over = np.array([self.over[provider_day] for provider_day in provider_days])[
            of_provider_day
        ]
        over += (instance.regular_bonus + 4 * instance.gap_quarter) / instance.unit
        return np.where(columns.is_overbooked, over, loss) - worth


def price(
    instance: Instance,
    priority: int,
    time_limit: float,
    should_stop: Callable[[], bool] = lambda: False,
    params: SubgradientParams = DEFAULT_PARAMS,
) -> Prices:
    """Look for the prices that prove the least bound.

    Parameters
    ----------
    instance
        The problem; bookings that may move are not among what is priced.
    priority
        Plans of at least so much are of interest.
    time_limit
        Seconds.
    params
        How prices change from round to round.
    """
    return _Pricing(instance, priority).run(time_limit, should_stop, params)


def _worth(instance: Instance, task: int) -> Floats:
    """[S] what a task scores by its start, but for the gap part, in the best room, as regular."""
    number = instance.tasks[task].kind
    score = instance.preference(task)
    return (score + max(instance.room_parts[number]) + instance.regular_bonus) / instance.unit


class _Demand:
    """The tasks of one kind, and where they may go."""

    def __init__(self, instance: Instance, kind: int) -> None:
        table = instance.kinds[kind]
        self.tasks = np.array(
            [
                i
                for i, t in enumerate(instance.tasks)
                if t.kind == kind and t.own is None and t.days
            ],
            np.int64,
        )
        starts = len(table.starts)
        self.worth = np.array([_worth(instance, i) for i in self.tasks.tolist()]).reshape(
            -1, starts
        )
        providers, days = table.shape[:2]
        self.rows: dict[tuple[int, int], Ints] = {}
        """By provider, -1 for those who do not mind, and day: positions in `tasks`."""
        at: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.shut: dict[int, list[tuple[int, Bools]]] = defaultdict(list)
        """By day: a position and its starts at which the patient is elsewhere."""
        known: dict[Hashable, list[tuple[int, Bools]]] = {}
        for row, i in enumerate(self.tasks.tolist()):
            task = instance.tasks[i]
            places = instance.places_of(task)
            if places not in known:
                known[places] = _shut(instance, i)
            for d in task.days:
                at[task.provider, d].append(row)
            for d, shut in known[places]:
                self.shut[d].append((row, shut))
        self.rows = {key: np.array(rows, np.int64) for key, rows in at.items()}
        self.shape = starts, providers, days
        self._named = [self._by_provider(day) for day in range(days)]

    def _by_provider(self, day: int) -> _Named:
        asked = [(p, rows) for (p, d), rows in self.rows.items() if d == day and p >= 0]
        providers = np.array([p for p, _ in asked], np.int64)
        sizes = [len(rows) for _, rows in asked]
        return _Named(
            providers,
            rows=np.concatenate([np.empty(0, np.int64), *(rows for _, rows in asked)]),
            begins=np.cumsum([0, *sizes[:-1]]),
            owner=np.repeat(providers, sizes),
        )

    def at(self, prices: Floats) -> Floats:
        """[S, P, D] what the best task is worth."""
        best = np.full(self.shape, _NOT)
        for d, (providers, rows, begins, _) in enumerate(self._named):
            left = self.left(d, prices)
            if (-1, d) in self.rows:
                best[:, :, d] = left[self.rows[-1, d]].max(axis=0)[:, None]
            if len(providers):
                asked = np.maximum.reduceat(left[rows], begins, axis=0)
                best[:, providers, d] = np.maximum(best[:, providers, d], asked.T)
        return best

    def left(self, day: int, prices: Floats) -> Floats:
        """[tasks, S] what is left of each task's worth on a date when its price is paid."""
        left = self.worth - prices[:, None]
        for row, shut in self.shut[day]:
            left[row, shut] = _NOT
        return left

    def choice(self, left: Floats, day: int, providers: Ints, starts: Ints) -> Ints:
        """[n] the position of the task that is worth most at each place."""
        chosen, value = np.zeros(len(starts), np.int64), np.full(len(starts), -np.inf)
        if (-1, day) in self.rows:
            anybody = self.rows[-1, day]
            chosen = anybody[left[anybody].argmax(axis=0)[starts]]
            value = left[chosen, starts]
        named = self._named[day]
        if len(named.rows):
            is_own = named.owner[:, None] == providers[None, :]
            own = np.where(is_own, left[np.ix_(named.rows, starts)], -np.inf)
            top = own.argmax(axis=0)
            better = own[top, np.arange(len(starts))] > value
            chosen = np.where(better, named.rows[top], chosen)
        return chosen


def _shut(instance: Instance, task: int) -> list[tuple[int, Bools]]:
    """Return days with the starts, [S], at which only the patient keeps a task from some place."""
    t = instance.tasks[task]
    table = instance.kinds[t.kind]
    closed = table.regular | table.allowed
    closed.ravel()[instance.columns(task)] = False
    here = slice(None) if t.provider < 0 else slice(t.provider, t.provider + 1)
    each = ((d, closed[here, d].any(axis=0)) for d in t.days)
    return [(d, shut) for d, shut in each if shut.any()]


class _Named(NamedTuple):
    """Who is asked for by name on a date, by whom, and where each one's part begins.

    `owner` is the provider that each of the `rows` asks for.
    """

    providers: Ints
    rows: Ints
    begins: Ints
    owner: Ints


class _Places(NamedTuple):
    """Where something is placed, each of shape [n], and how many times."""

    kind: Ints
    provider: Ints
    day: Ints
    start: Ints
    times: Floats


class _Split(NamedTuple):
    """Prices: of tasks less their priority, of regular placements, of places by kind: [S, D]."""

    tasks: Floats
    regular: Floats
    places: list[Floats]


class _Pricing:
    def __init__(self, instance: Instance, priority: int) -> None:
        self._instance = instance
        self._priorities = np.array([t.priority for t in instance.tasks], np.float64)
        self._least = priority
        days = len(instance.dates)
        self._days = days
        quarter = instance.gap_quarter / instance.unit
        self._schedules = Schedules.of(instance, quarter)
        self._mirrored = self._schedules.mirrored()
        moments = self._schedules.moments
        self._start_at = np.array(
            [np.searchsorted(k.starts, moments + k.before[:, None]) for k in instance.kinds]
        )
        """[kinds, P, M] the position of the start from which somebody is busy at a moment."""
        self._demands = [_Demand(instance, k) for k in range(len(instance.kinds))]
        self._bonus = instance.regular_bonus / instance.unit
        self._counts = np.array([len(t.members) for t in instance.tasks], np.float64)
        capacity = instance.capacity
        self._over_limit = capacity.overbooked_left.ravel().astype(np.float64)
        self._is_capped = capacity.has_provider_cap
        self._limits = np.concatenate(
            [
                self._counts,
                np.maximum(0.0, capacity.regular_left).ravel(),
                np.maximum(0.0, capacity.type_left).ravel(),
            ]
        )
        self._is_priced = np.concatenate(
            [
                np.ones(len(self._counts), np.bool_),
                np.repeat(self._is_capped, days),
                np.repeat(capacity.has_type_cap, days),
            ]
        )
        self._lifts = self._lay_out_lifts(quarter)
        self._lay_out_rooms()
        self._limits = np.append(self._limits, -float(priority))
        self._is_priced = np.append(self._is_priced, True)
        self._standing = _worth_of_standing(instance)

    def _lay_out_rooms(self) -> None:
        """Prices of families of rooms at every step of the grid, where they could run short."""
        instance, days = self._instance, self._days
        kinds = [k for k, demand in enumerate(self._demands) if len(demand.tasks)]
        taken = [(s.room, s.room_busy) for s in instance.fixed if s.room >= 0]
        families = Families(instance, kinds, taken)
        grid = instance.clinic.settings.grid_minutes
        free = families.free[:, :-1].reshape(len(families), days, -1)[:, :, ::grid]
        providers = np.array([k.regular.any(axis=(1, 2)) for k in instance.kinds])
        asking = [int(providers[holds].any(axis=0).sum()) for holds in families.holds]
        scarce = free.min(axis=(1, 2), initial=0) < np.array(asking, np.int64)
        self._families = families.holds[scarce]
        self._room_shape = free[scarce].shape
        self._limits = np.concatenate([self._limits, np.maximum(0, free[scarce]).ravel()])
        self._is_priced = np.concatenate([self._is_priced, np.ones(free[scarce].size, np.bool_)])
        durations = [k.row.duration_minutes for k in instance.kinds]
        self._room_step = grid / max(durations, default=grid)
        steps = free.shape[2]
        self._room_from, self._room_to = [], []
        for k, kind in enumerate(instance.kinds):
            begins = -((families.before[k] - kind.starts) // grid)
            ends = -((-kind.starts - families.after[k]) // grid)
            self._room_from.append(np.clip(begins, 0, steps))
            self._room_to.append(np.clip(ends, 0, steps))

    def _room_costs(self, prices: Floats) -> list[Floats]:
        """By kind: [S, D] what the families of rooms that it needs cost."""
        along = np.zeros((*self._room_shape[:2], self._room_shape[2] + 1))
        np.cumsum(prices.reshape(self._room_shape), axis=2, out=along[:, :, 1:])
        return [
            (along[holds][:, :, to] - along[holds][:, :, from_]).sum(axis=0).T
            for holds, from_, to in zip(
                self._families.T, self._room_from, self._room_to, strict=True
            )
        ]

    def _room_use(self, places: _Places) -> Floats:
        """How much of each family of rooms is used at each step."""
        steps = np.zeros((len(self._instance.kinds), self._days, self._room_shape[2] + 1))
        for k, of_kind in grouped(places.kind):
            day, start, times = places.day[of_kind], places.start[of_kind], places.times[of_kind]
            np.add.at(steps[k], (day, self._room_from[k][start]), times)
            np.add.at(steps[k], (day, self._room_to[k][start]), -times)
        use = np.cumsum(steps, axis=2)[:, :, :-1]
        return np.tensordot(self._families.astype(np.float64), use, axes=1).ravel()

    def _lay_out_lifts(self, quarter: float) -> Floats:
        """[kinds, N] what an overbooked placement could add to the gap parts of all.

        It meets something. Where it is no longer than that, it reaches out on one side alone, and
        there a neighbour's fragment may become a touch; else on both. Where a cap may have made it
        overbooked it may meet nothing, and has a gap part of its own.
        """
        instance = self._instance
        lengths = np.array([k.before + k.after for k in instance.kinds])
        could = np.array([(k.regular | k.allowed).any(axis=(1, 2)) for k in instance.kinds])
        shortest = np.where(could, lengths, np.iinfo(np.int64).max).min(axis=0)
        for s in instance.fixed:
            if s.provider >= 0:
                shortest[s.provider] = min(shortest[s.provider], s.busy[1] - s.busy[0])
        quarters = np.where(lengths <= shortest, 2, 4) + np.where(self._is_capped, 4, 0)
        return np.repeat(quarters * quarter, self._days, axis=1)

    def run(
        self, time_limit: float, should_stop: Callable[[], bool], params: SubgradientParams
    ) -> Prices:
        """Change the prices round by round."""
        began = time.perf_counter()
        at = np.zeros(len(self._limits))
        at[-1] = params.priority_price
        at[: len(self._counts)] = 0.3 + params.priority_price * self._priorities
        mean, spread = np.zeros(len(at)), np.zeros(len(at))
        best, kept = np.inf, at
        done, share = 0, 0.0
        while done < params.rounds and share < 1 and not should_stop():
            bound, excess = self._demand(at)
            if bound < best:
                best, kept = bound, at
            done += 1
            share = max(done / params.rounds, (time.perf_counter() - began) / time_limit)
            excess[(at <= 0) & (excess < 0) | ~self._is_priced] = 0
            excess[-1] *= share > params.settled_share
            mean = params.momentum * mean + (1 - params.momentum) * excess
            spread = params.memory * spread + (1 - params.memory) * excess**2
            step = params.first_step * (params.last_step / params.first_step) ** share
            direction = mean / (1 - params.momentum**done)
            direction /= np.sqrt(spread / (1 - params.memory**done)) + 0.1
            direction[len(at) - 1 - math.prod(self._room_shape) : -1] *= self._room_step
            at = np.maximum(0.0, at + step * direction)
        return self._prices(kept, best)

    def _worths(self, split: _Split) -> list[Floats]:
        """By kind: [S, N] what the best task is worth there, prices paid."""
        return [
            (demand.at(split.tasks[demand.tasks]) - split.places[k][:, None, :]).reshape(
                -1, self._schedules.count
            )
            for k, demand in enumerate(self._demands)
        ]

    def _split(self, at: Floats) -> _Split:
        tasks, provider_days = len(self._counts), self._schedules.count
        kinds = len(self._demands) * self._days
        of_tasks, of_provider_days, of_kinds, of_rooms = np.split(
            at[:-1], [tasks, tasks + provider_days, tasks + provider_days + kinds]
        )
        of_tasks = of_tasks - at[-1] * self._priorities
        rooms = self._room_costs(of_rooms)
        kind_days = of_kinds.reshape(-1, self._days)
        places = [cost + kind_days[k][None, :] for k, cost in enumerate(rooms)]
        return _Split(of_tasks, of_provider_days, places)

    def _over(self, worths: Sequence[Floats], lifts: Floats) -> tuple[Floats, Ints, Ints]:
        """[N] what the best overbooked placement is worth and lifts, its kind and start."""
        count = self._schedules.count
        best = np.full(count, _NOT)
        kinds, starts = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for k, worth in enumerate(worths):
            allowed = self._instance.kinds[k].allowed
            if not allowed.any():
                continue
            could = np.where(allowed.transpose(2, 0, 1).reshape(worth.shape), worth, _NOT)
            start = could.argmax(axis=0)
            value = could[start, np.arange(count)] - self._bonus + lifts[k]
            better = value > best
            best, kinds = np.where(better, value, best), np.where(better, k, kinds)
            starts = np.where(better, start, starts)
        return best, kinds, starts

    def _demand(self, at: Floats) -> tuple[float, Floats]:
        """Return the bound, and by how much demand exceeds what there is at each price."""
        split = self._split(at)
        worths = self._worths(split)
        found = self._schedules.best([w - split.regular for w in worths])
        best, kinds, starts = self._over(worths, self._lifts)
        some = np.flatnonzero((best > 0) & (self._over_limit > 0))
        bound = float(at @ self._limits) + float(found.value.sum())
        bound += float(best[some] @ self._over_limit[some])
        used = np.zeros(len(at))
        tasks, provider_days = len(self._counts), self._schedules.count
        provider_day, kind, moment = found.starts.T
        np.add.at(used, tasks + provider_day, 1)
        regular = self._start_at[kind, provider_day // self._days, moment]
        places = _Places(
            kind=np.concatenate([kind, kinds[some]]),
            provider=np.concatenate([provider_day, some]) // self._days,
            day=np.concatenate([provider_day, some]) % self._days,
            start=np.concatenate([regular, starts[some]]),
            times=np.concatenate([np.ones(len(kind)), self._over_limit[some]]),
        )
        number = places.kind * self._days + places.day
        np.add.at(used, tasks + provider_days + number, places.times)
        for of_kind_and_day, here in grouped(number):
            k, d = divmod(of_kind_and_day, self._days)
            demand = self._demands[k]
            left = demand.left(d, split.tasks[demand.tasks])
            chosen = demand.choice(left, d, places.provider[here], places.start[here])
            np.add.at(used, demand.tasks[chosen], places.times[here])
        rooms = self._room_use(places)
        used[len(used) - len(rooms) - 1 : -1] = rooms
        used[-1] = -float(self._priorities @ used[:tasks])
        return bound, used - self._limits

    def _prices(self, at: Floats, bound: float) -> Prices:
        split = self._split(at)
        worths = self._worths(split)
        left = [w - split.regular for w in worths]
        there = self._schedules.best(left)
        back = self._mirrored.best(left)
        provider_days = [(n // self._days, n % self._days) for n in range(self._schedules.count)]
        every = np.arange(self._schedules.count)
        losses = []
        for k, places in enumerate(split.places):
            through = there.arrival[self._schedules.at[k], every]
            through = through + back.arrival[self._mirrored.at[k], every]
            loss = there.value - through + split.regular
            loss = loss.reshape(len(places), -1, self._days) + places[:, None, :]
            table: Floats32 = loss.reshape(len(places), -1).astype(np.float32)
            losses.append(
                {provider_day: table[:, n] for n, provider_day in enumerate(provider_days)}
            )
        over, _, _ = self._over(worths, np.zeros_like(self._lifts))
        best = {
            provider_day: max(0.0, float(over[n])) for n, provider_day in enumerate(provider_days)
        }
        total = bound + at[-1] * self._least + self._standing
        return Prices(split.tasks, losses, best, float(at[-1]), total)


def _worth_of_standing(instance: Instance) -> float:
    """Return what bookings that stay score but for their gap parts."""
    worth = 0
    for s in instance.fixed:
        if 0 <= s.day < len(instance.dates) and s.provider >= 0 and s.room >= 0:
            worth += instance.units(instance.problem.weights.preference)
            worth += instance.room_parts[s.kind][s.room]
            worth += 0 if s.booking.is_overbooked else instance.regular_bonus
    return worth / instance.unit
