"""Repairing a neighbourhood: the same plan, best in its provider-days, with all else frozen.

A share of the assignments there is destroyed: their tasks, and the waiting tasks that the
neighbourhood brings, may be placed anew in its provider-days. Three repairs, by the aim:

- ``priority``: column generation over the columns there, then the planning model over those that
  reduced-cost fixing leaves, without gap parts and scarce rooms first;
- ``score``: the planning model, whole, over the columns of the least opportunity cost;
- ``retime``: :mod:`solver.planning.lns.retime`.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from solver.planning.lns.neighbourhood import Neighbourhood
from solver.planning.lns.retime import retimed
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.model.two_step import DEFAULT_PARAMS as TWO_STEP
from solver.planning.model.two_step import TwoStepParams, best_without_gaps, priority_of

RELAXATION = ColumnGenerationParams(first=4, per_task=3, gap=0.02, stall=0.001)
"""How column generation goes about a neighbourhood: not to its end."""


@dataclass(frozen=True, kw_only=True)
class RepairParams:
    """How much work a repair may take, and what it looks at."""

    priority_work: float = 3.0
    score_work: float = 1.2
    """The solver's deterministic seconds for a neighbourhood, by its aim."""
    cost_weight: float = 3.0
    """How much likelier an assignment is freed for each score of its opportunity cost: by so much
    its random draw from 0 to 1 is lowered."""
    rooms: int = 4
    """The most rooms offered at one type and start in a repair for the score, beside those that the
    incumbent uses."""
    relaxation_share: float = 0.5
    """The part of the time limit that column generation may take."""
    relaxation: ColumnGenerationParams = RELAXATION
    """How column generation goes about it: not to its end."""
    two_step: TwoStepParams = TWO_STEP


DEFAULT_PARAMS = RepairParams()


def repair(
    instance: Instance,
    control: SolveControl,
    assignments: Sequence[Assignment],
    neighbourhood: Neighbourhood,
    time_limit: float,
    params: RepairParams = DEFAULT_PARAMS,
) -> JobResult:
    """Repair a neighbourhood of the incumbent `assignments`; return what is in it then."""
    provider_days = neighbourhood.provider_days
    if neighbourhood.aim == "retime":
        for day in sorted({day for _, day in provider_days}):
            assignments = retimed(instance, assignments, day, control.should_stop)
        retimed_there = [p for p in assignments if (p.provider, p.day) in provider_days]
        return JobResult(retimed_there, is_proved=True)
    incumbent = [p for p in assignments if (p.provider, p.day) in provider_days]
    frozen = [p for p in assignments if (p.provider, p.day) not in provider_days]
    free: dict[int, int] = defaultdict(int, neighbourhood.waiting)
    for assignment in incumbent:
        free[assignment.task] += 1
    kept = _not_freed(instance, neighbourhood, incumbent, params)
    columns = _columns(instance, neighbourhood, incumbent, free, kept)
    if not len(columns):
        return JobResult(None, is_proved=True)
    if neighbourhood.aim == "priority":
        return _for_priority(
            instance, control, neighbourhood, columns, free, frozen, incumbent, time_limit, params
        )
    model = PlanningModel(instance, columns, free, frozen, rooms=params.rooms, incumbent=incumbent)
    model.fix(kept)
    objective = instance.most_score * model.expression("priority") + model.score()
    model.hint(incumbent)  # when all literals are there
    return model.maximise(
        objective,
        time_limit=time_limit,
        seed=neighbourhood.seed,
        work_limit=params.score_work,
        control=control,
    )


def _not_freed(
    instance: Instance,
    neighbourhood: Neighbourhood,
    incumbent: Sequence[Assignment],
    params: RepairParams,
) -> list[Assignment]:
    """Return the assignments of a neighbourhood that stay as they are, but for their rooms."""
    draw = np.random.default_rng(neighbourhood.seed).random(len(incumbent))
    if neighbourhood.prices is not None and incumbent:
        cost = neighbourhood.prices.opportunity_cost(instance, Columns.at(instance, incumbent))
        draw -= params.cost_weight * np.maximum(cost, 0)
    is_kept = draw >= neighbourhood.freed_share
    return [assignment for assignment, stays in zip(incumbent, is_kept, strict=True) if stays]


def _columns(
    instance: Instance,
    neighbourhood: Neighbourhood,
    incumbent: Sequence[Assignment],
    free: Mapping[int, int],
    kept: Sequence[Assignment],
) -> Columns:
    """Return the columns of a repair: those of freed tasks, and all that the incumbent chooses."""
    fixed = Counter(assignment.task for assignment in kept)
    tasks = sorted(task for task, count in free.items() if count > fixed[task])
    columns = Columns.of_provider_days(instance, tasks, neighbourhood.provider_days)
    columns = columns.clear_of(instance, kept)
    if neighbourhood.prices is not None and neighbourhood.aim == "score":
        columns = neighbourhood.prices.cheapest(instance, columns, neighbourhood.most_columns)
    return columns.joined(Columns.at(instance, incumbent))


def _for_priority(
    instance: Instance,
    control: SolveControl,
    neighbourhood: Neighbourhood,
    columns: Columns,
    free: Mapping[int, int],
    frozen: Sequence[Assignment],
    incumbent: Sequence[Assignment],
    time_limit: float,
    params: RepairParams,
) -> JobResult:
    """Maximise the priority: column generation first, then the planning model."""
    began = time.perf_counter()
    values = priority_values(instance, columns, 0.5 / sum(free.values()))
    start = positions(instance, columns, incumbent)
    relaxation = ColumnGeneration(instance, columns, free, values, frozen).run(
        start,
        time_limit=params.relaxation_share * time_limit,
        should_stop=control.should_stop,
        params=params.relaxation,
    )
    if relaxation.reduced_cost is None:
        return JobResult(None, is_proved=False)
    reached = priority_of(instance, incumbent)
    if relaxation.bound < reached + 1 - 1e-6:
        return JobResult(None, is_proved=True)
    return best_without_gaps(
        instance,
        control,
        columns[_candidates(relaxation, reached, start, params.relaxation.most_generated)],
        free,
        frozen,
        incumbent,
        roomless=neighbourhood.roomless,
        most=relaxation.bound,
        time_limit=time_limit - (time.perf_counter() - began),
        work_limit=params.priority_work,
        seed=neighbourhood.seed,
        params=params.two_step,
    )


def _candidates(
    relaxation: Relaxation, reached: int, start: Sequence[int], most_generated: int
) -> Ints:
    """Return positions of columns that a plan of more priority than `reached` could contain.

    All of them where they are few (reduced-cost fixing), else the best of the generated columns;
    `start` in any case.
    """
    could = np.flatnonzero(relaxation.could_exceed(reached))
    if len(could) > most_generated:
        could = relaxation.best_generated(most_generated)
    return np.union1d(could, np.array(start, np.int64))
