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
from solver.rules.masks import Masks
from solver.rules.start_axis import in_rhythm
from solver.scoring.parts import preference_distance, room_surplus


@dataclass(frozen=True)
class Variant:
    """A type as some providers do it, for as long and with the same buffers.

    Attributes
    ----------
    row
        The type, with the duration and the buffers that it has at these providers.
    room_free
        [R, D, S] where no fixed booking occupies the room.
    room_after
        [R] minutes from the start to the end of the room's busy span.
    """

    row: AppointmentType
    room_free: Bools
    room_after: Ints


@dataclass(frozen=True)
class TypeTable:
    """Where appointments of one type can be, beside the fixed bookings.

    Attributes
    ----------
    row
        The type, as it is where no provider's row says otherwise.
    variants, variant_of
        The type as providers do it; [P] which of these is each provider's.
    starts
        [S] the starts of all providers on all dates, in minutes of their date, in order.
    regular, allowed
        [P, D, S] where the masks pass a regular placement, and where an overbooking rule could
        allow one; both with some room that no fixed booking occupies.
    opens, closes
        [P, D, S] the edges of the provider's window around the appointment, absolute.
    duration, before, after
        [P] minutes of the appointment; from the provider's busy span's begin to the start; and from
        the start to its end.
    surplus
        [R] pieces of equipment in the room that the type does not need.
    """

    row: AppointmentType
    variants: tuple[Variant, ...]
    variant_of: Ints
    starts: Ints
    regular: Bools
    allowed: Bools
    opens: Small
    closes: Small
    duration: Ints
    before: Ints
    after: Ints
    surplus: Ints

    @classmethod
    def of(
        cls, row: AppointmentType, days: Sequence[Day], behind: Sequence[Day], problem: Problem
    ) -> TypeTable:
        """Lay out a type on some dates, of which each has the same providers and rooms.

        What is packed starts right behind the bookings of the same dates in `behind` alone.
        """
        providers, rooms = days[0].providers, days[0].rooms
        requests = [
            SlotRequest(row.id, day.date, problem.now, sessions=problem.sessions) for day in days
        ]
        starts = _starts_of_all(row, behind, requests)
        asked = zip(days, requests, strict=True)
        by_day = [masks_module.build(day, request, starts) for day, request in asked]
        starts = by_day[0][0].starts
        shape = len(providers), len(days), len(starts)
        regular, allowed = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        variant_of = np.zeros(len(providers), np.int64)
        variants = []
        position = {provider.id: i for i, provider in enumerate(providers)}
        for number, parts in enumerate(zip(*by_day, strict=True)):
            kind = parts[0].kind
            here = [position[provider.id] for provider in parts[0].day.providers]
            room_free = np.stack([m.room_free for m in parts], axis=1)
            some_room = room_free.any(axis=0)
            may = some_room & _in_rhythm(parts, behind) if row.packed else some_room
            regular[here] = np.stack([m.regular for m in parts], axis=1) & may
            allowed[here] = np.stack([m.allowed for m in parts], axis=1) & may
            variant_of[here] = number
            turnover = np.array([r.turnover_minutes for r in rooms], np.int64)
            room_after = kind.duration_minutes + np.maximum(kind.buffer_after, turnover)
            variants.append(Variant(kind, room_free, room_after))
        opens, closes = _window_edges(days, starts)
        kinds = [variants[number].row for number in variant_of.tolist()]
        pairs = list(zip(kinds, providers, strict=True))
        duration = np.array([kind.duration_minutes for kind in kinds], np.int64)
        before = np.array([max(k.buffer_before, p.buffer_before) for k, p in pairs], np.int64)
        after = np.array([max(k.buffer_after, p.buffer_after) for k, p in pairs], np.int64)
        return cls(
            row=row,
            variants=tuple(variants),
            variant_of=variant_of,
            starts=starts,
            regular=regular,
            allowed=allowed & problem.allow_overbooking,
            opens=opens,
            closes=closes,
            duration=duration,
            before=before,
            after=duration + after,
            surplus=np.array([room_surplus(row, r) for r in rooms], np.int64),
        )

    def variant(self, provider: int) -> Variant:
        """Return the type as one provider does it."""
        return self.variants[int(self.variant_of[provider])]

    @cached_property
    def first_at(self) -> list[int]:
        """By minute of a date, its end included: the position of the first start from then on."""
        positions: list[int] = np.searchsorted(self.starts, np.arange(DAY_MINUTES + 1)).tolist()
        return positions

    @cached_property
    def room_before(self) -> Ints:
        """[P] minutes from the begin of the room's busy span to the start."""
        before = np.array([each.row.buffer_before for each in self.variants], np.int64)
        return before[self.variant_of]

    @cached_property
    def room_after(self) -> Ints:
        """[P, R] minutes from the start to the end of the room's busy span."""
        return np.stack([each.room_after for each in self.variants])[self.variant_of]

    @cached_property
    def serving_rooms(self) -> Bools:
        """[R] rooms that no fixed booking occupies at some start of some provider."""
        return np.stack([v.room_free.any(axis=(1, 2)) for v in self.variants]).any(axis=0)

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
        """[V, S] whether each variant of the type overlaps another, in minutes of the date."""
        start, end = appointment
        duration = np.array([each.row.duration_minutes for each in self.variants], np.int64)
        return (self.starts < end) & (self.starts + duration[:, None] > start)

    def away_from(self, preferred: Span | None) -> Ints:
        """[V, S] minutes from each start to those that a preferred window would have."""
        durations = [each.row.duration_minutes for each in self.variants]
        away = [preference_distance(preferred, minutes, self.starts) for minutes in durations]
        return np.stack(away)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Providers, dates, starts."""
        providers, days, starts = self.regular.shape
        return providers, days, starts


def _starts_of_all(
    row: AppointmentType, days: Sequence[Day], requests: Sequence[SlotRequest]
) -> Ints | None:
    """[S] the starts of all dates, and one if there is none; None where all dates have the same."""
    if not row.has_own_starts:
        return None
    asked = zip(days, requests, strict=True)
    starts = [masks_module.starts_of(day, request) for day, request in asked]
    return np.unique(np.concatenate(starts)) if any(map(len, starts)) else np.zeros(1, np.int64)


def _in_rhythm(parts: Sequence[Masks], behind: Sequence[Day]) -> Bools:
    """[p, D, S] where a part's providers may start the type, on the dates of `behind`."""
    ids = frozenset(provider.id for provider in parts[0].day.providers)
    days = zip(parts, behind, strict=True)
    return np.stack([in_rhythm(day.narrowed(ids), m.kind, m.starts) for m, day in days], axis=1)


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
