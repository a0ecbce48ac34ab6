"""What a row that a change makes has to keep beside the others, and what goes with one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from solver.clinic.entities import AppointmentType, Booking, InvalidClinicError, ProviderType
from solver.clinic.places import Travel
from solver.clinic.sessions.instants import released_before_it_opens
from solver.clinic.sessions.session import Session
from solver.whatif.changes import CloseRoom, ProviderOut


def require_own_pair(rows: Iterable[ProviderType], row: ProviderType) -> None:
    """Refuse a second row of one provider for one type."""
    pair = row.provider_id, row.appointment_type_id
    for other in rows:
        if (other.provider_id, other.appointment_type_id) == pair and other.id != row.id:
            raise InvalidClinicError(
                "appointment_type_id", f"has the row {other.id} of this provider already"
            )


def require_own_way(rows: Iterable[Travel], row: Travel) -> None:
    """Refuse a second row of one way."""
    for other in rows:
        if (other.from_id, other.to_id) == (row.from_id, row.to_id) and other.id != row.id:
            raise InvalidClinicError("to_id", f"has the row {other.id} of this way already")


def require_opening(session: Session, zone: ZoneInfo, first: dt.date) -> None:
    """Refuse a session that would not open before it is released, on `first` or a later date."""
    day = released_before_it_opens(zone, session, first)
    if day is not None:
        raise InvalidClinicError("releases", f"must be later than opens; on {day} it is not")


def forget_type(sessions: dict[str, Session], key: str) -> None:
    """Let the sessions that name a type that is gone name it no more."""
    for session in list(sessions.values()):
        kinds = session.appointment_type_ids
        if kinds is not None and key in kinds:
            sessions[session.id] = replace(session, appointment_type_ids=kinds - {key})


def displace(
    bookings: dict[str, Booking],
    kinds: Mapping[str, AppointmentType],
    change: ProviderOut | CloseRoom,
) -> None:
    """Let bookings in the way of a closure override its hours no more: it displaces all."""
    is_provider = isinstance(change, ProviderOut)
    code = "OUTSIDE_PROVIDER_HOURS" if is_provider else "OUTSIDE_ROOM_HOURS"
    owner = change.provider_id if isinstance(change, ProviderOut) else change.room_id
    for b in list(bookings.values()):
        kind = kinds.get(b.appointment_type_id)
        if (
            code in b.overrides
            and (b.provider_id if is_provider else b.room_id, b.date) == (owner, change.date)
            and kind is not None
            and b.start < change.end
            and change.start < b.start + kind.duration_minutes
        ):
            bookings[b.id] = replace(b, overrides=b.overrides - {code})
