"""The planner against every legal plan there is, and its manners."""

import pytest

from solver.greedy import greedy
from solver.plan import solve
from solver.problem import Plan
from tests.brute_force import BruteForce, TooManyPlansError, Value
from tests.tiny import tiny_problem

BATCH = 20


def told(plan: Plan) -> Value:
    """What a plan says that it is worth."""
    stages = {stage.name: stage.objective for stage in plan.stages}
    return (
        int(stages.get("saved", 0)),
        int(stages["priority"]),
        -int(stages.get("moved", 0)),
        -int(stages.get("distance", 0)),
        stages["score"],
    )


@pytest.mark.parametrize("batch", range(15))
def test_every_stage_is_as_good_as_the_best_of_all_legal_plans(batch: int) -> None:
    solved = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        problem = tiny_problem(seed)
        every = BruteForce(problem, most=1500)
        try:
            best = every.run()
        except TooManyPlansError:
            continue
        plan = solve(problem, time_limit=60, workers=1)
        assert every.value_of(plan) == told(plan) == best, seed
        assert plan.status in {"optimal", "infeasible"}
        assert all(stage.is_proved for stage in plan.stages)
        first = greedy(problem)
        assert every.value_of(first) == told(first) <= best
        solved += 1
    assert solved > BATCH / 2
