"""The sessions of one date: when each opens and is released, and which govern a minute."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Span
from solver.clinic.sessions.instants import opens_at, releases_at
from solver.clinic.sessions.session import Session

type Owner = tuple[str | None, str | None]
"""The ids of a provider and of a room, of which one at most is given; neither: of everybody."""


EVERYBODY: Owner = (None, None)


@dataclass(frozen=True, slots=True)
class DatedSession:
    """A session on one date, with the moments at which it opens and is released there, if it is."""

    row: Session
    opens: dt.datetime | None
    releases: dt.datetime | None

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return self.row.provider_id, self.row.room_id

    def contains(self, minute: int) -> bool:
        """Whether a minute of the date lies in its hours."""
        return self.row.start <= minute < self.row.end

    def is_released(self, moment: dt.datetime) -> bool:
        """Whether it keeps nobody out any more."""
        return self.releases is not None and self.releases <= moment

    def is_open(self, moment: dt.datetime) -> bool:
        """Whether those that it admits may be booked."""
        return self.opens is None or self.opens <= moment


@dataclass(frozen=True)
class SessionsOfDay:
    """The active sessions that hold on one date, sorted by id."""

    all: tuple[DatedSession, ...]

    @classmethod
    def on(cls, clinic: Clinic, day: dt.date) -> SessionsOfDay:
        """Return the sessions of `day`, worked out once for a clinic."""
        known = clinic.remembered.get((cls, day))
        if known is None:
            weekday, zone = day.isoweekday(), clinic.settings.zone
            known = clinic.remembered[cls, day] = cls(
                tuple(
                    DatedSession(row, opens_at(zone, row, day), releases_at(zone, row, day))
                    for row in sorted(clinic.sessions, key=lambda row: row.id)
                    if row.active and row.applies_on(day, weekday)
                )
            )
        sessions: SessionsOfDay = known
        return sessions

    @cached_property
    def by_owner(self) -> Mapping[Owner, Sequence[DatedSession]]:
        """The sessions of each owner that has some."""
        found: dict[Owner, list[DatedSession]] = defaultdict(list)
        for session in self.all:
            found[session.owner].append(session)
        return dict(found)

    @cached_property
    def moments(self) -> tuple[dt.datetime, ...]:
        """The moments at which some session opens or is released, in order."""
        return tuple(sorted({m for s in self.all for m in (s.opens, s.releases) if m is not None}))

    def state_at(self, moment: dt.datetime) -> int:
        """Return how many of :attr:`moments` have come: what is decided at a moment is of these."""
        return bisect_right(self.moments, moment)

    def governing(self, owner: Owner, minute: int) -> list[DatedSession]:
        """Return the owner's sessions that govern a minute: those of the date before weekly ones.

        Released ones govern, too.
        """
        there = [s for s in self.by_owner.get(owner, ()) if s.contains(minute)]
        return [s for s in there if s.row.date is not None] or there

    def minutes_to_read(self, owner: Owner, span: Span) -> list[int]:
        """Return minutes of a span between which the same sessions of an owner govern."""
        edges = {
            edge
            for s in self.by_owner.get(owner, ())
            for edge in (s.row.start, s.row.end)
            if span[0] < edge < span[1]
        }
        return [span[0], *sorted(edges)]

    def reserves(self, owner: Owner, span: Span, type_id: str, moment: dt.datetime) -> bool:
        """Whether an owner's sessions keep a type out of some minute of a span at a moment."""
        return any(
            standing and not any(s.row.admits(type_id) for s in standing)
            for standing in self._standing(owner, span, moment)
        )

    def is_closed(self, owner: Owner, span: Span, type_id: str, moment: dt.datetime) -> bool:
        """Whether those of an owner that admit a type have yet to open, in a minute of a span."""
        return any(
            admitting and not any(s.is_open(moment) for s in admitting)
            for standing in self._standing(owner, span, moment)
            for admitting in [[s for s in standing if s.row.admits(type_id)]]
        )

    def _standing(
        self, owner: Owner, span: Span, moment: dt.datetime
    ) -> Iterator[list[DatedSession]]:
        """Yield, for the minutes to read, what governs them and is not released at a moment."""
        if owner in self.by_owner:
            for minute in self.minutes_to_read(owner, span):
                governing = self.governing(owner, minute)
                yield [s for s in governing if not s.is_released(moment)]

    def admitting(self, owners: Sequence[Owner], span: Span, type_id: str) -> tuple[str, ...]:
        """Return the ids of owners' sessions that govern a minute of a span and admit a type."""
        return tuple(
            sorted(
                {
                    s.row.id
                    for owner in owners
                    if owner in self.by_owner
                    for minute in self.minutes_to_read(owner, span)
                    for s in self.governing(owner, minute)
                    if s.row.admits(type_id)
                }
            )
        )
