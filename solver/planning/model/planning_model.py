"""The scheduling rules over many tasks at once, as a CP-SAT model; its constructor lists them.

Variables are in :mod:`.variables`, the rules in :mod:`.constraints`, :mod:`.overbooking` and
:mod:`.displaced`, the objectives in :mod:`.objective`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from ortools.sat.python import cp_model

from solver.planning.instance.columns import Columns
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, no_room
from solver.planning.model.constraints import (
    each_placed_once,
    equipment_is_free,
    has_place_in_sessions,
    patient_in_one_place,
    provider_type_under_its_cap,
    regular_within_capacity,
    roles_are_filled,
    room_is_free,
    time_to_travel,
    type_under_its_cap,
)
from solver.planning.model.displaced import displaced_stay_within_the_rules
from solver.planning.model.gap_terms import Literal
from solver.planning.model.hint import hint
from solver.planning.model.objective import expression, score
from solver.planning.model.overbooking import overbooked_by_allowance
from solver.planning.model.solving import JobResult, SolveControl, watched
from solver.planning.model.variables import Variables
from solver.planning.problem import StageName

type Constraint = cp_model.BoundedLinearExpression | bool


class PlanningModel:
    """The rules over some columns of some tasks; all else is frozen.

    Parameters
    ----------
    instance
        The problem.
    columns
        What may be chosen. Columns that overlap what is frozen, or find no room, are dropped.
    free
        By task: how many of its members are to be placed; a booking among them may move or stay.
    frozen
        The other assignments of the plan, of other tasks or of other members. None is in the
        provider-days that `columns` has.
    rooms
        The most rooms to offer at each type and start; those of `incumbent` are offered, too.
    incumbent
        The assignments to start from.
    roomless
        Types whose rooms are not chosen here, for which the model is a relaxation: their
        placements come out with :func:`no_room`. Rooms that are not scarce make the linear
        relaxation many times larger and rule out next to nothing.
    """

    def __init__(
        self,
        instance: Instance,
        columns: Columns,
        free: Mapping[int, int],
        frozen: Sequence[Assignment] = (),
        *,
        rooms: int | None = None,
        incumbent: Sequence[Assignment] = (),
        roomless: Collection[int] = (),
    ) -> None:
        v = self._variables = Variables(
            instance,
            columns,
            free,
            frozen,
            rooms=rooms,
            incumbent=incumbent,
            roomless=roomless,
        )
        each_placed_once(v)
        room_is_free(v)
        equipment_is_free(v)
        type_under_its_cap(v)
        time_to_travel(v)
        roles_are_filled(v)
        provider_type_under_its_cap(v)
        has_place_in_sessions(v)
        regular_within_capacity(v)
        self._overbooked = overbooked_by_allowance(v)
        patient_in_one_place(v)
        displaced_stay_within_the_rules(v)

    # Objectives

    def expression(self, name: StageName) -> cp_model.LinearExpr:
        """Return what a stage before the score maximises; moves and minutes count as negative."""
        return expression(self._variables, name)

    def score(self, *, with_gap: bool = True, with_booked: bool = True) -> cp_model.LinearExpr:
        """Return the sum of scores, in score units; adds the literals that it needs.

        Of what is chosen, bookings that stay and, `with_booked`, those that are not freed; of what
        is frozen only gap terms that depend on what is chosen.
        """
        return score(self._variables, with_gap=with_gap, with_booked=with_booked)

    def placed(self) -> cp_model.LinearExpr:
        """Return how many columns are chosen."""
        return cp_model.LinearExpr.sum(self._variables.assign)

    @property
    def model(self) -> cp_model.CpModel:
        """The model itself, for solvers of others."""
        return self._variables.model

    def require(self, constraint: Constraint) -> None:
        """Add a linear constraint."""
        self._variables.model.add(constraint)

    # Solving

    def fix(self, assignments: Sequence[Assignment]) -> None:
        """Require these assignments; their rooms may change."""
        for literal in self._literals_of(assignments):
            self._variables.model.add(literal == 1)

    def kept(self, assignments: Sequence[Assignment]) -> cp_model.LinearExpr:
        """Return how many of these assignments are chosen, in whatever room."""
        return cp_model.LinearExpr.sum(self._literals_of(assignments))

    def _literals_of(self, assignments: Sequence[Assignment]) -> list[Literal]:
        v = self._variables
        keys = set(Columns.at(v.instance, assignments).keys)
        own = zip(v.assign, v.columns.keys, strict=True)
        stays = [
            v.keep_booking[assignment.task]
            for assignment in assignments
            if v.instance.is_stay(assignment)
        ]
        return [literal for literal, key in own if key in keys] + stays

    def keep_away(self, tasks: Iterable[int]) -> None:
        """Require of bookings that they do not stay, though they may move."""
        for i in tasks:
            if i in self._variables.keep_booking:
                self._variables.model.add(self._variables.keep_booking[i] == 0)

    def hint(self, assignments: Sequence[Assignment]) -> None:
        """Let the search start from assignments: every literal gets a value."""
        hint(self._variables, self._overbooked, assignments)

    def maximise(
        self,
        objective: cp_model.LinearExprT,
        *,
        time_limit: float,
        seed: int = 0,
        work_limit: float | None = None,
        control: SolveControl | None = None,
        for_bound: bool = False,
    ) -> JobResult:
        """Look for the assignments of the greatest `objective`.

        One worker with a strong linear relaxation. The same seed gives the same search, cut off
        at the same point when `work_limit`, in the solver's deterministic seconds, ends it. A
        search `for_bound` branches where the bound is highest (lower-bound tree search): it proves
        more where it is unlikely to end.
        """
        self._variables.model.maximize(objective)
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.catch_sigint_signal = False  # its handler ends a process that has threads
        parameters.num_workers = 1
        parameters.linearization_level = 2
        parameters.random_seed = seed
        parameters.optimize_with_lb_tree_search = for_bound
        parameters.cp_model_probing_level = 0
        parameters.symmetry_level = 0
        parameters.max_presolve_iterations = 1
        parameters.max_time_in_seconds = max(0.0, time_limit)
        if work_limit is not None:
            parameters.max_deterministic_time = work_limit
        status = watched(solver, self._variables.model, control)
        if status == cp_model.INFEASIBLE:
            return JobResult(None, is_proved=True, bound=-math.inf, size=self.size())
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return JobResult(None, is_proved=False, size=self.size())
        return JobResult(
            self.assignments(solver),
            is_proved=status == cp_model.OPTIMAL,
            bound=solver.best_objective_bound,
            size=self.size(),
        )

    def size(self) -> tuple[int, int]:
        """Return the numbers of variables and of constraints."""
        proto = self._variables.model.proto
        return len(proto.variables), len(proto.constraints)

    def assignments(self, solver: cp_model.CpSolver) -> list[Assignment]:
        """Read the assignments of a solution, the overbooked ones by their ordinals."""
        v = self._variables
        chosen = [c for c, x in enumerate(v.assign) if solver.boolean_value(x)]
        turn: dict[int, int] = {}
        for present in self._overbooked.values():
            for over in present:
                for n, u in enumerate(over.ordinals):
                    if solver.boolean_value(u):
                        rank = solver.value(over.rank[0]) if over.rank else n + 1
                        turn |= dict.fromkeys(over.columns, rank)
        is_in = {x.index: int(solver.boolean_value(x)) for x in v.roles.literals}
        rooms = {
            key: [v.room_of_choice[y] for y in ys if solver.boolean_value(v.room_choice[y])]
            for key, ys in v.choices_of_key.items()
        }
        chosen.sort(key=lambda c: (turn.get(c, 0), c))
        stays = [
            v.instance.stay(i)
            for i, literal in v.keep_booking.items()
            if v.instance.tasks[i].is_displaced and solver.boolean_value(literal)
        ]
        return stays + [
            Assignment(
                int(v.columns.task[c]),
                int(v.at.provider[c]),
                rooms[key].pop() if (key := int(v.room_key[c])) in rooms else _no_room(v, c),
                int(v.at.day[c]),
                int(v.at.start[c]),
                bool(v.columns.is_overbooked[c]),
                v.roles.team(c, is_in),
            )
            for c in chosen
        ]


def _no_room(v: Variables, column: int) -> int:
    """Return the room of a column that has none yet, which tells the place all the same."""
    kind = v.instance.kinds[int(v.at.kind[column])]
    post, _, _ = np.unravel_index(int(v.columns.position[column]), kind.shape)
    return no_room(int(post) // kind.providers)
