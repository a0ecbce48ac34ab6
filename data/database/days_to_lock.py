"""The days that a write locks: of everything whose bookings its rules count or compare."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from data.database.locks import DayKey
from data.database.transaction import patient_resource
from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Provider, Room, Span
from solver.clinic.sessions.limits import sessions_counting
from solver.clinic.spans import provider_busy_span, room_busy_span
from solver.clinic.teams.roles import Team


def days_to_lock(
    clinic: Clinic,
    kind: AppointmentType,
    provider: Provider,
    room: Room,
    time: tuple[dt.date, int],
    patient: str | None,
    team: Team = (),
) -> set[DayKey]:
    """Return the days to lock for an appointment at a place and time.

    Those that its busy spans touch at the provider, at whoever is in its `team` and in the room,
    the patient's, that of a type with a daily cap, those of the sessions of everybody that count
    it, and those on which it has pieces of equipment pools.
    """
    day, start = time
    counting = sessions_counting(clinic, kind.id, day, start)
    keys: set[DayKey] = {("session", session.id, day) for session in counting}
    if kind.daily_cap is not None:
        keys.add(("appointment_type", kind.id, day))
    if patient is not None:
        keys.add(patient_day(patient, day))
    keys |= pools_to_lock(clinic, kind, time)
    keys |= members_to_lock(clinic, kind, time, team)
    keys |= provider_days(kind, provider, time)
    span = room_busy_span(room, kind, start)
    return keys | {("room", room.id, each) for each in _days(day, span)}


def provider_days(
    kind: AppointmentType, provider: Provider, time: tuple[dt.date, int]
) -> set[DayKey]:
    """Return the days of a provider that an appointment touches."""
    day, start = time
    span = provider_busy_span(provider, kind, start)
    return {("provider", provider.id, each) for each in _days(day, span)}


def pools_to_lock(clinic: Clinic, kind: AppointmentType, time: tuple[dt.date, int]) -> set[DayKey]:
    """Return the days on which an appointment has pieces of equipment pools."""
    day, start = time
    return {
        ("equipment_pool", pool.id, each)
        for pool in clinic.pools_of(kind)
        for each in _days(day, pool.out(start, start + kind.duration_minutes))
    }


def members_to_lock(
    clinic: Clinic, kind: AppointmentType, time: tuple[dt.date, int], team: Team
) -> set[DayKey]:
    """Return the days on which those in a team are busy with it."""
    day, start = time
    spans = {role.key: role.span(kind.duration_minutes) for role in kind.roles} if team else {}
    keys: set[DayKey] = set()
    for key, member in team:
        if key in spans and (provider := clinic.provider_by_id.get(member)) is not None:
            begin, end = spans[key]
            span = start + begin - provider.buffer_before, start + end + provider.buffer_after
            keys |= {("provider", member, each) for each in _days(day, span)}
    return keys


def patient_day(key: str, day: dt.date) -> DayKey:
    """Return the lock of a patient's date; `key` is what patients are compared by."""
    return "patient", patient_resource(key), day


def _days(day: dt.date, span: Span) -> Iterable[dt.date]:
    """Yield the dates that a busy span touches; spans that meet touch one in common."""
    for ahead in range(span[0] // DAY_MINUTES, (span[1] - 1) // DAY_MINUTES + 1):
        yield day + dt.timedelta(days=ahead)
