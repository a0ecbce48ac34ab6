"""A clinic whose bookings are found by what they take."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.sessions.limits import sessions_counting

if TYPE_CHECKING:
    from data.bookings.decisions import BookingRequest


class BookIndex:
    """A clinic whose bookings are found by what they take, so that one place needs few rows."""

    def __init__(self, clinic: Clinic, bookings: Iterable[Booking]) -> None:
        self._clinic = clinic
        self._by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        for booking in bookings:
            self.add(booking)

    def add(self, booking: Booking) -> None:
        """Put one more booking in."""
        for owner in self.keys_of(booking):
            self._by_owner[owner, booking.date].append(booking)

    def keys_of(self, booking: Booking) -> set[str]:
        """Return the names under which a booking is found.

        Those of what it takes, of who is in its team, of who is seen, of the equipment pools that
        it has pieces of, and of the sessions of everybody that count it.
        """
        kind = booking.appointment_type_id
        keys = {booking.provider_id, booking.room_id, kind, *pool_keys(self._clinic, kind)}
        keys |= {member for _, member in booking.team}
        if booking.patient_key is not None:
            keys.add(patient_owner(booking.patient_key))
        return keys | session_keys(self._clinic, kind, booking.date, booking.start)

    def beside(self, key: str, date: dt.date) -> list[Booking]:
        """Return the bookings found under a key, on a date and the two beside it."""
        dates = (date + dt.timedelta(days=days) for days in (-1, 0, 1))
        return [b for day in dates for b in self._by_owner.get((key, day), ())]

    def around(self, requests: Sequence[BookingRequest]) -> Clinic:
        """Return what decides on requests, and nothing else."""
        clinic = self._clinic
        providers = {request.place.provider_id for request in requests}
        providers |= {key for request in requests for key in request.people_in(clinic)}
        named = {request.place.room_id for request in requests}
        rooms = {room.id for room in clinic.rooms} if None in named else named
        around = [dt.timedelta(days=days) for days in (-1, 0, 1)]
        dates = {request.place.date + days for request in requests for days in around}
        places = {
            (place.appointment_type_id, place.date, place.start)
            for place in (request.place for request in requests)
        }
        owners = (
            *providers,
            *rooms,
            *{request.place.appointment_type_id for request in requests},
            *{key for kind, *_ in places for key in pool_keys(clinic, kind)},
            *{patient_owner(request.patient_key) for request in requests},
            *{key for place in places for key in session_keys(clinic, *place)},
        )
        found = {
            booking.id: booking
            for owner in owners
            for date in dates
            for booking in self._by_owner.get((owner, date), ())
        }
        return Clinic(
            clinic.settings,
            tuple(p for p in clinic.providers if p.id in providers),
            tuple(room for room in clinic.rooms if room.id in rooms),
            clinic.appointment_types,
            tuple(
                row
                for row in clinic.availability
                if (row.provider_id is None or row.provider_id in providers)
                and (row.room_id is None or row.room_id in rooms)
            ),
            tuple(
                rule
                for rule in clinic.overbooking_rules
                if rule.provider_id is None or rule.provider_id in providers
            ),
            tuple(found.values()),
            tuple(row for row in clinic.provider_types if row.provider_id in providers),
            tuple(
                session
                for session in clinic.sessions
                if (session.provider_id is None or session.provider_id in providers)
                and (session.room_id is None or session.room_id in rooms)
            ),
            clinic.equipment_pools,
            clinic.locations,
            clinic.travel,
            clinic.located_but(rooms),
        )


def patient_owner(key: str | None) -> str:
    """Return the name under which a patient's bookings are found, by what patients compare by."""
    return f"patient {key}"


def pool_keys(clinic: Clinic, type_id: str) -> list[str]:
    """Return the names of the equipment pools that a type, if it is there, takes from."""
    kind = clinic.type_by_id.get(type_id)
    return [] if kind is None else [f"pool {need.pool_id}" for need in kind.required_pools]


def able_in_roles(clinic: Clinic, type_id: str) -> set[str]:
    """Return who may be in a role of a type, if it is there."""
    kind = clinic.type_by_id.get(type_id)
    if kind is None or not kind.roles:
        return set()
    return {
        provider.id
        for provider in clinic.providers
        if provider.active and any(role.required_skills <= provider.skills for role in kind.roles)
    }


def session_keys(clinic: Clinic, type_id: str, day: dt.date, start: int) -> set[str]:
    """Return the names of the sessions of everybody that count a booking."""
    return {f"session {each.id}" for each in sessions_counting(clinic, type_id, day, start)}
