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
"""What finding other rooms for a block's answer may take."""


def merge(
    instance: Instance, puts: Sequence[Assignment], block: Neighbourhood, new: Sequence[Assignment]
) -> list[Assignment] | None:
    """Put a block's answer in the place of what was there; None when it clashes with the rest.

    What stands outside the block may have changed while the block was being solved; then the
    answer is given other rooms, if it can be.
    """
    outside = [p for p in puts if (p.provider, p.day) not in block.pairs]
    days = {day for _, day in block.pairs}
    by_room: dict[int, list[Assignment]] = defaultdict(list)
    by_patient: dict[str, list[Assignment]] = defaultdict(list)
    placed: dict[int, int] = defaultdict(int)
    of_kind: dict[tuple[int, int], int] = defaultdict(int)
    for put in outside:
        task = instance.tasks[put.task]
        placed[put.task] += 1
        of_kind[task.kind, put.day] += 1
        if any(abs(put.day - day) <= 1 for day in days):
            by_room[put.room].append(put)
            if task.patient is not None:
                by_patient[task.patient].append(put)
    standing: dict[tuple[int, int], int] = defaultdict(int)
    for s in instance.fixed:
        standing[s.kind, s.day] += 1
    left: dict[int, int] = defaultdict(int)
    for put in new:
        task = instance.tasks[put.task]
        left[put.task] += 1
        placed[put.task] += 1
        of_kind[task.kind, put.day] += 1
        cap = instance.kinds[task.kind].row.daily_cap
        if (
            placed[put.task] > len(task.members)
            or (
                cap is not None
                and of_kind[task.kind, put.day] > max(0, cap - standing[task.kind, put.day])
            )
            or (
                task.patient is not None
                and any(
                    overlap(instance.appointment(put), instance.appointment(o))
                    for o in by_patient[task.patient]
                )
            )
        ):
            return None
    if any(
        overlap(instance.room_busy(put), instance.room_busy(o))
        for put in new
        for o in by_room[put.room]
    ):
        found = assign_rooms(instance, new, left, outside, ROOMS_SECONDS)
        if found is None:
            return None
        new = found
    return [*outside, *new]
