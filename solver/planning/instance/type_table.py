"""One appointment type's dense table over providers, dates and starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.arrays import Bools, Ints, Small
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Span
from solver.clinic.request import SlotRequest
from solver.planning.problem import Problem
from solver.rules import masks as masks_module
from solver.scoring.parts import room_surplus


@dataclass(frozen=True)
class TypeTable:
    """Where appointments of one type can be, beside the fixed bookings.

    Attributes
    ----------
    starts
        [S] the starts of the grid, in minutes of their date, in order.
    regular, allowed
        [P, D, S] where the masks pass a regular placement, and where an overbooking rule could
        allow one; both with some room that no fixed booking occupies.
    room_free
        [R, D, S] where no fixed booking occupies the room.
    opens, closes
        [P, D, S] the edges of the provider's window around the appointment, absolute.
    before, after, room_after
        [P], [P], [R] minutes from the busy span's begin to the start, and from the start to the
        end of the provider's and of the room's busy span.
    surplus
        [R] pieces of equipment in the room that the type does not need.
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

    @classmethod
    def of(cls, row: AppointmentType, days: Sequence[Day], problem: Problem) -> TypeTable:
        """Lay out a type on some dates, of which each has the same providers and rooms."""
        providers, rooms = days[0].providers, days[0].rooms
        by_day = [
            masks_module.build(day, SlotRequest(row.id, day.date, problem.now)) for day in days
        ]
        room_free = np.stack([m.room_free for m in by_day], axis=1)
        some_room = room_free.any(axis=0)
        regular = np.stack([m.regular for m in by_day], axis=1) & some_room
        allowed = np.stack([m.allowed for m in by_day], axis=1) & some_room
        starts = by_day[0].starts
        opens, closes = _window_edges(days, starts)
        length = row.duration_minutes
        after = [max(row.buffer_after, p.buffer_after) + length for p in providers]
        room_after = [max(row.buffer_after, r.turnover_minutes) + length for r in rooms]
        return cls(
            row=row,
            starts=starts,
            regular=regular,
            allowed=allowed & problem.allow_overbooking,
            room_free=room_free,
            opens=opens,
            closes=closes,
            before=np.array([max(row.buffer_before, p.buffer_before) for p in providers], np.int64),
            after=np.array(after, np.int64),
            room_after=np.array(room_after, np.int64),
            surplus=np.array([room_surplus(row, r) for r in rooms], np.int64),
        )

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

    def overlapping(self, appointment: Span) -> Bools:
        """[S] whether an appointment of the type overlaps another, in minutes of the date."""
        start, end = appointment
        return (self.starts < end) & (self.starts + self.row.duration_minutes > start)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Providers, dates, starts."""
        providers, days, starts = self.regular.shape
        return providers, days, starts


def _window_edges(days: Sequence[Day], starts: Ints) -> tuple[Small, Small]:
    """[P, D, S] where the provider's window around each start opens and closes; 0 outside one."""
    shape = len(days[0].providers), len(days), len(starts)
    opens, closes = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for d, day in enumerate(days):
        for p, windows in enumerate(day.provider_windows):
            for start, end in windows:
                within = slice(*np.searchsorted(starts, (start, end)).tolist())
                opens[p, d, within] = start + d * DAY_MINUTES
                closes[p, d, within] = end + d * DAY_MINUTES
    return opens, closes
