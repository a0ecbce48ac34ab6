"""The plan, by ids, that assignments make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from solver.clinic.teams.roles import Member, Team
from solver.planning.instance.evaluation import evaluate, ordered
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, Totals
from solver.planning.problem import Placement, Plan, PlanStatus, Stage, StageName


def to_plan(
    instance: Instance,
    assignments: Iterable[Assignment],
    *,
    status: PlanStatus,
    bounds: Totals,
    seconds: float,
    size: tuple[int, int] = (0, 0),
) -> Plan:
    """Return the plan of these assignments.

    Parameters
    ----------
    bounds
        What is proved of each stage, in the terms of :class:`Totals`.
    size
        The variables and constraints of the largest model solved.
    """
    order = ordered(instance, assignments)
    moves, placements = _placements(instance, order)
    totals = evaluate(instance, order)
    assigned = {assignment.task for assignment in order}
    return Plan(
        status=status,
        moves=tuple(moves),
        placements=tuple(placements),
        lost=tuple(
            task.members[0]
            for i, task in enumerate(instance.tasks)
            if task.is_displaced and i not in assigned
        ),
        stages=tuple(_stage(instance, name, totals, bounds) for name in stages(instance)),
        seconds=seconds,
        variables=size[0],
        constraints=size[1],
    )


def stages(instance: Instance) -> tuple[StageName, ...]:
    """Return the stages of the objective, in their order.

    Nothing moves where no booking may, and none is saved where none is displaced.
    """
    if all(task.own is None for task in instance.tasks):
        return ("priority", "score")
    if any(task.is_displaced for task in instance.tasks):
        return ("saved", "priority", "moved", "distance", "score")
    return ("priority", "moved", "distance", "score")


def _stage(instance: Instance, name: StageName, totals: Totals, bounds: Totals) -> Stage:
    unit = instance.unit if name == "score" else 1
    sign = -1 if name in {"moved", "distance"} else 1
    value, bound = sign * getattr(totals, name), sign * getattr(bounds, name)
    return Stage(name, Fraction(value, unit), Fraction(bound, unit))


def _placements(
    instance: Instance, order: Sequence[Assignment]
) -> tuple[list[Placement], list[Placement]]:
    """Return the moves and the placements, each by the next id of its task."""
    members = [iter(task.members) for task in instance.tasks]
    moves: list[Placement] = []
    placements: list[Placement] = []
    for assignment in instance.made(order):
        placement = Placement(
            next(members[assignment.task]),
            instance.providers[assignment.provider].id,
            instance.rooms[assignment.room].id,
            instance.dates[assignment.day],
            assignment.start,
            assignment.is_overbooked,
            _team(instance, assignment),
        )
        (placements if instance.tasks[assignment.task].own is None else moves).append(placement)
    return moves, placements


def _team(instance: Instance, assignment: Assignment) -> Team:
    roles = instance.table(assignment).row.roles
    return tuple(
        Member(role.key, instance.providers[member].id)
        for role, member in zip(roles, assignment.team, strict=True)
    )
