"""An upper bound on the priority by Lagrangian duality (Fisher 1981), without a linear programme.

Two halves of a plan are told apart (Lagrangian decomposition; Guignard & Kim 1987): each task takes
places, a place being a type at a provider-day; each provider-day supplies places, whose busy spans
do not overlap. What couples them is relaxed, each row with a multiplier of at least 0:

- places of type k taken as regular at provider-day n <= places of type k supplied there;
- places supplied at n, of all types <= what its daily caps leave;
- overbooked placements taken at n <= what the overbooking rules leave.

The halves then separate. A task of priority w takes its cheapest place if the multiplier there is
below w; a provider-day supplies the places with the greatest sum of multipliers, a weighted
interval scheduling problem, which dynamic programming solves exactly, all provider-days at once.
The sum of both, and of multipliers times right-hand sides, bounds the priority of every plan, at
any multipliers. It serves where a restricted master would be too large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Floats
from solver.clinic.entities import DAY_MINUTES
from solver.planning.bounds.subgradient import SubgradientParams, SubgradientRounds
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Task

STEPS = SubgradientParams(
    rounds=400,
    first_step=0.3,
    last_step=0.005,
    mean_weight=0.2,
    square_weight=0.05,
    damping=1e-3,
)


@dataclass(frozen=True, kw_only=True)
class LagrangianBoundParams:
    """Where the multipliers begin, and how they change. Their unit is a point of priority."""

    steps: SubgradientParams = STEPS
    first_rates: tuple[float, float, int] = (0.0, 0.2, 21)
    """Multipliers begin in proportion to the minutes of a busy span, at the best of so many rates
    between these."""
    overbooked_minutes: float = 15.0
    """The minutes that an overbooked placement counts for in that."""
    rate_temperature: float = 0.1
    first_temperature: float = 0.3
    last_temperature: float = 0.02
    """How near to the cheapest place a task still divides itself between places: when rates are
    tried, and in the first and in the last round. It keeps the multipliers from swinging."""


DEFAULT_PARAMS = LagrangianBoundParams()

_FORBIDDEN = 1e9
"""The price of a place that a task may not take."""


class LagrangianBound:
    """The Lagrangian dual function of the priority, and the multipliers that make it small."""

    def __init__(self, instance: Instance) -> None:
        tasks = [t for t in instance.tasks if t.own is None and t.days]
        kinds = instance.kinds
        providers, days = len(instance.providers), len(instance.dates)
        self._provider_days = providers * days
        self._provider = np.repeat(np.arange(providers), days)
        self._day = np.tile(np.arange(days), providers)
        self._kinds = sorted({t.kind for t in tasks})
        self._takers = []
        for k in self._kinds:
            of_kind = [t for t in tasks if t.kind == k]
            may = np.array([self._may(t) for t in of_kind])
            self._takers.append(
                _Takers(
                    priority=np.array([t.priority for t in of_kind], np.float64),
                    count=np.array([len(t.members) for t in of_kind], np.float64),
                    open_=np.hstack(
                        [
                            may & kinds[k].regular_anywhere.any(axis=2).ravel(),
                            may & kinds[k].allowed_anywhere.any(axis=2).ravel(),
                        ]
                    ),
                )
            )
        self._regular = np.maximum(0.0, instance.capacity.most_regular).ravel()
        self._overbooked = instance.capacity.overbooked_left.ravel().astype(np.float64)
        self._length = np.array(
            [(kinds[k].before + kinds[k].after)[self._provider] for k in self._kinds]
        )
        self._lay_out_ends(instance)

    def _may(self, task: Task) -> Bools:
        """[provider-days] where a task may go, whatever its type."""
        on_date: Bools = np.isin(self._day, task.days)
        on_date &= (task.provider < 0) | (self._provider == task.provider)
        return on_date

    def _lay_out_ends(self, instance: Instance) -> None:
        """[moments, types, provider-days] where a busy span may end, and at which moment it begins.

        Moments are the minutes of the day at which some busy span begins or ends.
        """
        used = []
        for k in self._kinds:
            kind = instance.kinds[k]
            provider_day, start = np.nonzero(kind.regular_anywhere.reshape(self._provider_days, -1))
            midnight = self._day[provider_day] * DAY_MINUTES
            begins, ends = kind.busy_start[: kind.providers], kind.busy_end[: kind.providers]
            begin = begins.reshape(self._provider_days, -1)[provider_day, start] - midnight
            end = ends.reshape(self._provider_days, -1)[provider_day, start] - midnight
            used.append((provider_day, begin, end))
        moments = np.unique(np.concatenate([np.concatenate(u[1:]) for u in used]))
        shape = (len(moments), len(self._kinds), self._provider_days)
        self._ends = np.zeros(shape, np.bool_)
        self._begins = np.zeros(shape, np.int64)
        for row, (provider_day, begin, end) in enumerate(used):
            at = np.searchsorted(moments, end)
            self._ends[at, row, provider_day] = True
            self._begins[at, row, provider_day] = np.searchsorted(moments, begin)

    def _solve_provider_days(self, values: Floats) -> tuple[float, Floats]:
        """Solve the subproblems of the provider-days by weighted interval scheduling.

        Places have `values`, [types, provider-days]. Return the greatest sum of values, and the
        places supplied for it, of the same shape.
        """
        moments, every = len(self._ends), np.arange(self._provider_days)
        if not moments:  # nothing can be regular anywhere
            return 0.0, np.zeros(values.shape)
        best = np.zeros((moments, self._provider_days))
        chosen = np.full((moments, self._provider_days), -1, np.int64)
        for moment in range(1, moments):
            gain = best[self._begins[moment], every] + values
            gain[~self._ends[moment]] = -np.inf
            top = gain.argmax(axis=0)
            gained = gain[top, every]
            better = gained > best[moment - 1]
            chosen[moment, better] = top[better]
            best[moment] = np.where(better, gained, best[moment - 1])
        supplied = np.zeros(values.shape)
        at = np.full(self._provider_days, moments - 1)
        for moment in range(moments - 1, 0, -1):
            here = at == moment
            at[here] -= 1
            provider_day = np.flatnonzero(here & (chosen[moment] >= 0))
            row = chosen[moment, provider_day]
            supplied[row, provider_day] += 1
            at[provider_day] = self._begins[moment, row, provider_day]
        return float(best[-1].sum()), supplied

    def _evaluate(self, at: Floats, temperature: float) -> tuple[float, Floats]:
        """Return the bound at some multipliers, and a subgradient: what is left of each row.

        Both are of shape [types + 2, provider-days]: a row for places of each type, one for the
        daily caps, one for the overbooked placements.
        """
        places, regular, overbooked = at[:-2], at[-2], at[-1]
        bound, supplied = self._solve_provider_days(places - regular)
        bound += float(regular @ self._regular + overbooked @ self._overbooked)
        left = np.vstack([supplied, self._regular - supplied.sum(axis=0), self._overbooked])
        for row, takers in enumerate(self._takers):
            gain, taken = takers.take(np.concatenate([places[row], overbooked]), temperature)
            bound += gain
            left[row] -= taken[: self._provider_days]
            left[-1] -= taken[self._provider_days :]
        return bound, left

    def bound(
        self,
        *,
        time_limit: float,
        should_stop: Callable[[], bool],
        params: LagrangianBoundParams = DEFAULT_PARAMS,
    ) -> float:
        """Return the least bound that the rounds find, as many as there is time for."""
        shape = (len(self._length) + 2, self._provider_days)
        rounds = SubgradientRounds(shape, params.steps, time_limit, should_stop)
        least, at = np.inf, np.zeros(shape)
        for rate in np.linspace(*params.first_rates):
            if rounds.is_over():  # evaluating takes a second where there are thousands of requests
                break
            in_proportion = np.zeros(shape)
            in_proportion[:-2] = self._length * rate
            in_proportion[-1] = params.overbooked_minutes * rate
            value, _ = self._evaluate(in_proportion, params.rate_temperature)
            if value < least:
                least, at = value, in_proportion
        first, last = params.first_temperature, params.last_temperature
        while not rounds.is_over():
            rounds.advance()
            value, slope = self._evaluate(at, first * (last / first) ** rounds.share)
            least = min(least, value)
            mean, size = rounds.averaged(slope)
            at = np.maximum(0.0, at - rounds.step * mean / size)
        return float(least)


@dataclass(frozen=True)
class _Takers:
    """The tasks of one type: [tasks] priorities and members, and where each may go.

    `open_` is of shape [tasks, 2 × provider-days]: as regular, and as overbooked.
    """

    priority: Floats
    count: Floats
    open_: Bools

    def take(self, prices: Floats, temperature: float) -> tuple[float, Floats]:
        """Solve the subproblems of the tasks.

        Return Σ members × max(0, priority - cheapest price), and [2 × provider-days] how many take
        each place; the latter smoothed: shares fall with exp(-price / `temperature`).
        """
        cost = np.where(self.open_, prices, _FORBIDDEN)
        least = cost.min(axis=1)
        gain = self.priority - least
        with np.errstate(over="ignore"):
            share = np.exp((least[:, None] - cost) / temperature)
            placed = self.count / (1 + np.exp(-gain / temperature))
        share *= (placed / share.sum(axis=1))[:, None]
        return float(self.count @ np.maximum(0.0, gain)), share.sum(axis=0)
