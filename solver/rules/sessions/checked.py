"""Sessions, read minute by minute by the plain rules of the checker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Booking
from solver.clinic.sessions.session import Lead, Session

type Told = tuple[str, str]
"""A code and words."""


class PlainSessions:
    """Rule 8 in one clinic. Rows that hold on a date are kept, once they have been looked for."""

    def __init__(self, clinic: Clinic) -> None:
        self._clinic = clinic
        self._on: dict[dt.date, list[Session]] = {}

    def within_sessions(
        self, b: Booking, minutes: int, now: dt.datetime, *, is_standing: bool
    ) -> Iterator[Told]:
        """Yield how the sessions of a booking's owners keep it out: at most once for each owner.

        One that is standing was booked before: sessions may be yet to open.
        """
        for sessions in self._by_owner(b):
            is_closed = False
            for minute in range(b.start, min(b.start + minutes, DAY_MINUTES)):
                unreleased = [
                    s
                    for s in _governing(sessions, minute)
                    if not self._has_come(s, s.releases, b.date, now)
                ]
                admitting = [s for s in unreleased if _admits(s, b)]
                if unreleased and not admitting:
                    yield "RESERVED", f"in hours of {_names(unreleased)}, which are kept for others"
                    break
                is_closed |= bool(admitting) and not any(
                    s.opens is None or self._has_come(s, s.opens, b.date, now) for s in admitting
                )
            else:
                if is_closed and not is_standing:
                    yield "NOT_YET_OPEN", "in a session that is not open for booking yet"

    def has_place_in_sessions(
        self, b: Booking, others: Iterable[Booking], *, is_standing: bool
    ) -> Iterator[Told]:
        """Yield which sessions that a booking begins in have all that they take of the `others`.

        Of one that is standing, others do not count that begin where the session does not govern:
        they are not held to it and may have come later.
        """
        others = list(others)
        for sessions in self._by_owner(b):
            for session in _governing(sessions, b.start):
                if session.max_bookings is None or not _admits(session, b):
                    continue
                count = sum(
                    o.date == b.date
                    and session.start <= o.start < session.end
                    and session.provider_id in (None, o.provider_id)
                    and session.room_id in (None, o.room_id)
                    and _admits(session, o)
                    and (not is_standing or session in _governing(sessions, o.start))
                    for o in others
                )
                if count >= session.max_bookings:
                    begin = f"{1 + count} begin in {session.name}"
                    yield "SESSION_FULL", f"{begin}, which takes {session.max_bookings}"

    def _by_owner(self, b: Booking) -> list[list[Session]]:
        """Return the sessions of a booking's date: its provider's, its room's, everybody's."""
        if b.date not in self._on:
            self._on[b.date] = [s for s in self._clinic.sessions if _holds(s, b.date)]
        today = self._on[b.date]
        return [
            [s for s in today if s.provider_id == b.provider_id],
            [s for s in today if s.room_id is not None and s.room_id == b.room_id],
            [s for s in today if s.provider_id is None and s.room_id is None],
        ]

    def _has_come(
        self, session: Session, lead: Lead | None, date: dt.date, now: dt.datetime
    ) -> bool:
        if lead is None:
            return False
        zone = self._clinic.settings.zone
        if lead.minutes_before is not None:
            begins = _instant(zone, date, session.start)
            return now >= begins - dt.timedelta(minutes=lead.minutes_before)
        assert lead.days_before is not None
        assert lead.at is not None
        return now >= _instant(zone, date - dt.timedelta(days=lead.days_before), lead.at)


def _instant(zone: ZoneInfo, date: dt.date, minute: int) -> dt.datetime:
    """Return the first moment at which the clock shows a local time, or has gone past it."""
    wall = dt.datetime.combine(date, dt.time(*divmod(minute, 60)))
    while True:
        moment = wall.replace(tzinfo=zone).astimezone(dt.UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
        wall += dt.timedelta(minutes=1)


def _holds(session: Session, date: dt.date) -> bool:
    if not session.active:
        return False
    if session.date is not None:
        return session.date == date
    first, last = session.valid_from or date, session.valid_to or date
    if session.weekday != date.isoweekday() or not first <= date <= last:
        return False
    monday, first_monday = (each - dt.timedelta(days=each.weekday()) for each in (date, first))
    return (monday - first_monday).days % (7 * session.every_weeks) == 0


def _governing(sessions: list[Session], minute: int) -> list[Session]:
    there = [s for s in sessions if s.start <= minute < s.end]
    return [s for s in there if s.date is not None] or there


def _admits(session: Session, b: Booking) -> bool:
    types = session.appointment_type_ids
    return types is None or b.appointment_type_id in types


def _names(sessions: list[Session]) -> str:
    return ", ".join(s.name for s in sessions)
