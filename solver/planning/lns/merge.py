"""Merging a repair into a plan that has changed meanwhile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from solver.clinic.spans import overlap
from solver.planning.instance.layout import presences
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, InRole
from solver.planning.lns.neighbourhood import Neighbourhood
from solver.planning.model.roles import clash
from solver.planning.model.two_step import assign_rooms


def patient_is_elsewhere(instance: Instance, one: Assignment, other: Assignment) -> bool:
    """Whether two appointments of a patient overlap, or there is no time for the way on a date."""
    span, other_span = instance.appointment(one), instance.appointment(other)
    if one.day != other.day:
        return overlap(span, other_span)
    apart = (instance.place(one), span), (instance.place(other), other_span)
    return overlap(span, other_span) or not instance.places.are_apart(*apart)


def merge(
    instance: Instance,
    assignments: Sequence[Assignment],
    neighbourhood: Neighbourhood,
    new: Sequence[Assignment],
    *,
    rooms_seconds: float = 0.5,
) -> list[Assignment] | None:
    """Merge a repaired neighbourhood into the incumbent; None when the two clash.

    The incumbent may have changed outside the neighbourhood while that was being repaired. They
    clash where a task has more assignments than members, a type's cap or a session's limit is
    exceeded, equipment is lacking, or a patient, or somebody in a role, is in two places. For rooms
    others are looked for.

    Parameters
    ----------
    assignments
        The incumbent.
    new
        The repair: all that is in the neighbourhood's provider-days from now on.
    rooms_seconds
        What looking for other rooms may take.
    """
    frozen = [p for p in assignments if (p.provider, p.day) not in neighbourhood.provider_days]
    days = {day for _, day in neighbourhood.provider_days}
    by_room: dict[int, list[Assignment]] = defaultdict(list)
    by_patient: dict[str, list[Assignment]] = defaultdict(list)
    placed = Counter(assignment.task for assignment in frozen)
    type_left, sessions = instance.capacity.type_left.copy(), instance.capacity.sessions.after(())
    for assignment in frozen:
        task = instance.tasks[assignment.task]
        type_left[task.kind, assignment.day] -= 1
        sessions.take_unless_late(task, assignment)
        if any(abs(assignment.day - day) <= 1 for day in days):
            by_room[assignment.room].append(assignment)
            if task.patient is not None:
                by_patient[task.patient].append(assignment)
    for assignment in new:
        task = instance.tasks[assignment.task]
        placed[assignment.task] += 1
        type_left[task.kind, assignment.day] -= 1
        if placed[assignment.task] > len(task.members) or type_left[task.kind, assignment.day] < 0:
            return None
        sessions.take_unless_late(task, assignment)
        if sessions.is_over_for(task, assignment):
            return None
        others = () if task.patient is None else by_patient[task.patient]
        if any(patient_is_elsewhere(instance, assignment, other) for other in others):
            return None
    if not _is_equipment_left(instance, frozen, new) or _is_engaged(instance, frozen, new):
        return None
    if any(
        overlap(instance.room_busy(assignment), instance.room_busy(other))
        for assignment in new
        for other in by_room[assignment.room]
    ):
        found = assign_rooms(instance, new, Counter(p.task for p in new), frozen, rooms_seconds)
        return None if found is None else [*frozen, *found]
    return [*frozen, *new]


def _is_engaged(
    instance: Instance, frozen: Sequence[Assignment], new: Sequence[Assignment]
) -> bool:
    """Whether somebody is in a role of one assignment and busy with another."""
    if not instance.clinic.has_roles:
        return False
    engaged: dict[int, list[tuple[InRole, bool]]] = defaultdict(list)
    for assignment in frozen:
        for n, each in enumerate(presences(instance, assignment)):
            engaged[each.provider].append((each, n > 0))
    return any(
        (n or is_in_role) and clash(each, other, instance.places)
        for assignment in new
        for n, each in enumerate(presences(instance, assignment))
        for other, is_in_role in engaged[each.provider]
    )


def _is_equipment_left(
    instance: Instance, frozen: Sequence[Assignment], new: Sequence[Assignment]
) -> bool:
    """Whether no more of an equipment pool is out than there is."""
    pools = instance.pools.after(instance, (), frozen)
    for assignment in new:
        kind, appointment = instance.tasks[assignment.task].kind, instance.appointment(assignment)
        if not pools.fits(kind, appointment):
            return False
        pools.take(kind, appointment)
    return True
