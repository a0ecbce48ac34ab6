"""What is to be placed, where it is placed, and what stands already; positions, not ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from solver.clinic.entities import Booking, Span


class Assignment(NamedTuple):
    """A task placed; positions, not ids. `start` counts from the midnight of its day."""

    task: int
    provider: int
    room: int
    day: int
    start: int
    is_overbooked: bool


class FixedBooking(NamedTuple):
    """A booking that stands (or stood) somewhere; positions are -1 for rows that are not there.

    Spans and `at`, its start, are absolute minutes; `window` is the provider's open window around
    it, if there is one.
    """

    booking: Booking
    kind: int
    provider: int
    room: int
    day: int
    at: int
    busy: Span
    room_busy: Span
    window: Span | None


@dataclass(frozen=True, slots=True)
class Task:
    """Requests that are alike, or one booking that may move.

    `members` are the ids that the task stands for; a booking's task has one and priority 0.
    `provider` is -1 when any will do; `own` is where a booking stood. A displaced booking that
    `could_stay` may do so where it breaks no rule beside what else stays. One that `is_left`
    breaks a rule, and may go on to do so.
    """

    kind: int
    members: tuple[str, ...]
    priority: int
    days: tuple[int, ...]
    provider: int
    preferred: Span | None
    patient: str | None
    own: FixedBooking | None = None
    is_displaced: bool = False
    could_stay: bool = False
    is_left: bool = False

    @property
    def stays_if_not_moved(self) -> bool:
        """Whether it is a booking that keeps its place when it is not moved."""
        return self.own is not None and not self.is_displaced


class Totals(NamedTuple):
    """What a plan is worth, the earlier the weightier; moves and minutes count as negative."""

    saved: int
    priority: int
    moved: int
    distance: int
    score: int
