"""The relaxation of column generation, bounded by Lagrangian duality (Fisher 1981)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Floats
from solver.clinic.entities import DAY_MINUTES
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Task


class LagrangianBound:
    """The same relaxation, bounded by prices (Lagrangian duality; Fisher 1981).

    Each kind has a price at each provider's date. Requests choose the cheapest place, or none when
    that is dearer than their priority; every provider's date sells the appointments that bring it
    most, a weighted interval scheduling problem that dynamic programming solves exactly, all dates
    at once. What all of them earn is a valid bound at any prices, and is least where demand meets
    supply. Prices follow the difference with the step of Adam (Kingma & Ba 2015); requests hesitate
    between places that cost nearly the same, the less the longer it takes, which keeps the prices
    from swinging. It needs no linear programme, and so it serves where one would be too large.
    """

    def __init__(self, instance: Instance) -> None:
        tasks = [t for t in instance.tasks if t.own is None and t.days]
        kinds = instance.kinds
        providers, days = len(instance.providers), len(instance.dates)
        self._provider_days = providers * days
        self._provider = np.repeat(np.arange(providers), days)
        self._day = np.tile(np.arange(days), providers)
        self._kinds = sorted({t.kind for t in tasks})
        self._demands = []
        for k in self._kinds:
            of_kind = [t for t in tasks if t.kind == k]
            may = np.array([self._may(t) for t in of_kind])
            self._demands.append(
                _Demand(
                    worth=np.array([t.priority for t in of_kind], np.float64),
                    count=np.array([len(t.members) for t in of_kind], np.float64),
                    open_=np.hstack(
                        [
                            may & kinds[k].regular.any(axis=2).ravel(),
                            may & kinds[k].allowed.any(axis=2).ravel(),
                        ]
                    ),
                )
            )
        self._regular = np.maximum(0.0, instance.capacity.regular_left).ravel()
        self._overbooked = instance.capacity.overbooked_left.ravel().astype(np.float64)
        self._length = np.array(
            [(kinds[k].before + kinds[k].after)[self._provider] for k in self._kinds]
        )
        self._lay_out_ends(instance)

    def _may(self, task: Task) -> Bools:
        on_date: Bools = np.isin(self._day, task.days)
        on_date &= (task.provider < 0) | (self._provider == task.provider)
        return on_date

    def _lay_out_ends(self, instance: Instance) -> None:
        """[moments, kinds, pairs] where a busy span may end, and the moment at which it begins."""
        used = []
        for k in self._kinds:
            kind = instance.kinds[k]
            provider_day, start = np.nonzero(kind.regular.reshape(self._provider_days, -1))
            midnight = self._day[provider_day] * DAY_MINUTES
            begin = kind.busy_start.reshape(self._provider_days, -1)[provider_day, start] - midnight
            end = kind.busy_end.reshape(self._provider_days, -1)[provider_day, start] - midnight
            used.append((provider_day, begin, end))
        moments = np.unique(np.concatenate([np.concatenate(u[1:]) for u in used]))
        shape = (len(moments), len(self._kinds), self._provider_days)
        self._ends = np.zeros(shape, np.bool_)
        self._begins = np.zeros(shape, np.int64)
        for row, (provider_day, begin, end) in enumerate(used):
            at = np.searchsorted(moments, end)
            self._ends[at, row, provider_day] = True
            self._begins[at, row, provider_day] = np.searchsorted(moments, begin)

    def _sell(self, prices: Floats) -> tuple[float, Floats]:
        """Return what all providers' dates earn at most, and [kinds, pairs] what they sell."""
        moments, every = len(self._ends), np.arange(self._provider_days)
        if not moments:  # nothing can be regular anywhere
            return 0.0, np.zeros(prices.shape)
        earned = np.zeros((moments, self._provider_days))
        chosen = np.full((moments, self._provider_days), -1, np.int64)
        for moment in range(1, moments):
            gain = earned[self._begins[moment], every] + prices
            gain[~self._ends[moment]] = -np.inf
            top = gain.argmax(axis=0)
            gained = gain[top, every]
            better = gained > earned[moment - 1]
            chosen[moment, better] = top[better]
            earned[moment] = np.where(better, gained, earned[moment - 1])
        sold = np.zeros(prices.shape)
        at = np.full(self._provider_days, moments - 1)
        for moment in range(moments - 1, 0, -1):
            here = at == moment
            at[here] -= 1
            provider_day = np.flatnonzero(here & (chosen[moment] >= 0))
            row = chosen[moment, provider_day]
            sold[row, provider_day] += 1
            at[provider_day] = self._begins[moment, row, provider_day]
        return float(earned[-1].sum()), sold

    def _balance(self, at: _Prices, blur: float) -> tuple[float, _Prices]:
        """Return the bound, and by how much supply exceeds demand wherever there is a price."""
        bound, sold = self._sell(at.kinds - at.regular)
        bound += float(at.regular @ self._regular + at.overbooked @ self._overbooked)
        regular = self._regular - sold.sum(axis=0)
        over = self._overbooked.copy()
        for row, demand in enumerate(self._demands):
            saved, wanted = demand.at(np.concatenate([at.kinds[row], at.overbooked]), blur)
            bound += saved
            sold[row] -= wanted[: self._provider_days]
            over -= wanted[self._provider_days :]
        return bound, _Prices(np.vstack([sold, regular, over]))

    def bound(
        self, *, time_limit: float, should_stop: Callable[[], bool], rounds: int = 400
    ) -> float:
        """Return the best bound that so many rounds, or the time, find."""
        began = time.perf_counter()

        def is_over() -> bool:
            return time.perf_counter() - began > time_limit or should_stop()

        best, prices = np.inf, _Prices(np.zeros((len(self._length) + 2, self._provider_days)))
        for rate in np.linspace(0.0, 0.2, 21):
            if is_over():  # a round takes a second where there are thousands of requests
                break
            over = np.full(self._provider_days, 15 * rate)
            at = _Prices(np.vstack([self._length * rate, np.zeros(self._provider_days), over]))
            value, _ = self._balance(at, 0.1)
            if value < best:
                best, prices = value, at
        drift: Floats = np.zeros(prices.all.shape)
        scale: Floats = np.zeros(prices.all.shape)
        for number in range(1, rounds + 1):
            if is_over():
                break
            done = max(number / rounds, (time.perf_counter() - began) / time_limit)
            blur = 0.3 * (0.02 / 0.3) ** done
            value, slope = self._balance(prices, blur)
            best = min(best, value)
            drift = 0.8 * drift + 0.2 * slope.all
            scale = 0.95 * scale + 0.05 * slope.all**2
            step = 0.3 * (0.005 / 0.3) ** done
            move = step * (drift / (1 - 0.8**number))
            move /= np.sqrt(scale / (1 - 0.95**number)) + 1e-3
            prices = _Prices(np.maximum(0.0, prices.all - move))
        return float(best)


