"""What the sessions of a date say of an appointment at each start, for all owners at once.

What governs a minute is counted: a session becomes the steps at which its hours begin and end, and
the steps are summed up along the minutes. An appointment then asks whether some minute from its
start to its end is refused, which the difference of two sums along the minutes tells.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import DAY_MINUTES, AppointmentType
from solver.clinic.sessions.of_day import EVERYBODY, DatedSession, SessionsOfDay
from solver.clinic.sessions.session import Session

if TYPE_CHECKING:
    from solver.clinic.day import Day


class Passes(NamedTuple):
    """Three times [P, S] and [R, S]: where sessions of providers and everybody, and of rooms, pass.

    Attributes
    ----------
    open
        Not where all that admit the type have yet to open.
    admitted
        Not where none admits the type.
    with_places
        Not where one that admits the type has all the bookings it takes.
    """

    open: tuple[Bools, Bools]
    admitted: tuple[Bools, Bools]
    with_places: tuple[Bools, Bools]


@dataclass(frozen=True)
class SessionsAtStarts:
    """The sessions of a date and of the providers and rooms in question, each of shape [n].

    Attributes
    ----------
    sessions
        The sessions.
    owner
        Whose each is: 0 for everybody, then the providers, then the rooms that have some.
    providers, rooms
        The positions of these providers and rooms in the day.
    shape
        The numbers of providers and rooms that are in question.
    bookings
        How many bookings begin in a session that has `max_bookings`; 0 for others.
    """

    sessions: tuple[DatedSession, ...]
    owner: Ints
    providers: Ints
    rooms: Ints
    shape: tuple[int, int]
    bookings: Ints

    @classmethod
    def of(cls, day: Day) -> SessionsAtStarts | None:
        """Lay out the sessions of a day; None where there are none."""
        if not day.clinic.sessions:
            return None
        by_owner = SessionsOfDay.on(day.clinic, day.date).by_owner
        providers = [i for i, p in enumerate(day.providers) if (p.id, None) in by_owner]
        rooms = [i for i, r in enumerate(day.rooms) if (None, r.id) in by_owner]
        owners = [
            EVERYBODY,
            *((day.providers[i].id, None) for i in providers),
            *((None, day.rooms[i].id) for i in rooms),
        ]
        sessions = [(n, s) for n, owner in enumerate(owners) for s in by_owner.get(owner, ())]
        if not sessions:
            return None
        numbers = np.array([n for n, _ in sessions], np.int64)
        rows = tuple(s for _, s in sessions)
        return cls(
            rows,
            numbers,
            np.array(providers, np.int64),
            np.array(rooms, np.int64),
            (len(day.providers), len(day.rooms)),
            np.array([bookings_in(day, s.row) for s in rows], np.int64),
        )

    @cached_property
    def _has_dated(self) -> Bools:
        """[owners, minutes] where sessions of the date itself govern."""
        return self._count(self._is_dated) > 0

    @cached_property
    def _is_dated(self) -> Bools:
        return self._flags(lambda s: s.row.date is not None)

    def passes(self, kind: AppointmentType, starts: Ints, moment: dt.datetime) -> Passes:
        """Return where appointments of a type pass, as it is decided at a moment."""
        admits = self._flags(lambda s: s.row.admits(kind.id))
        standing = self._flags(lambda s: not s.is_released(moment))
        is_open = self._flags(lambda s: s.is_open(moment))
        admitted = self._governs(standing & admits)
        ends = np.minimum(starts + kind.duration_minutes, DAY_MINUTES)
        reserved = _somewhere(self._governs(standing) & ~admitted, starts, ends)
        closed = _somewhere(admitted & ~self._governs(standing & admits & is_open), starts, ends)
        full = self._governs(admits & self._is_full)[:, starts]
        return Passes(
            self._by_place(reserved | ~closed), self._by_place(~reserved), self._by_place(~full)
        )

    @cached_property
    def _is_full(self) -> Bools:
        most = [s.row.max_bookings for s in self.sessions]
        full = [m is not None and n >= m for m, n in zip(most, self.bookings, strict=True)]
        return np.array(full, np.bool_)

    def _flags(self, of: Callable[[DatedSession], bool]) -> Bools:
        return np.array([of(s) for s in self.sessions], np.bool_)

    def _governs(self, chosen: Bools) -> Bools:
        """[owners, minutes] whether one of the chosen sessions governs the minute."""
        dated = self._count(chosen & self._is_dated) > 0
        weekly = self._count(chosen & ~self._is_dated) > 0
        governs: Bools = np.where(self._has_dated, dated, weekly)
        return governs

    def _count(self, chosen: Bools) -> Ints:
        """[owners, minutes] how many of the chosen sessions have the minute in their hours."""
        owners = 1 + len(self.providers) + len(self.rooms)
        steps = np.zeros((owners, DAY_MINUTES + 1), np.int64)
        for position in np.flatnonzero(chosen).tolist():
            row = self.sessions[position].row
            steps[self.owner[position], row.start] += 1
            steps[self.owner[position], row.end] -= 1
        return np.cumsum(steps[:, :-1], axis=1)

    def _by_place(self, passes: Bools) -> tuple[Bools, Bools]:
        """Return [P, S] and [R, S] of [owners, S]; a session of everybody counts at providers."""
        everybody, at_provider, in_room = np.split(passes, [1, 1 + len(self.providers)])
        of_providers = np.repeat(everybody, self.shape[0], axis=0)
        of_providers[self.providers] &= at_provider
        of_rooms = np.ones((self.shape[1], passes.shape[1]), np.bool_)
        of_rooms[self.rooms] = in_room
        return of_providers, of_rooms


def bookings_in(day: Day, row: Session) -> int:
    """Count the live bookings of a session's owner that begin in it and whose type it admits.

    0 for a session that takes any number.
    """
    book = day.book
    if row.max_bookings is None:
        return 0
    counted = book.on_date & (row.start <= book.start) & (book.start < row.end)
    if row.provider_id is not None:
        counted &= book.provider == [p.id for p in day.providers].index(row.provider_id)
    if row.room_id is not None:
        counted &= book.room == [r.id for r in day.rooms].index(row.room_id)
    if row.appointment_type_ids is not None:
        types = [day.clinic.type_at[key] for key in row.appointment_type_ids]
        counted &= np.isin(book.appointment_type, types)
    return int(counted.sum())


def _somewhere(refused: Bools, starts: Ints, ends: Ints) -> Bools:
    """[owners, S] whether some minute from a start to its end is refused, of [owners, minutes]."""
    sums = np.zeros((len(refused), DAY_MINUTES + 1), np.int64)
    np.cumsum(refused, axis=1, out=sums[:, 1:])
    return sums[:, ends] > sums[:, starts]
