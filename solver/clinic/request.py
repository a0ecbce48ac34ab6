"""What is asked of a slot query."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from solver.clinic.entities import DAY_MINUTES, Span, _require


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """A wish for one appointment on one date.

    `provider_ids`, `room_id` and `start` narrow what is asked for (unset: any). The preferred
    window counts in the score and hides nothing. `now` decides what is still bookable, unless the
    place `is_given` already: then its start may lie off the grid, and be near or past. The rules
    whose codes are in `override` do not keep one start that is judged from being taken.
    """

    appointment_type_id: str
    date: dt.date
    now: dt.datetime
    provider_ids: frozenset[str] | None = None
    room_id: str | None = None
    start: int | None = None
    preferred: Span | None = None
    is_given: bool = False
    override: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _require(self.now.tzinfo is not None, "now", "must carry a UTC offset")
        if self.preferred is not None:
            start, end = self.preferred
            _require(0 <= start < DAY_MINUTES, "preferred_start", "must be 00:00 to 23:59")
            _require(
                start < end <= DAY_MINUTES, "preferred_end", "must be later than preferred_start"
            )
