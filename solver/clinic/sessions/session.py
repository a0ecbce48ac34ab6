"""A session as a row: hours of an owner kept for some appointment types, or for few bookings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from solver.clinic.entities import DAY_MINUTES, has_minutes
from solver.clinic.grammar.recurrence import RECURRENCE, holds_on
from solver.clinic.grammar.sentences import RowFault, cap, require_sound

type SessionsRead = Literal["now", "released", "ignored"]
"""How rule 8 is read: as it is at the moment, as though all were released, or not at all."""


BEFORE_ALL = dt.datetime.min.replace(tzinfo=dt.UTC)
"""A moment at which no session has opened or been released."""


MAX_MINUTES_BEFORE = 527_040
"""The most minutes before its start that a session opens or is released: 366 days."""


MAX_DAYS_BEFORE = 366
"""The most days before its date that a session opens or is released."""


def _is_one_of_two_ways(row: Any) -> Iterator[RowFault]:
    if row.minutes_before is not None:
        if row.days_before is not None or row.at is not None:
            fault = "leave out either minutes_before, or days_before and at"
            yield RowFault("minutes_before", fault)
        return
    if row.days_before is None:
        yield RowFault("days_before", "write minutes_before or days_before")
    elif row.at is None:
        yield RowFault("at", "must be given beside days_before, as HH:MM")


def _minutes_are_in_range(row: Any) -> Iterator[RowFault]:
    if not 0 <= (row.minutes_before or 0) <= MAX_MINUTES_BEFORE:
        fault = f"must be 0 to {MAX_MINUTES_BEFORE} minutes, not {row.minutes_before}"
        yield RowFault("minutes_before", fault)


def _days_are_in_range(row: Any) -> Iterator[RowFault]:
    if not 0 <= (row.days_before or 0) <= MAX_DAYS_BEFORE:
        fault = f"must be 0 to {MAX_DAYS_BEFORE} days, not {row.days_before}"
        yield RowFault("days_before", fault)
    if not 0 <= (row.at or 0) < DAY_MINUTES:
        yield RowFault("at", "must be 00:00 to 23:59")


@dataclass(frozen=True, slots=True)
class Lead:
    """How long before a session's own start on a date something happens.

    Either so many real minutes before (``minutes_before``), or at a local time ``at``, minutes
    after midnight, so many dates earlier (``days_before``).
    """

    minutes_before: int | None = None
    days_before: int | None = None
    at: int | None = None

    GRAMMAR = (_is_one_of_two_ways, _minutes_are_in_range, _days_are_in_range)

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


def _has_one_owner(row: Any) -> Iterator[RowFault]:
    if row.provider_id is not None and row.room_id is not None:
        fault = "a session belongs to a provider, to a room or to neither, not to both"
        yield RowFault("room_id", fault)


@dataclass(frozen=True, slots=True)
class Session:
    """Hours that are kept: a carve-out of a provider, of a room, or of every provider.

    It recurs weekly or stands on one date, like :class:`solver.clinic.entities.Availability`, and
    opens no hours by itself. It admits the types of `appointment_type_ids` (None: all; none in it:
    nobody's), may be booked from the moment that it `opens` (None: always), keeps others out until
    it `releases` (None: never does), and takes at most `max_bookings` that start in it (None: any
    number).
    """

    id: str
    name: str
    start: int
    end: int
    provider_id: str | None = None
    room_id: str | None = None
    weekday: int | None = None
    date: dt.date | None = None
    valid_from: dt.date | None = None
    valid_to: dt.date | None = None
    every_weeks: int = 1
    appointment_type_ids: frozenset[str] | None = None
    max_bookings: int | None = None
    opens: Lead | None = None
    releases: Lead | None = None
    active: bool = True

    GRAMMAR = (has_minutes, _has_one_owner, *RECURRENCE, cap("max_bookings"))

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)

    def applies_on(self, day: dt.date, weekday: int) -> bool:
        """Whether the row speaks of `day`, whose ISO weekday is `weekday`; active or not."""
        return holds_on(self, day, weekday)

    def admits(self, type_id: str) -> bool:
        """Whether an appointment of a type may be in it."""
        return self.appointment_type_ids is None or type_id in self.appointment_type_ids
