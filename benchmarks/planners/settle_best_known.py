"""The best that a small instance has in it, proved.

``python -m benchmarks.planners.settle_best_known INSTANCE SECONDS`` settles it.

All columns that could have a part in a plan of the greatest priority, with their rooms and gap
parts, are given to HiGHS, which settles the best score of such plans and whether one of them has a
mean score as high as the greedy plan's. What comes out goes into ``best.json``.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction

from benchmarks.instances import library
from benchmarks.planners.answer import plan_of
from benchmarks.planners.highs import maximised
from solver.planning.greedy import greedy
from solver.planning.instance.tables import Instance
from solver.planning.model.planning_model import PlanningModel
from solver.planning.model.solving import SolveControl
from solver.planning.problem import Problem
from solver.planning.search.proofs import of_priority, relax
from solver.whatif.kpis import mean_score
from solver.whatif.verify import read_plan

RELAXATION_SECONDS = 60


def _best_plans(instance: Instance, priority: int) -> PlanningModel:
    relaxed = relax(instance, SolveControl(lambda: False), RELAXATION_SECONDS)
    return of_priority(instance, relaxed, [], priority)


def best_score(
    problem: Problem, priority: int, known: float | None, limit: float
) -> tuple[Fraction | None, Fraction | None]:
    """Return a score better than is `known`, and what no score exceeds; None for what is not found.

    Of plans with the greatest priority, within `limit` seconds.
    """
    instance = Instance(problem)
    model = _best_plans(instance, priority)
    score, least = model.score(), 0 if known is None else round(known * instance.unit)
    model.require(score >= least + 1)
    model.model.maximize(score)
    found = maximised(model, limit)
    better = None
    if found.assignments is not None:
        reading = read_plan(problem, plan_of(instance, found.assignments, seconds=found.seconds))
        assert not reading.violations
        assert reading.objectives["priority"] == priority
        better = reading.objectives["score"]
    if found.assignments is None and found.is_settled:
        return None, Fraction(least, instance.unit)
    if not math.isfinite(found.bound):
        return better, None
    return better, Fraction(max(least, math.floor(found.bound + 1e-6)), instance.unit)


def has_mean(problem: Problem, priority: int, mean: Fraction, limit: float) -> bool | None:
    """Return whether a plan with the greatest priority has such a mean score; None if unsure."""
    instance = Instance(problem)
    model = _best_plans(instance, priority)
    wanted = mean * instance.unit
    surplus = (
        model.score(with_booked=False) * wanted.denominator - model.placed() * wanted.numerator
    )
    model.require(surplus >= 0)
    model.model.maximize(surplus)
    found = maximised(model, limit)
    if found.assignments is not None:
        return True
    return False if found.is_settled else None


def main(name: str, seconds: float) -> None:
    """Settle what can be settled of an instance, and keep it."""
    problem, known = library.load(name), library.best_known()
    priority, score = int(known[name]["priority"]["objective"]), known[name]["score"]
    better, bound = best_score(problem, priority, score["objective"], seconds)
    score["objective"] = score["objective"] if better is None else round(float(better), 4)
    if bound is not None:
        score["bound"] = min(score["bound"] or math.inf, round(float(bound), 4))
    mean = mean_score(problem, read_plan(problem, greedy(problem)))
    is_possible = has_mean(problem, priority, mean, seconds)
    if is_possible is not None:
        known[name]["mean"] = {"greedy": round(float(mean), 4), "is_possible": is_possible}
    library.keep(known)
    print(known[name])


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
