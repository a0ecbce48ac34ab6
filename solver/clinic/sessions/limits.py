"""The sessions of every provider and room whose bookings are counted, whoever has them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from solver.clinic.clinic import Clinic
from solver.clinic.sessions.session import Session


def sessions_counting(clinic: Clinic, type_id: str, day: dt.date, start: int) -> Sequence[Session]:
    """Return the sessions of nobody that count a booking towards their `max_bookings`.

    Those of a provider or a room count among that one's bookings only, and are not among them.
    """
    return [
        session
        for session in clinic.sessions
        if session.max_bookings is not None
        and session.provider_id is None
        and session.room_id is None
        and session.active
        and session.start <= start < session.end
        and session.admits(type_id)
        and session.applies_on(day, day.isoweekday())
    ]
