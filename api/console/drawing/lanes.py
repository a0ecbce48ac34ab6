"""What a strip of the day shows, side by side where it overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from solver.clinic.entities import Booking, Span


class Shown(NamedTuple):
    """An appointment in a strip: the whole of it, or the time of somebody who is in a role."""

    booking: Booking
    span: Span
    role: str | None = None


def lanes_of(bookings: Sequence[Shown]) -> Iterator[tuple[Shown, int, int]]:
    """Yield each booking, the lane in which it is drawn, and how many lie side by side there."""
    group: list[tuple[Shown, int]] = []
    ends: list[int] = []
    for shown in bookings:
        start, last = shown.span
        if ends and start >= max(ends):
            yield from ((each, lane, len(ends)) for each, lane in group)
            group, ends = [], []
        free = [lane for lane, end in enumerate(ends) if end <= start]
        lane = free[0] if free else len(ends)
        if free:
            ends[lane] = last
        else:
            ends.append(last)
        group.append((shown, lane))
    yield from ((each, lane, len(ends)) for each, lane in group)
