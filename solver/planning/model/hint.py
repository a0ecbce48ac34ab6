"""A hint for the planning model that gives every literal a value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from solver.planning.instance.columns import Columns
from solver.planning.instance.tasks import Assignment
from solver.planning.model.gap_terms import Values
from solver.planning.model.overbooking import OverbookedByDay
from solver.planning.model.variables import Variables


def hint(v: Variables, overbooked: OverbookedByDay, assignments: Sequence[Assignment]) -> None:
    """Let the search start from assignments, as far as the model contains them."""
    values: Values = {}
    instance = v.instance
    where = {key: c for c, key in enumerate(v.columns.keys)}
    for literal in (*v.assign, *v.room_choice, *v.keep_booking.values(), *v.roles.literals):
        values[literal.index] = 0
    stays = {assignment.task for assignment in assignments if instance.is_stay(assignment)}
    assignments = instance.made(assignments)
    moved = {assignment.task for assignment in assignments}
    for i, literal in v.keep_booking.items():
        is_default = instance.tasks[i].stays_if_not_moved and i not in moved
        values[literal.index] = int(i in stays or is_default)
    order: dict[tuple[int, int, bool], int] = defaultdict(int)
    overs = {c: o for present in overbooked.values() for o in present for c in o.columns}
    for over in overs.values():
        values |= {u.index: 0 for u in over.ordinals}
        values |= {rank.index: 1 for rank in over.rank}
    turns = 0
    for assignment, key in zip(assignments, Columns.at(instance, assignments).keys, strict=True):
        c = where.get(key)
        if c is None:
            continue
        values[v.assign[c].index] = 1
        for y in v.choices_of_key.get(int(v.room_key[c]), ()):
            if v.room_of_choice[y] == assignment.room:
                values[v.room_choice[y].index] = 1
        if c in v.roles.group_of_column:
            v.roles.hint(c, assignment.team, values)
        if c in overs:
            turns += 1
            values |= {rank.index: turns for rank in overs[c].rank}
            turn = (assignment.provider, assignment.day, overs[c].is_move)
            if order[turn] < len(overs[c].ordinals):
                values[overs[c].ordinals[order[turn]].index] = 1
            order[turn] += 1
    for literal, follows in v.derived:
        values[literal.index] = int(follows(values))
    hint = v.model.proto.solution_hint
    hint.vars.clear()
    hint.values.clear()
    hint.vars.extend(values.keys())
    hint.values.extend(values.values())
