"""What is to be placed, where it is placed, and what is booked already; positions, not ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from solver.clinic.entities import DAY_MINUTES, Booking, Span


def no_room(number: int) -> int:
    """Return the room of a placement that has yet to be given one, at a place, -1 at the first.

    And of such a room the place, which is the number of a post among its provider's.
    """
    return -1 - number


class Assignment(NamedTuple):
    """A member of a task at a place: a placement, a move, or a displaced booking that stays.

    `start` counts from the midnight of its day; `team` has who is in each role of its type, in
    their order.
    """

    task: int
    provider: int
    room: int
    day: int
    start: int
    is_overbooked: bool
    team: tuple[int, ...] = ()

    @property
    def at(self) -> int:
        """The start, absolute."""
        return self.day * DAY_MINUTES + self.start


class InRole(NamedTuple):
    """Somebody in a role, -1 for one who is not there: busy span and date, and where that is."""

    provider: int
    busy: Span
    day: int
    location: int


class FixedBooking(NamedTuple):
    """A booking where it is before anything moves; positions are -1 for rows that are not there.

    Spans are absolute; `window` is the provider's open window around it, if there is one;
    `location` is where its room is, an index into the clinic's locations, or :data:`NOWHERE`;
    `in_roles` are those who are in its roles.
    """

    booking: Booking
    kind: int
    provider: int
    room: int
    day: int
    appointment: Span
    busy: Span
    room_busy: Span
    window: Span | None
    location: int
    in_roles: tuple[InRole, ...] = ()

    @property
    def at(self) -> int:
        """The start, absolute."""
        return self.appointment[0]

    @property
    def presences(self) -> tuple[InRole, ...]:
        """For whom it keeps somebody busy, first its provider, and when."""
        return InRole(self.provider, self.busy, self.day, self.location), *self.in_roles

    @property
    def minutes(self) -> int:
        """From start to end, without buffers."""
        return self.appointment[1] - self.appointment[0]

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Provider, room, day and start, as an :class:`Assignment` has them."""
        return self.provider, self.room, self.day, self.booking.start


@dataclass(frozen=True, slots=True)
class Task:
    """Requests that are alike, or one booking that may move.

    Attributes
    ----------
    members
        The ids of the requests, or the booking's.
    priority
        Of each member; 0 for a booking.
    days, provider
        Where it may go; -1 for any provider.
    own
        Where a booking is before anything moves.
    is_displaced
        Whether the booking breaks a rule there: it moves, stays where that becomes legal, or is
        lost.
    could_stay
        Whether a displaced booking breaks no rule there beside the fixed bookings alone.
    is_left
        Whether the booking breaks a rule there and may go on to do so.
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
    """What a plan reaches in each stage, all to be maximised: moves and minutes are negative."""

    saved: int
    priority: int
    moved: int
    distance: int
    score: int
