"""Blocks of a plan, of which a part is lifted: the rest stays, and the whole gets no worse."""

from collections.abc import Sequence
from typing import cast

import pytest

from benchmarks.instances import library
from solver.planning.bounds.lagrangian import Multipliers, best_multipliers
from solver.planning.greedy import greedy_assignments
from solver.planning.instance.columns import Columns, ColumnTimes
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.merge import merge
from solver.planning.lns.neighbourhood import Aim, Neighbourhood
from solver.planning.lns.repair import repair
from solver.planning.model.solving import SolveControl
from solver.whatif.verify import read_plan

CONTROL = SolveControl(lambda: False)


def test_what_is_clear_of_placements_meets_no_regular_one_of_them() -> None:
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
        instance, instance.totals(greedy_assignments(instance)).priority, time_limit=600
    )


@pytest.mark.parametrize("aim", ["priority", "score"])
@pytest.mark.parametrize("lifted", [0.0, 0.5, 1.0])
def test_what_is_not_lifted_stays(
    instance: Instance, greedy_prices: Multipliers, aim: str, lifted: float
) -> None:
    assignments = instance.ordered(greedy_assignments(instance))
    before = instance.totals(assignments)
    provider_days = frozenset((p, 0) for p in range(len(instance.providers)))
    prices = greedy_prices if aim == "score" else None
    placed = {p.task for p in assignments}
    waiting = tuple((i, 1) for i in range(len(instance.tasks)) if i not in placed)
    neighbourhood = Neighbourhood(
        cast("Aim", aim), provider_days, waiting, 7, frozenset(), lifted, prices, 400
    )

    answer = repair(instance, CONTROL, assignments, neighbourhood, 20)
    if answer.assignments is None:
        assert aim == "priority"
        assert lifted < 1
        return
    plan = merge(instance, assignments, neighbourhood, answer.assignments)
    assert plan is not None
    plan = instance.ordered(plan)
    after = instance.totals(plan)
    assert after >= before
    where = {(p.task, p.provider, p.start) for p in plan}
    stayed = sum((p.task, p.provider, p.start) in where for p in assignments)
    if prices is not None and lifted == 0:
        lost = prices.opportunity_cost(instance, Columns.at(instance, assignments))
        nothing = lost < 1e-6
        assert any(nothing)
        assert any(~nothing)
        for assignment, loses_nothing in zip(assignments, nothing.tolist(), strict=True):
            if loses_nothing:  # those that lose by their place are lifted in any case
                assert (assignment.task, assignment.provider, assignment.start) in where
    if lifted == 1:
        assert stayed < len(assignments)
        assert after > before
    bounds = instance.easy_bounds()
    told = instance.plan(plan, status="feasible", bounds=bounds, seconds=0, size=(0, 0))
    assert not read_plan(instance.problem, told).violations


def test_a_block_that_betters_the_priority_tidies_up(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance(library.load("m0"))
    assignments = instance.ordered(greedy_assignments(instance))
    provider_days = frozenset((p, 0) for p in range(len(instance.providers)))
    placed = {p.task for p in assignments}
    waiting = tuple((i, 1) for i in range(len(instance.tasks)) if i not in placed)
    neighbourhood = Neighbourhood("priority", provider_days, waiting, 7, frozenset())

    def stayed(plan: Sequence[Assignment]) -> int:
        return len({p._replace(room=0) for p in assignments} & {p._replace(room=0) for p in plan})

    tidy = repair(instance, CONTROL, assignments, neighbourhood, 20).assignments
    with monkeypatch.context() as patched:
        patched.setattr("solver.planning.model.two_step.TIDY_SECONDS", 0.0)
        scattered = repair(instance, CONTROL, assignments, neighbourhood, 20).assignments
    assert tidy is not None
    assert scattered is not None
    inside = [p for p in assignments if (p.provider, p.day) in provider_days]
    priorities = [instance.totals(plan).priority for plan in (inside, scattered, tidy)]
    assert priorities[0] < priorities[1] == priorities[2]
    assert stayed(scattered) < stayed(tidy)
