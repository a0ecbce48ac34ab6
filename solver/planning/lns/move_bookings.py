"""Neighbourhoods in which bookings may move: a few provider-days, repaired stage by stage.

In a neighbourhood the bookings that are there may move within it, a share of the requests placed
there is freed, and requests without a place and displaced bookings may come in; all else is frozen.
The planning model is solved for (saved, priority), then (moved, distance), then the score, as that
of the whole problem would be, so that no booking moves for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.entities import DAY_MINUTES
from solver.planning.instance.columns import Columns, within
from solver.planning.instance.evaluation import evaluate
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.neighbourhood import could_be_at, waiting_tasks
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import SolveControl
from solver.planning.problem import StageName

type ProviderDays = frozenset[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class ExchangeParams:
    """How large the neighbourhoods are in which bookings may move."""

    providers_from: int = 1
    providers_to: int = 3
    """Providers of a neighbourhood, on one date or, when any distance is allowed, on two."""
    freed_share: float = 0.5
    """The part of the requests placed in it that is freed."""
    waiting: int = 4
    """The most tasks without a place that it takes on, for each of its provider-days."""
    rooms: int = 6
    """The most rooms offered at one type and start, beside those that the incumbent uses."""
    work: float = 1.0
    """The solver's deterministic seconds for a stage of a neighbourhood."""
    displaced_weight: int = 20
    """How much likelier a displaced booking is to be at the centre, in points of priority."""


DEFAULT_PARAMS = ExchangeParams()


class Exchange:
    """Chooses neighbourhoods around tasks without a place, and repairs them.

    Parameters
    ----------
    instance
        The problem.
    radius
        The minutes by which a booking that is not displaced may move; None: any distance.
    """

    def __init__(
        self,
        instance: Instance,
        radius: int | None,
        seed: int,
        params: ExchangeParams = DEFAULT_PARAMS,
    ) -> None:
        self._instance = instance
        self._params = params
        self._radius = radius
        self._chance = np.random.default_rng(seed)

    def better(
        self, assignments: Sequence[Assignment], control: SolveControl, time_limit: float
    ) -> list[Assignment] | None:
        """Repair one neighbourhood of `assignments`; None if the plan is no better.

        The plan returned saves or places more, or moves less; among the repairs that do, it moves
        the fewest bookings by the fewest minutes, and then scores the most.
        """
        instance = self._instance
        waiting = waiting_tasks(instance, assignments)
        provider_days = self._provider_days(waiting)
        free, kept = self._freed(assignments, provider_days)
        fits = [i for i in waiting if could_be_at(instance, i, provider_days)]
        fits.sort(key=lambda i: (instance.tasks[i].is_displaced, self._draw(i)), reverse=True)
        for i in fits[: self._params.waiting * len(provider_days)]:
            free[i] += waiting[i]
        incumbent = [p for p in assignments if (p.provider, p.day) in provider_days]
        frozen = [p for p in assignments if (p.provider, p.day) not in provider_days]
        narrow = partial(within, instance, self._radius)
        columns = Columns.of_provider_days(instance, free, provider_days, narrow)
        columns = columns.clear_of(instance, kept).joined(Columns.at(instance, incumbent))
        rooms = self._params.rooms
        model = PlanningModel(instance, columns, free, frozen, rooms=rooms, incumbent=incumbent)
        model.fix(kept)
        model.keep_away(i for i in free if not self._is_at(i, provider_days))
        best, before = incumbent, evaluate(instance, incumbent, with_score=False)
        stages: tuple[tuple[StageName, StageName], ...] = (
            ("priority", "saved"),
            ("distance", "moved"),
        )
        for minor, major in stages:
            objective = model.expression(minor) + self._weight * model.expression(major)
            best = self._best(model, objective, best, control, time_limit)
            now = evaluate(instance, best, with_score=False)
            if now == before and not now.moved:
                return None
            model.require(objective >= getattr(now, minor) + self._weight * getattr(now, major))
        if now == before:
            return None
        return [*frozen, *self._best(model, model.score(), best, control, time_limit)]

    def _best(
        self,
        model: PlanningModel,
        objective: cp_model.LinearExpr,
        assignments: list[Assignment],
        control: SolveControl,
        time_limit: float,
    ) -> list[Assignment]:
        """Return the best assignments for an objective, or those that the search started from."""
        model.hint(assignments)
        outcome = model.maximise(
            objective,
            time_limit=time_limit,
            seed=int(self._chance.integers(1 << 30)),
            work_limit=self._params.work,
            control=control,
        )
        return assignments if outcome.assignments is None else outcome.assignments

    @cached_property
    def _weight(self) -> int:
        """More than the sum of all priorities, and than the minutes of all moves together."""
        tasks = self._instance.tasks
        minutes = len(self._instance.dates) * DAY_MINUTES * len(tasks)
        return 1 + max(minutes, sum(t.priority * len(t.members) for t in tasks))

    def _provider_days(self, waiting: Collection[int]) -> ProviderDays:
        """Choose provider-days around a task without a place, drawn by its weight."""
        instance, chance, params = self._instance, self._chance, self._params
        tasks, numbers = instance.tasks, list(waiting)
        weight = np.array(
            [
                1 + tasks[i].priority + params.displaced_weight * tasks[i].is_displaced
                for i in numbers
            ],
            np.float64,
        )
        task = numbers[int(chance.choice(len(numbers), p=weight / weight.sum()))]
        shape = instance.kinds[tasks[task].kind].shape
        post, day, _ = np.unravel_index(int(chance.choice(instance.columns(task))), shape)
        provider = int(post) % len(instance.providers)
        days = {int(day)}
        if self._radius is None:
            days.add(int(chance.integers(len(instance.dates))))
        count = int(chance.integers(params.providers_from, params.providers_to + 1))
        others = [p for p in chance.permutation(len(instance.providers)).tolist() if p != provider]
        return frozenset((p, d) for p in [provider, *others[: count - 1]] for d in days)

    def _freed(
        self, assignments: Sequence[Assignment], provider_days: ProviderDays
    ) -> tuple[Counter[int], list[Assignment]]:
        """Return how many of each task are free in a neighbourhood, and what of these is kept.

        Kept are requests that are not drawn, and bookings that were moved in from elsewhere:
        whether such an old place is still free is not the neighbourhood's to decide.
        """
        instance = self._instance
        free: Counter[int] = Counter()
        kept: list[Assignment] = []
        moved = {assignment.task for assignment in assignments}
        for assignment in assignments:
            if (assignment.provider, assignment.day) in provider_days:
                free[assignment.task] += 1
                task = instance.tasks[assignment.task]
                if task.own is None:
                    is_kept = self._chance.random() >= self._params.freed_share
                else:
                    could_stay = task.stays_if_not_moved or task.could_stay
                    is_kept = could_stay and not self._is_at(assignment.task, provider_days)
                kept += [assignment] * is_kept
        for i, task in enumerate(instance.tasks):
            if task.stays_if_not_moved and i not in moved:
                free[i] += self._is_at(i, provider_days)
        return +free, kept

    def _is_at(self, task: int, provider_days: ProviderDays) -> bool:
        """Whether a booking is in a neighbourhood before anything moves; true for a request."""
        own = self._instance.tasks[task].own
        return own is None or (own.provider, own.day) in provider_days

    def _draw(self, task: int) -> float:
        return float(self._instance.tasks[task].priority * self._chance.random() ** 0.3)
