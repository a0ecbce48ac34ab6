"""One appointment type's dense table over providers, dates and starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.arrays import Bools, Ints, Small
from solver.clinic.entities import DAY_MINUTES, AppointmentType


@dataclass(frozen=True)
class TypeTable:
    """One appointment type's table.

    Attributes
    ----------
    regular, allowed
        [P, D, S] where the masks pass a regular placement, and where an overbooking rule could
        allow one, with some room that is not taken for good.
    room_free
        [R, D, S] where the room is not taken for good.
    opens, closes
        [P, D, S] the edges of the provider's window around the appointment, absolute.
    before, after, room_after
        [P], [P], [R] minutes that a busy span has more than the appointment.
    """

    row: AppointmentType
    starts: Ints
    regular: Bools
    allowed: Bools
    room_free: Bools
    opens: Small
    closes: Small
    before: Ints
    after: Ints
    room_after: Ints
    surplus: Ints

    @cached_property
    def busy_start(self) -> Small:
        """[P, D, S] where the provider busy span starts, absolute."""
        return (self._at - self.before[:, None, None]).astype(np.int32)

    @cached_property
    def busy_end(self) -> Small:
        """[P, D, S] where the provider busy span ends, absolute."""
        return (self._at + self.after[:, None, None]).astype(np.int32)

    @property
    def _at(self) -> Ints:
        """[1, D, S] the starts, absolute."""
        midnights = np.arange(self.shape[1]) * DAY_MINUTES
        return (midnights[:, None] + self.starts[None, :])[None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Providers, dates, starts."""
        providers, days, starts = self.regular.shape
        return providers, days, starts
