"""Large-neighbourhood search where bookings may move: a few providers' dates, solved again.

What one model cannot hold is bettered block by block. In a block the bookings that stand there may
move within it, a part of the requests placed there is lifted, and requests without a place and
displaced bookings may come in. Each block is solved stage by stage, as the whole would be, so that
no booking moves for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.entities import DAY_MINUTES
from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.neighbourhood import could_be_at, waiting_tasks
from solver.planning.model.planning_model import JointModel
from solver.planning.model.solving import SolveControl
from solver.planning.problem import StageName

type Pairs = frozenset[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class ExchangeParams:
    """How large the neighbourhoods are in which bookings may move."""

    providers_from: int = 1
    providers_to: int = 3
    """Providers of a neighbourhood, on one date or, when any distance is allowed, on two."""
    lifted_share: float = 0.5
    """The part of the requests placed in it that is freed."""
    waiting: int = 4
    """The most tasks without a place that it takes on, for each of its provider-days."""
    rooms: int = 6
    """The most rooms offered at one type and start, beside those that are in use."""
    work: float = 1.0
    """The solver's deterministic seconds for a stage of a neighbourhood."""


DEFAULT_PARAMS = ExchangeParams()


class Exchange:
    """Chooses blocks around what has no place, and solves them.

    Parameters
    ----------
    instance
        The problem.
    radius
        The minutes by which a booking that need not move may move; None: any distance.
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
        self, puts: Sequence[Assignment], watch: SolveControl, time_limit: float
    ) -> list[Assignment] | None:
        """Return a plan that differs from `puts` in one block; None if that brings nothing.

        It saves or places more, or moves less; of those that do, it moves as few bookings as little
        as it can, and then scores as much.
        """
        instance = self._instance
        waiting = waiting_tasks(instance, puts)
        pairs = self._pairs(waiting)
        left, kept = self._lifted(puts, pairs)
        fits = [i for i in waiting if could_be_at(instance, i, pairs)]
        fits.sort(key=lambda i: (instance.tasks[i].is_displaced, self._draw(i)), reverse=True)
        for i in fits[: self._params.waiting * len(pairs)]:
            left[i] += waiting[i]
        inside = [put for put in puts if (put.provider, put.day) in pairs]
        outside = [put for put in puts if (put.provider, put.day) not in pairs]
        columns = Columns.inside(instance, left, pairs, partial(instance.within, self._radius))
        columns = columns.clear_of(instance, kept).joined(Columns.at(instance, inside))
        joint = JointModel(instance, columns, left, outside, rooms=self._params.rooms, keep=inside)
        joint.fix(kept)
        joint.keep_away(i for i in left if not self._is_at(i, pairs))
        best, before = inside, instance.counted(inside)
        stages: tuple[tuple[StageName, StageName], ...] = (
            ("priority", "saved"),
            ("distance", "moved"),
        )
        for minor, major in stages:
            objective = joint.expression(minor) + self._weight * joint.expression(major)
            best = self._best(joint, objective, best, watch, time_limit)
            now = instance.counted(best)
            if now == before and not now.moved:
                return None
            joint.require(objective >= getattr(now, minor) + self._weight * getattr(now, major))
        if now == before:
            return None
        return [*outside, *self._best(joint, joint.score(), best, watch, time_limit)]

    def _best(
        self,
        joint: JointModel,
        objective: cp_model.LinearExpr,
        puts: list[Assignment],
        watch: SolveControl,
        time_limit: float,
    ) -> list[Assignment]:
        joint.hint(puts)
        outcome = joint.maximise(
            objective,
            time_limit=time_limit,
            seed=int(self._chance.integers(1 << 30)),
            work_limit=self._params.work,
            watch=watch,
        )
        return puts if outcome.puts is None else outcome.puts

    @cached_property
    def _weight(self) -> int:
        """More than all priorities, and more than the minutes of all moves, together."""
        tasks = self._instance.tasks
        minutes = len(self._instance.dates) * DAY_MINUTES * len(tasks)
        return 1 + max(minutes, sum(t.priority * len(t.members) for t in tasks))

    def _pairs(self, waiting: Collection[int]) -> Pairs:
        """Return providers and dates around one that waits, displaced ones more likely."""
        instance, chance = self._instance, self._chance
        numbers = list(waiting)
        weight = np.array(
            [1 + instance.tasks[i].priority + 20 * instance.tasks[i].is_displaced for i in numbers],
            np.float64,
        )
        task = numbers[int(chance.choice(len(numbers), p=weight / weight.sum()))]
        kind = instance.kinds[instance.tasks[task].kind]
        provider, day, _ = np.unravel_index(int(chance.choice(instance.columns(task))), kind.shape)
        days = {int(day)}
        if self._radius is None:
            days.add(int(chance.integers(len(instance.dates))))
        count = int(chance.integers(self._params.providers_from, self._params.providers_to + 1))
        others = [p for p in chance.permutation(len(instance.providers)).tolist() if p != provider]
        return frozenset((p, d) for p in [int(provider), *others[: count - 1]] for d in days)

    def _lifted(
        self, puts: Sequence[Assignment], pairs: Pairs
    ) -> tuple[Counter[int], list[Assignment]]:
        """Return how many of each task a block settles anew, and what of it is to stay put.

        A booking that was moved into the block from elsewhere is among the latter: whether its old
        place is still free is not the block's to say.
        """
        instance = self._instance
        left: Counter[int] = Counter()
        kept: list[Assignment] = []
        moved = {put.task for put in puts}
        for put in puts:
            if (put.provider, put.day) in pairs:
                left[put.task] += 1
                task = instance.tasks[put.task]
                if task.own is None:
                    is_kept = self._chance.random() >= self._params.lifted_share
                else:
                    could_stay = task.stays_if_not_moved or task.could_stay
                    is_kept = could_stay and not self._is_at(put.task, pairs)
                kept += [put] * is_kept
        for i, task in enumerate(instance.tasks):
            if task.stays_if_not_moved and i not in moved:
                left[i] += self._is_at(i, pairs)
        return +left, kept

    def _is_at(self, task: int, pairs: Pairs) -> bool:
        """Whether a booking stood at one of the providers and dates; for a request it is true."""
        own = self._instance.tasks[task].own
        return own is None or (own.provider, own.day) in pairs

    def _draw(self, task: int) -> float:
        return float(self._instance.tasks[task].priority * self._chance.random() ** 0.3)
