"""When a session opens and is released on a date."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from solver.clinic.sessions.session import BEFORE_ALL, Lead, Session

DAYS_COMPARED = 400
"""How far ahead a session has to open before it is released."""


def moment(zone: ZoneInfo, day: dt.date, minute: int) -> dt.datetime:
    """Return the instant of a local time, in UTC.

    A local time that does not exist is the first that does, one that is there twice its first.
    """
    wall = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minute)
    while _is_skipped(zone, wall):
        wall += dt.timedelta(minutes=1)
    return wall.replace(tzinfo=zone).astimezone(dt.UTC)


def _is_skipped(zone: ZoneInfo, wall: dt.datetime) -> bool:
    """Whether the clock skips a wall time: its second reading lies ahead (PEP 495)."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert first is not None
    assert second is not None
    return first < second


def opens_at(zone: ZoneInfo, session: Session, day: dt.date) -> dt.datetime | None:
    """Return when a session of a date opens, None where it always has."""
    return _before(zone, session, day, session.opens)


def releases_at(zone: ZoneInfo, session: Session, day: dt.date) -> dt.datetime | None:
    """Return when a session of a date is released, None where it never is."""
    return _before(zone, session, day, session.releases)


def _before(
    zone: ZoneInfo, session: Session, day: dt.date, lead: Lead | None
) -> dt.datetime | None:
    if lead is None:
        return None
    try:
        if lead.minutes_before is not None:
            start = moment(zone, day, session.start)
            return start - dt.timedelta(minutes=lead.minutes_before)
        assert lead.days_before is not None
        assert lead.at is not None
        return moment(zone, day - dt.timedelta(days=lead.days_before), lead.at)
    except OverflowError:
        return BEFORE_ALL


def released_before_it_opens(zone: ZoneInfo, session: Session, today: dt.date) -> dt.date | None:
    """Return the first date on which a session would not open before it is released, if any.

    Its one date is looked at, or those on which it holds from `today` to :data:`DAYS_COMPARED` days
    later.
    """
    if session.opens is None or session.releases is None:
        return None
    last = dt.date.max.toordinal()
    ordinals = range(today.toordinal(), min(today.toordinal() + DAYS_COMPARED, last) + 1)
    dates = (
        [session.date]
        if session.date is not None
        else [dt.date.fromordinal(ordinal) for ordinal in ordinals]
    )
    for day in dates:
        if session.applies_on(day, day.isoweekday()):
            opens, releases = opens_at(zone, session, day), releases_at(zone, session, day)
            assert opens is not None
            assert releases is not None
            if not opens < releases:
                return day
    return None
