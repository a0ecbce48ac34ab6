"""The planning model in two steps: priorities without gap parts and scarce rooms, then rooms."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl


@dataclass(frozen=True, kw_only=True)
class TwoStepParams:
    """How placements are tidied up when a repair has raised the priority."""

    stay_share: float = 0.5
    """What a placement that stays counts for, in whole gap parts."""
    tidy_work: float = 0.3
    """The solver's deterministic seconds."""
    tidy_seconds: float = 2.0
    """The most seconds."""


DEFAULT_PARAMS = TwoStepParams()


def assign_rooms(
    instance: Instance,
    assignments: Sequence[Assignment],
    free: Mapping[int, int],
    frozen: Sequence[Assignment],
    time_limit: float,
    control: SolveControl | None = None,
) -> list[Assignment] | None:
    """Return assignments with rooms: all of them, or those of the most priority that find one.

    Providers and starts stay as they are; `free` and `frozen` are as for :class:`PlanningModel`.
    None when there was no time to find any.
    """
    model = PlanningModel(instance, Columns.at(instance, assignments), free, frozen)
    objective = instance.most_score * model.expression("priority") + model.score(with_gap=False)
    return model.maximise(objective, time_limit=time_limit, control=control).assignments


def best_without_gaps(
    instance: Instance,
    control: SolveControl,
    columns: Columns,
    free: Mapping[int, int],
    frozen: Sequence[Assignment],
    incumbent: Sequence[Assignment],
    *,
    roomless: Collection[int],
    time_limit: float,
    least: float = -math.inf,
    most: float = math.inf,
    work_limit: float | None = None,
    seed: int = 0,
    params: TwoStepParams = DEFAULT_PARAMS,
) -> JobResult:
    """Maximise the priority over some columns, starting from `incumbent`.

    Two steps: providers and starts, with the rooms of all types but the `roomless`; then rooms for
    these. What finds none is left out, and its type is among those that ran short.

    Parameters
    ----------
    columns, free, frozen, incumbent, roomless
        See :class:`PlanningModel`.
    least, most
        A priority that is required, and one that is known to be an upper bound.
    work_limit
        The solver's deterministic seconds, for a repair; then what raises the priority is tidied up
        between the two steps.
    """
    began = time.perf_counter()
    model = PlanningModel(instance, columns, free, frozen, incumbent=incumbent, roomless=roomless)
    objective = model.expression("priority")
    if math.isfinite(most):
        model.require(objective <= math.floor(most + 1e-6))
    if math.isfinite(least):
        model.require(objective >= math.ceil(least))
    model.hint(incumbent)
    outcome = model.maximise(
        objective, time_limit=time_limit, seed=seed, work_limit=work_limit, control=control
    )
    if outcome.assignments is None:
        return outcome
    chosen = outcome.assignments
    if work_limit is not None and priority_of(instance, chosen) > priority_of(instance, incumbent):
        chosen = _tidied(instance, model, objective, chosen, incumbent, control, seed, params)
    in_rooms = chosen
    if any(assignment.room < 0 for assignment in chosen):
        time_left = max(1.0, time_limit - (time.perf_counter() - began))
        found = assign_rooms(instance, chosen, free, frozen, time_left, control)
        if found is None:
            return JobResult(None, is_proved=False, bound=outcome.bound, size=model.size())
        in_rooms = found
    without = Counter(p.task for p in chosen) - Counter(p.task for p in in_rooms)
    short = frozenset(instance.tasks[i].kind for i in without)
    return JobResult(in_rooms, outcome.is_proved, outcome.bound, short, model.size())


def priority_of(instance: Instance, assignments: Sequence[Assignment]) -> int:
    """Return the sum of the priorities of assignments."""
    return sum(instance.tasks[assignment.task].priority for assignment in assignments)


def _tidied(
    instance: Instance,
    model: PlanningModel,
    objective: cp_model.LinearExpr,
    assignments: list[Assignment],
    incumbent: Sequence[Assignment],
    control: SolveControl,
    seed: int,
    params: TwoStepParams,
) -> list[Assignment]:
    """Maximise the score and what stays of the incumbent, at no less priority than was found.

    Nothing in the priority speaks for one start or another, so that a search for it scatters
    placements whose gap parts were good.
    """
    model.require(objective >= priority_of(instance, assignments))
    model.hint(assignments)
    stay = round(params.stay_share * 4 * instance.gap_quarter)
    outcome = model.maximise(
        model.score(with_gap=False) + stay * model.kept(incumbent),
        time_limit=params.tidy_seconds,
        seed=seed,
        work_limit=params.tidy_work,
        control=control,
    )
    return assignments if outcome.assignments is None else outcome.assignments
