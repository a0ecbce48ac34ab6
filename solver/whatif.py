"""A run answered: every scenario solved, read again, measured and set beside the baseline.

Scenarios go through a :class:`concurrent.futures.Executor` from outside, so the same code runs in
this thread, on a pool of processes or on a cluster that speaks that interface; what is handed to
it, the callables included, must then be picklable.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from solver.clinic import Booking, Clinic
from solver.kpis import PARTS, compare, decimal, figures
from solver.objective import DEFAULT_WEIGHTS, Weights
from solver.plan import MEMORY_LIMIT_BYTES, solve
from solver.plan_checker import PlanReading, PlanViolation, read_plan
from solver.problem import (
    Placement,
    Plan,
    Problem,
    Progress,
    Request,
    Stage,
    relative_gap,
)
from solver.reasons import Explainer, Reason
from solver.scenario import Run, Scenario, apply
from solver.timeline import format_time

SAMPLE, LONGER = 100, 1.3
"""Placements of which the reading is timed beforehand, and how much longer the whole may take."""

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
) -> dict[str, Any]:
    """Return the result of a run, JSON-ready.

    Parameters
    ----------
    run, clinic, now
        What is asked of whom, and the moment that decides what is still bookable; `run` has no
        :func:`solver.scenario.faults`.
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
        See :func:`solver.plan.solve`.

    Raises
    ------
    PlanRejectedError
        When the reader finds fault with a plan.
    """
    begin = time.perf_counter()
    rounds = -(-len(run.scenarios) // side_by_side)
    share = replace(run, time_limit_seconds=run.time_limit_seconds / rounds)
    told = on_progress, should_stop
    calls = [
        (clinic, share, scenario, now, workers, memory_limit_bytes, weights, *told)
        for scenario in run.scenarios
    ]
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
) -> dict[str, Any]:
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
        keep_back=partial(_seconds_to_tell, problem),
        on_progress=watch,
        should_stop=should_stop,
    )
    reading = read_plan(problem, plan)
    if reading.violations:
        raise PlanRejectedError(scenario.name, reading.violations)
    return {"name": scenario.name, **_Told(problem, plan, reading).as_json(seen)}


def _seconds_to_tell(problem: Problem, plan: Plan) -> float:
    """Return how long reading and telling a plan like this one will take, from a part of it.

    The part is whole days of a few providers: each booking is read beside those around it.
    """
    by_day = sorted(plan.placements, key=lambda p: (p.date, p.provider_id, p.id))
    chosen = {placement.id for placement in by_day[:SAMPLE]}
    placements = tuple(p for p in plan.placements if p.id in chosen)
    begin = time.perf_counter()
    part = replace(plan, status="feasible", placements=placements, stages=())
    reading = read_plan(problem, part)
    told = _Told(problem, part, reading)
    for placement in part.placements:
        told.placement(placement)
    each = (time.perf_counter() - begin) / max(1, len(reading.standing))
    placed = {placement.id for placement in part.placements}
    waiting = [request for request in problem.requests if request.id not in placed]
    for request in waiting[:1]:
        told.explainer.explain(request)
    one = time.perf_counter() - begin - each * len(reading.standing)
    size = len(problem.clinic.bookings) + len(plan.placements)
    return LONGER * (each * size + one * told.explainer.questions(waiting))


class _Told:
    """A plan that has been read, told as SPEC's result."""

    def __init__(self, problem: Problem, plan: Plan, reading: PlanReading) -> None:
        self._problem, self._plan, self._reading = problem, plan, reading
        self._bookings = {b.id: b for b in problem.clinic.bookings}
        self._requests = {r.id: r for r in problem.requests}
        self.explainer = Explainer(
            problem, reading.standing, frozenset(p.id for p in plan.placements)
        )

    def as_json(self, seen: list[Progress]) -> dict[str, Any]:
        plan = self._plan
        first = next((stage for stage in plan.stages if stage.name == "priority"), None)
        return {
            "status": plan.status,
            "objective": number(first.objective) if first else 0,
            "bound": number(first.bound) if first else 0,
            "gap": decimal(relative_gap(first.objective, first.bound)) if first else 0.0,
            "seconds": round(plan.seconds, 3),
            "stages": [_stage(stage) for stage in plan.stages],
            "placements": [self.placement(placement) for placement in plan.placements],
            "unplaced": list(self._unplaced()),
            "moves": [*map(self._move, plan.moves), *map(self._lost, plan.lost)],
            "model": {"variables": plan.variables, "constraints": plan.constraints},
            "kpis": figures(self._problem, plan, self._reading),
            "progress": [_progress(progress) for progress in seen],
        }

    def placement(self, placement: Placement) -> dict[str, Any]:
        """Return what is told of a request that was placed."""
        request = self._requests[placement.id]
        kind = request.appointment_type_id
        parts = self._reading.parts[placement.id]
        weights = self._problem.weights
        score = sum(
            (getattr(weights, name) * part for name, part in zip(PARTS, parts, strict=True)),
            Fraction(0),
        )
        return {
            "request_id": placement.id,
            **_whose(request),
            **self._place(placement, kind),
            "score": decimal(score),
            "score_parts": {name: decimal(part) for name, part in zip(PARTS, parts, strict=True)},
            "is_overbooked": placement.is_overbooked,
        }

    def _place(self, place: Placement | Booking, kind: str) -> dict[str, Any]:
        minutes = self._problem.clinic.type_by_id[kind].duration_minutes
        return {
            "provider_id": place.provider_id,
            "room_id": place.room_id,
            "date": place.date.isoformat(),
            "start_time": format_time(place.start),
            "end_time": format_time(place.start + minutes),
        }

    def _unplaced(self) -> Iterator[dict[str, Any]]:
        placed = {placement.id for placement in self._plan.placements}
        for request in self._problem.requests:
            if request.id not in placed:
                reason = self.explainer.explain(request)
                yield {"request_id": request.id, **_whose(request), **_reason(reason)}

    def _move(self, move: Placement) -> dict[str, Any]:
        before = self._bookings[move.id]
        kind = before.appointment_type_id
        return {
            "booking_id": move.id,
            "patient_ref": before.patient_ref,
            "appointment_type_id": kind,
            "from": self._place(before, kind),
            "to": self._place(move, kind) | {"is_overbooked": move.is_overbooked},
        }

    def _lost(self, key: str) -> dict[str, Any]:
        before = self._bookings[key]
        kind = before.appointment_type_id
        wish = Request(key, kind, patient_ref=before.patient_ref)
        return {
            "booking_id": key,
            "patient_ref": before.patient_ref,
            "appointment_type_id": kind,
            "from": self._place(before, kind),
            "to": None,
            **_reason(self.explainer.explain(wish)),
        }


def _whose(request: Request) -> dict[str, str]:
    """Return who asks for what; without a reference to a patient, only what."""
    whose = {} if request.patient_ref is None else {"patient_ref": request.patient_ref}
    return {"appointment_type_id": request.appointment_type_id, **whose}


def _reason(reason: Reason) -> dict[str, str]:
    return {"reason": reason.code, "detail": reason.detail}


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "objective": number(stage.objective),
        "bound": number(stage.bound),
    }


def _progress(progress: Progress) -> dict[str, Any]:
    return {
        "seconds": round(progress.seconds, 3),
        "stage": progress.stage,
        "objective": round(progress.objective, 4) + 0,  # never -0.0
        "bound": round(progress.bound, 4) + 0,
        "placed": progress.placed,
    }


def number(value: Fraction) -> int | float:
    """Return a whole number as one, any other to four decimals."""
    return value.numerator if value.denominator == 1 else decimal(value)
