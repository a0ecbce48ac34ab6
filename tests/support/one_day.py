"""One day of a tiny clinic, to put single bookings on."""

from typing import Any

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.equipment.pools import EquipmentPool
from tests.support.strategies import MONDAY, uid

NINE, TEN, NOON = 540, 600, 720


VEGA = Provider(uid(1, 0), "Dr. Vega", skills=frozenset({"gp"}))


ROOM = Room(uid(2, 0), "Room 1", equipment=frozenset({"ecg"}))


VISIT = AppointmentType(
    uid(3, 0),
    "Visit",
    duration_minutes=30,
    required_skills=frozenset({"gp"}),
    required_equipment=frozenset({"ecg"}),
)


OPEN = Availability(NINE, NOON, provider_id=VEGA.id, weekday=1)


def clinic(
    *bookings: Booking,
    vega: Provider = VEGA,
    room: Room = ROOM,
    visit: AppointmentType = VISIT,
    rows: tuple[Availability, ...] = (OPEN,),
    rules: tuple[OverbookingRule, ...] = (),
    own: tuple[ProviderType, ...] = (),
    pools: tuple[EquipmentPool, ...] = (),
    **settings: Any,
) -> Clinic:
    return Clinic(
        ClinicSettings("Tiny", "Europe/Berlin", **settings),
        (vega,),
        (room,),
        (visit,),
        rows,
        rules,
        bookings,
        own,
        equipment_pools=pools,
    )


def booked(start: int, number: int = 0, **changes: Any) -> Booking:
    fields = {"provider_id": VEGA.id, "room_id": uid(2, 9), "date": MONDAY} | changes
    return Booking(
        id=uid(5, number), appointment_type_id=VISIT.id, start=start, patient_ref="p", **fields
    )
