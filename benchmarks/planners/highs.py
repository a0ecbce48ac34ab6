"""The joint model, row for row, as a mixed-integer programme for HiGHS.

Every column, room and order of overbooked placements is there, so the peer is asked for exactly
what ours is asked for: the greatest sum of priorities. Conditions on literals become rows with the
smallest constant that suffices. The programme is solved in a process of its own, with SciPy's
HiGHS and nothing of OR-Tools; the time that it takes to write it down does not count.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from benchmarks.planners.answer import Answer, Moment, answer, plan_of, whole_bound
from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.model.planning_model import PlanningModel
from solver.planning.problem import Problem

GRACE_SECONDS = 30
"""How long after its limit the solver may still take to stop."""
_NUMBER = r"(-?\d[\d.e+-]*|-?inf)"
_LINE = re.compile(rf"\s{_NUMBER}\s+{_NUMBER}\s+(?:[\d.]+%|inf|Large|-)(?:\s+\d+){{4}}\s+([\d.]+)s")


def plan(problem: Problem, limit: float) -> Answer:
    """Plan with HiGHS."""
    began = time.perf_counter()
    instance = Instance(problem)
    columns = Columns.of(instance, range(len(instance.tasks)))
    model = PlanningModel(instance, columns, instance.asked)
    model.model.maximize(model.expression("priority"))
    building = time.perf_counter() - began
    found = maximised(model, limit)
    assignments = found.assignments or []
    return answer(
        problem,
        plan_of(instance, assignments, seconds=found.seconds),
        status="optimal" if found.is_settled else "feasible" if assignments else "nothing found",
        bound=whole_bound(problem, found.bound),
        seconds=found.seconds,
        building=building + found.building,
        mib=found.mib,
        history=history(problem, found.log),
    )


@dataclass(frozen=True)
class Found:
    """What the solver made of a model; nothing when it had to be ended.

    Attributes
    ----------
    assignments
        The best placements; None where there are none.
    bound
        What no placements exceed; minus infinity where there are none at all.
    is_settled
        Whether nothing is left to be found.
    seconds, building, mib
        Of the search, of writing the model down, and the search's peak memory.
    log
        What the solver told meanwhile.
    """

    assignments: list[Assignment] | None
    bound: float
    is_settled: bool
    seconds: float
    building: float
    mib: float
    log: str


def maximised(model: PlanningModel, limit: float) -> Found:
    """Give the solver a model and its objective for `limit` seconds."""
    with tempfile.TemporaryDirectory(prefix="slotwright-bench-") as directory:
        file, solution = Path(directory) / "model.npz", Path(directory) / "solution.npz"
        began = time.perf_counter()
        _write(model.model, file)
        begin = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.planners.highs_process"]
        log = _run([*command, str(file), str(solution), f"{limit}"], limit + GRACE_SECONDS)
        times = time.perf_counter() - begin, begin - began
        # Where nothing was found, what was proved is in the log alone.
        proved = [float(line[1]) for text in log.splitlines() if (line := _LINE.search(text))]
        lowest, constant = [-np.inf, *proved][-1], model.model.proto.objective.offset
        if not solution.exists():
            return Found(None, -lowest - constant, False, *times, 0.0, log)
        with np.load(solution) as told:
            values, bound = told["x"], float(told["bound"])
            lowest = bound if np.isfinite(bound) else lowest
            return Found(
                _puts(model, values) if values.size else None,
                -np.inf if told["is_infeasible"] else -lowest - constant,
                bool(told["is_optimal"] or told["is_infeasible"]),
                *times,
                float(told["mib"]),
                log,
            )


def _run(command: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        return error.stdout.decode() if isinstance(error.stdout, bytes) else ""
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def _puts(model: PlanningModel, values: NDArray[np.float64]) -> list[Assignment]:
    class Solved:
        def boolean_value(self, literal: cp_model.IntVar) -> bool:
            return bool(values[literal.index] > 0.5)

    return model.assignments(cast("cp_model.CpSolver", Solved()))


def history(problem: Problem, log: str) -> list[Moment]:
    """Return the plans and bounds that the solver's log tells of."""
    moments = []
    for line in log.splitlines():
        found = _LINE.search(line)
        if found:
            bound, best, seconds = (float(number) for number in found.groups())
            priority = -best if np.isfinite(best) and best else None
            moments.append(Moment(seconds, priority, whole_bound(problem, -bound)))
    return moments


# The programme


class _Rows:
    """Rows of a sparse matrix with their limits."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, columns: Sequence[int], values: Sequence[float], low: float, high: float) -> None:
        self.row += [len(self.low)] * len(columns)
        self.column += columns
        self.value += values
        self.low.append(low)
        self.high.append(high)

    def of_literals(self, literals: Sequence[int], low: float, high: float) -> None:
        """Limit how many literals hold; a negative number is the negation of a variable."""
        negated = sum(literal < 0 for literal in literals)
        self.add(
            [literal if literal >= 0 else -literal - 1 for literal in literals],
            [1 if literal >= 0 else -1 for literal in literals],
            low - negated,
            high - negated,
        )


def _write(model: cp_model.CpModel, path: Path) -> None:
    """Write a model of linear rows and clauses over Booleans as a programme to be minimised."""
    proto = model.proto
    rows = _Rows()
    for constraint in proto.constraints:
        conditions = list(constraint.enforcement_literal)
        if constraint.has_linear():
            linear = constraint.linear
            low, high = linear.domain
            _linear(rows, list(linear.vars), list(linear.coeffs), low, high, conditions)
        elif constraint.has_at_most_one():
            rows.of_literals(list(constraint.at_most_one.literals), -np.inf, 1)
        elif constraint.has_exactly_one():
            rows.of_literals(list(constraint.exactly_one.literals), 1, 1)
        elif constraint.has_bool_or():
            clause = [*constraint.bool_or.literals, *(-c - 1 for c in conditions)]
            rows.of_literals(clause, 1, np.inf)
        elif constraint.has_bool_and():
            unless = [-c - 1 for c in conditions]
            for literal in constraint.bool_and.literals:
                rows.of_literals([literal, *unless], 1, np.inf)
        else:
            raise NotImplementedError(f"no row for {constraint}")
    cost = np.zeros(len(proto.variables))
    cost[list(proto.objective.vars)] = list(proto.objective.coeffs)
    np.savez(
        path,
        cost=cost,
        row=np.array(rows.row, np.int32),
        column=np.array(rows.column, np.int32),
        value=np.array(rows.value),
        low=np.array(rows.low),
        high=np.array(rows.high),
    )


def _linear(
    rows: _Rows,
    columns: list[int],
    values: list[float],
    low: float,
    high: float,
    conditions: list[int],
) -> None:
    """Add a row over Booleans that holds when all conditions do."""
    least = sum(value for value in values if value < 0)
    most = sum(value for value in values if value > 0)
    spared = [
        (high, most - high, 1.0) if most > high else None,
        (-low, -least - -low, -1.0) if least < low else None,
    ]
    for limit, slack, sign in (each for each in spared if each is not None):
        terms, weights, reach = list(columns), [sign * value for value in values], limit
        for condition in conditions:
            is_plain = condition >= 0
            terms.append(condition if is_plain else -condition - 1)
            weights.append(slack if is_plain else -slack)
            reach += slack if is_plain else 0
        rows.add(terms, weights, -np.inf, reach)
