"""Which part of a plan to free next: around tasks that wait, as large as pays (Pisinger 2007)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Floats
from solver.planning.bounds.lagrangian import Multipliers
from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, Totals
from solver.planning.lns.neighbourhood import (
    EFFORTS,
    WAITING,
    Aim,
    Neighbourhood,
    could_be_at,
    waiting_tasks,
)
from solver.planning.model.solving import JobResult


@dataclass(frozen=True, kw_only=True)
class SelectorParams:
    """How large neighbourhoods are, and what they free."""

    provider_days_from: float = 2.0
    provider_days_to: float = 30.0
    """Provider-days of a neighbourhood for the priority."""
    grows_by: float = 1.04
    """What its size is multiplied by when the repair was proved best and brought nothing."""
    shrinks_by: float = 0.93
    """And when it was not proved best."""
    scored_at_first: float = 60.0
    scored_from: float = 20.0
    scored_to: float = 500.0
    """Columns of each provider-day that are tried together where the gap part counts: more once
    such neighbourhoods are easy, fewer when they are hard."""
    lifted_share: float = 0.6
    """The part of the placements that every other neighbourhood for the priority frees. Few
    requests with many columns each bring more than many with few."""
    lifted_from: float = 0.2
    lifted_to: float = 0.6
    """Those for the score all free a part between these: what one leaves, another finds."""
    least_lost: float = 0.02
    """The least opportunity cost of a provider-day, so that each has its turn."""
    one_date_share: float = 0.7
    """The part of the neighbourhoods that lie on as few dates as they can: providers who share
    rooms and can take each other's appointments."""
    all_dates_share: float = 0.5
    """The part of the neighbourhoods for the score that take all dates of a working week."""
    stale_rounds: int = 2
    stale_blocks: int = 20
    stale_share: float = 0.0005
    """It is the score's turn when so many neighbourhoods, over all provider-days so often,
    have bettered the priority by no more than this share."""


DEFAULT_PARAMS = SelectorParams()


