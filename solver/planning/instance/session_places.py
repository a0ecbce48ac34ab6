"""Sessions that take so many bookings: what begins in them, and the places that are left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.sessions.of_day import DatedSession, SessionsOfDay
from solver.planning.instance.tasks import Assignment, FixedBooking, Task
from solver.rules.codes import SESSION_FULL

if TYPE_CHECKING:
    from solver.planning.instance.tables import Instance


@dataclass(frozen=True)
class Limit:
    """A session on one date that takes at most `places` bookings; positions are -1 for anyone.

    Attributes
    ----------
    kinds
        [K] the types that it admits: their bookings count.
    start, end
        Its hours, in minutes of the date.
    governs
        [minutes] where it governs: what begins there is held to it. What begins elsewhere in its
        hours, where a session of that date governs in its place, counts and is not held to it.
    """

    day: int
    provider: int
    room: int
    kinds: Bools
    start: int
    end: int
    governs: Bools
    places: int

    def counts(self, kind: int, provider: int, room: int, day: int, start: int) -> bool:
        """Whether an appointment takes one of its places."""
        return bool(
            day == self.day
            and self.start <= start < self.end
            and self.provider in (-1, provider)
            and self.room in (-1, room)
            and self.kinds[kind]
        )

    def binds(self, kind: int, provider: int, room: int, day: int, start: int) -> bool:
        """Whether an appointment is held to it: it counts, and begins where it governs."""
        is_counted = self.counts(kind, provider, room, day, start)
        return is_counted and bool(self.governs[start])

    @property
    def shares_its_hours(self) -> bool:
        """Whether another session governs some of its minutes in its place."""
        return not self.governs[self.start : self.end].all()


class SessionPlaces:
    """The places that are left beside some bookings and assignments.

    Attributes
    ----------
    limits
        The sessions of the horizon's dates that take so many bookings.
    left
        [limits] what may still begin in each; negative where more does than it takes.
    left_to_stay
        [limits] the same for bookings that stay: those that override the limit take no place of it,
        nor do those that are not held to it, as all of them may have come later.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = tuple(limits)
        self.left: Ints = np.array([limit.places for limit in limits], np.int64)
        self.left_to_stay: Ints = self.left.copy()

    @classmethod
    def of(cls, instance: Instance) -> SessionPlaces:
        """Return the places of a problem, all of them left; none where sessions are ignored."""
        clinic, kinds = instance.clinic, instance.clinic.appointment_types
        if not clinic.sessions or instance.problem.sessions == "ignored":
            return cls(())
        limits = []
        for day, date in enumerate(instance.dates):
            sessions = SessionsOfDay.on(clinic, date)
            for session in sessions.all:
                row = session.row
                if row.max_bookings is not None:
                    limits.append(
                        Limit(
                            day,
                            -1
                            if row.provider_id is None
                            else instance.provider_at[row.provider_id],
                            -1 if row.room_id is None else instance.room_at[row.room_id],
                            np.array([row.admits(kind.id) for kind in kinds], np.bool_),
                            row.start,
                            row.end,
                            _governs(sessions, session),
                            row.max_bookings,
                        )
                    )
        return cls(limits)

    def after(self, bookings: Iterable[FixedBooking]) -> SessionPlaces:
        """Return what is left when bookings have taken their places, too."""
        if not self.limits:
            return self
        other = copy(self)
        other.left, other.left_to_stay = self.left.copy(), self.left_to_stay.copy()
        for booking in bookings:
            other.book(booking)
        return other

    def book(self, own: FixedBooking) -> None:
        """Take the places of a booking."""
        if self.limits:
            is_over = SESSION_FULL in own.booking.overrides
            self._take(own.kind, *own.place, is_over=is_over)

    def take(self, kind: int, assignment: Assignment) -> None:
        """Take the places of an assignment of a type."""
        if self.limits:
            self._take(kind, *assignment[1:5])

    def take_unless_late(self, task: Task, assignment: Assignment) -> None:
        """Take the places of an assignment, unless it comes after all that are held to a limit."""
        if self.limits and not (task.own is None and self.comes_late(task.kind, *assignment[1:5])):
            self._take(task.kind, *assignment[1:5])

    def _take(
        self, kind: int, provider: int, room: int, day: int, start: int, *, is_over: bool = False
    ) -> None:
        for number, limit in enumerate(self.limits):
            if limit.counts(kind, provider, room, day, start):
                self.left[number] -= 1
                self.left_to_stay[number] -= bool(limit.governs[start]) and not is_over

    def rooms_open_to(self, kind: int, assignment: Assignment, starts: Ints, rooms: Bools) -> Bools:
        """[R, S] those of some rooms and starts that an appointment may change to.

        The others of its provider and date change with it: hours are only for those that are held
        to the limit of their session already, unless it has places for as many as a date can hold.
        """
        for limit, left in zip(self.limits, self.left.tolist(), strict=True):
            if (
                limit.day == assignment.day
                and limit.provider in (-1, assignment.provider)
                and limit.kinds[kind]
                and left < len(starts)
                and not limit.binds(kind, *assignment[1:5])
            ):
                rooms = rooms.copy()
                in_hours = (limit.start <= starts) & (starts < limit.end)
                rooms[slice(None) if limit.room < 0 else limit.room, in_hours] = False
        return rooms

    def is_over_for(self, task: Task, assignment: Assignment) -> bool:
        """Whether an assignment, which does not come late, is one too many for a session."""
        over = [limit for limit, left in zip(self.limits, self.left, strict=True) if left < 0]
        return any(limit.counts(task.kind, *assignment[1:5]) for limit in over) and not (
            task.own is None and self.comes_late(task.kind, *assignment[1:5])
        )

    def binding(self, own: FixedBooking) -> list[int]:
        """Return the numbers of the limits that a booking is held to where it is."""
        if not self.limits or SESSION_FULL in own.booking.overrides:
            return []
        return [n for n, limit in enumerate(self.limits) if limit.binds(own.kind, *own.place)]

    def closed_when_full(self, limit: Limit) -> Bools:
        """[minutes] where nothing more may begin once a limit is reached, to be on the safe side.

        Those that it governs. Where several sessions of a date share their hours with others, who
        comes before whom is not asked, and nothing more begins in its other hours, either.
        """
        if sum(each.shares_its_hours and each.day == limit.day for each in self.limits) < 2:
            return limit.governs
        closed = np.zeros(DAY_MINUTES, np.bool_)
        closed[limit.start : limit.end] = True
        return closed

    def comes_late(self, kind: int, provider: int, room: int, day: int, start: int) -> bool:
        """Whether a request is best placed after all others.

        It takes a place of a session to which it is not held, so that those who are held to it are
        to come first; and it is held to none of which others take places in this way.
        """
        is_late = False
        for limit in self.limits:
            if limit.shares_its_hours and limit.counts(kind, provider, room, day, start):
                if limit.governs[start]:
                    return False
                is_late = True
        return is_late


NO_SESSIONS = SessionPlaces(())
"""Where no session takes just so many."""


def _governs(sessions: SessionsOfDay, session: DatedSession) -> Bools:
    """[minutes] where a session governs: its hours, less its owner's sessions of that date."""
    governs = np.zeros(DAY_MINUTES, np.bool_)
    governs[session.row.start : session.row.end] = True
    if session.row.date is None:
        for other in sessions.by_owner[session.owner]:
            if other.row.date is not None:
                governs[other.row.start : other.row.end] = False
    return governs
