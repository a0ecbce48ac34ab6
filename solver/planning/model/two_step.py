"""Solving in two steps: priorities without gap parts and rooms first, then the score."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from ortools.sat.python import cp_model

from solver.planning.instance.columns import Columns
from solver.planning.instance.rooms import NO_ROOM
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl


def assign_rooms(
    instance: Instance,
    assignments: Sequence[Assignment],
    left: Mapping[int, int],
    outside: Sequence[Assignment],
    time_limit: float,
    control: SolveControl | None = None,
) -> list[Assignment] | None:
    """Return placements with rooms: all of them, or those of the most priority that find one.

    Providers and starts stay as they are; all else is as for :class:`PlanningModel`. None when
    there was no time to find any.
    """
    model = PlanningModel(instance, Columns.at(instance, assignments), left, outside)
    objective = instance.most_score * model.expression("priority") + model.score(with_gap=False)
    return model.maximise(objective, time_limit=time_limit, control=control).assignments


STAY_SHARE = 0.5
"""What a placement that stays counts for, in gap parts, when the priority is improved."""


TIDY_WORK, TIDY_SECONDS = 0.3, 2.0
"""The solver's deterministic seconds, and seconds, for bettering the score then."""


def best_without_gaps(
    instance: Instance,
    control: SolveControl,
    columns: Columns,
    left: Mapping[int, int],
    outside: Sequence[Assignment],
    inside: Sequence[Assignment],
    *,
    roomless: Collection[int],
    time_limit: float,
    least: float = -math.inf,
    most: float = math.inf,
    work_limit: float | None = None,
    seed: int = 0,
) -> JobResult:
    """Look for the placements of the most priority among some columns, starting from `inside`.

    Only a priority from `least` to `most` is looked for, the latter being known to hold. Two steps:
    where and when, with the rooms of all kinds but the `roomless`; then the rooms. What finds none
    is left out, and its kind told of. With a `work_limit`, as neighbourhoods have it, what betters
    the priority is tidied up between the two.
    """
    began = time.perf_counter()
    model = PlanningModel(instance, columns, left, outside, keep=inside, roomless=roomless)
    objective = model.expression("priority")
    if math.isfinite(most):
        model.require(objective <= math.floor(most + 1e-6))
    if math.isfinite(least):
        model.require(objective >= math.ceil(least))
    model.hint(inside)
    outcome = model.maximise(
        objective, time_limit=time_limit, seed=seed, work_limit=work_limit, control=control
    )
    if outcome.assignments is None:
        return JobResult(None, outcome.is_proved, outcome.bound, size=model.size())
    chosen = outcome.assignments
    if work_limit is not None and priority_of(instance, chosen) > priority_of(instance, inside):
        chosen = _tidied(instance, model, objective, chosen, inside, control, seed)
    assignments = chosen
    if any(assignment.room == NO_ROOM for assignment in chosen):
        time_left = max(1.0, time_limit - (time.perf_counter() - began))
        found = assign_rooms(instance, chosen, left, outside, time_left, control)
        if found is None:
            return JobResult(None, is_proved=False, bound=outcome.bound, size=model.size())
        assignments = found
    lost = Counter(p.task for p in chosen) - Counter(p.task for p in assignments)
    short = frozenset(instance.tasks[i].kind for i in lost)
    return JobResult(assignments, outcome.is_proved, outcome.bound, short, model.size())


def priority_of(instance: Instance, assignments: Sequence[Assignment]) -> int:
    """Return the sum of the priorities of what is placed."""
    return sum(instance.tasks[assignment.task].priority for assignment in assignments)


def _tidied(
    instance: Instance,
    model: PlanningModel,
    objective: cp_model.LinearExpr,
    assignments: list[Assignment],
    inside: Sequence[Assignment],
    control: SolveControl,
    seed: int,
) -> list[Assignment]:
    """Return placements of as much priority that score more, or leave more of `inside` as it was.

    What has been placed well by its gap part would be scattered otherwise, as nothing in the
    priority speaks for one start or another.
    """
    model.require(objective >= priority_of(instance, assignments))
    model.hint(assignments)
    stay = round(STAY_SHARE * 4 * instance.gap_quarter)
    outcome = model.maximise(
        model.score(with_gap=False) + stay * model.kept(inside),
        time_limit=TIDY_SECONDS,
        seed=seed,
        work_limit=TIDY_WORK,
        control=control,
    )
    return assignments if outcome.assignments is None else outcome.assignments
