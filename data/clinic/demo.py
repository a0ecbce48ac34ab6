"""The demo clinic: a clinic file, and bookings that are always around today."""

from __future__ import annotations

import datetime as dt
import random
from importlib.resources import files
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from data.clinic.import_export import import_file
from data.files.clinic_file import BookingRow, ClinicFile, parse_clinic_file
from models.tables import BOOKINGS
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.slots.search import find_slots

WORKING_DAYS = 5


PER_PROVIDER = 6


QUERY_TYPE = "Check-up"


def read_demo() -> ClinicFile:
    """Return the demo clinic, without bookings."""
    document = files("data.clinic").joinpath("demo_clinic.yaml").read_bytes()
    return parse_clinic_file(document, is_yaml=True)


def working_days(now: dt.datetime, count: int) -> list[dt.date]:
    """Return the next `count` weekdays, today among them if it is one."""
    today = now.astimezone(read_demo().clinic.to_solver().zone).date()
    days = (today + dt.timedelta(days=ahead) for ahead in range(2 * count + 2))
    return [day for day in days if day.isoweekday() <= 5][:count]


def first_query(now: dt.datetime) -> dict[str, str]:
    """Return the parameters of the query that the demo shows: a check-up on the next morning."""
    file = read_demo()
    kind = next(row for row in file.appointment_types if row.name == QUERY_TYPE)
    return {
        "date": working_days(now, 2)[-1].isoformat(),
        "appointment_type_id": kind.id,
        "preferred_start": "09:00",
        "preferred_end": "12:00",
    }


async def seed(engine: AsyncEngine, now: dt.datetime) -> None:
    """Bring the demo clinic in, and bookings for those of the next working days without any."""
    file = read_demo()
    await import_file(engine, file, replace=False, today=now.date())
    days = working_days(now, WORKING_DAYS)
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(BOOKINGS.c.date).where(BOOKINGS.c.date.in_(days)).distinct()
        )
        taken = set(rows.scalars())
    file.bookings = [
        booking for day in days if day not in taken for booking in bookings_on(file, day, now)
    ]
    await import_file(engine, file, replace=False, today=now.date())


def bookings_on(file: ClinicFile, day: dt.date, now: dt.datetime) -> list[BookingRow]:
    """Return a believable day: each provider's appointments, placed by the engine itself."""
    clinic = file.to_clinic(now)
    midnight = dt.datetime.combine(day, dt.time(), clinic.settings.zone)
    chance = random.Random(day.toordinal())  # noqa: S311 - the same day, the same bookings
    bookings: list[Booking] = []
    for provider in clinic.providers:
        kinds = [t for t in clinic.appointment_types if t.required_skills <= provider.skills]
        for _ in range(PER_PROVIDER if kinds else 0):
            wish = chance.randrange(8 * 60, 16 * 60, 15)
            request = SlotRequest(
                chance.choice(kinds).id,
                day,
                midnight,
                provider_ids=frozenset({provider.id}),
                preferred=(wish, wish + 60),
            )
            if booking := _place(clinic.with_bookings(bookings), request, len(bookings)):
                bookings.append(booking)
    return [
        BookingRow(
            id=b.id,
            provider_id=b.provider_id,
            room_id=b.room_id,
            appointment_type_id=b.appointment_type_id,
            date=b.date,
            start_time=format_time(b.start),
            patient_ref=b.patient_ref,
            team=dict(b.team) or None,
        )
        for b in bookings
    ]


def _place(clinic: Clinic, request: SlotRequest, number: int) -> Booking | None:
    page = find_slots(clinic, request, limit=1)
    if not page.slots or page.slots[0].is_overbooked:
        return None
    slot = page.slots[0]
    key = f"slotwright-demo:{request.date}:{number}"
    return Booking(
        str(uuid5(NAMESPACE_URL, key)),
        slot.provider.id,
        slot.room.id,
        request.appointment_type_id,
        request.date,
        slot.start,
        patient_ref=f"P-{1000 + request.date.toordinal() % 100 * 50 + number}",
        team=slot.team,
    )
