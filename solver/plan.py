"""Many requests at once: the best plan of a horizon, stage by stage, each with a proven bound.

The stages are lexicographic: displaced bookings saved, priorities placed, bookings moved and how
far, and last the score of the finished plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from solver.greedy import greedy_puts
from solver.instance import Instance, Put
from solver.joint import Columns, JointModel, Watch
from solver.problem import Plan, PlanStatus, Problem, Progress, StageName

_STAGES: tuple[StageName, ...] = ("saved", "priority", "moved", "distance", "score")


def solve(
    problem: Problem,
    *,
    time_limit: float,
    seed: int = 0,
    workers: int = 2,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Plan:
    """Return the best plan found within `time_limit` seconds, never worse than the greedy one.

    Parameters
    ----------
    problem
        What to plan.
    time_limit
        Seconds. Most of what is not proved goes to the priorities, the rest to the score.
    seed
        Of the random choices. A solve that ends by proof gives the same plan for the same seed.
    workers
        Processes that may be busy at once; with 1 everything happens in this one.
    on_progress
        Called in this thread, about every second or when something better is found.
    should_stop
        Asked often; once true, the best plan so far is returned.
    """
    del workers
    return _Search(problem, time_limit, seed, on_progress, should_stop).run()


class _Search:
    def __init__(
        self,
        problem: Problem,
        time_limit: float,
        seed: int,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._began = time.perf_counter()
        self._limit = time_limit
        self._seed = seed
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._was_stopped = False
        self._instance = Instance(problem)
        self._bounds = self._instance.easy_bounds()
        self._size = (0, 0)
        self._told = 0.0
        self._best: list[Put] = []
        self._totals = self._instance.totals([])
        self._take(greedy_puts(self._instance))

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def run(self) -> Plan:
        self._solve_exactly()
        return self._plan()

    def _take(self, puts: Sequence[Put]) -> None:
        puts = self._instance.ordered(puts)
        totals = self._instance.totals(puts)
        if totals >= self._totals:
            self._best, self._totals = puts, totals

    def _stopped(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self._was_stopped = True
        return self._was_stopped

    def _bound(self, name: StageName, value: float) -> None:
        """Note a bound of a stage, if it is better than the one there is."""
        best = min(getattr(self._bounds, name), math.floor(value + 1e-6))
        self._bounds = self._bounds._replace(**{name: best})

    def _solve_exactly(self) -> None:
        instance = self._instance
        tasks = range(len(instance.tasks))
        left = {i: len(instance.tasks[i].members) for i in tasks}
        joint = JointModel(instance, Columns.of(instance, tasks), left)
        for name in _STAGES:
            if self._stopped():
                return
            objective = joint.score() if name == "score" else joint.expression(name)
            joint.hint(self._best)
            outcome = joint.maximise(
                objective,
                time_limit=self._limit - self.seconds,
                seed=self._seed,
                watch=Watch(
                    self._stopped, lambda value, bound, name=name: self._tell(name, value, bound)
                ),
            )
            self._size = max(self._size, joint.size())
            if outcome.puts is not None:
                self._take(outcome.puts)
                self._bound(name, outcome.bound)
            joint.model.add(objective >= getattr(self._totals, name))

    def _tell(self, name: StageName, value: float, bound: float) -> None:
        if self._on_progress is None or self.seconds - self._told < 0.5:
            return
        self._told = self.seconds
        unit = self._instance.unit if name == "score" else 1
        sign = -1 if name in {"moved", "distance"} else 1
        placed = sum(self._instance.tasks[put.task].own is None for put in self._best)
        self._on_progress(
            Progress(self.seconds, name, sign * value / unit, sign * bound / unit, placed)
        )

    def _plan(self) -> Plan:
        return self._instance.plan(
            self._best,
            status=self._status(),
            bounds=self._bounds,
            seconds=self.seconds,
            size=self._size,
        )

    def _status(self) -> PlanStatus:
        if self._totals == self._bounds:
            placed = self._totals.saved or self._totals.priority
            wanted = any(t.own is None or t.is_displaced for t in self._instance.tasks)
            return "infeasible" if wanted and not placed else "optimal"
        return "stopped" if self._was_stopped else "feasible"
