"""Proofs over the whole problem: bounds, and solves of what reduced-cost fixing leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from solver.planning.bounds.column_generation import (
    ColumnGeneration,
    Relaxation,
    priority_values,
)
from solver.planning.bounds.lagrangian import Multipliers, best_multipliers
from solver.planning.bounds.lagrangian_bound import LagrangianBound
from solver.planning.instance.columns import Columns
from solver.planning.instance.evaluation import evaluate
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.model.two_step import best_without_gaps


def bound_priority(instance: Instance, control: SolveControl, time_limit: float) -> float:
    """Bound the priority by Lagrangian relaxation, where columns are too many to be generated."""
    return LagrangianBound(instance).bound(time_limit=time_limit, should_stop=control.should_stop)


def bound_score(
    instance: Instance, control: SolveControl, priority: int, time_limit: float
) -> Multipliers:
    """Bound the score of plans of at least some priority by Lagrangian relaxation."""
    return best_multipliers(instance, priority, time_limit, control.should_stop)


def relax(instance: Instance, control: SolveControl, time_limit: float) -> Relaxation:
    """Bound the priority by column generation over all columns.

    Half a point, of all that is asked for together, goes to the preference, so that of columns of
    the same priority the better are generated.
    """
    columns = Columns.of(instance, range(len(instance.tasks)))
    share = 0.5 / max(1, sum(instance.asked.values()))
    values = priority_values(instance, columns, share)
    generation = ColumnGeneration(instance, columns, instance.asked, values)
    return generation.run(time_limit=time_limit, should_stop=control.should_stop)


def prove_priority(
    instance: Instance,
    control: SolveControl,
    relaxation: Relaxation,
    assignments: Sequence[Assignment],
    time_limit: float,
    roomless: frozenset[int],
    target: int | None,
) -> JobResult:
    """Look for more priority than a target among all columns that could be in such a plan.

    All others are excluded by their reduced costs. So if the model is infeasible, no plan has more
    than the target, whether or not `assignments` reach it (a destructive bound). Without a target
    the best of the generated columns are looked through, which proves nothing.
    """
    have = evaluate(instance, assignments, with_score=False).priority
    return best_without_gaps(
        instance,
        control,
        relaxation.columns(instance, assignments, target),
        instance.asked,
        (),
        assignments,
        roomless=roomless,
        least=target + 1 if target is not None and target > have else -math.inf,
        most=relaxation.bound,
        time_limit=time_limit,
    )


def of_priority(
    instance: Instance, relaxation: Relaxation, assignments: Sequence[Assignment], priority: int
) -> PlanningModel:
    """Return a model of all plans of at least some priority.

    It has the columns that could be in one, and those of `assignments`, with all their rooms.
    """
    columns = relaxation.columns(instance, assignments, priority - 1)
    model = PlanningModel(instance, columns, instance.asked)
    model.require(model.expression("priority") >= priority)
    return model


def prove_score(
    instance: Instance,
    control: SolveControl,
    relaxation: Relaxation,
    assignments: Sequence[Assignment],
    time_limit: float,
) -> JobResult:
    """Bound the score of all plans of the priority of `assignments`, which has to be the greatest.

    One model of all columns that could be in such a plan, with their rooms and gap parts, searched
    for its bound: neighbourhoods find better plans sooner than it does.
    """
    begin = time.perf_counter()
    priority = evaluate(instance, assignments, with_score=False).priority
    model = of_priority(instance, relaxation, assignments, priority)
    score = model.score()
    model.hint(assignments)
    outcome = model.maximise(
        score,
        time_limit=time_limit - (time.perf_counter() - begin),
        control=control,
        for_bound=True,
    )
    return JobResult(outcome.assignments, outcome.is_proved, outcome.bound, size=model.size())
