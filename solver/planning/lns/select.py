"""Selecting a neighbourhood: around tasks without a place, as large as pays (Pisinger 2007)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Floats
from solver.planning.bounds.lagrangian import Multipliers
from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, Totals
from solver.planning.lns.neighbourhood import Aim, Neighbourhood, could_be_at, waiting_tasks
from solver.planning.model.solving import JobResult


@dataclass(frozen=True, kw_only=True)
class SelectorParams:
    """How large neighbourhoods are, and what they free."""

    provider_days: float = 10.0
    provider_days_from: float = 2.0
    provider_days_to: float = 30.0
    """Provider-days of a neighbourhood for the priority: at first, and between which it adapts."""
    grows_by: float = 1.04
    """The factor of its size when the repair ended by proof and brought nothing."""
    shrinks_by: float = 0.93
    """And when it did not end by proof."""
    score_provider_days: float = 12.0
    """Provider-days of a neighbourhood for the score."""
    score_columns: float = 60.0
    score_columns_from: float = 20.0
    score_columns_to: float = 500.0
    """Its columns for each provider-day: at first, and between which they adapt."""
    freed_share: float = 0.6
    """The part of the assignments that every other neighbourhood for the priority frees, the rest
    freeing all of them. Freeing fewer leaves more columns per task."""
    score_freed_from: float = 0.2
    score_freed_to: float = 0.6
    """Those for the score free a part drawn uniformly between these."""
    least_cost: float = 0.02
    """The least opportunity cost of a provider-day, in scores, so that each has its turn."""
    waiting: int = 8
    """The most tasks without a place that a neighbourhood takes on, for each provider-day."""
    one_date_share: float = 0.7
    """The part of the neighbourhoods for the priority that lie on as few dates as they can:
    providers who share rooms and can take each other's appointments."""
    all_dates_share: float = 0.5
    """The part of the neighbourhoods for the score that take all dates of a working week."""
    stagnant_rounds: int = 2
    stagnant_neighbourhoods: int = 20
    stagnant_share: float = 0.0005
    """The search for the priority stagnates when so many neighbourhoods, which free all
    provider-days so often, have raised the priority by no more than this share."""


DEFAULT_PARAMS = SelectorParams()


