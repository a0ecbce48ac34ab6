"""Sessions, written out once more for the reader of plans: rule 8, minute by minute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from solver.clinic.entities import DAY_MINUTES, Booking
from solver.clinic.sessions.session import Lead, Session
from solver.planning.problem import Problem


class PlainSessions:
    """The sessions of one problem's clinic, as the problem has them read."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._zone = problem, problem.clinic.settings.zone
        self._on: dict[dt.date, list[Session]] = {}

    def admit(self, b: Booking, minutes: int, *, is_new: bool) -> Iterator[str]:
        """Yield how sessions keep a booking out; those that have yet to open keep out new ones."""
        if self._problem.sessions != "now":
            return
        for owner in self._owners(b):
            closed = set[str]()
            for minute in range(b.start, min(DAY_MINUTES, b.start + minutes)):
                standing = [
                    s
                    for s in self._governing(owner, b.date, minute)
                    if s.releases is None or self._problem.now < self._moment(s, s.releases, b.date)
                ]
                if not standing:
                    continue
                admitting = [s for s in standing if _takes(s, b)]
                if not admitting:
                    names = ", ".join(s.name for s in standing)
                    yield f"in hours of {names}, which are kept for others"
                    break
                if is_new and all(
                    s.opens is not None and self._problem.now < self._moment(s, s.opens, b.date)
                    for s in admitting
                ):
                    closed.add(admitting[0].name)
            else:
                if closed:
                    yield f"in hours of {min(closed)}, which are not open for booking yet"

    def have_a_place(self, b: Booking, others: Iterable[Booking], *, is_new: bool) -> Iterator[str]:
        """Yield which sessions that a booking begins in are full with others of its date.

        Beside one that is not new, those count only that the session governs: others may have come
        later.
        """
        if self._problem.sessions == "ignored":
            return
        others = list(others)
        for owner in self._owners(b):
            for session in self._governing(owner, b.date, b.start):
                if session.max_bookings is None or not _takes(session, b):
                    continue
                begun = [
                    o
                    for o in others
                    if session.provider_id in (None, o.provider_id)
                    and session.room_id in (None, o.room_id)
                    and session.start <= o.start < session.end
                    and _takes(session, o)
                    and (is_new or session in self._governing(owner, o.date, o.start))
                ]
                if len(begun) >= session.max_bookings:
                    count = f"{1 + len(begun)} begin in {session.name}"
                    yield f"{count}, which takes {session.max_bookings}"

    def _owners(self, b: Booking) -> list[tuple[str | None, str | None]]:
        if not self._problem.clinic.sessions:
            return []
        return [(b.provider_id, None), (None, b.room_id), (None, None)]

    def _governing(
        self, owner: tuple[str | None, str | None], date: dt.date, minute: int
    ) -> list[Session]:
        if date not in self._on:
            self._on[date] = [s for s in self._problem.clinic.sessions if _is_on(s, date)]
        there = [
            s
            for s in self._on[date]
            if (s.provider_id, s.room_id) == owner and s.start <= minute < s.end
        ]
        dated = [s for s in there if s.date == date]
        return dated or there

    def _moment(self, session: Session, lead: Lead, date: dt.date) -> dt.datetime:
        """Return when something happens so long before a session's start on a date."""
        if lead.minutes_before is not None:
            start = self._local(date, session.start)
            return start - dt.timedelta(minutes=lead.minutes_before)
        assert lead.days_before is not None
        assert lead.at is not None
        return self._local(date - dt.timedelta(days=lead.days_before), lead.at)

    def _local(self, date: dt.date, minute: int) -> dt.datetime:
        """Return the first moment at which the clock has come to a local time, or gone past it."""
        time = dt.time(minute // 60, minute % 60)
        wall = dt.datetime.combine(date, time, self._zone)
        later = wall.replace(fold=1)
        before, after = wall.utcoffset(), later.utcoffset()
        assert before is not None
        assert after is not None
        if after > before:  # skipped: the first reading lies past the change, the second before it
            first, last = later.astimezone(dt.UTC), wall.astimezone(dt.UTC)
            while last - first > dt.timedelta(minutes=1):
                middle = first + (last - first) // 2
                is_before = middle.astimezone(self._zone).utcoffset() == before
                first, last = (middle, last) if is_before else (first, middle)
            return last.replace(second=0, microsecond=0)
        return wall.astimezone(dt.UTC)


def _is_on(session: Session, date: dt.date) -> bool:
    if not session.active or session.date is not None:
        return session.active and session.date == date
    first, last = session.valid_from or date, session.valid_to or date
    if session.weekday != date.isoweekday() or not first <= date <= last:
        return False
    days = (date - first).days + first.weekday()
    return days // 7 % session.every_weeks == 0


def _takes(session: Session, b: Booking) -> bool:
    types = session.appointment_type_ids
    return types is None or b.appointment_type_id in types
