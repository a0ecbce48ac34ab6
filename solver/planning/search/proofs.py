"""Proofs over the whole problem: bounds, and exact solves of what reduced-cost fixing leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Floats, Ints
from solver.planning.bounds.column_generation import (
    ColumnGeneration,
    best_of,
    could_better,
    priority_worth,
)
from solver.planning.bounds.lagrangian import Prices, price
from solver.planning.bounds.lagrangian_bound import LagrangianBound
from solver.planning.instance.columns import Columns, positions
from solver.planning.instance.evaluation import evaluate
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import JobResult, SolveControl
from solver.planning.model.two_step import best_without_gaps


def bound(instance: Instance, control: SolveControl, time_limit: float) -> float:
    """Bound the priorities of a problem that is too large to be sifted."""
    return LagrangianBound(instance).bound(time_limit=time_limit, should_stop=control.should_stop)


def priced(instance: Instance, control: SolveControl, priority: int, time_limit: float) -> Prices:
    """Price the requests of the whole problem, for plans of at least some priority."""
    return price(instance, priority, time_limit, control.should_stop)


def relax(instance: Instance, control: SolveControl, time_limit: float) -> Relaxation:
    """Sift the relaxation of the whole problem for the priorities."""
    columns = Columns.of(instance, range(len(instance.tasks)))
    share = 0.5 / max(1, sum(instance.asked.values()))
    generation = ColumnGeneration(
        instance, columns, instance.asked, priority_worth(instance, columns, share)
    )
    sifted = generation.run(
        [], time_limit=time_limit, first=10, per_task=4, should_stop=control.should_stop
    )
    return Relaxation(sifted.bound, generation.priced, generation.entered)


@dataclass(frozen=True)
class Relaxation:
    """A bound on the priorities, each column's reduced worth at its duals, and the kernel."""

    bound: float
    priced: Floats | None
    kernel: Ints

    def count(self, value: int) -> int:
        """Return how many columns could have a part in a plan of more priority than `value`."""
        return 0 if self.priced is None else int(self._could_matter(value).sum())

    def _could_matter(self, value: int) -> Bools:
        assert self.priced is not None
        return could_better(self.priced, self.bound, value)

    def columns(
        self, instance: Instance, assignments: Sequence[Assignment], reached: int | None
    ) -> Columns:
        """Return the columns that could better what was reached, and those of `assignments`.

        With nothing given, the best of the kernel in the place of the former.
        """
        assert self.priced is not None
        every = Columns.of(instance, range(len(instance.tasks)))
        keep = np.zeros(len(every), np.bool_)
        if reached is None:
            keep[best_of(self.kernel, self.priced)] = True
        else:
            keep = self._could_matter(reached)
        keep[positions(instance, every, assignments)] = True
        return every[keep]


def prove_priority(
    instance: Instance,
    control: SolveControl,
    relaxed: Relaxation,
    assignments: Sequence[Assignment],
    time_limit: float,
    roomless: frozenset[int],
    reached: int | None,
) -> JobResult:
    """Look for more priority than was `reached` among all columns that could have a part in it.

    A column whose reduced worth is so low that no plan with it can be better is left out
    (reduced-cost fixing), so when nothing is found nothing is there, whether or not `assignments`
    have as much as was asked to be bettered (a destructive bound). That is not so of the kernel's
    best, which are looked through when nothing is given.
    """
    have = evaluate(instance, assignments).priority
    columns = relaxed.columns(instance, assignments, reached)
    return best_without_gaps(
        instance,
        control,
        columns,
        instance.asked,
        (),
        assignments,
        roomless=roomless,
        least=reached + 1 if reached is not None and reached > have else -math.inf,
        most=relaxed.bound,
        time_limit=time_limit,
    )


def of_priority(
    instance: Instance, relaxed: Relaxation, assignments: Sequence[Assignment], priority: int
) -> PlanningModel:
    """Return a model of all plans with at least some priority.

    It has the columns that could have a part in one, and those of `assignments`, with all their
    rooms.
    """
    columns = relaxed.columns(instance, assignments, priority - 1)
    model = PlanningModel(instance, columns, instance.asked)
    model.require(model.expression("priority") >= priority)
    return model


def prove_score(
    instance: Instance,
    control: SolveControl,
    relaxed: Relaxation,
    assignments: Sequence[Assignment],
    time_limit: float,
) -> JobResult:
    """Bound the score of all plans with the priority of `assignments`, which none exceeds.

    One model of all columns that could have a part in such a plan, with their rooms and gap parts,
    searched for its bound: neighbourhoods find better plans sooner than it does.
    """
    begin, priority = time.perf_counter(), evaluate(instance, assignments).priority
    model = of_priority(instance, relaxed, assignments, priority)
    score = model.score()
    model.hint(assignments)
    return model.maximise(
        score,
        time_limit=time_limit - (time.perf_counter() - begin),
        control=control,
        for_bound=True,
    )
