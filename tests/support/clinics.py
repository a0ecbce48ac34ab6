"""Clinics for tests: a small one to vary, and solver clinics as clinic files."""

import datetime as dt
from dataclasses import replace
from typing import Any

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.teams.in_roles import in_roles
from tests.support.strategies import MONDAY, uid

PROVIDER, ROOM, TYPE, RULE = uid(1, 0), uid(2, 0), uid(3, 0), uid(4, 0)


def coming_monday() -> dt.date:
    """A Monday a month or so ahead of today."""
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    return day + dt.timedelta(days=(1 - day.isoweekday()) % 7)


def small_clinic(**changes: Any) -> dict[str, Any]:
    """One provider, one room, one 30-minute type, Mondays 9 to 12."""
    document: dict[str, Any] = {
        "clinic": {"name": "Small", "timezone": "Europe/Berlin"},
        "providers": [{"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]}],
        "rooms": [{"id": ROOM, "name": "Room 1"}],
        "appointment_types": [
            {"id": TYPE, "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]}
        ],
        "availability": [
            {"provider_id": PROVIDER, "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        ],
    }
    return document | changes


def booking(number: int, day: dt.date, start: str, **changes: Any) -> dict[str, Any]:
    row = {
        "id": uid(5, number),
        "provider_id": PROVIDER,
        "room_id": ROOM,
        "appointment_type_id": TYPE,
        "date": day.isoformat(),
        "start_time": start,
        "patient_ref": f"patient {number}",
    }
    return row | changes


def order(day: dt.date, start: str, **changes: Any) -> dict[str, Any]:
    """The body of a POST /bookings."""
    row = {
        "appointment_type_id": TYPE,
        "provider_id": PROVIDER,
        "date": day.isoformat(),
        "start_time": start,
        "patient_ref": "someone",
    }
    return row | changes


def moved_to(clinic: Clinic, monday: dt.date) -> Clinic:
    """The clinic with all its dates moved as MONDAY to `monday`."""
    shift = monday - MONDAY

    def move(day: dt.date | None) -> dt.date | None:
        return None if day is None else day + shift

    def moved(row: Any) -> Any:
        return replace(
            row,
            date=move(row.date),
            valid_from=move(row.valid_from),
            valid_to=move(row.valid_to),
        )

    return replace(
        clinic,
        availability=tuple(map(moved, clinic.availability)),
        sessions=tuple(map(moved, clinic.sessions)),
        bookings=tuple(replace(b, date=b.date + shift) for b in clinic.bookings),
    )


def as_imported(clinic: Clinic) -> Clinic:
    """The clinic as a database has it: every booking keeps what its type has now."""

    def keeping(b: Booking) -> Booking:
        kind = clinic.kind_of(b)
        return replace(
            b,
            duration_minutes=kind.duration_minutes,
            buffer_before=kind.buffer_before,
            buffer_after=kind.buffer_after,
        )

    return clinic.with_bookings(map(keeping, clinic.bookings))


def without_collisions(clinic: Clinic) -> Clinic:
    """The clinic with those bookings only that can stand beside one another in the database."""
    kept: list[Booking] = []

    def span(b: Booking) -> tuple[int, int]:
        start = b.date.toordinal() * 1440 + b.start
        return start, start + clinic.kind_of(b).duration_minutes

    def people(b: Booking) -> list[tuple[str, bool, int, int]]:
        """Whom a booking keeps busy, whether in a role, and from when until when."""
        own = [] if b.is_overbooked else [(b.provider_id, False, *span(b))]
        midnight = b.date.toordinal() * 1440
        return own + [
            (each.provider_id, True, midnight + each.span[0], midnight + each.span[1])
            for each in in_roles(clinic.kind_of(b), b)
        ]

    def collide(a: Booking, b: Booking) -> bool:
        if not (a.is_live and b.is_live):
            return False
        overlap = span(a)[0] < span(b)[1] and span(b)[0] < span(a)[1]
        if a.room_id == b.room_id and overlap:
            return True
        if any(
            p == q and p_role | q_role and s < f and t < e
            for p, p_role, s, e in people(a)
            for q, q_role, t, f in people(b)
        ):
            return True
        if a.provider_id != b.provider_id:
            return False
        if (a.date, a.start) == (b.date, b.start):
            return True
        return overlap and not a.is_overbooked and not b.is_overbooked

    def has_equipment(b: Booking) -> bool:
        """Whether a booking finds what it takes of the pools beside those that are kept."""
        begin, end = span(b)
        for pool_id, quantity in clinic.kind_of(b).required_pools:
            pool = clinic.pool_by_id[pool_id]
            out = [quantity] * (end + pool.return_minutes - begin)
            for a in kept:
                taken = dict(clinic.kind_of(a).required_pools).get(pool_id, 0) * a.is_live
                starts, ends = span(a)
                for minute in range(starts, ends + pool.return_minutes):
                    if taken and begin <= minute < begin + len(out):
                        out[minute - begin] += taken
            if max(out) > pool.capacity_at(clinic.room_by_id[b.room_id].location_id):
                return False
        return True

    for b in clinic.bookings:
        if not any(collide(a, b) for a in kept) and (not b.is_live or has_equipment(b)):
            kept.append(b)
    return clinic.with_bookings(kept)
