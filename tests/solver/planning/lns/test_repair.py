"""Repairs: what is not freed stays, the plan is legal and gets no worse."""

from collections.abc import Sequence
from typing import cast

import pytest

from benchmarks.instances import library
from solver.planning.bounds.lagrangian import Multipliers, best_multipliers
from solver.planning.greedy import greedy_assignments
from solver.planning.instance.columns import Columns, ColumnTimes
from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.result import to_plan
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.merge import merge
from solver.planning.lns.neighbourhood import Aim, Neighbourhood
from solver.planning.lns.repair import RepairParams, repair
from solver.planning.model.solving import SolveControl
from solver.planning.model.two_step import TwoStepParams
from solver.whatif.verify import read_plan

CONTROL = SolveControl(lambda: False)


def test_columns_clear_of_placements_overlap_no_regular_one_of_them() -> None:
    instance = Instance(library.load("s0"))
    assignments = greedy_assignments(instance)
    assert any(p.is_overbooked for p in assignments)
    columns = Columns.of(instance, range(len(instance.tasks)))
    at = ColumnTimes.of(instance, columns)
    regular = [(p.provider, *instance.busy(p)) for p in assignments if not p.is_overbooked]
    expected = [
        key
        for key, over, provider, start, end in zip(
            columns.keys,
            columns.is_overbooked.tolist(),
            at.provider.tolist(),
            at.busy_start.tolist(),
            at.busy_end.tolist(),
            strict=True,
        )
        if over or not any(p == provider and s < end and start < e for p, s, e in regular)
    ]
    assert 0 < len(expected) < len(columns)
    assert columns.clear_of(instance, assignments).keys == expected
    assert columns.clear_of(instance, []).keys == columns.keys


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance(library.load("s0"))


@pytest.fixture(scope="module")
def greedy_prices(instance: Instance) -> Multipliers:
    return best_multipliers(
        instance, evaluate(instance, greedy_assignments(instance)).priority, time_limit=600
    )


@pytest.mark.parametrize("aim", ["priority", "score"])
@pytest.mark.parametrize("freed_share", [0.0, 0.5, 1.0])
def test_what_is_not_freed_stays(
    instance: Instance, greedy_prices: Multipliers, aim: str, freed_share: float
) -> None:
    assignments = ordered(instance, greedy_assignments(instance))
    before = evaluate(instance, assignments)
    provider_days = frozenset((p, 0) for p in range(len(instance.providers)))
    prices = greedy_prices if aim == "score" else None
    placed = {p.task for p in assignments}
    waiting = tuple((i, 1) for i in range(len(instance.tasks)) if i not in placed)
    neighbourhood = Neighbourhood(
        cast("Aim", aim), provider_days, waiting, 7, frozenset(), freed_share, prices, 400
    )

    answer = repair(instance, CONTROL, assignments, neighbourhood, 20)
    if answer.assignments is None:
        assert aim == "priority"
        assert freed_share < 1
        return
    plan = merge(instance, assignments, neighbourhood, answer.assignments)
    assert plan is not None
    plan = ordered(instance, plan)
    after = evaluate(instance, plan)
    assert after >= before
    where = {(p.task, p.provider, p.start) for p in plan}
    stayed = sum((p.task, p.provider, p.start) in where for p in assignments)
    if prices is not None and freed_share == 0:
        cost = prices.opportunity_cost(instance, Columns.at(instance, assignments))
        free = cost < 1e-6
        assert any(free)
        assert any(~free)
        for assignment, costs_nothing in zip(assignments, free.tolist(), strict=True):
            if costs_nothing:  # those with an opportunity cost are freed in any case
                assert (assignment.task, assignment.provider, assignment.start) in where
    if freed_share == 1:
        assert stayed < len(assignments)
        assert after > before
    bounds = easy_bounds(instance)
    told = to_plan(instance, plan, status="feasible", bounds=bounds, seconds=0, size=(0, 0))
    assert not read_plan(instance.problem, told).violations


def test_a_repair_that_raises_the_priority_tidies_up() -> None:
    instance = Instance(library.load("m0"))
    assignments = ordered(instance, greedy_assignments(instance))
    provider_days = frozenset((p, 0) for p in range(len(instance.providers)))
    placed = {p.task for p in assignments}
    waiting = tuple((i, 1) for i in range(len(instance.tasks)) if i not in placed)
    neighbourhood = Neighbourhood("priority", provider_days, waiting, 7, frozenset())

    def stayed(plan: Sequence[Assignment]) -> int:
        return len({p._replace(room=0) for p in assignments} & {p._replace(room=0) for p in plan})

    tidy = repair(instance, CONTROL, assignments, neighbourhood, 20).assignments
    untidy = RepairParams(two_step=TwoStepParams(tidy_seconds=0.0))
    scattered = repair(instance, CONTROL, assignments, neighbourhood, 20, untidy).assignments
    assert tidy is not None
    assert scattered is not None
    inside = [p for p in assignments if (p.provider, p.day) in provider_days]
    priorities = [evaluate(instance, plan).priority for plan in (inside, scattered, tidy)]
    assert priorities[0] < priorities[1] == priorities[2]
    assert stayed(scattered) < stayed(tidy)
