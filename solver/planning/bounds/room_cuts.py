"""Families of rooms: those that serve some types and no others, and how many are free when.

At one moment, the appointments whose types need rooms of a family are at most as many as the family
has free rooms (Hall's condition). That takes no choice of rooms, so it fits a linear relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.tables import Instance

_UNITED = 6
"""The most sets of rooms that are united to one family."""


class Families:
    """The families of rooms that some kinds need.

    Parameters
    ----------
    instance, kinds
        The problem and the kinds that are to be placed.
    taken
        Rooms and absolute busy spans of what stands.

    Attributes
    ----------
    holds
        [families, kinds] whether a kind is served by rooms of the family alone.
    free
        [families, minutes + 1] how many of the rooms are free, by absolute minute.
    before, after
        [kinds] minutes that any of its rooms is busy before a start, and after it.
    """

    def __init__(
        self, instance: Instance, kinds: Sequence[int], taken: Iterable[tuple[int, Span]]
    ) -> None:
        serving = {
            k: frozenset(np.flatnonzero(instance.kinds[k].room_free.any((1, 2))).tolist())
            for k in kinds
        }
        distinct = sorted(set(serving.values()), key=sorted)
        united: set[frozenset[int]] = set()
        for size in range(1, min(len(distinct), _UNITED) + 1):
            united |= {frozenset[int]().union(*some) for some in combinations(distinct, size)}
        families = sorted(united, key=sorted)
        self.holds: Bools = np.array(
            [
                [k in serving and serving[k] <= f for k in range(len(instance.kinds))]
                for f in families
            ],
            np.bool_,
        ).reshape(len(families), len(instance.kinds))
        minutes = len(instance.dates) * DAY_MINUTES
        steps = np.zeros((len(instance.rooms), minutes + 1), np.int64)
        for room, (start, end) in taken:
            if end > 0 and start < minutes:
                steps[room, max(0, start)] += 1
                steps[room, min(minutes, end)] -= 1
        is_busy = np.cumsum(steps, axis=1) > 0
        self.free: Ints = np.zeros((len(families), minutes + 1), np.int64)
        for f, family in enumerate(families):
            rooms = np.array(sorted(family), np.int64)
            self.free[f] = len(rooms) - is_busy[rooms].sum(axis=0)
        self.before: Ints = np.array([k.row.buffer_before for k in instance.kinds], np.int64)
        self.after: Ints = np.array(
            [
                int(kind.room_after[sorted(serving[k])].min()) if serving.get(k) else 0
                for k, kind in enumerate(instance.kinds)
            ],
            np.int64,
        )

    def __len__(self) -> int:
        return len(self.holds)
