"""A hospital: many providers, booked for most of a year ahead, every booking within the rules.

``python -m benchmarks.hospital.book FILE`` writes it as a clinic file.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
from pathlib import Path

import orjson

from benchmarks.support.clinics import EQUIPMENT, SKILLS, as_document, uid
from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
)

PROVIDERS = 60


BOOKINGS = 300_000


PER_DAY = 22
"""Bookings of one provider on one weekday, of the 28 that would fit."""


PATIENTS = 40_009


OPEN = ((480, 720), (750, 1080))
"""The windows of every weekday: 08:00 to 12:00, 12:30 to 18:00."""


KINDS = (("Check-up", 15, None), ("Visit", 15, 0), ("Talk", 10, 1), ("Control", 10, None))
"""Name, minutes, and the position of the piece of equipment that is needed."""


STEP = 20
"""Minutes from one start to the next; what is left of them is more than any buffer."""


def hospital_clinic(
    first: dt.date,
    *,
    providers: int = PROVIDERS,
    bookings: int = BOOKINGS,
    per_day: int = PER_DAY,
    seed: int = 0,
) -> Clinic:
    """Return a hospital booked from `first` on, weekdays only, until it has all its bookings.

    Each provider works in a room of their own, and some rooms are nobody's; on every day some
    starts are free. No patient has two bookings on a date.
    """
    chance = random.Random(f"hospital:{providers}:{per_day}:{seed}")
    staff = [
        Provider(
            uid(1, i),
            f"Dr {i}",
            skills=frozenset(SKILLS),
            daily_cap=28,
            buffer_after=chance.choice((0, 5)),
        )
        for i in range(providers)
    ]
    rooms = [
        Room(uid(2, i), f"Room {i}", equipment=frozenset(EQUIPMENT), turnover_minutes=i % 2 * 5)
        for i in range(providers + providers // 10 + 1)
    ]
    kinds = [
        AppointmentType(
            uid(3, i),
            name,
            duration_minutes=minutes,
            buffer_after=5 * (i % 2),
            required_skills=frozenset({SKILLS[i % len(SKILLS)]}),
            required_equipment=frozenset(() if needed is None else (EQUIPMENT[needed],)),
        )
        for i, (name, minutes, needed) in enumerate(KINDS)
    ]
    availability = [
        Availability(opens, closes, provider_id=provider.id, weekday=weekday)
        for provider in staff
        for weekday in range(1, 6)
        for opens, closes in OPEN
    ]
    starts = [start for opens, closes in OPEN for start in range(opens, closes - STEP + 1, STEP)]
    book: list[Booking] = []
    day = first
    while len(book) < bookings:
        if day.isoweekday() < 6:
            for provider, room in zip(staff, rooms, strict=False):
                for start in sorted(chance.sample(starts, per_day)):
                    number = len(book)
                    book.append(
                        Booking(
                            uid(5, number),
                            provider.id,
                            room.id,
                            kinds[chance.randrange(len(kinds))].id,
                            day,
                            start,
                            f"patient {number % PATIENTS}",
                        )
                    )
        day += dt.timedelta(days=1)
    return Clinic(
        ClinicSettings(f"Hospital of {providers}", "Europe/Berlin", grid_minutes=5),
        tuple(staff),
        tuple(rooms),
        tuple(kinds),
        tuple(availability),
        (OverbookingRule(uid(4, 0), start=480, end=1080, max_overlap=1, max_per_day=2),),
        tuple(book[:bookings]),
    )


if __name__ == "__main__":
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    Path(sys.argv[1]).write_bytes(orjson.dumps(as_document(hospital_clinic(tomorrow))))
