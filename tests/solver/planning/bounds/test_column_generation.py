"""The bounds of the relaxation: never below what some plan reaches, and near it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from solver.planning.bounds.column_generation import Relaxation
from solver.planning.bounds.lagrangian_bound import DEFAULT_PARAMS, LagrangianBound
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.tables import Instance
from solver.planning.model.solving import SolveControl
from solver.planning.params import SearchParams
from solver.planning.search.proofs import prove_priority, prove_score, relax
from solver.planning.search.solve import solve
from tests.support.random_problems import busy_problem, tiny_problem

UNCONTROLLED = SolveControl(lambda: False)


def relaxed_problems(seeds: range) -> Iterator[tuple[Instance, float, Relaxation]]:
    """Small problems of requests alone: each with its best priority and its relaxation."""
    for seed in seeds:
        problem = tiny_problem(seed)
        if problem.movable or not problem.requests:
            continue
        instance = Instance(problem)
        best = float(solve(problem, time_limit=60, workers=1).stages[0].objective)
        yield instance, best, relax(instance, UNCONTROLLED, 60)


def lagrangian(instance: Instance, rounds: int) -> float:
    steps = replace(DEFAULT_PARAMS.steps, rounds=rounds)
    return LagrangianBound(instance).bound(
        time_limit=60, should_stop=lambda: False, params=replace(DEFAULT_PARAMS, steps=steps)
    )


def test_no_plan_exceeds_a_bound() -> None:
    tried = 0
    for instance, reached, relaxed in relaxed_problems(range(60)):
        assert relaxed.bound >= reached - 1e-6
        if any(kind.regular.any() for kind in instance.kinds):
            assert lagrangian(instance, rounds=30) >= reached - 1e-6
            tried += 1
    assert tried > 10


def test_the_lagrangian_bound_stops_when_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([False, False, True])
    dual, rounds = LagrangianBound(Instance(busy_problem(0))), []
    evaluate = dual._evaluate

    def counted(*args: Any) -> Any:
        rounds.append(args)
        return evaluate(*args)

    monkeypatch.setattr(dual, "_evaluate", counted)
    dual.bound(time_limit=60, should_stop=lambda: next(asked, True))
    assert len(rounds) == 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_lagrangian_bound_comes_near_that_of_column_generation(seed: int) -> None:
    instance = Instance(busy_problem(seed))
    assert lagrangian(instance, rounds=150) < 1.1 * relax(instance, UNCONTROLLED, 60).bound


def test_reduced_cost_fixing_loses_no_better_plan() -> None:
    for instance, best, relaxed in relaxed_problems(range(60)):
        answer = prove_priority(instance, UNCONTROLLED, relaxed, [], 60, frozenset(), 0)
        assert answer.assignments is not None
        assert evaluate(instance, answer.assignments).priority == best
        above = prove_priority(
            instance, UNCONTROLLED, relaxed, answer.assignments, 60, frozenset(), int(best)
        )
        assert above.assignments is None or evaluate(instance, above.assignments).priority == best
        assert above.bound <= best
        beyond = prove_priority(instance, UNCONTROLLED, relaxed, [], 60, frozenset(), int(best) + 1)
        assert beyond.assignments is None
        assert beyond.bound < best


def test_one_model_of_what_the_best_could_hold_bounds_their_score() -> None:
    for instance, best, relaxed in relaxed_problems(range(60)):
        assignments = prove_priority(
            instance, UNCONTROLLED, relaxed, [], 60, frozenset(), 0
        ).assignments
        assert assignments is not None
        answer = prove_score(instance, UNCONTROLLED, relaxed, assignments, 60)
        assert answer.is_proved
        assert answer.assignments is not None
        totals = evaluate(instance, ordered(instance, answer.assignments))
        score = solve(instance.problem, time_limit=60, workers=1).stages[-1].objective
        assert (totals.priority, totals.score) == (best, score * instance.unit)
        assert answer.bound == pytest.approx(totals.score)


def test_rooms_left_for_afterwards_leave_the_bound_true_and_what_is_lost_is_told() -> None:
    kept = lost = 0
    for instance, best, relaxed in relaxed_problems(range(400)):
        roomless = frozenset(range(len(instance.kinds)))
        answer = prove_priority(instance, UNCONTROLLED, relaxed, [], 60, roomless, 0)
        assert answer.assignments is not None
        reached = evaluate(instance, answer.assignments).priority
        bound = math.floor(answer.bound + 1e-6)  # as bounds are taken over
        assert reached <= best <= bound
        assert answer.short or reached == best == bound
        kept, lost = kept + (not answer.short), lost + bool(answer.short)
        without = roomless - answer.short
        if without == frozenset():
            again = prove_priority(instance, UNCONTROLLED, relaxed, [], 60, without, 0)
            assert again.assignments is not None
            assert evaluate(instance, again.assignments).priority == best
    assert kept > 20
    assert lost > 3


@pytest.mark.parametrize("batch", range(2))
def test_the_portfolio_bounds_and_reaches_the_best_priority(batch: int) -> None:
    whole, in_parts = SearchParams(exact_columns=10**6), SearchParams(exact_columns=-1)
    proved = tried = 0
    for seed in range(batch * 25, batch * 25 + 25):
        problem = tiny_problem(seed)
        if problem.movable or not problem.requests:
            continue
        best = solve(problem, time_limit=60, workers=1, params=whole).stages[0].objective
        stage = solve(problem, time_limit=0.25, workers=1, params=in_parts).stages[0]
        assert stage.objective <= best <= stage.bound, seed
        proved += stage.is_proved
        tried += 1
    assert proved > tried / 2
