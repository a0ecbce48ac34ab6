"""Equipment that moves: pools of alike pieces, and how much of one is out at which minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from solver.arrays import Ints
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.equipment.needs import MAX_QUANTITY
from solver.clinic.grammar.sentences import RowFault, minutes_within, require_sound


def _has_a_quantity(row: Any) -> Iterator[RowFault]:
    if not 0 <= row.quantity <= MAX_QUANTITY:
        yield RowFault("quantity", f"must be 0 to {MAX_QUANTITY}, not {row.quantity}")


@dataclass(frozen=True, slots=True)
class EquipmentPool:
    """Alike pieces of equipment that are brought to where they are needed.

    What an appointment takes is out from its start until `return_minutes` after its end. A pool
    that is at a location serves its rooms alone.
    """

    id: str
    name: str
    quantity: int
    return_minutes: int = 0
    active: bool = True
    location_id: str | None = None

    GRAMMAR = (
        _has_a_quantity,
        minutes_within("return_minutes", 0, DAY_MINUTES),
    )

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    @property
    def capacity(self) -> int:
        """How many pieces may be out at once: of an inactive pool none."""
        return self.quantity if self.active else 0

    def capacity_at(self, location_id: str | None) -> int:
        """Return how many of them may be out at once for a room of a location, or of none."""
        return self.capacity if self.location_id in (None, location_id) else 0

    def out(self, start: int, end: int) -> Span:
        """Return for how long an appointment from `start` to `end` has what it takes."""
        return start, end + self.return_minutes


def concurrent(begin: Ints, end: Ints, quantity: Ints, minutes: int) -> Ints:
    """[minutes] how many pieces are out at each minute from 0 on.

    `begin`, `end` and `quantity`, each of shape [n], are the spans for which so many are; they may
    reach beyond both ends. Quantities are written as steps and summed up (a difference array).
    """
    steps = np.zeros(minutes + 1, np.int64)
    np.add.at(steps, np.clip(begin, 0, minutes), quantity)
    np.subtract.at(steps, np.clip(end, 0, minutes), quantity)
    return np.cumsum(steps)[:minutes]


def greatest_within(values: Ints, width: int) -> Ints:
    """[..., n - width + 1] the greatest of each `width` consecutive ones of values, [..., n].

    The reach is doubled until it is wide enough (a sparse table, of which one row is kept).
    """
    reach, greatest = 1, values
    while 2 * reach <= width:
        greatest = np.maximum(greatest[..., :-reach], greatest[..., reach:])
        reach *= 2
    rest = width - reach
    return greatest if not rest else np.maximum(greatest[..., :-rest], greatest[..., rest:])
