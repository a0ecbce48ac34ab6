"""Bounds that need no solver: what the tasks alone and the caps allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import numpy as np

from solver.planning.instance.evaluation import is_scored
from solver.planning.instance.stay_feasibility import Beside, collide
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import Totals
from solver.rules.codes import TYPE_DAILY_CAP


def easy_bounds(instance: Instance) -> Totals:
    """Return upper bounds on what any plan reaches, stage by stage.

    Each booking and each task that has somewhere to be is taken to score as much as one alone can.
    """
    tasks = instance.tasks
    able = {
        i
        for i, task in enumerate(tasks)
        if task.could_stay or task.stays_if_not_moved or instance.options(i)
    }
    best = instance.regular_bonus + 4 * instance.gap_quarter
    best += instance.units(instance.problem.weights.preference)
    scored = [own for own in instance.fixed if is_scored(instance, own)]
    score = sum(best + instance.room_parts[own.kind][own.room] for own in scored)
    for i in able:
        parts = instance.room_parts[tasks[i].kind]
        room = max(parts) if instance.options(i) else parts[instance.own(i).room]
        score += len(tasks[i].members) * (best + room)
    return Totals(
        saved=sum(tasks[i].is_displaced for i in able) - _lost_to_caps(instance, able),
        priority=sum(tasks[i].priority * len(tasks[i].members) for i in able),
        moved=0,
        distance=0,
        score=score,
    )


def _lost_to_caps(instance: Instance, able: Collection[int]) -> int:
    """Return a lower bound on the displaced bookings among `able` that are lost to types' caps.

    Per type: its bookings, but for those that may go on to break a rule or override the cap, less
    the places that its cap leaves on all dates together; at most its displaced bookings, as no
    others are lost.
    """
    lost = 0
    for number in np.flatnonzero(instance.capacity.has_type_cap).tolist():
        kind = instance.kinds[number]
        tasks = [t for i, t in enumerate(instance.tasks) if t.kind == number and i in able]
        bookings = sum(
            t.own is not None and not t.is_left and TYPE_DAILY_CAP not in t.own.booking.overrides
            for t in tasks
        )
        displaced = sum(t.is_displaced for t in tasks)
        days = (kind.regular | kind.allowed).any(axis=(0, 2))
        days[[t.own.day for t in tasks if t.own and (t.could_stay or not t.is_displaced)]] = True
        places = int(np.maximum(0, instance.capacity.type_left_to_stay[number, days]).sum())
        lost += min(displaced, max(0, bookings - places))
    return lost


def least_to_leave(instance: Instance) -> int:
    """Return a lower bound on the displaced bookings that cannot stay: each moves or is lost.

    Those that could not stay even alone; of disjoint sets, as many as are over a cap; and one of
    each of some disjoint pairs that collide.
    """
    contested = [i for i, task in enumerate(instance.tasks) if task.could_stay]
    contested.sort(key=lambda i: (instance.own(i).at, i))
    own = {i: instance.own(i) for i in contested}
    least = sum(task.is_displaced and not task.could_stay for task in instance.tasks)
    free = set(contested)
    beside, ways = Beside(instance, instance.fixed), instance.places
    under: dict[object, tuple[int, list[int]]] = {}
    for i in contested:
        for cap, places in beside.places_under_caps(own[i]):
            under.setdefault(cap, (places, []))[1].append(i)
    for places, members in under.values():
        unused = [i for i in members if i in free]
        if len(unused) > places:
            least += len(unused) - places
            free.difference_update(unused)
    where: dict[object, list[int]] = defaultdict(list)
    for i in contested:
        if i in free:
            where["room", own[i].room].append(i)
            for each in own[i].presences:
                where["provider", each.provider].append(i)
    for i in contested:
        others = list(where["room", own[i].room])
        for each in own[i].presences:
            others += where["provider", each.provider]
        rivals = (j for j in others if j != i and j in free and collide(own[i], own[j], ways))
        if i in free and (rival := next(rivals, None)) is not None:
            least += 1
            free -= {i, rival}
    return least
