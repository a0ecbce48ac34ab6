"""Merging a repair into a plan that has changed meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from solver.clinic.spans import overlap
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment
from solver.planning.lns.neighbourhood import Neighbourhood
from solver.planning.model.two_step import assign_rooms

ROOMS_SECONDS = 0.5
"""What finding other rooms for a neighbourhood's answer may take."""


def merge(
    instance: Instance,
    assignments: Sequence[Assignment],
    neighbourhood: Neighbourhood,
    new: Sequence[Assignment],
) -> list[Assignment] | None:
    """Merge a repaired neighbourhood into the incumbent; None when it clashes with the rest.

    What stands outside the neighbourhood may have changed while the neighbourhood was being solved;
    then the answer is given other rooms, if it can be.
    """
    outside = [p for p in assignments if (p.provider, p.day) not in neighbourhood.provider_days]
    days = {day for _, day in neighbourhood.provider_days}
    by_room: dict[int, list[Assignment]] = defaultdict(list)
    by_patient: dict[str, list[Assignment]] = defaultdict(list)
    placed: dict[int, int] = defaultdict(int)
    of_kind: dict[tuple[int, int], int] = defaultdict(int)
    for assignment in outside:
        task = instance.tasks[assignment.task]
        placed[assignment.task] += 1
        of_kind[task.kind, assignment.day] += 1
        if any(abs(assignment.day - day) <= 1 for day in days):
            by_room[assignment.room].append(assignment)
            if task.patient is not None:
                by_patient[task.patient].append(assignment)
    standing: dict[tuple[int, int], int] = defaultdict(int)
    for s in instance.fixed:
        standing[s.kind, s.day] += 1
    left: dict[int, int] = defaultdict(int)
    for assignment in new:
        task = instance.tasks[assignment.task]
        left[assignment.task] += 1
        placed[assignment.task] += 1
        of_kind[task.kind, assignment.day] += 1
        cap = instance.kinds[task.kind].row.daily_cap
        if (
            placed[assignment.task] > len(task.members)
            or (
                cap is not None
                and of_kind[task.kind, assignment.day]
                > max(0, cap - standing[task.kind, assignment.day])
            )
            or (
                task.patient is not None
                and any(
                    overlap(instance.appointment(assignment), instance.appointment(o))
                    for o in by_patient[task.patient]
                )
            )
        ):
            return None
    if any(
        overlap(instance.room_busy(assignment), instance.room_busy(o))
        for assignment in new
        for o in by_room[assignment.room]
    ):
        found = assign_rooms(instance, new, left, outside, ROOMS_SECONDS)
        if found is None:
            return None
        new = found
    return [*outside, *new]
