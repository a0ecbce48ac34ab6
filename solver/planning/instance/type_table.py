"""One appointment type's dense table over providers, dates and starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.arrays import Bools, Ints, Small
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Span
from solver.clinic.places import NOWHERE, Places
from solver.clinic.request import SlotRequest
from solver.planning.problem import Problem
from solver.rules import masks as masks_module
from solver.rules.masks import Masks
from solver.rules.start_axis import in_rhythm
from solver.scoring.parts import preference_distance, room_surplus


@dataclass(frozen=True)
class Variant:
    """A type as some providers do it at one place, for as long and with the same buffers.

    Attributes
    ----------
    row
        The type, with the duration and the buffers that it has at these providers.
    place
        Where its rooms are, an index into the clinic's locations, or :data:`NOWHERE`.
    room_free
        [R, D, S] where the room is at this place and no fixed booking occupies it.
    room_after
        [R] minutes from the start to the end of the room's busy span.
    able
        [roles, P, D, S] who is able to be in a role beside the fixed bookings.
    """

    row: AppointmentType
    place: int
    room_free: Bools
    room_after: Ints
    able: Bools


@dataclass(frozen=True)
class TypeTable:
    """Where appointments of one type can be, beside the fixed bookings.

    A *post* is a provider at a place, for all rooms there: post n is provider n % P at place n // P
    of those at which the clinic has rooms. Where that is one place, posts are providers.

    Attributes
    ----------
    row
        The type, as it is where no provider's row says otherwise.
    providers
        P.
    variants, variant_of
        The type as providers do it; [posts] which of these is each post's.
    starts
        [S] the starts of all providers on all dates, in minutes of their date, in order.
    regular, allowed
        [posts, D, S] where the masks pass a regular placement, and where an overbooking rule could
        allow one; both with some room that no fixed booking occupies.
    opens, closes
        [posts, D, S] the edges of the provider's window around the appointment, absolute.
    duration, before, after
        [P] minutes of the appointment; from the provider's busy span's begin to the start; and from
        the start to its end.
    surplus
        [R] pieces of equipment in the room that the type does not need.
    """

    row: AppointmentType
    providers: int
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
        places = list(dict.fromkeys(masks.day.place for masks in by_day[0]))
        shape = len(places) * len(providers), len(days), len(starts)
        regular, allowed = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        opens, closes = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        variant_of = np.zeros(shape[0], np.int64)
        variants = []
        position = {provider.id: i for i, provider in enumerate(providers)}
        room_at = {room.id: i for i, room in enumerate(rooms)}
        for number, parts in enumerate(zip(*by_day, strict=True)):
            kind, place = parts[0].kind, parts[0].day.place
            first = places.index(place) * len(providers)
            here = [first + position[provider.id] for provider in parts[0].day.providers]
            room_free = np.zeros((len(rooms), *shape[1:]), np.bool_)
            in_rooms = [room_at[room.id] for room in parts[0].day.rooms]
            room_free[in_rooms] = np.stack([m.room_free for m in parts], axis=1)
            opens[here], closes[here] = _window_edges([m.day for m in parts], starts)
            some_room = room_free.any(axis=0)
            may = some_room & _in_rhythm(parts, behind) if row.packed else some_room
            regular[here] = np.stack([m.regular for m in parts], axis=1) & may
            allowed[here] = np.stack([m.allowed for m in parts], axis=1) & may
            variant_of[here] = number
            turnover = np.array([r.turnover_minutes for r in rooms], np.int64)
            room_after = kind.duration_minutes + np.maximum(kind.buffer_after, turnover)
            able = _able(parts, position)
            variants.append(Variant(kind, place, room_free, room_after, able))
        kinds = [variants[number].row for number in variant_of[: len(providers)].tolist()]
        pairs = list(zip(kinds, providers, strict=True))
        duration = np.array([kind.duration_minutes for kind in kinds], np.int64)
        before = np.array([max(k.buffer_before, p.buffer_before) for k, p in pairs], np.int64)
        after = np.array([max(k.buffer_after, p.buffer_after) for k, p in pairs], np.int64)
        return cls(
            row=row,
            providers=len(providers),
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

    def variant(self, post: int) -> Variant:
        """Return the type as one provider does it at a place."""
        return self.variants[int(self.variant_of[post])]

    def posts_of(self, provider: int) -> slice:
        """Return the posts of a provider, one at each place."""
        return slice(provider, None, self.providers)

    def role_spans(self, provider: int) -> list[tuple[int, int]]:
        """Return from and to which minute of a provider's appointment each role is."""
        duration = int(self.duration[provider])
        return [role.span(duration) for role in self.row.roles]

    @cached_property
    def regular_anywhere(self) -> Bools:
        """[P, D, S] where the masks pass a regular placement, at some place."""
        return self._anywhere(self.regular)

    @cached_property
    def allowed_anywhere(self) -> Bools:
        """[P, D, S] where an overbooking rule could allow a placement, at some place."""
        return self._anywhere(self.allowed)

    def _anywhere(self, table: Bools) -> Bools:
        return table.reshape(-1, self.providers, *table.shape[1:]).any(axis=0)

    @cached_property
    def first_at(self) -> list[int]:
        """By minute of a date, its end included: the position of the first start from then on."""
        positions: list[int] = np.searchsorted(self.starts, np.arange(DAY_MINUTES + 1)).tolist()
        return positions

    @cached_property
    def room_before(self) -> Ints:
        """[P] minutes from the begin of the room's busy span to the start."""
        before = np.array([each.row.buffer_before for each in self.variants], np.int64)
        return before[self.variant_of[: self.providers]]

    @cached_property
    def room_after(self) -> Ints:
        """[P, R] minutes from the start to the end of the room's busy span."""
        of_variants = np.stack([each.room_after for each in self.variants])
        return of_variants[self.variant_of[: self.providers]]

    @cached_property
    def serving_rooms(self) -> Bools:
        """[R] rooms that no fixed booking occupies at some start of some provider."""
        return np.stack([v.room_free.any(axis=(1, 2)) for v in self.variants]).any(axis=0)

    @cached_property
    def busy_start(self) -> Small:
        """[posts, D, S] where the provider busy span starts, absolute."""
        return (self._at - self._of_posts(self.before)).astype(np.int32)

    @cached_property
    def busy_end(self) -> Small:
        """[posts, D, S] where the provider busy span ends, absolute."""
        return (self._at + self._of_posts(self.after)).astype(np.int32)

    def _of_posts(self, of_providers: Ints) -> Ints:
        """[posts, 1, 1] what is told of each provider."""
        return np.resize(of_providers, len(self.variant_of))[:, None, None]

    @property
    def _at(self) -> Ints:
        """[1, D, S] the starts, absolute."""
        midnights = np.arange(self.shape[1]) * DAY_MINUTES
        return (midnights[:, None] + self.starts[None, :])[None]

    def overlapping(self, appointment: Span, place: int, places: Places) -> Bools:
        """[V, S] whether each variant overlaps another appointment, or the way between them.

        The other one is at `place`, in minutes of the date.
        """
        start, end = appointment
        duration = np.array([each.row.duration_minutes for each in self.variants], np.int64)
        to, back = np.zeros_like(duration), np.zeros_like(duration)
        here = np.array([each.place for each in self.variants], np.int64)
        away = (here != place) & (here != NOWHERE)
        if place != NOWHERE and away.any():
            to[away], back[away] = places.between(place, here[away])
        ends = self.starts + duration[:, None]
        return (self.starts < end + to[:, None]) & (ends + back[:, None] > start)

    def away_from(self, preferred: Span | None) -> Ints:
        """[V, S] minutes from each start to those that a preferred window would have."""
        durations = [each.row.duration_minutes for each in self.variants]
        away = [preference_distance(preferred, minutes, self.starts) for minutes in durations]
        return np.stack(away)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Posts, dates, starts."""
        posts, days, starts = self.regular.shape
        return posts, days, starts


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
    """[p, D, S] where a part's providers may start the type there, on the dates of `behind`."""
    ids, place = frozenset(p.id for p in parts[0].day.providers), parts[0].day.place
    there = (
        next(part for part in day.narrowed(ids).at_each_place() if part.place == place)
        for day in behind
    )
    days = zip(parts, there, strict=True)
    return np.stack([in_rhythm(day, m.kind, m.starts) for m, day in days], axis=1)


def _able(parts: Sequence[Masks], position: Mapping[str, int]) -> Bools:
    """[roles, P, D, S] who is able to be in the roles of a part of a type, date by date."""
    roles, starts = parts[0].kind.roles, parts[0].starts
    able = np.zeros((len(roles), len(position), len(parts), len(starts)), np.bool_)
    for day, masks in enumerate(parts):
        if masks.able is not None:
            people = [position[provider.id] for provider in masks.able.providers]
            able[:, people, day] = masks.able.able
    return able


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
