"""The incumbent of one search: the best plan so far, the proven bounds, and their progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from solver.planning.greedy import greedy_assignments
from solver.planning.instance.easy_bounds import easy_bounds
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.result import to_plan
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.solving import SolveControl
from solver.planning.problem import Plan, PlanStatus, Problem, Progress, StageName
from solver.planning.search.limits import Limits


class Incumbent:
    """The best plan of a problem that has been found, and what is proved of all plans.

    It begins with the greedy plan, or as much of it as there is time for.

    Attributes
    ----------
    best
        The assignments of the best plan, in an order in which they can be made.
    totals, bounds
        What the best plan reaches at each stage, and what no plan exceeds there. Bookings and
        minutes moved count as negative, so that more is better at every stage.
    size
        Variables and constraints of the largest model so far.
    set_up_seconds
        What the tables and the greedy plan took.
    """

    def __init__(
        self,
        problem: Problem,
        limits: Limits,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.limits = limits
        self._on_progress = on_progress
        self._told = 0.0
        self.instance = Instance(problem)
        self.bounds = easy_bounds(self.instance)
        self.best: list[Assignment] = []
        self.totals = evaluate(self.instance, [])
        self.size = (0, 0)
        params = limits.params
        greedy_limit = max(params.greedy_seconds, params.greedy_share * limits.time_limit)
        self.accept(greedy_assignments(self.instance, lambda: limits.seconds > greedy_limit))
        self.set_up_seconds = limits.seconds

    def accept(self, assignments: Sequence[Assignment]) -> bool:
        """Make a plan the incumbent if it is no worse; return whether it is."""
        in_order = ordered(self.instance, assignments)
        totals = evaluate(self.instance, in_order)
        if totals < self.totals:
            return False
        self.best, self.totals = in_order, totals
        return True

    def note_bound(self, name: StageName, value: float) -> None:
        """Take over a proven bound of a stage if it is tighter than the one there is."""
        if math.isfinite(value):
            bound = min(getattr(self.bounds, name), math.floor(value + 1e-6))
            bound = max(bound, getattr(self.totals, name))
            self.bounds = self.bounds._replace(**{name: bound})

    def note_size(self, size: tuple[int, int]) -> None:
        """Take over the size of a model if it is the largest so far."""
        self.size = max(self.size, size)

    # Progress

    def tell(
        self, name: StageName, value: float, *, placed: int | None = None, at_once: bool = False
    ) -> None:
        """Tell the caller what a stage has reached and its bound; not often, unless `at_once`."""
        seconds = self.limits.seconds
        is_early = seconds - self._told < self.limits.params.told_every_seconds and not at_once
        if self._on_progress is None or is_early:
            return
        self._told = seconds
        unit = self.instance.unit if name == "score" else 1
        sign = -1 if name in {"moved", "distance"} else 1
        bound = max(getattr(self.bounds, name), value)
        if placed is None:
            placed = sum(self.instance.tasks[a.task].own is None for a in self.best)
        self._on_progress(Progress(seconds, name, sign * value / unit, sign * bound / unit, placed))

    def control(self, name: StageName, *, is_whole: bool) -> SolveControl:
        """Return the control of a solve for a stage; if it `is_whole`, its bounds are noted.

        A model is whole when it has all columns, so that its bound holds for all plans.
        """

        def tell(value: float, bound: float) -> None:
            if is_whole:
                self.note_bound(name, bound)
            self.tell(name, value)

        return SolveControl(self.limits.is_over, tell)

    # The answer

    def plan(self) -> Plan:
        """Return the best plan and what is proved of it."""
        return to_plan(
            self.instance,
            self.best,
            status=self._status(),
            bounds=self.bounds,
            seconds=self.limits.seconds,
            size=self.size,
        )

    def _status(self) -> PlanStatus:
        if self.totals == self.bounds:
            placed = self.totals.saved or self.totals.priority
            wanted = any(t.own is None or t.is_displaced for t in self.instance.tasks)
            return "infeasible" if wanted and not placed else "optimal"
        return "stopped" if self.limits.was_stopped else "feasible"