@dataclass(frozen=True)
class _Prices:
    """What is paid at each provider's date, or what is left there: [kinds + 2, pairs].

    A row for a placement of each kind, one for each regular one as such (there is a cap on their
    number), and one for each overbooked one.
    """

    all: Floats

    @property
    def kinds(self) -> Floats:
        return self.all[:-2]

    @property
    def regular(self) -> Floats:
        regular: Floats = self.all[-2]
        return regular

    @property
    def overbooked(self) -> Floats:
        overbooked: Floats = self.all[-1]
        return overbooked


@dataclass(frozen=True)
class _Demand:
    """The requests of one kind: priorities, counts, and where each may go (regular, overbooked)."""

    worth: Floats
    count: Floats
    open_: Bools

    def at(self, prices: Floats, blur: float) -> tuple[float, Floats]:
        """Return what the requests gain at these prices, and how many want each place."""
        cost = np.where(self.open_, prices, 1e9)
        least = cost.min(axis=1)
        gain = self.worth - least
        with np.errstate(over="ignore"):
            share = np.exp((least[:, None] - cost) / blur)
            comes = self.count / (1 + np.exp(-gain / blur))
        share *= (comes / share.sum(axis=1))[:, None]
        return float(self.count @ np.maximum(0.0, gain)), share.sum(axis=0)
