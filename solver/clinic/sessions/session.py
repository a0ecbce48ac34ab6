"""A session as a row: hours of an owner kept for some appointment types, or for few bookings."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from solver.clinic.entities import (
    DAY_MINUTES,
    _require,
    _require_cap,
    _require_recurrence,
    _require_span,
    holds_on,
)

type SessionsRead = Literal["now", "released", "ignored"]
"""How rule 8 is read: as it is at the moment, as though all were released, or not at all."""


MAX_MINUTES_BEFORE = 527_040
"""The most minutes before its start that a session opens or is released: 366 days."""


MAX_DAYS_BEFORE = 366
"""The most days before its date that a session opens or is released."""


@dataclass(frozen=True, slots=True)
class Lead:
    """How long before a session's own start on a date something happens.

    Either so many real minutes before (``minutes_before``), or at a local time ``at``, minutes
    after midnight, so many dates earlier (``days_before``).
    """

    minutes_before: int | None = None
    days_before: int | None = None
    at: int | None = None

    def __post_init__(self) -> None:
        if self.minutes_before is not None:
            _require(
                self.days_before is None and self.at is None,
                "minutes_before",
                "leave out either minutes_before, or days_before and at",
            )
            _require(
                0 <= self.minutes_before <= MAX_MINUTES_BEFORE,
                "minutes_before",
                f"must be 0 to {MAX_MINUTES_BEFORE} minutes, not {self.minutes_before}",
            )
            return
        _require(self.days_before is not None, "days_before", "write minutes_before or days_before")
        _require(self.at is not None, "at", "must be given beside days_before, as HH:MM")
        assert self.days_before is not None
        assert self.at is not None
        _require(
            0 <= self.days_before <= MAX_DAYS_BEFORE,
            "days_before",
            f"must be 0 to {MAX_DAYS_BEFORE} days, not {self.days_before}",
        )
        _require(0 <= self.at < DAY_MINUTES, "at", "must be 00:00 to 23:59")


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

    def __post_init__(self) -> None:
        _require_span(self.start, self.end)
        _require(
            self.provider_id is None or self.room_id is None,
            "room_id",
            "a session belongs to a provider, to a room or to neither, not to both",
        )
        _require_recurrence(self)
        _require_cap(self.max_bookings, "max_bookings")

    def applies_on(self, day: dt.date, weekday: int) -> bool:
        """Whether the row speaks of `day`, whose ISO weekday is `weekday`; active or not."""
        return holds_on(self, day, weekday)

    def admits(self, type_id: str) -> bool:
        """Whether an appointment of a type may be in it."""
        return self.appointment_type_ids is None or type_id in self.appointment_type_ids
