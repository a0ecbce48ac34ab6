"""The portfolio: neighbourhoods repaired while the bounds are computed, until the two meet."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from solver.planning.bounds.lagrangian import Prices
from solver.planning.lns.merge import merge
from solver.planning.lns.neighbourhood import Neighbourhood
from solver.planning.lns.repair import repair
from solver.planning.lns.select import Selector
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.problem import StageName
from solver.planning.search.proofs import (
    Relaxation,
    bound,
    priced,
    prove_priority,
    prove_score,
    relax,
)
from solver.planning.search.workers import WorkerPool

if TYPE_CHECKING:
    from solver.planning.search.incumbent import Search


class Portfolio:
    """Improves neighbourhood by neighbourhood while bounds are computed, until the two meet."""

    def __init__(self, search: Search, columns: int) -> None:
        self._search = search
        self._params = search.params
        self._columns = columns
        self._blocks = Selector(search.instance, search.seed)
        self._pool = WorkerPool(
            search.instance, search.workers, SolveControl(search.over, self._tell)
        )
        self._solving: dict[Future[JobResult], Neighbourhood] = {}
        self._bounding: Future[float] | None = None
        self._relaxing: Future[Relaxation] | None = None
        self._pricing: Future[Prices] | None = None
        self._prices: Prices | None = None
        self._closing: dict[Future[JobResult], int | None] = {}
        self._relaxed: Relaxation | None = None
        self._bounding_score: Future[JobResult] | None = None
        self._score_is_bounded = False
        self._closed_at: tuple[int, frozenset[int]] | None = None
        self._is_bounded = False
        self._proof_is_told = False
        self._kernel_is_tried_with: frozenset[int] | None = None

    def run(self) -> None:
        """Keep every worker busy until time is up, or everything is proved."""
        search = self._search
        try:
            while not search.over() and search.totals != search.bounds:
                while self._free() and not search.over() and self._send():
                    pass
                running: list[Future[Any]] = [
                    *self._solving,
                    *self._closing,
                    *self._others(),
                ]
                wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                self._receive()
                self._tell()
        finally:
            self._pool.end()

    def _tell(self, _value: float = 0.0, _bound: float = 0.0) -> None:
        """Tell how far the whole is; what a neighbourhood has reached says little."""
        search = self._search
        name: StageName = "score" if self._is_about_score() else "priority"
        is_news = self._is_proved() and not self._proof_is_told
        if is_news:
            name, self._proof_is_told = "priority", True
        search.tell(name, getattr(search.totals, name), at_once=is_news)

    def _is_about_score(self) -> bool:
        return self._is_late(self._params.priority_share) or self._blocks.is_stagnating

    def _is_proved(self) -> bool:
        return self._search.totals.priority == self._search.bounds.priority

    def _is_late(self, share: float) -> bool:
        search = self._search
        return self._is_proved() or search.seconds > share * search.limit

    def _free(self) -> int:
        busy = len(self._solving) + len(self._closing) + len(self._others())
        return self._pool.workers - busy

    def _others(self) -> list[Future[Any]]:
        """Return what is under way of which there is one at most."""
        each = (self._bounding, self._relaxing, self._pricing, self._bounding_score)
        return [future for future in each if future is not None]

    def _send(self) -> bool:
        """Give a free worker the job that promises most, if there is one."""
        search, pool = self._search, self._pool
        left = search.limit - search.seconds
        if self._columns > search.most(self._params.relaxed_columns) and not self._is_bounded:
            self._is_bounded = True
            self._bounding = pool.submit(bound, left / 8)
        elif (
            self._columns <= search.most(self._params.relaxed_columns)
            and self._relaxed is None
            and self._relaxing is None
        ):
            self._relaxing = pool.submit(relax, left / 2)
        elif (target := self._to_better()) is not None:
            self._closed_at = target, self._blocks.roomless
            self._send_to_close(left, target)
        elif self._could_try_kernel():
            self._kernel_is_tried_with = self._blocks.roomless
            self._send_to_close(left / 2, None)
        elif self._could_price():
            self._pricing = pool.submit(priced, search.totals.priority, left / 3)
        elif self._could_bound_score(left):
            assert self._relaxed is not None
            self._score_is_bounded = True
            self._bounding_score = pool.submit(
                prove_score, self._relaxed, search.best, self._params.score_bounded_share * left
            )
        else:
            about_score = self._is_about_score()
            if about_score and not self._prices and not self._blocks.has_dates_to_retime:
                return False
            neighbourhood = self._blocks.choose(
                search.best, self._solving.values(), self._prices, for_score=about_score
            )
            if not neighbourhood.provider_days:
                return False
            job = pool.submit(repair, search.best, neighbourhood, min(left, 10.0))
            self._solving[job] = neighbourhood
        return True

    def _send_to_close(self, time_limit: float, target: int | None) -> None:
        assert self._relaxed is not None
        job = self._pool.submit(
            prove_priority,
            self._relaxed,
            self._search.best,
            time_limit,
            self._blocks.roomless,
            target,
        )
        self._closing[job] = target

    def _could_try_kernel(self) -> bool:
        return (
            self._relaxed is not None
            and self._relaxed.priced is not None
            and None not in self._closing.values()
            and self._kernel_is_tried_with != self._blocks.roomless
            and not self._is_late(self._params.closed_until_share)
        )

    def _could_price(self) -> bool:
        search = self._search
        is_time = (
            self._is_about_score()
            or search.seconds > self._params.priced_after_share * search.limit
        )
        return is_time and self._prices is None and self._pricing is None

    def _could_bound_score(self, left: float) -> bool:
        relaxed, reached = self._relaxed, self._search.totals.priority
        return (
            self._pool.workers > 1
            and self._prices is not None
            and relaxed is not None
            and not self._score_is_bounded
            and self._is_proved()
            and self._search.seconds > self._params.score_bounded_after_share * self._search.limit
            and left >= self._params.score_bounded_seconds
            and 0
            < relaxed.count(reached - 1)
            <= self._search.most(self._params.score_bounded_columns)
        )

    def _to_better(self) -> int | None:
        """Return a priority of which one model may settle whether there is more.

        That takes that few columns could have a part in more. It is what has been reached, or else
        one less than the bound.
        """
        search, relaxed = self._search, self._relaxed
        is_closing = bool(set(self._closing.values()) - {None})
        if relaxed is None or is_closing or self._is_late(self._params.closed_until_share):
            return None
        for target in (search.totals.priority, search.bounds.priority - 1):
            if (target, self._blocks.roomless) == self._closed_at:
                return None
            if 0 < relaxed.count(target) <= search.most(self._params.closed_columns):
                return target
        return None

    def _receive(self) -> None:
        search = self._search
        for future in [f for f in self._solving if f.done()]:
            neighbourhood, answer = self._solving.pop(future), future.result()
            search.size = max(search.size, answer.size)
            before = search.totals
            if answer.assignments is not None:
                plan = merge(search.instance, search.best, neighbourhood, answer.assignments)
                if plan is not None:
                    search.take(plan)
            self._blocks.adapt_size(neighbourhood, answer, before, search.totals)
        if self._bounding is not None and self._bounding.done():
            search.note("priority", self._bounding.result())
            self._bounding = None
        if self._relaxing is not None and self._relaxing.done():
            self._relaxed, self._relaxing = self._relaxing.result(), None
            search.note("priority", self._relaxed.bound)
        if self._pricing is not None and self._pricing.done():
            self._prices, self._pricing = self._pricing.result(), None
        if self._prices is not None:
            bound = self._prices.bound(search.totals.priority) * search.instance.unit
            search.note("score", bound)
        if self._bounding_score is not None and self._bounding_score.done():
            answer, self._bounding_score = self._bounding_score.result(), None
            search.size = max(search.size, answer.size)
            search.note("score", answer.bound)
            if answer.assignments is not None:
                search.take(answer.assignments)
        for future in [f for f in self._closing if f.done()]:
            target, answer = self._closing.pop(future), future.result()
            search.size = max(search.size, answer.size)
            self._blocks.note_short(answer.short)
            if answer.assignments is not None:
                search.take(answer.assignments)
            if target is not None:
                search.note("priority", max(answer.bound, target))
