"""What equipment pools leave: the pieces of each that are not out, minute by minute."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.equipment.pools import greatest_within
from solver.planning.instance.tasks import Assignment, FixedBooking

if TYPE_CHECKING:
    from solver.planning.instance.tables import Instance
    from solver.planning.instance.type_table import TypeTable

FIRST = -DAY_MINUTES
"""The first absolute minute that is kept: the date before the horizon counts, too."""


class PoolsLeft:
    """The pieces left beside some bookings and assignments, in a horizon of `days` dates.

    Attributes
    ----------
    quantity
        [E, K] how many pieces of each pool that some type takes from each type takes.
    return_minutes
        [E] how long after its end an appointment still has them.
    left
        [E, M] how many are left (rule 10) at each absolute minute from :data:`FIRST` on; negative
        where more are out than there are.
    """

    def __init__(self, clinic: Clinic, days: int) -> None:
        pools = [clinic.pool_by_id[key] for key in clinic.quantities]
        types = clinic.appointment_types
        self.quantity: Ints = np.array(
            [[clinic.quantities[pool.id].get(row.id, 0) for row in types] for pool in pools],
            np.int64,
        ).reshape(len(pools), len(types))
        self.return_minutes: Ints = np.array([pool.return_minutes for pool in pools], np.int64)
        capacity = np.array([pool.capacity for pool in pools], np.int64)
        self.left: Ints = np.repeat(capacity[:, None], (days + 3) * DAY_MINUTES, axis=1)

    def after(
        self,
        instance: Instance,
        bookings: Iterable[FixedBooking],
        assignments: Iterable[Assignment] = (),
    ) -> PoolsLeft:
        """Return what is left when bookings and assignments have taken theirs, too."""
        if not len(self.left):
            return self
        other = copy(self)
        other.left = self.left.copy()
        for own in bookings:
            other.take(own.kind, own.appointment)
        for assignment in assignments:
            other.take(instance.tasks[assignment.task].kind, instance.appointment(assignment))
        return other

    def takes_from(self, kind: int) -> list[int]:
        """Return the pools that a type takes from."""
        found: list[int] = np.flatnonzero(self.quantity[:, kind]).tolist()
        return found

    def take(self, kind: int, appointment: Span) -> None:
        """Take the pieces of an appointment."""
        for pool in self.takes_from(kind):
            self.left[pool, self._out(pool, appointment)] -= self.quantity[pool, kind]

    def fits(self, kind: int, appointment: Span) -> bool:
        """Whether one more appointment of a type finds as many pieces as it takes."""
        return all(
            (self.left[pool, self._out(pool, appointment)] >= self.quantity[pool, kind]).all()
            for pool in self.takes_from(kind)
        )

    def free_at(self, kind: int, table: TypeTable) -> Bools:
        """[V, D, S] where one more appointment of a type does, by variant of the type."""
        _, days, starts = table.shape
        free = np.ones((len(table.variants), days, starts), np.bool_)
        at = np.arange(days)[:, None] * DAY_MINUTES + table.starts[None, :] - FIRST
        for v, variant in enumerate(table.variants):
            for pool in self.takes_from(kind):
                width = variant.row.duration_minutes + int(self.return_minutes[pool])
                fewest = -greatest_within(-self.left[pool], width)
                free[v] &= fewest[at] >= self.quantity[pool, kind]
        return free

    def _out(self, pool: int, appointment: Span) -> slice:
        """Return the minutes, as positions in `left`, for which an appointment has its pieces."""
        start, end = appointment[0], appointment[1] + int(self.return_minutes[pool])
        return slice(max(0, start - FIRST), max(0, end - FIRST))
