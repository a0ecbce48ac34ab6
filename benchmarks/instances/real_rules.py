"""What a real clinic adds to a contended week: kept hours, rhythms, shared equipment, places."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.support.clinics import uid
from solver.clinic.clinic import Clinic
from solver.clinic.entities import AppointmentType, ProviderType
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.places import Location, Travel
from solver.clinic.sessions.session import Lead, Session
from solver.rules.checked_book import BookChecker

WEEKDAYS = range(1, 6)
WAY_MINUTES = 20
NORTH, SOUTH = uid(7, 0), uid(7, 1)
TROLLEY = uid(8, 0)
TYPES_OF_ITS_OWN = 4
"""One provider in so many takes longer for a check-up, and the next one less for an ECG."""


def with_real_rules(clinic: Clinic) -> Clinic:
    """Return a clinic with sessions, starts, a pool, provider types and places.

    Of its bookings it keeps those that break none of these.
    """
    kinds = {kind.name: kind for kind in clinic.appointment_types}
    count = max(1, len(clinic.providers) // 4)
    changed = replace(
        clinic,
        appointment_types=tuple(_of_its_own_rhythm(kind) for kind in clinic.appointment_types),
        equipment_pools=(EquipmentPool(TROLLEY, "Trolley", count, return_minutes=10),),
        provider_types=tuple(_provider_types(clinic, kinds)),
        sessions=tuple(_sessions(clinic, kinds)),
        locations=(Location(NORTH, "North"), Location(SOUTH, "South")),
        travel=(Travel(uid(9, 0), NORTH, SOUTH, WAY_MINUTES),),
        rooms=tuple(
            replace(room, location_id=SOUTH if number % 4 == 3 else NORTH)
            for number, room in enumerate(clinic.rooms)
        ),
    )
    while broken := {violation.booking.id for violation in BookChecker(changed).violations()}:
        changed = changed.with_bookings(b for b in changed.bookings if b.id not in broken)
    return changed


def _of_its_own_rhythm(kind: AppointmentType) -> AppointmentType:
    match kind.name:
        case "Consultation":
            return replace(kind, start_every=15)
        case "Physiotherapy":
            return replace(kind, start_every=50, start_anchor="window")
        case "ECG" | "Ultrasound":
            return replace(kind, start_every=10, required_pools=(PoolNeed(TROLLEY, 1),))
        case "Skin laser":
            return replace(kind, start_every=30, start_offset=10)
        case _:
            return kind


def _provider_types(clinic: Clinic, kinds: dict[str, AppointmentType]) -> list[ProviderType]:
    rows: list[ProviderType] = []
    for number, provider in enumerate(clinic.providers):
        for name, minutes, cap, turn in (("Check-up", 40, 6, 0), ("ECG", 20, None, 1)):
            kind = kinds[name]
            if number % TYPES_OF_ITS_OWN == turn and kind.required_skills <= provider.skills:
                key = uid(6, len(rows))
                rows.append(ProviderType(key, provider.id, kind.id, minutes, daily_cap=cap))
    return rows


def _sessions(clinic: Clinic, kinds: dict[str, AppointmentType]) -> list[Session]:
    """Return an early hour for few, a provider's hour for the day itself, and a room's morning."""
    urgent = next(p for p in clinic.providers if "gp" in p.skills)
    laser = next(room for room in clinic.rooms if "laser" in room.equipment)
    of_laser, quick = ({kinds[name].id} for name in ("Skin laser", "Vaccination"))
    rows: list[Session] = []
    for day in WEEKDAYS:
        for name, start, end, more in (
            (
                "Early vaccinations",
                480,
                570,
                {
                    "appointment_type_ids": frozenset(quick),
                    "max_bookings": len(clinic.providers),
                    "releases": Lead(days_before=366, at=0),
                },
            ),
            (
                "Urgent today",
                630,
                690,
                {
                    "provider_id": urgent.id,
                    "appointment_type_ids": frozenset(),
                    "releases": Lead(days_before=0, at=480),
                },
            ),
            (
                "Laser morning",
                540,
                660,
                {"room_id": laser.id, "appointment_type_ids": frozenset(of_laser)},
            ),
        ):
            key = uid(10, len(rows))
            rows.append(Session(key, name, start, end, weekday=day, **more))
    return rows
