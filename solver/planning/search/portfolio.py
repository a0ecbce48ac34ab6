"""The portfolio: neighbourhoods repaired while the bounds are computed, until the two meet."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from solver.planning.lns.select import Selector
from solver.planning.model.solving import SolveControl
from solver.planning.problem import StageName
from solver.planning.search.exact import column_count, solve_exactly
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.jobs import (
    BoundPriority,
    BoundScore,
    Improve,
    Job,
    PortfolioState,
    ProvePriority,
    ProveScore,
    SolveGeneratedColumns,
    SolveRelaxation,
)
from solver.planning.search.workers import WorkerPool


def place_requests(incumbent: Incumbent) -> None:
    """Place requests where no booking may move: by one model if columns are few."""
    limits, columns = incumbent.limits, column_count(incumbent.instance)
    if columns <= limits.most(limits.params.exact_columns):
        solve_exactly(incumbent)
    else:
        Portfolio(incumbent, columns).run()


class Portfolio:
    """Keeps every worker busy with the first job that is due, until all is proved or time is up.

    Attributes
    ----------
    due_order
        The jobs, in the order in which they are asked whether they are due.
    receive_order
        The same, in the order in which results are taken over: neighbourhoods go first, which are
        merged into the incumbent from which they were freed, and bounds before proofs.
    """

    def __init__(self, incumbent: Incumbent, columns: int) -> None:
        limits = incumbent.limits
        self._incumbent = incumbent
        selector = Selector(incumbent.instance, limits.seed)
        self._pool = WorkerPool(
            incumbent.instance, limits.workers, SolveControl(limits.is_over, self._tell)
        )
        self._state = state = PortfolioState(incumbent, selector, columns, self._pool.workers)
        bounds: list[Job[Any]] = [BoundPriority(state), SolveRelaxation(state)]
        proofs: list[Job[Any]] = [ProvePriority(state), SolveGeneratedColumns(state)]
        scores: list[Job[Any]] = [BoundScore(state), ProveScore(state)]
        improve: list[Job[Any]] = [Improve(state)]
        self.due_order = [*bounds, *proofs, *scores, *improve]
        self.receive_order = [*improve, *bounds, *scores, *proofs]
        self._proof_is_told = False

    def run(self) -> None:
        """Keep every worker busy until time is up, or everything is proved."""
        incumbent = self._incumbent
        try:
            while not incumbent.limits.is_over() and incumbent.totals != incumbent.bounds:
                while self._is_worker_idle() and not incumbent.limits.is_over() and self._submit():
                    pass
                wait(self._running(), timeout=0.1, return_when=FIRST_COMPLETED)
                for job in self.receive_order:
                    job.receive()
                self._tell()
        finally:
            self._pool.end()

    def _running(self) -> list[Future[Any]]:
        return [future for job in self.due_order for future in job.running]

    def _is_worker_idle(self) -> bool:
        return len(self._running()) < self._pool.workers

    def _submit(self) -> bool:
        """Give an idle worker the first job that is due; return whether there was one."""
        job = next(job for job in self.due_order if job.is_due())
        return job.submit(self._pool)

    def _tell(self, _objective: float = 0.0, _bound: float = 0.0) -> None:
        """Tell what the incumbent reaches; what a neighbourhood's model reaches says little."""
        state, incumbent = self._state, self._incumbent
        name: StageName = "score" if state.is_about_score else "priority"
        is_news = state.is_priority_proved and not self._proof_is_told
        if is_news:
            name, self._proof_is_told = "priority", True
        incumbent.tell(name, getattr(incumbent.totals, name), at_once=is_news)