class Selector:
    """Chooses neighbourhoods, around tasks that wait; they grow while they are solved with ease."""

    def __init__(
        self, instance: Instance, seed: int, params: SelectorParams = DEFAULT_PARAMS
    ) -> None:
        self._instance = instance
        self._params = params
        self._chance = np.random.default_rng(seed)
        self._size = EFFORTS["priority"].provider_days
        self._gains: list[tuple[float, int]] = []
        self._reached = 0
        self._most = self._params.scored_at_first
        self._lost: dict[Assignment, float] = {}
        self._is_little = (
            len(instance.providers) * len(instance.dates) <= EFFORTS["score"].provider_days
        )
        self._untimed = list(range(len(instance.dates)))
        scarce = max(3, len(instance.providers) // 4)
        served_by = [int(k.room_free.any(axis=(1, 2)).sum()) for k in instance.kinds]
        self.roomless = frozenset(k for k, rooms in enumerate(served_by) if rooms > scarce)

    @property
    def is_stale(self) -> bool:
        """Whether neighbourhoods for the priority hardly better it any more."""
        params = self._params
        everything = len(self._instance.providers) * len(self._instance.dates)
        covered, gained = 0.0, 0
        for neighbourhoods, (provider_days, gain) in enumerate(reversed(self._gains), 1):
            covered, gained = covered + provider_days, gained + gain
            if (
                covered >= params.stale_rounds * everything
                and neighbourhoods >= params.stale_blocks
            ):
                return gained <= params.stale_share * self._reached
        return False

    @property
    def has_untimed(self) -> bool:
        """Whether there are dates whose starts have yet to be bettered."""
        return bool(self._untimed)

    def note_short(self, kinds: frozenset[int]) -> None:
        """Give kinds for which rooms ran short their rooms in the model from now on."""
        self.roomless -= kinds

    def learn(
        self, neighbourhood: Neighbourhood, answer: JobResult, before: Totals, after: Totals
    ) -> None:
        """Free more once neighbourhoods such as these bring nothing, less when they are hard.

        Those for the score keep their provider-days and take more columns or fewer.
        """
        self.note_short(answer.short)
        is_better = after > before
        if neighbourhood.aim == "priority":
            self._gains.append(
                (
                    neighbourhood.lifted * len(neighbourhood.provider_days),
                    after.priority - before.priority,
                )
            )
            self._reached = after.priority
        params, factor = self._params, 1.0
        if not answer.is_proved:
            factor = params.shrinks_by
        elif not is_better:
            factor = params.grows_by
        if neighbourhood.aim == "priority":
            self._size = min(
                params.provider_days_to, max(params.provider_days_from, self._size * factor)
            )
        elif neighbourhood.aim == "score":
            self._most = min(params.scored_to, max(params.scored_from, self._most * factor))

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
        Where all of the clinic is little, every neighbourhood for the score is all of it: whoever
        is first with something better wins.
        """
        instance, chance = self._instance, self._chance
        running = [] if for_score and self._is_little else list(running)
        busy = {
            provider_day
            for neighbourhood in running
            for provider_day in neighbourhood.provider_days
        }
        taken = {task for neighbourhood in running for task, _ in neighbourhood.waiting}
        taken |= {p.task for p in assignments if (p.provider, p.day) in busy}
        waiting = {i: n for i, n in waiting_tasks(instance, assignments).items() if i not in taken}
        aim: Aim = "score" if for_score else "priority"
        days: list[int] = chance.permutation(len(instance.dates)).tolist()
        if for_score:
            lifted = float(chance.uniform(self._params.lifted_from, self._params.lifted_to))
        else:
            lifted = self._params.lifted_share if chance.random() < 0.5 else 1.0
        if for_score and self._untimed:
            aim, day = "timing", self._untimed.pop()
            provider_days = frozenset((p, day) for p in range(len(instance.providers)))
        elif for_score:
            provider_days = self._across(days, busy, self._losses(assignments, prices))
        else:
            free = [d for d in days if all(d != day for _, day in busy)]
            provider_days = self._provider_days(free or days, waiting, self._size / lifted) - busy
        fits = [i for i in waiting if could_be_at(instance, i, provider_days)]
        weight = {i: instance.tasks[i].priority * chance.random() ** 0.3 for i in fits}
        fits.sort(key=lambda i: -weight[i])
        return Neighbourhood(
            aim,
            provider_days,
            tuple((i, waiting[i]) for i in fits[: WAITING * len(provider_days)]),
            int(chance.integers(1 << 30)),
            self.roomless,
            lifted,
            prices.of(provider_days) if prices is not None and aim != "timing" else None,
            round(self._most * len(provider_days)),
        )

    def _losses(self, assignments: Sequence[Assignment], prices: Multipliers | None) -> Floats:
        """[P, D] the most that a provider's date loses by one of its placements."""
        instance = self._instance
        losses = np.full((len(instance.providers), len(instance.dates)), self._params.least_lost)
        if prices is None:
            return losses
        new = [assignment for assignment in assignments if assignment not in self._lost]
        if new:
            lost = prices.opportunity_cost(instance, Columns.at(instance, new)).tolist()
            self._lost.update(zip(new, lost, strict=True))
        for assignment in assignments:
            at = assignment.provider, assignment.day
            losses[at] = max(losses[at], self._lost[assignment])
        return losses

    def _across(
        self, days: Sequence[int], busy: Collection[tuple[int, int]], losses: Floats
    ) -> frozenset[tuple[int, int]]:
        """Return dates of some providers that are not busy, up to five of each.

        Who sees whom when is settled across a week. Half of the clinic is left to others. Those who
        lose more are likelier to be chosen, without repeats (Efraimidis & Spirakis 2006).
        """
        chance, providers = self._chance, range(len(self._instance.providers))
        if self._is_little:
            return frozenset((p, d) for p in providers for d in days)
        most = 5 if chance.random() < self._params.all_dates_share else int(chance.integers(1, 6))
        order = days[:most]
        turn = chance.random(len(providers)) ** (1 / losses[:, order].mean(axis=1))
        free = [
            p
            for p in np.argsort(-turn, kind="stable").tolist()
            if all((p, d) not in busy for d in order)
        ]
        count = max(1, round(EFFORTS["score"].provider_days / len(order)))
        if len(order) == len(days):
            count = min((len(providers) + 1) // 2, count)
        return frozenset((p, d) for p in free[:count] for d in order)

    def _provider_days(
        self, days: list[int], waiting: dict[int, int], size: float
    ) -> frozenset[tuple[int, int]]:
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
            seed = around[int(chance.choice(len(around), p=weight / weight.sum()))]
            kind = instance.kinds[instance.tasks[seed].kind]
            able = set((instance.columns(seed) // (kind.shape[1] * kind.shape[2])).tolist())
        first = chance.permutation(sorted(able)).tolist()[: max(1, most * 2 // 3)]
        rest = [p for p in chance.permutation(providers).tolist() if p not in first]
        chosen = (first + rest)[:most]
        return frozenset((p, d) for p in chosen for d in days)
