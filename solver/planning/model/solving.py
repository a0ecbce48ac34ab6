"""One CP-SAT solve: its control while it runs, and its result."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from ortools.sat.python import cp_model

from solver.planning.instance.tasks import Assignment


@dataclass(frozen=True)
class JobResult:
    """What a solve, or a job of several, has found and proved.

    Attributes
    ----------
    assignments
        None when nothing better was found.
    is_proved
        Whether the search ended by proof.
    bound
        Proven, of the objective over all columns that were given; minus infinity where no
        assignments satisfy the constraints.
    short
        Types for which rooms ran short: some columns that were chosen found none.
    size
        Variables and constraints.
    """

    assignments: list[Assignment] | None
    is_proved: bool
    bound: float = math.inf
    short: frozenset[int] = frozenset()
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class SolveControl:
    """How a solve is stopped and reports.

    `should_stop` is asked every tenth of a second. Then, once there is an incumbent, `tell` is
    called with its objective and the bound, which is infinite until something is proved.
    """

    should_stop: Callable[[], bool]
    tell: Callable[[float, float], None] = lambda _objective, _bound: None


class _Incumbents(cp_model.CpSolverSolutionCallback):
    """Keeps the latest objective and the least bound proved, as an early bound may be weaker."""

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
    """Solve in a thread of its own, while the caller's asks `control`; return the status.

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
