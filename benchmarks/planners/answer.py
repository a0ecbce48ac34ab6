"""What a planner says of an instance, in one form for all, read again before it counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.result import to_plan
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.problem import Plan, Problem
from solver.whatif.kpis import mean_scores
from solver.whatif.verify import read_plan


class Moment(NamedTuple):
    """What was known at a moment: the priority placed, None before the first plan, and a bound."""

    seconds: float
    priority: float | None
    bound: float


@dataclass(frozen=True)
class Answer:
    """One planner's plan.

    Attributes
    ----------
    priority, bound, score
        Of the plan, and proved; `bound` is at most all that is asked for.
    score_bound
        What the score of no plan of at least this priority exceeds, where that is known.
    mean
        The mean score of what is placed; 0 where nothing is.
    seconds
        Of the search, without what the peer needs to write its model down.
    building
        Seconds to write the model down.
    first, near
        Seconds to the first plan, and to one within 1 % of the last.
    mib
        Peak memory of all the processes that search.
    faults
        What the reader finds wrong with the plan.
    history
        Plans and bounds over time.
    """

    status: str
    priority: float
    bound: float
    score: float
    score_bound: float | None
    mean: float
    placed: int
    seconds: float
    building: float
    first: float | None
    near: float | None
    mib: float
    faults: tuple[str, ...]
    history: tuple[Moment, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {**asdict(self), "history": [list(moment) for moment in self.history]}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Answer:
        """Read what :meth:`as_json` wrote."""
        history = tuple(Moment(*moment) for moment in row["history"])
        return cls(**{**row, "faults": tuple(row["faults"]), "history": history})

    @property
    def gap(self) -> float:
        """The share of the bound that is not placed."""
        return (self.bound - self.priority) / self.bound if self.bound else 0.0

    @property
    def proved(self) -> float | None:
        """Seconds until no more priority was proved to be possible, if it was."""
        ends = (m.seconds for m in self.history if m.priority is not None and m.priority >= m.bound)
        return next(ends, None)


def answer(
    problem: Problem,
    plan: Plan,
    *,
    status: str,
    bound: float,
    seconds: float,
    mib: float,
    score_bound: float | None = None,
    building: float = 0.0,
    history: Sequence[Moment] = (),
) -> Answer:
    """Read a plan again and return what there is to say of it."""
    reading = read_plan(problem, plan)
    reached = {name: float(value) for name, value in reading.objectives.items()}
    priority = reached["priority"]
    last = Moment(seconds, priority if plan.placements else None, bound)
    told = sorted({*history, last}, key=lambda moment: (moment.seconds, moment.priority or 0))
    first = next((m.seconds for m in told if m.priority is not None), None)
    near = next(
        (m.seconds for m in told if m.priority is not None and m.priority >= 0.99 * priority), None
    )
    return Answer(
        status=status,
        priority=priority,
        bound=bound,
        score=round(reached["score"], 4),
        score_bound=None if score_bound is None else round(score_bound, 4),
        mean=round(float(mean_scores(problem, reading)["mean_score"] or 0), 4),
        placed=len(plan.placements),
        seconds=round(seconds, 3),
        building=round(building, 3),
        first=first,
        near=near,
        mib=round(mib, 1),
        faults=tuple(f"{v.id} {v.detail}" for v in reading.violations),
        history=tuple(told),
    )


def plan_of(instance: Instance, assignments: Sequence[Assignment], *, seconds: float) -> Plan:
    """Return the plan that a peer's placements make."""
    bounds = easy_bounds(instance)
    return to_plan(instance, assignments, status="feasible", bounds=bounds, seconds=seconds)


def whole_bound(problem: Problem, value: float) -> float:
    """Return a bound on the priority placed: whole, and at most all that is asked for."""
    most = sum(request.priority for request in problem.requests)
    return float(min(most, math.floor(value + 1e-6))) if math.isfinite(value) else float(most)
