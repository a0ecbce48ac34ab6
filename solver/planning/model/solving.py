"""One CP-SAT solve: its control while it runs, and its result."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import NamedTuple

from ortools.sat.python import cp_model

from solver.planning.instance.tasks import Assignment


class SolveResult(NamedTuple):
    """What a solve brought: the placements, if any, the proven bound, whether that is the end.

    Without placements, the bound tells whether there are none (minus infinity) or none was found.
    """

    assignments: list[Assignment] | None
    bound: float
    is_proved: bool


@dataclass(frozen=True)
class SolveControl:
    """Looks after a solve while it runs.

    `should_stop` is asked every tenth of a second; `tell` is told the incumbent's objective and
    the bound then, once there is an incumbent. The bound is infinite until something is proved.
    """

    should_stop: Callable[[], bool]
    tell: Callable[[float, float], None] = lambda _objective, _bound: None


class _Incumbents(cp_model.CpSolverSolutionCallback):
    """Keeps the latest objective, and the least bound proved: early ones may be of no worth."""

    def __init__(self) -> None:
        super().__init__()
        self.objective: float | None = None
        self.bound = math.inf

    def on_solution_callback(self) -> None:
        self.objective = self.objective_value

    def on_bound(self, bound: float) -> None:
        self.bound = min(self.bound, bound)


def watched(
    solver: cp_model.CpSolver, model: cp_model.CpModel, control: SolveControl | None
) -> int:
    """Solve; the solver works beside the caller's thread, which stays with `control`.

    A stop that is asked for before the search has begun is forgotten by the solver, so it is
    asked for again until the search ends. What `control` raises ends the search, too.
    """
    if control is None:
        return int(solver.solve(model))
    incumbents = _Incumbents()
    solver.best_bound_callback = incumbents.on_bound
    with ThreadPoolExecutor(1) as beside:
        solving = beside.submit(solver.solve, model, incumbents)
        try:
            while not wait([solving], timeout=0.1).done:
                if control.should_stop():
                    solver.stop_search()
                if incumbents.objective is not None:
                    control.tell(incumbents.objective, incumbents.bound)
        finally:
            while not wait([solving], timeout=0.1).done:
                solver.stop_search()
        return int(solving.result())


@dataclass(frozen=True)
class JobResult:
    """What a solve brought.

    Attributes
    ----------
    assignments
        The placements; None when nothing better was found.
    bound
        Proven, of all that was asked about.
    is_proved
        Whether the model was solved to its end.
    short
        Kinds for which rooms ran short: some of what was chosen found none.
    size
        Variables and constraints.
    """

    assignments: list[Assignment] | None
    is_proved: bool
    bound: float = math.inf
    short: frozenset[int] = frozenset()
    size: tuple[int, int] = (0, 0)
