"""What a plan's assignments reach in every stage, and an order in which they can be made."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from solver.clinic.entities import Span
from solver.clinic.spans import overlap
from solver.planning.instance.layout import roles_of
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Assignment, FixedBooking, Totals
from solver.scoring.parts import side_quarters


def evaluate(
    instance: Instance, assignments: Sequence[Assignment], *, with_score: bool = True
) -> Totals:
    """Return what the finished plan reaches in each stage; without its score, that is 0."""
    saved = priority = moved = distance = 0
    for assignment in assignments:
        task = instance.tasks[assignment.task]
        priority += task.priority
        saved += task.is_displaced
        moved += task.own is not None and not instance.is_stay(assignment)
        distance += instance.distance(assignment.task, assignment.day, assignment.start)
    score = _score(instance, assignments) if with_score else 0
    return Totals(saved, priority, -moved, -distance, score)


def _score(instance: Instance, assignments: Sequence[Assignment]) -> int:
    """Return the sum of scores, in score units, of assignments and of bookings that stay."""
    total = 0
    at_provider: dict[int, list[tuple[Span, Span | None, bool]]] = defaultdict(list)
    for own in instance.staying(assignments):
        if own.provider >= 0:
            at_provider[own.provider].append((own.busy, own.window, is_scored(instance, own)))
        for each in own.in_roles:
            at_provider[each.provider].append((each.busy, None, False))
        if is_scored(instance, own):
            total += booking_score(instance, own)
    for assignment in instance.made(assignments):
        score, busy, window = instance.alone(assignment)
        total += score
        at_provider[assignment.provider].append((busy, window, True))
        for each in roles_of(instance, assignment):
            at_provider[each.provider].append((each.busy, None, False))
    at_provider.pop(-1, None)
    for provider, spans in at_provider.items():
        total += instance.gap_quarter * gap_quarters(spans, int(instance.shortest[provider]))
    return total


def is_scored(instance: Instance, own: FixedBooking) -> bool:
    """Whether a booking's score counts: in the horizon, its provider and room in the clinic."""
    return 0 <= own.day < len(instance.dates) and own.provider >= 0 and own.room >= 0


def booking_score(instance: Instance, own: FixedBooking) -> int:
    """Return what a booking scores where it is but for its gap part, in score units."""
    score = instance.units(instance.problem.weights.preference)
    score += instance.room_parts[own.kind][own.room]
    return score + (0 if own.booking.is_overbooked else instance.regular_bonus)


def gap_quarters(spans: list[tuple[Span, Span | None, bool]], shortest: int) -> int:
    """Return the sum of the gap parts at one provider, in quarters.

    `spans` are busy spans, each with the window around it and whether its gap part counts. A span
    that overlaps another has none; idle time of less than `shortest` minutes is a fragment.
    """
    starts = sorted(span[0] for span, _, _ in spans)
    ends = sorted(span[1] for span, _, _ in spans)
    idle: list[int] = []
    for (start, end), window, counts in spans:
        if not counts or window is None:
            continue
        ended, begun = bisect_right(ends, start), bisect_left(starts, end)
        if begun - ended > 1:
            continue
        earlier = max(window[0], ends[ended - 1]) if ended else window[0]
        later = min(window[1], starts[begun]) if begun < len(starts) else window[1]
        idle += [start - earlier, later - end]
    return int(side_quarters(np.array(idle, np.int64), shortest).sum())


def _turn(instance: Instance, p: Assignment) -> int:
    """Return when an assignment is made, among moves or among placements: overbooked ones last."""
    task = instance.tasks[p.task]
    if p.is_overbooked:
        return 2
    sessions = instance.session_places
    return int(task.own is None and sessions.comes_late(task.kind, *p[1:5]))


def ordered(instance: Instance, assignments: Iterable[Assignment]) -> list[Assignment]:
    """Return assignments in an order in which they can be made, each called what it is then.

    Bookings that stay come first, then moves, then placements; among these regular ones before
    overbooked ones, which keep their order; regular ones that others have to come before, by the
    limit of a session, are the last of these. A placement marked overbooked that turns out to
    overlap nothing at its turn, under the cap, is relabelled regular and goes before the overbooked
    ones; as it overlaps none of those made before it, that invalidates none of them.
    """
    assignments = list(assignments)
    staying = instance.staying(assignments)
    capacity = instance.capacity.after(staying[len(instance.fixed) :])
    spans: dict[int, list[Span]] = defaultdict(list)
    for own in staying:
        for each in own.presences:
            spans[each.provider].append(each.busy)

    def is_regular(assignment: Assignment) -> bool:
        busy, kind = instance.busy(assignment), instance.tasks[assignment.task].kind
        takes = capacity.takes_regular(kind)[assignment.provider, assignment.day]
        return bool(takes) and not any(overlap(busy, other) for other in spans[assignment.provider])

    order = [assignment for assignment in assignments if instance.is_stay(assignment)]
    made = instance.made(assignments)
    for is_move in (True, False):
        phase = [p for p in made if (instance.tasks[p.task].own is not None) == is_move]
        overbooked: list[Assignment] = []
        for asked in sorted(phase, key=lambda p: _turn(instance, p)):
            is_last = asked.is_overbooked and not (is_move or is_regular(asked))
            assignment = asked if is_move else asked._replace(is_overbooked=is_last)
            (overbooked if is_last else order).append(assignment)
            spans[assignment.provider].append(instance.busy(assignment))
            for each in roles_of(instance, assignment):
                spans[each.provider].append(each.busy)
            capacity.take(
                instance.tasks[assignment.task].kind,
                assignment.provider,
                assignment.day,
                is_overbooked=assignment.is_overbooked,
            )
        order += overbooked
    return order