class Selector:
    """Selects neighbourhoods around tasks without a place, and adapts their sizes."""

    def __init__(
        self, instance: Instance, seed: int, params: SelectorParams = DEFAULT_PARAMS
    ) -> None:
        self._instance = instance
        self._params = params
        self._chance = np.random.default_rng(seed)
        self._size = params.provider_days
        self._gains: list[tuple[float, int]] = []
        """By neighbourhood for the priority: the provider-days freed, and the priority gained."""
        self._reached = 0
        self._columns = params.score_columns
        self._costs: dict[Assignment, float] = {}
        self._every = len(instance.providers) * len(instance.dates)
        self._is_small = self._every <= params.score_provider_days
        self._to_retime = list(range(len(instance.dates)))
        scarce = max(3, len(instance.providers) // 4)
        served_by = [int(k.serving_rooms.sum()) for k in instance.kinds]
        self.roomless = frozenset(k for k, rooms in enumerate(served_by) if rooms > scarce)

    @property
    def is_stagnating(self) -> bool:
        """Whether neighbourhoods for the priority hardly raise it any more."""
        params, freed, gained = self._params, 0.0, 0
        for count, (provider_days, gain) in enumerate(reversed(self._gains), 1):
            freed, gained = freed + provider_days, gained + gain
            is_enough = freed >= params.stagnant_rounds * self._every
            if is_enough and count >= params.stagnant_neighbourhoods:
                return gained <= params.stagnant_share * self._reached
        return False

    @property
    def has_dates_to_retime(self) -> bool:
        """Whether there are dates that have yet to be retimed."""
        return bool(self._to_retime)

    def note_short(self, kinds: frozenset[int]) -> None:
        """Model the rooms of types for which rooms ran short from now on."""
        self.roomless -= kinds

    def adapt_size(
        self, neighbourhood: Neighbourhood, answer: JobResult, before: Totals, after: Totals
    ) -> None:
        """Free more once such neighbourhoods bring nothing, less when their repairs are cut off.

        Those for the score keep their provider-days and take more columns or fewer.
        """
        self.note_short(answer.short)
        params, factor = self._params, 1.0
        if not answer.is_proved:
            factor = params.shrinks_by
        elif after <= before:
            factor = params.grows_by
        if neighbourhood.aim == "priority":
            freed = neighbourhood.freed_share * len(neighbourhood.provider_days)
            self._gains.append((freed, after.priority - before.priority))
            self._reached = after.priority
            size = max(params.provider_days_from, self._size * factor)
            self._size = min(params.provider_days_to, size)
        elif neighbourhood.aim == "score":
            columns = max(params.score_columns_from, self._columns * factor)
            self._columns = min(params.score_columns_to, columns)

    def choose(
        self,
        assignments: Sequence[Assignment],
        running: Iterable[Neighbourhood],
        prices: Multipliers | None,
        *,
        for_score: bool,
    ) -> Neighbourhood:
        """Choose a neighbourhood with no task and, where it can, no date of those running.

        Neighbourhoods of different dates have no room, patient or cap in common; others may clash.
        Where the clinic is so small that every neighbourhood for the score is all of it, they run
        side by side: the first to better the incumbent wins.
        """
        instance, chance, params = self._instance, self._chance, self._params
        running = [] if for_score and self._is_small else list(running)
        busy = {place for neighbourhood in running for place in neighbourhood.provider_days}
        taken = {task for neighbourhood in running for task, _ in neighbourhood.waiting}
        taken |= {p.task for p in assignments if (p.provider, p.day) in busy}
        waiting = {i: n for i, n in waiting_tasks(instance, assignments).items() if i not in taken}
        aim: Aim = "score" if for_score else "priority"
        days: list[int] = chance.permutation(len(instance.dates)).tolist()
        if for_score:
            freed_share = float(chance.uniform(params.score_freed_from, params.score_freed_to))
        else:
            freed_share = params.freed_share if chance.random() < 0.5 else 1.0
        if for_score and self._to_retime:
            aim, day = "retime", self._to_retime.pop()
            provider_days = frozenset((p, day) for p in range(len(instance.providers)))
        elif for_score:
            provider_days = self._for_score(days, busy, self._cost_of_days(assignments, prices))
        else:
            idle = [d for d in days if all(d != day for _, day in busy)]
            size = self._size / freed_share
            provider_days = self._for_priority(idle or days, waiting, size) - busy
        fits = [i for i in waiting if could_be_at(instance, i, provider_days)]
        weight = {i: instance.tasks[i].priority * chance.random() ** 0.3 for i in fits}
        fits.sort(key=lambda i: -weight[i])
        return Neighbourhood(
            aim,
            provider_days,
            tuple((i, waiting[i]) for i in fits[: params.waiting * len(provider_days)]),
            int(chance.integers(1 << 30)),
            self.roomless,
            freed_share,
            prices.of(provider_days) if prices is not None and aim != "retime" else None,
            round(self._columns * len(provider_days)),
        )

    def _cost_of_days(
        self, assignments: Sequence[Assignment], prices: Multipliers | None
    ) -> Floats:
        """[P, D] the greatest opportunity cost of an assignment of each provider-day, in scores."""
        shape = len(self._instance.providers), len(self._instance.dates)
        costs = np.full(shape, self._params.least_cost)
        if prices is None:
            return costs
        new = [assignment for assignment in assignments if assignment not in self._costs]
        if new:
            cost = prices.opportunity_cost(self._instance, Columns.at(self._instance, new)).tolist()
            self._costs.update(zip(new, cost, strict=True))
        for assignment in assignments:
            at = assignment.provider, assignment.day
            costs[at] = max(costs[at], self._costs[assignment])
        return costs

    def _for_score(
        self, days: Sequence[int], busy: Collection[tuple[int, int]], costs: Floats
    ) -> frozenset[tuple[int, int]]:
        """Choose dates of some providers that are not busy, up to five of each.

        Across a week it can change who sees whom when. Half of the clinic is left to others.
        Providers are drawn without replacement, those of greater opportunity cost likelier
        (Efraimidis & Spirakis 2006).
        """
        chance, providers = self._chance, range(len(self._instance.providers))
        if self._is_small:
            return frozenset((p, d) for p in providers for d in days)
        most = 5 if chance.random() < self._params.all_dates_share else int(chance.integers(1, 6))
        order = days[:most]
        turn = chance.random(len(providers)) ** (1 / costs[:, order].mean(axis=1))
        idle = [
            p
            for p in np.argsort(-turn, kind="stable").tolist()
            if all((p, d) not in busy for d in order)
        ]
        count = max(1, round(self._params.score_provider_days / len(order)))
        if len(order) == len(days):
            count = min((len(providers) + 1) // 2, count)
        return frozenset((p, d) for p in idle[:count] for d in order)

    def _for_priority(
        self, days: list[int], waiting: Mapping[int, int], size: float
    ) -> frozenset[tuple[int, int]]:
        """Choose about `size` provider-days around a task without a place, drawn by priority.

        Two thirds of the providers are some that the task could go to; the rest are any.
        """
        instance, chance = self._instance, self._chance
        providers = len(instance.providers)
        wanted = 0.0 if chance.random() < self._params.one_date_share else size**0.5
        least = math.ceil(size / providers)
        days = days[: max(1, least, min(len(days), round(wanted)))]
        most = max(2, round(size / len(days)))
        able: set[int] = set()
        around = [i for i in waiting if set(instance.tasks[i].days) & set(days)]
        if around:
            weight = np.array([instance.tasks[i].priority for i in around], np.float64)
            centre = around[int(chance.choice(len(around), p=weight / weight.sum()))]
            kind = instance.kinds[instance.tasks[centre].kind]
            posts = instance.columns(centre) // (kind.shape[1] * kind.shape[2])
            able = set((posts % kind.providers).tolist())
        first = chance.permutation(sorted(able)).tolist()[: max(1, most * 2 // 3)]
        rest = [p for p in chance.permutation(providers).tolist() if p not in first]
        chosen = (first + rest)[:most]
        return frozenset((p, d) for p in chosen for d in days)
