"""Repairing a neighbourhood with the planning model, all that is frozen standing as it is."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from solver.arrays import Ints
from solver.planning.bounds.column_generation import (
    ColumnGeneration,
    ColumnGenerationParams,
    Relaxation,
    priority_values,
)
from solver.planning.instance.columns import Columns, positions
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.neighbourhood import EFFORTS, Neighbourhood
from solver.planning.lns.retime import retimed
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.model.two_step import best_without_gaps, priority_of

LOST = 3.0
"""How much likelier a placement is lifted for each score that its date loses by it."""


RELAXATION = ColumnGenerationParams(first=4, per_task=3, gap=0.02, stall=0.001)
"""How the relaxation of a neighbourhood is solved: not to its end."""


ROOMS = 4
"""The most rooms offered at one type and start of a neighbourhood, beside those that are in use."""


def repair(
    instance: Instance,
    control: SolveControl,
    assignments: Sequence[Assignment],
    neighbourhood: Neighbourhood,
    time_limit: float,
) -> JobResult:
    """Solve a neighbourhood, everything outside it standing as in `assignments`."""
    if neighbourhood.aim == "timing":
        for day in sorted({day for _, day in neighbourhood.provider_days}):
            assignments = retimed(instance, assignments, day, control.should_stop)
        return JobResult(
            [p for p in assignments if (p.provider, p.day) in neighbourhood.provider_days],
            is_proved=True,
        )
    inside = [p for p in assignments if (p.provider, p.day) in neighbourhood.provider_days]
    outside = [p for p in assignments if (p.provider, p.day) not in neighbourhood.provider_days]
    left: dict[int, int] = defaultdict(int, neighbourhood.waiting)
    for assignment in inside:
        left[assignment.task] += 1
    draw = np.random.default_rng(neighbourhood.seed).random(len(inside))
    if neighbourhood.prices is not None and inside:
        lost = neighbourhood.prices.opportunity_cost(instance, Columns.at(instance, inside))
        draw -= LOST * np.maximum(lost, 0)
    is_kept = draw >= neighbourhood.lifted
    kept = [assignment for assignment, stays in zip(inside, is_kept, strict=True) if stays]
    stay = Counter(assignment.task for assignment in kept)
    free = sorted(task for task, count in left.items() if count > stay[task])
    columns = Columns.inside(instance, free, neighbourhood.provider_days).clear_of(instance, kept)
    if neighbourhood.prices is not None and neighbourhood.aim == "score":
        columns = neighbourhood.prices.cheapest(instance, columns, neighbourhood.most)
    columns = columns.joined(Columns.at(instance, inside))
    if not len(columns):
        return JobResult(None, is_proved=True)
    if neighbourhood.aim == "score":
        model = PlanningModel(instance, columns, left, outside, rooms=ROOMS, keep=inside)
        model.fix(kept)
        return _solve_for_score(instance, control, neighbourhood, model, inside, time_limit)
    began = time.perf_counter()
    values = priority_values(instance, columns, 0.5 / sum(left.values()))
    start = positions(instance, columns, inside)
    relaxation = ColumnGeneration(instance, columns, left, values, outside).run(
        start, time_limit=time_limit / 2, should_stop=control.should_stop, params=RELAXATION
    )
    if relaxation.reduced_cost is None:
        return JobResult(None, is_proved=False)
    have = priority_of(instance, inside)
    if relaxation.bound < have + 1 - 1e-6:
        return JobResult(None, is_proved=True)
    return best_without_gaps(
        instance,
        control,
        columns[_candidates(relaxation, have, start)],
        left,
        outside,
        inside,
        roomless=neighbourhood.roomless,
        most=relaxation.bound,
        time_limit=time_limit - (time.perf_counter() - began),
        work_limit=EFFORTS[neighbourhood.aim].work_limit,
        seed=neighbourhood.seed,
    )


def _solve_for_score(
    instance: Instance,
    control: SolveControl,
    neighbourhood: Neighbourhood,
    model: PlanningModel,
    inside: Sequence[Assignment],
    time_limit: float,
) -> JobResult:
    objective = instance.most_score * model.expression("priority") + model.score()
    model.hint(inside)
    outcome = model.maximise(
        objective,
        time_limit=time_limit,
        seed=neighbourhood.seed,
        work_limit=EFFORTS[neighbourhood.aim].work_limit,
        control=control,
    )
    return JobResult(outcome.assignments, outcome.is_proved, size=model.size())


def _candidates(relaxation: Relaxation, have: int, start: Sequence[int]) -> Ints:
    """Return positions of columns that a plan of more priority than `have` could contain.

    All of them where they are few (reduced-cost fixing), else the best of the generated columns;
    `start` in any case.
    """
    could = np.flatnonzero(relaxation.could_exceed(have))
    if len(could) > RELAXATION.most_generated:
        could = relaxation.best_generated(RELAXATION.most_generated)
    return np.union1d(could, np.array(start, np.int64))
