"""Which bookings are counted by the sessions that take so many."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.sessions.session import Session


def sessions_counting(clinic: Clinic, type_id: str, day: dt.date, start: int) -> Sequence[Session]:
    """Return the sessions of nobody that count a booking towards their `max_bookings`.

    Those of a provider or a room count among that one's bookings only, and are not among them.
    """
    return [
        session
        for session in clinic.sessions
        if session.provider_id is None
        and session.room_id is None
        and _counts(session, type_id, day, start)
    ]


def is_counted_with(
    clinic: Clinic,
    booking: Booking,
    type_id: str,
    provider_id: str,
    room_id: str | None,
    day: dt.date,
    start: int,
) -> bool:
    """Whether some session counts a booking and an appointment at a place, both."""
    return any(
        session.provider_id in (None, provider_id)
        and session.provider_id in (None, booking.provider_id)
        and session.room_id in (None, room_id)
        and session.room_id in (None, booking.room_id)
        and _counts(session, type_id, day, start)
        and _counts(session, booking.appointment_type_id, booking.date, booking.start)
        for session in clinic.sessions
    )


def _counts(session: Session, type_id: str, day: dt.date, start: int) -> bool:
    return (
        session.max_bookings is not None
        and session.active
        and session.start <= start < session.end
        and session.admits(type_id)
        and session.applies_on(day, day.isoweekday())
    )
