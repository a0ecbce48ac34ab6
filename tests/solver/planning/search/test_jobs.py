"""The jobs of the portfolio: when they are due, and what their results change."""

from solver.planning.lns.select import Selector
from solver.planning.model.solving import SolveControl
from solver.planning.params import SearchParams
from solver.planning.search.exact import column_count
from solver.planning.search.incumbent import Incumbent
from solver.planning.search.jobs import (
    BoundPriority,
    BoundScore,
    Improve,
    PortfolioState,
    ProvePriority,
    ProveScore,
    SolveGeneratedColumns,
    SolveRelaxation,
)
from solver.planning.search.limits import Limits
from solver.planning.search.workers import WorkerPool
from tests.support.random_problems import busy_problem


def state_of(params: SearchParams) -> tuple[PortfolioState, WorkerPool]:
    """The state of a portfolio that has yet to begin, with 600 seconds and one worker."""
    incumbent = Incumbent(busy_problem(1), Limits(600, 0, 1, None, params), None)
    instance = incumbent.instance
    state = PortfolioState(incumbent, Selector(instance, 0), column_count(instance), 1)
    return state, WorkerPool(instance, 1, SolveControl(lambda: False))


def test_a_relaxation_bounds_the_priority_once_and_then_proofs_are_due() -> None:
    state, pool = state_of(SearchParams(closed_columns=10**6))
    relax, prove = SolveRelaxation(state), ProvePriority(state)
    generated = SolveGeneratedColumns(state)
    before = state.incumbent.bounds.priority
    assert not BoundPriority(state).is_due()
    assert (relax.is_due(), prove.is_due(), generated.is_due()) == (True, False, False)

    assert relax.submit(pool)
    assert len(relax.running) == 1
    assert not relax.is_due()
    relax.receive()

    assert not relax.running
    assert (relax.is_due(), prove.is_due(), generated.is_due()) == (False, True, True)
    assert state.incumbent.totals.priority <= state.incumbent.bounds.priority <= before


def test_many_columns_are_bounded_without_a_relaxation() -> None:
    state, pool = state_of(SearchParams(relaxed_columns=0, bound_priority_share=0.001))
    bound = BoundPriority(state)
    assert not SolveRelaxation(state).is_due()
    assert bound.is_due()
    bound.submit(pool)
    bound.receive()
    assert not bound.is_due()


def test_the_score_is_bounded_for_whatever_priority_is_reached() -> None:
    state, pool = state_of(SearchParams(priced_after_share=0, bound_score_share=0.001))
    job, incumbent = BoundScore(state), state.incumbent
    assert job.is_due()
    job.submit(pool)
    job.receive()
    assert not job.is_due()
    assert state.multipliers is not None
    bound = state.multipliers.bound(incumbent.totals.priority) * incumbent.instance.unit
    assert incumbent.totals.score <= incumbent.bounds.score <= bound + 1
    assert not ProveScore(state).is_due(), "the priority is not proved, and there is one worker"


def test_a_repair_is_always_due_and_never_makes_the_plan_worse() -> None:
    state, pool = state_of(SearchParams())
    job, before = Improve(state), state.incumbent.totals
    assert job.is_due()
    assert job.submit(pool)
    job.receive()
    assert job.is_due()
    assert state.incumbent.totals >= before
