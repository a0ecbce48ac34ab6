"""The three ways to solve a placement model: certify, enumerate, prove the best."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.rules.placement_model import PlacementModel


class SolveError(RuntimeError):
    """The solver ended without the proof that was asked for."""


def certify(model: PlacementModel) -> Bools:
    """[n] which independent candidates are feasible, each proved so or proved not.

    Raises
    ------
    SolveError
        When the solver ends without a proof.
    """
    assert model.is_independent
    model.model.maximize(cp_model.LinearExpr.sum(model.chosen))
    solver = _solver()
    solver.parameters.optimize_with_core = True
    status = solver.solve(model.model)
    if status != cp_model.OPTIMAL:
        raise SolveError(f"certifying ended {solver.status_name(status)}")
    return np.array(_values(model, solver), np.bool_)


def enumerate_feasible(model: PlacementModel) -> Ints:
    """Return the positions of every feasible candidate among rivals, ascending."""
    assert not model.is_independent
    if model.most_solutions_of_one is None:
        return _found_one_by_one(model)
    solver = _solver()
    solver.parameters.enumerate_all_solutions = True
    solver.parameters.fill_additional_solutions_in_response = True
    solver.parameters.solution_pool_size = len(model.chosen) * model.most_solutions_of_one
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE:
        return np.empty(0, np.int64)
    if status != cp_model.OPTIMAL:
        raise SolveError(f"enumerating ended {solver.status_name(status)}")
    indices = [literal.index for literal in model.chosen]
    found = {
        next(i for i, index in enumerate(indices) if solution.values[index])
        for solution in solver.response_proto.additional_solutions
    }
    return np.array(sorted(found), np.int64)


def _found_one_by_one(model: PlacementModel) -> Ints:
    """Return the positions of every feasible rival: each one that is found is then left out."""
    found: list[int] = []
    while (status := (solver := _solver()).solve(model.model)) == cp_model.OPTIMAL:
        found.append(_values(model, solver).index(True))
        model.model.add_bool_and([model.chosen[found[-1]].negated()])
    if status != cp_model.INFEASIBLE:
        raise SolveError(f"enumerating ended {solver.status_name(status)}")
    return np.array(sorted(found), np.int64)


def best(
    model: PlacementModel, at_provider: Sequence[Fraction], in_room: Sequence[Fraction]
) -> tuple[int, Fraction] | None:
    """Return the rival of the highest value and that value, proved; None without any.

    The value of a candidate is that of its provider's presence at the start plus that of its
    room's: `at_provider` and `in_room` have one each for every candidate. Candidates that share a
    presence have the same value there.
    """
    assert not model.is_independent
    values: dict[int, tuple[cp_model.IntVar, Fraction]] = {}
    for (at, place), first, second in zip(model.implied, at_provider, in_room, strict=True):
        values[at.literal.index] = at.literal, first
        values[place.literal.index] = place.literal, second
    unit = lcm(*(value.denominator for _, value in values.values()))
    model.model.maximize(sum(int(value * unit) * literal for literal, value in values.values()))
    solver = _solver()
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE:
        return None
    if status != cp_model.OPTIMAL:
        raise SolveError(f"proving the best ended {solver.status_name(status)}")
    return _values(model, solver).index(True), Fraction(round(solver.objective_value), unit)


def _values(model: PlacementModel, solver: cp_model.CpSolver) -> list[bool]:
    values = solver.response_proto.solution
    return [bool(values[choice.index]) for choice in model.chosen]


def _solver() -> cp_model.CpSolver:
    """Return a solver set up for models this small, where preparing costs more than solving."""
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.catch_sigint_signal = False  # whoever runs the process handles signals
    parameters.num_workers = 1
    parameters.cp_model_presolve = False
    parameters.linearization_level = 0
    parameters.symmetry_level = 0
    parameters.cp_model_probing_level = 0
    return solver
