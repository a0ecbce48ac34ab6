"""What is booked and placed so far, seen from one type's table: what a greedy plan fills up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Small
from solver.clinic.entities import DAY_MINUTES, Provider, Span
from solver.clinic.places import NOWHERE, Places
from solver.clinic.teams.matching import can_be_filled, least_team
from solver.planning.instance.session_places import Limit
from solver.planning.instance.type_table import TypeTable

type Counts = NDArray[np.int16]


@dataclass(frozen=True)
class Sheet:
    """What is booked and placed so far, seen from one type's table.

    Attributes
    ----------
    overlaps
        [posts, D, S] how many busy spans of the provider overlap that of a placement there.
    missed
        [posts, D, S] where the provider would have no time to travel; None where there is no need.
    taken
        By variant: [R, D, S] how many busy spans in the room overlap that of a placement there.
    rooms
        [V, D, S] how many rooms are free.
    behind, ahead
        [posts, D, S] the end of the busy span before, or the window's edge, and the begin of the
        next.
    buffers
        [P] minutes that a provider is busy before and after a start.
    full
        [posts, D, S] where a session that takes so many bookings takes no more, if there are any.
    able
        By variant: [roles, P, D, S] who is able to be in a role beside all that is placed.
    known_complete
        What :meth:`completes` has said since somebody became busy.
    """

    kind: TypeTable
    overlaps: Counts
    missed: Bools | None
    taken: tuple[Counts, ...]
    rooms: Counts
    behind: Small
    ahead: Small
    buffers: list[tuple[int, int]]
    full: Bools | None
    able: tuple[Bools, ...]
    known_complete: list[Bools]

    @classmethod
    def blank(cls, kind: TypeTable, *, has_limits: bool) -> Sheet:
        """Return the sheet of a type of which nothing is placed yet."""
        return cls(
            kind,
            np.zeros(kind.shape, np.int16),
            np.zeros(kind.shape, np.bool_) if kind.shape[0] > kind.providers else None,
            tuple(np.zeros(v.room_free.shape, np.int16) for v in kind.variants),
            np.stack([v.room_free.sum(axis=0, dtype=np.int16) for v in kind.variants]),
            kind.opens.copy(),
            kind.closes.copy(),
            list(zip(kind.before.tolist(), kind.after.tolist(), strict=True)),
            np.zeros(kind.shape, np.bool_) if has_limits else None,
            tuple(v.able.copy() for v in kind.variants) if kind.row.roles else (),
            [],
        )

    def ways(self, provider: int, place: int, places: Places) -> Iterator[tuple[int, int, int]]:
        """Yield a provider's posts at other places than one, with what they need beside it.

        That is the minutes before and after a start for which the provider is busy or on the way.
        """
        before, after = self.buffers[provider]
        for post in range(len(self.kind.variant_of))[self.kind.posts_of(provider)]:
            there = self.kind.variant(post).place
            if there not in (place, NOWHERE):
                to, back = int(places.minutes[place, there]), int(places.minutes[there, place])
                yield post, before + to, after + back

    def engage(self, provider: Provider, number: int, busy: Span, day: int) -> None:
        """Rule 9: somebody, by their number, is in no role that would overlap a busy span."""
        self.known_complete.clear()
        for v, variant in enumerate(self.kind.variants):
            for role, row in enumerate(variant.row.roles):
                begin, end = row.span(variant.row.duration_minutes)
                around = provider.buffer_before - begin, end + provider.buffer_after
                first, last = self.overlapping(busy, day, *around)
                self.able[v][role, number, day, first:last] = False

    def leave_time(
        self, provider: Provider, number: int, busy: Span, day: int, place: int, places: Places
    ) -> None:
        """Rules 9 and 11: nor in one elsewhere to or from which there would be no time to travel.

        The busy span is at a place, on a date of the horizon.
        """
        self.known_complete.clear()
        for v, variant in enumerate(self.kind.variants):
            if variant.place in (place, NOWHERE):
                continue
            to, back = places.minutes[place, variant.place], places.minutes[variant.place, place]
            for role, row in enumerate(variant.row.roles):
                begin, end = row.span(variant.row.duration_minutes)
                before = provider.buffer_before - begin + int(to)
                after = end + provider.buffer_after + int(back)
                first, last = self.overlapping(busy, day, before, after)
                self.able[v][role, number, day, first:last] = False

    def completes(self) -> Bools:
        """[posts, D, S] where a team is complete without the provider."""
        if self.known_complete:
            return self.known_complete[0]
        everybody = np.arange(self.kind.providers)
        complete = np.zeros(self.kind.shape, np.bool_)
        for v, able in enumerate(self.able):
            posts = np.flatnonzero(self.kind.variant_of == v)
            complete[posts] = can_be_filled(able, everybody[posts % self.kind.providers])
        self.known_complete.append(complete)
        return complete

    def team(self, provider: int, variant: int, day: int, start: int) -> tuple[int, ...]:
        """Return the least team at a position, as `completes` says that there is one."""
        if not self.able:
            return ()
        able = [
            np.flatnonzero(of_role).tolist() for of_role in self.able[variant][:, :, day, start]
        ]
        others = [[person for person in of_role if person != provider] for of_role in able]
        least = least_team(others)
        assert least is not None
        return least

    def fill(self, limit: Limit, minutes: Bools) -> None:
        """Close the starts at some minutes of a session that takes no more, [minutes]."""
        starts = np.flatnonzero(minutes[self.kind.starts])
        if limit.room < 0:
            assert self.full is not None
            every, one = slice(None), self.kind.posts_of(limit.provider)
            self.full[every if limit.provider < 0 else one, limit.day] |= minutes[self.kind.starts]
            return
        for v, variant in enumerate(self.kind.variants):
            taken = self.taken[v][limit.room, limit.day]
            free = variant.room_free[limit.room, limit.day, starts]
            self.rooms[v, limit.day, starts] -= (taken[starts] == 0) & free
            taken[starts] += 1

    def overlapping(self, busy: Span, day: int, before: int, after: int) -> tuple[int, int]:
        """Return the range of starts, as indices, whose span would overlap `busy`.

        The span reaches from `before` minutes before the start to `after` minutes after it.
        """
        first_at, midnight = self.kind.first_at, day * DAY_MINUTES
        first, last = busy[0] - midnight - after + 1, busy[1] - midnight + before
        return (
            first_at[min(DAY_MINUTES, max(0, first))],
            first_at[min(DAY_MINUTES, max(0, last))],
        )
