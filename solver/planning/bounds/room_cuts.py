"""Room cuts: at one moment, no more appointments than a set of rooms has free ones.

For a set of rooms and the types whose rooms all lie in it: at every moment, the placements of those
types that keep a room busy are at most the rooms of the set that are free (Hall's condition). That
takes no choice of rooms, so it fits a linear relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.tables import Instance

MOST_UNITED = 6
"""Unions of at most so many types' sets of rooms have cuts."""


class RoomSets:
    """The sets of rooms for which there are cuts: the unions of types' rooms.

    Parameters
    ----------
    instance, kinds
        The problem, and the types that are to be placed.
    taken
        Rooms and absolute busy spans of bookings and placements that are fixed.
    most_united
        See :data:`MOST_UNITED`.

    Attributes
    ----------
    serves
        [sets, types] whether all rooms of a type lie in the set.
    free
        [sets, minutes + 1] how many of its rooms are free, by absolute minute.
    before, after
        [types] minutes before a start, and after it, in which the room is busy, whichever it is and
        whoever the provider.
    """

    def __init__(
        self,
        instance: Instance,
        kinds: Sequence[int],
        taken: Iterable[tuple[int, Span]],
        most_united: int = MOST_UNITED,
    ) -> None:
        rooms_of = {
            k: frozenset(np.flatnonzero(instance.kinds[k].serving_rooms).tolist()) for k in kinds
        }
        distinct = sorted(set(rooms_of.values()), key=sorted)
        united: set[frozenset[int]] = set()
        for size in range(1, min(len(distinct), most_united) + 1):
            united |= {frozenset[int]().union(*some) for some in combinations(distinct, size)}
        sets = sorted(united, key=sorted)
        self.serves: Bools = np.array(
            [
                [k in rooms_of and rooms_of[k] <= rooms for k in range(len(instance.kinds))]
                for rooms in sets
            ],
            np.bool_,
        ).reshape(len(sets), len(instance.kinds))
        minutes = len(instance.dates) * DAY_MINUTES
        steps = np.zeros((len(instance.rooms), minutes + 1), np.int64)
        for room, (start, end) in taken:
            if end > 0 and start < minutes:
                steps[room, max(0, start)] += 1
                steps[room, min(minutes, end)] -= 1
        is_busy = np.cumsum(steps, axis=1) > 0
        self.free: Ints = np.zeros((len(sets), minutes + 1), np.int64)
        for number, rooms in enumerate(sets):
            self.free[number] = len(rooms) - is_busy[sorted(rooms)].sum(axis=0)
        self.before: Ints = np.array(
            [min(v.row.buffer_before for v in k.variants) for k in instance.kinds], np.int64
        )
        self.after: Ints = np.array(
            [
                min(int(v.room_after[sorted(rooms_of[k])].min()) for v in kind.variants)
                if rooms_of.get(k)
                else 0
                for k, kind in enumerate(instance.kinds)
            ],
            np.int64,
        )

    def __len__(self) -> int:
        return len(self.serves)
