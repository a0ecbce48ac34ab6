"""The jobs of the portfolio: when each is due, what a worker then does, what its result changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from typing import override

from solver.planning.bounds.column_generation import Relaxation
from solver.planning.bounds.lagrangian import Multipliers
from solver.planning.lns.merge import merge
from solver.planning.lns.neighbourhood import Neighbourhood
from solver.planning.lns.repair import repair
from solver.planning.lns.select import Selector
from solver.planning.model.solving import JobResult
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.proofs import (
    bound_priority,
    bound_score,
    prove_priority,
    prove_score,
    relax,
)
from solver.planning.search.workers import WorkerPool


@dataclass
class PortfolioState:
    """What the jobs of a portfolio know of one another.

    Attributes
    ----------
    incumbent
        The best plan and the bounds, which all of them improve.
    selector
        Chooses neighbourhoods; knows for which types rooms ran short.
    columns
        How many all tasks have.
    workers
        Jobs that may run at once.
    relaxation, multipliers
        What column generation and the Lagrangian bound of the score brought, once they are done.
    """

    incumbent: Incumbent
    selector: Selector
    columns: int
    workers: int
    relaxation: Relaxation | None = None
    multipliers: Multipliers | None = None

    @property
    def is_about_score(self) -> bool:
        """Whether neighbourhoods are for the score by now, no longer for the priority."""
        params = self.incumbent.limits.params
        return self.is_after(params.priority_share) or self.selector.is_stagnating

    @property
    def is_priority_proved(self) -> bool:
        """Whether no plan has more priority than the incumbent."""
        return self.incumbent.totals.priority == self.incumbent.bounds.priority

    def is_after(self, share: float) -> bool:
        """Whether this share of the time is over, or the priority proved."""
        return self.is_priority_proved or self.has_passed(share)

    def has_passed(self, share: float) -> bool:
        """Whether this share of the time is over."""
        limits = self.incumbent.limits
        return limits.seconds > share * limits.time_limit

    def accept(self, result: JobResult) -> None:
        """Take over the plan of a result, if there is one and it is no worse."""
        self.incumbent.note_size(result.size)
        if result.assignments is not None:
            self.incumbent.accept(result.assignments)


class Job[T](ABC):
    """Work of one kind for the worker processes.

    Attributes
    ----------
    running
        What has been submitted and is not yet received, the oldest first.
    """

    def __init__(self, state: PortfolioState) -> None:
        self.running: list[Future[T]] = []
        self._state = state
        self._incumbent = state.incumbent
        self._limits = state.incumbent.limits
        self._params = state.incumbent.limits.params

    @abstractmethod
    def is_due(self) -> bool:
        """Whether an idle worker should begin it now, if no earlier job of the list is due."""

    @abstractmethod
    def _begin(self, pool: WorkerPool) -> Future[T] | None:
        """Submit it; None if there proves to be nothing to do."""

    @abstractmethod
    def _take_over(self, done: Future[T]) -> None:
        """Take over what it brought."""

    def submit(self, pool: WorkerPool) -> bool:
        """Give it to a worker; return whether there was something to do."""
        future = self._begin(pool)
        if future is not None:
            self.running.append(future)
        return future is not None

    def receive(self) -> None:
        """Take over the results that are there."""
        for future in [f for f in self.running if f.done()]:
            self.running.remove(future)
            self._take_over(future)


class BoundPriority(Job[float]):
    """Bound the priority by Lagrangian relaxation: once, where columns are too many to generate."""

    _is_begun = False

    @override
    def is_due(self) -> bool:
        is_large = self._state.columns > self._limits.most(self._params.relaxed_columns)
        return is_large and not self._is_begun

    def _begin(self, pool: WorkerPool) -> Future[float]:
        self._is_begun = True
        seconds = self._params.bound_priority_share * self._limits.seconds_left
        return pool.submit(bound_priority, seconds)

    def _take_over(self, done: Future[float]) -> None:
        self._incumbent.note_bound("priority", done.result())


class SolveRelaxation(Job[Relaxation]):
    """Bound the priority by column generation: once, where columns are few enough."""

    @override
    def is_due(self) -> bool:
        is_small = self._state.columns <= self._limits.most(self._params.relaxed_columns)
        return is_small and self._state.relaxation is None and not self.running

    def _begin(self, pool: WorkerPool) -> Future[Relaxation]:
        seconds = self._params.relaxation_share * self._limits.seconds_left
        return pool.submit(relax, seconds)

    def _take_over(self, done: Future[Relaxation]) -> None:
        self._state.relaxation = done.result()
        self._incumbent.note_bound("priority", done.result().bound)


class _MorePriority(Job[JobResult]):
    """Look for more priority among those columns that reduced costs leave."""

    def _solve(self, pool: WorkerPool, seconds: float, target: int | None) -> Future[JobResult]:
        assert self._state.relaxation is not None
        roomless = self._state.selector.roomless
        relaxation, best = self._state.relaxation, self._incumbent.best
        return pool.submit(prove_priority, relaxation, best, seconds, roomless, target)

    def _take_over(self, done: Future[JobResult]) -> None:
        self._state.selector.note_short(done.result().short)
        self._state.accept(done.result())


class ProvePriority(_MorePriority):
    """Settle whether a plan has more priority than a target: once few columns could be in one.

    The target is what has been reached, or else one less than the bound.
    """

    _asked: tuple[int, frozenset[int]] | None = None
    """The latest target, and the types whose rooms the model left out."""

    @override
    def is_due(self) -> bool:
        is_late = self._state.is_after(self._params.closed_until_share)
        return not self.running and not is_late and self._target() is not None

    def _target(self) -> int | None:
        relaxation, incumbent = self._state.relaxation, self._incumbent
        if relaxation is None:
            return None
        for target in (incumbent.totals.priority, incumbent.bounds.priority - 1):
            if (target, self._state.selector.roomless) == self._asked:
                return None
            if 0 < relaxation.count(target) <= self._limits.most(self._params.closed_columns):
                return target
        return None

    def _begin(self, pool: WorkerPool) -> Future[JobResult]:
        target = self._target()
        assert target is not None
        self._asked = target, self._state.selector.roomless
        return self._solve(pool, self._limits.seconds_left, target)

    def _take_over(self, done: Future[JobResult]) -> None:
        super()._take_over(done)
        assert self._asked is not None
        self._incumbent.note_bound("priority", max(done.result().bound, self._asked[0]))


class SolveGeneratedColumns(_MorePriority):
    """Look for more priority among the generated columns: once per set of types without rooms."""

    _tried_with: frozenset[int] | None = None

    @override
    def is_due(self) -> bool:
        relaxation = self._state.relaxation
        return (
            relaxation is not None
            and relaxation.reduced_cost is not None
            and not self.running
            and self._tried_with != self._state.selector.roomless
            and not self._state.is_after(self._params.closed_until_share)
        )

    def _begin(self, pool: WorkerPool) -> Future[JobResult]:
        self._tried_with = self._state.selector.roomless
        seconds = self._params.generated_share * self._limits.seconds_left
        return self._solve(pool, seconds, None)


class BoundScore(Job[Multipliers]):
    """Bound the score by Lagrangian relaxation: once, after some time or when it is its turn."""

    @override
    def is_due(self) -> bool:
        params, state = self._params, self._state
        is_time = state.is_about_score or state.has_passed(params.priced_after_share)
        return is_time and state.multipliers is None and not self.running

    def _begin(self, pool: WorkerPool) -> Future[Multipliers]:
        seconds = self._params.bound_score_share * self._limits.seconds_left
        return pool.submit(bound_score, self._incumbent.totals.priority, seconds)

    @override
    def receive(self) -> None:
        """Take over the multipliers; they bound the score for whatever priority is reached.

        But where there are roles: beside these an appointment may score more than the bound allows.
        """
        super().receive()
        has_roles = self._incumbent.instance.clinic.has_roles
        if self._state.multipliers is not None and not has_roles:
            bound = self._state.multipliers.bound(self._incumbent.totals.priority)
            self._incumbent.note_bound("score", bound * self._incumbent.instance.unit)

    def _take_over(self, done: Future[Multipliers]) -> None:
        self._state.multipliers = done.result()


class ProveScore(Job[JobResult]):
    """Bound the score by one model: once, late, if the priority is proved and columns are few."""

    _is_begun = False

    @override
    def is_due(self) -> bool:
        state, params = self._state, self._params
        return (
            state.workers > 1
            and state.multipliers is not None
            and state.relaxation is not None
            and not self._is_begun
            and state.is_priority_proved
            and state.has_passed(params.score_bounded_after_share)
            and self._limits.seconds_left >= params.score_bounded_seconds
            and 0
            < state.relaxation.count(self._incumbent.totals.priority - 1)
            <= self._limits.most(params.score_bounded_columns)
        )

    def _begin(self, pool: WorkerPool) -> Future[JobResult]:
        assert self._state.relaxation is not None
        self._is_begun = True
        seconds = self._params.score_bounded_share * self._limits.seconds_left
        return pool.submit(prove_score, self._state.relaxation, self._incumbent.best, seconds)

    def _take_over(self, done: Future[JobResult]) -> None:
        self._incumbent.note_bound("score", done.result().bound)
        self._state.accept(done.result())


class Improve(Job[JobResult]):
    """Repair a neighbourhood of the incumbent: whenever no other job is due."""

    def __init__(self, state: PortfolioState) -> None:
        super().__init__(state)
        self._neighbourhoods: dict[Future[JobResult], Neighbourhood] = {}

    @override
    def is_due(self) -> bool:
        return True

    def _begin(self, pool: WorkerPool) -> Future[JobResult] | None:
        state, selector = self._state, self._state.selector
        for_score = state.is_about_score
        if for_score and state.multipliers is None and not selector.has_dates_to_retime:
            return None
        neighbourhood = selector.choose(
            self._incumbent.best,
            self._neighbourhoods.values(),
            state.multipliers,
            for_score=for_score,
        )
        if not neighbourhood.provider_days:
            return None
        seconds = min(self._limits.seconds_left, self._params.repair_seconds)
        future = pool.submit(repair, self._incumbent.best, neighbourhood, seconds)
        self._neighbourhoods[future] = neighbourhood
        return future

    def _take_over(self, done: Future[JobResult]) -> None:
        incumbent, result = self._incumbent, done.result()
        neighbourhood = self._neighbourhoods.pop(done)
        incumbent.note_size(result.size)
        before = incumbent.totals
        if result.assignments is not None:
            plan = merge(incumbent.instance, incumbent.best, neighbourhood, result.assignments)
            if plan is not None:
                incumbent.accept(plan)
        self._state.selector.adapt_size(neighbourhood, result, before, incumbent.totals)
