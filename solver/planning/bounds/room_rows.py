"""Room cuts at every step of the grid, as relaxed rows of the Lagrangian bound of the score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solver.arrays import Floats, Ints
from solver.clinic.entities import DAY_MINUTES
from solver.planning.bounds.room_cuts import RoomSets
from solver.planning.instance.columns import grouped
from solver.planning.instance.tables import Instance


class RoomRows:
    """A row for each set of rooms that could run short, date and step of the grid.

    Attributes
    ----------
    limits
        [sets × days × steps] how many rooms of the set are free.
    scale
        The grid's minutes as a share of the longest appointment's: a placement pays the multipliers
        of all steps that it takes, so each moves by so much less than others do.
    """

    def __init__(self, instance: Instance, kinds: Sequence[int]) -> None:
        days = len(instance.dates)
        taken = [(s.room, s.room_busy) for s in instance.fixed if s.room >= 0]
        sets = RoomSets(instance, kinds, taken)
        grid = instance.clinic.settings.grid_minutes
        free = sets.free[:, :-1].reshape(len(sets), days, DAY_MINUTES)[:, :, ::grid]
        providers = np.array([k.regular_anywhere.any(axis=(1, 2)) for k in instance.kinds])
        asking = [int(providers[served].any(axis=0).sum()) for served in sets.serves]
        is_scarce = free.min(axis=(1, 2), initial=0) < np.array(asking, np.int64)
        self._serves = sets.serves[is_scarce]
        self._shape = free[is_scarce].shape
        self.limits = np.maximum(0, free[is_scarce]).ravel()
        durations = [k.row.duration_minutes for k in instance.kinds]
        self.scale = grid / max(durations, default=grid)
        steps = free.shape[2]
        self._from, self._to = [], []
        for k, kind in enumerate(instance.kinds):
            begins = -((sets.before[k] - kind.starts) // grid)
            ends = -((-kind.starts - sets.after[k]) // grid)
            self._from.append(np.clip(begins, 0, steps))
            self._to.append(np.clip(ends, 0, steps))

    def costs(self, multipliers: Floats) -> list[Floats]:
        """By type: [S, D] the multipliers of the rows that a start is in, added up."""
        along = np.zeros((*self._shape[:2], self._shape[2] + 1))
        np.cumsum(multipliers.reshape(self._shape), axis=2, out=along[:, :, 1:])
        return [
            (along[served][:, :, to] - along[served][:, :, from_]).sum(axis=0).T
            for served, from_, to in zip(self._serves.T, self._from, self._to, strict=True)
        ]

    def use(self, kind: Ints, day: Ints, start: Ints, times: Floats) -> Floats:
        """[sets × days × steps] how many rooms are used when each start, [n], is made `times`."""
        steps = np.zeros((len(self._from), self._shape[1], self._shape[2] + 1))
        for k, of_kind in grouped(kind):
            at, starts = day[of_kind], start[of_kind]
            np.add.at(steps[k], (at, self._from[k][starts]), times[of_kind])
            np.add.at(steps[k], (at, self._to[k][starts]), -times[of_kind])
        use = np.cumsum(steps, axis=2)[:, :, :-1]
        return np.tensordot(self._serves.astype(np.float64), use, axes=1).ravel()
