"""The planner of this project, and the greedy plan that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.measure.memory import TreePeak, peak_mib
from benchmarks.planners.answer import Answer, Moment, answer, whole_bound
from solver.planning.greedy import greedy
from solver.planning.problem import Plan, Problem, Progress
from solver.planning.search.solve import solve

WORKERS = 2


def plan_greedily(problem: Problem, _: float) -> Answer:
    """Plan by priority, fewest options, longest first."""
    plan = greedy(problem)
    return _answer(problem, plan, peak_mib())


def plan(problem: Problem, limit: float) -> Answer:
    """Plan by the planning model, neighbourhoods and bounds."""
    begin = greedy(problem)
    history = [Moment(begin.seconds, _priority(begin), _bound(problem, begin))]

    def note(progress: Progress) -> None:
        if progress.stage == "priority":
            bound = whole_bound(problem, progress.bound)
            history.append(Moment(progress.seconds, progress.objective, bound))

    with TreePeak() as peak:
        plan = solve(problem, time_limit=limit, workers=WORKERS, on_progress=note)
    score = next(stage for stage in plan.stages if stage.name == "score")
    return _answer(problem, plan, peak.mib, history, float(score.bound))


def plan_regularly(problem: Problem, limit: float) -> Answer:
    """Plan without overbooking, which is what a peer can be asked for that knows none."""
    return plan(replace(problem, allow_overbooking=False), limit)


def _answer(
    problem: Problem,
    plan: Plan,
    mib: float,
    history: Sequence[Moment] = (),
    score_bound: float | None = None,
) -> Answer:
    return answer(
        problem,
        plan,
        status=plan.status,
        bound=_bound(problem, plan),
        seconds=plan.seconds,
        mib=mib,
        score_bound=score_bound,
        history=history,
    )


def _priority(plan: Plan) -> float:
    return float(next(stage.objective for stage in plan.stages if stage.name == "priority"))


def _bound(problem: Problem, plan: Plan) -> float:
    bound = next(stage.bound for stage in plan.stages if stage.name == "priority")
    return whole_bound(problem, float(bound))
