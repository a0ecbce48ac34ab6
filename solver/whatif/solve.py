"""A run answered: every scenario solved, read again, measured and set beside the baseline.

Scenarios go through a :class:`concurrent.futures.Executor` from outside, so the same code runs in
this thread, on a pool of processes or on a cluster that speaks that interface; what is handed to
it, the callables included, must then be picklable.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from solver.clinic.clinic import Clinic
from solver.planning.params import MEMORY_LIMIT_BYTES
from solver.planning.problem import Plan, Problem, Progress
from solver.planning.search.solve import solve
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.whatif.apply import apply
from solver.whatif.kpis import compare
from solver.whatif.result import ResultWriter
from solver.whatif.run import Run, Scenario
from solver.whatif.run_result import RunResult, ScenarioResult
from solver.whatif.verify import PlanViolation, read_plan


@dataclass(frozen=True, kw_only=True)
class EstimateParams:
    """How the time is estimated that a plan takes to be read and its result to be written."""

    sample: int = 100
    """The placements that are read, and timed, for the estimate."""
    explained: int = 12
    """The unplaced requests, at most, that are explained for it."""
    placement_factor: int = 6
    """How many times as long as a booking that stays a placement takes to be read."""
    margin: float = 1.3
    """The estimate is this times what the sample leads to expect."""


DEFAULT_ESTIMATE = EstimateParams()


type OnProgress = Callable[[str, Progress], None]
"""Called with the scenario's name."""


class PlanRejectedError(RuntimeError):
    """The reader found fault with a plan, so it is not shown. This is a defect of the planner."""

    def __init__(self, scenario: str, violations: tuple[PlanViolation, ...]) -> None:
        told = "; ".join(f"{v.id} {v.detail}" for v in violations[:5])
        super().__init__(f"the plan of '{scenario}' is not legal: {told}")
        self.scenario = scenario
        self.violations = violations

    def __reduce__(self) -> tuple[type[PlanRejectedError], tuple[object, ...]]:
        """Come whole out of another process."""
        return type(self), (self.scenario, self.violations)


def solve_run(
    run: Run,
    clinic: Clinic,
    now: dt.datetime,
    *,
    executor: Executor | None = None,
    side_by_side: int = 1,
    workers: int = 2,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    weights: Weights = DEFAULT_WEIGHTS,
    on_progress: OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> RunResult:
    """Return the result of a run, ready to be written as JSON.

    Parameters
    ----------
    run, clinic, now
        What is asked of whom, and the moment that decides what is still bookable; `run` has no
        :func:`solver.whatif.apply.faults`.
    executor
        Solves the scenarios; without one they are solved here, one by one.
    side_by_side
        How many scenarios the executor solves at once. The run's time limit is for all of them
        together, so each has its share.
    workers
        The processes each scenario may use.
    memory_limit_bytes
        Memory for each scenario that is being solved, its processes included. Less means smaller
        models and fewer processes; a plan is found in any case.
    on_progress, should_stop
        See :func:`solver.planning.search.solve.solve`.

    Raises
    ------
    PlanRejectedError
        When the reader finds fault with a plan.
    """
    begin = time.perf_counter()
    rounds = -(-len(run.scenarios) // side_by_side)
    share = replace(run, time_limit_seconds=run.time_limit_seconds / rounds)
    given = workers, memory_limit_bytes, weights, on_progress, should_stop
    calls = [(clinic, share, scenario, now, *given) for scenario in run.scenarios]
    if executor is None:
        scenarios = [solve_scenario(*call) for call in calls]
    else:
        futures = [executor.submit(solve_scenario, *call) for call in calls]
        scenarios = [future.result() for future in futures]
    return {
        "name": run.name,
        "seconds": round(time.perf_counter() - begin, 3),
        "scenarios": scenarios,
        "comparison": compare({row["name"]: row["kpis"] for row in scenarios}),
    }


def solve_scenario(
    clinic: Clinic,
    run: Run,
    scenario: Scenario,
    now: dt.datetime,
    workers: int,
    memory_limit_bytes: int,
    weights: Weights,
    on_progress: OnProgress | None,
    should_stop: Callable[[], bool] | None,
) -> ScenarioResult:
    """Return one scenario's part of the result.

    The run's time limit is for all of it: setting up, searching, reading the plan and explaining.
    """
    begin = time.perf_counter()
    problem = apply(clinic, run, scenario, now, weights)
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if on_progress is not None:
            on_progress(scenario.name, progress)

    plan = solve(
        problem,
        time_limit=run.time_limit_seconds - (time.perf_counter() - begin),
        seed=run.seed,
        workers=workers,
        memory_limit_bytes=memory_limit_bytes,
        keep_back=partial(_seconds_to_write, problem),
        on_progress=watch,
        should_stop=should_stop,
    )
    reading = read_plan(problem, plan)
    if reading.violations:
        raise PlanRejectedError(scenario.name, reading.violations)
    return ResultWriter(problem, plan, reading).write(scenario.name, seen)


def _seconds_to_write(
    problem: Problem, plan: Plan, params: EstimateParams = DEFAULT_ESTIMATE
) -> float:
    """Estimate the seconds that a plan like this one takes to be read and its result written.

    The sample is whole days of a few providers: a booking is read beside those around it.
    """
    by_day = sorted(plan.placements, key=lambda p: (p.date, p.provider_id, p.id))
    chosen = {placement.id for placement in by_day[: params.sample]}
    placements = tuple(p for p in plan.placements if p.id in chosen)
    begin = time.perf_counter()
    part = replace(plan, status="feasible", placements=placements, stages=())
    reading = read_plan(problem, part)
    writer = ResultWriter(problem, part, reading)
    for placement in part.placements:
        writer.placement(placement)
    read = time.perf_counter() - begin
    placed = {placement.id for placement in plan.placements}
    waiting = [request for request in problem.requests if request.id not in placed]
    some = waiting[:: -(-len(waiting) // params.explained) or 1]
    writer.explainer.explain_all(some)
    explained = time.perf_counter() - begin - read
    factor = params.placement_factor
    size = len(reading.finished) + factor * len(placements)
    whole = len(reading.finished) - len(placements) + (1 + factor) * len(plan.placements)
    asked = writer.explainer.places_asked(waiting) / max(1, writer.explainer.places_asked(some))
    return params.margin * (read * whole / max(1, size) + explained * asked)
