"""Where rooms are free beside fixed bookings and other busy spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from solver.arrays import Bools
from solver.clinic.entities import DAY_MINUTES, Span
from solver.planning.instance.tables import Instance


def rooms_left(
    instance: Instance, days: Iterable[int], taken: Sequence[tuple[int, Span]]
) -> dict[tuple[int, int, int], Bools]:
    """[R, S] by type, variant and day: where a room is free of fixed bookings and of `taken`.

    `taken` are spans: rooms with absolute busy spans.
    """
    start, end = np.array([span for _, span in taken], np.int64).reshape(-1, 2).T
    rooms = np.array([room for room, _ in taken], np.int64)
    free = {}
    for day in days:
        midnight = day * DAY_MINUTES
        near = (end > midnight - DAY_MINUTES) & (start < midnight + 2 * DAY_MINUTES)
        for number, kind in enumerate(instance.kinds):
            for v, variant in enumerate(kind.variants):
                steps = np.zeros((len(instance.rooms), len(kind.starts) + 1), np.int64)
                first = start[near] - midnight - variant.room_after[rooms[near]]
                last = end[near] - midnight + variant.row.buffer_before
                first = np.searchsorted(kind.starts, first, "right")
                last = np.searchsorted(kind.starts, last, "left")
                np.add.at(steps, (rooms[near], first), 1)
                np.add.at(steps, (rooms[near], np.maximum(first, last)), -1)
                is_taken = np.cumsum(steps, axis=1)[:, :-1] > 0
                free[number, v, day] = variant.room_free[:, day] & ~is_taken
    return free
