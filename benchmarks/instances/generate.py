"""Seeded weeks of a clinic that is asked for more than it can give.

What makes them hard is what makes a real week hard: more demand than open time, so that priorities
decide; skills and equipment that few have; lunch breaks, days off and half days; buffers and
turnover; bookings in the way; patients who come twice; caps and a little overbooking.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass

from benchmarks.instances.real_rules import with_real_rules
from benchmarks.support.clinics import MONDAY, uid
from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
    Span,
)
from solver.clinic.spans import provider_busy_span, room_busy_span, window_around
from solver.clinic.windows import Windows
from solver.planning.problem import Request

BOOKED_SHARE = 0.15
"""How much of each provider's open time is booked before the run."""
NAMED_PROVIDER_SHARE = 0.35
PREFERENCE_SHARE = 0.85
PATIENT_SHARE = 0.15
"""How many of the requests name their patient; ten neighbours could name the same."""
PRIORITIES = (1, 2, 3, 4, 5, 6, 7, 8, 9)
PRIORITY_SHARES = (30, 22, 16, 10, 8, 5, 4, 3, 2)
SURNAMES = [
    "Okafor",
    "Vega",
    "Lindqvist",
    "Nowak",
    "Haddad",
    "Brandt",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Hoang",
    "Ivanova",
    "Jensen",
    "Kaya",
    "Lopez",
    "Meyer",
    "Nguyen",
    "Oliveira",
    "Petrov",
    "Quinn",
    "Rossi",
    "Schmidt",
    "Tanaka",
    "Ueda",
]

KINDS = (
    # name, minutes, buffer after, skill, equipment, share of the requests
    ("Consultation", 15, 0, "gp", (), 18),
    ("Vaccination", 20, 0, "nurse", (), 14),
    ("Check-up", 30, 5, "gp", (), 20),
    ("ECG", 30, 5, "cardio", ("ecg",), 14),
    ("Ultrasound", 45, 5, "imaging", ("ultrasound",), 10),
    ("Physiotherapy", 45, 5, "physio", ("couch",), 12),
    ("Skin laser", 60, 10, "derma", ("laser",), 7),
    ("Stress test", 90, 10, "cardio", ("ecg", "couch"), 5),
)
SKILL_SHARES = {
    "gp": 0.75,
    "nurse": 0.65,
    "cardio": 0.5,
    "imaging": 0.5,
    "physio": 0.5,
    "derma": 0.45,
}
EQUIPMENT_SHARES = {"couch": 0.35, "ecg": 0.35, "ultrasound": 0.3, "laser": 0.2}


@dataclass(frozen=True)
class Size:
    """How large a week is."""

    providers: int
    rooms: int
    days: int
    requests: int


REAL = "r-"
"""What the names of weeks with :mod:`benchmarks.instances.real_rules` begin with."""
SIZES = {
    "s": Size(5, 8, 1, 80),
    "m": Size(5, 8, 5, 240),
    "l": Size(20, 30, 5, 960),
    "xl": Size(50, 100, 5, 2400),
}
SIZES |= {f"{REAL}{name}": SIZES[name] for name in ("s", "m", "l")}


@dataclass(frozen=True)
class Week:
    """A clinic and what is asked of it from :data:`benchmarks.support.clinics.MONDAY` on."""

    clinic: Clinic
    requests: tuple[Request, ...]
    days: int


def make_week(size: str, seed: int) -> Week:
    """Return the week of a size and seed, always the same."""
    shape = SIZES[size]
    chance = random.Random(f"{size}:{seed}")
    days = [MONDAY + dt.timedelta(days=ahead) for ahead in range(shape.days)]
    types = _types()
    staff = _staff(chance, shape.providers)
    clinic = Clinic(
        ClinicSettings(f"Contended week {size.upper()}{seed}", "Europe/Berlin", grid_minutes=5),
        tuple(staff),
        tuple(_rooms(chance, shape.rooms)),
        tuple(types),
        tuple(_availability(chance, staff, days)),
        (
            OverbookingRule(
                uid(4, 0),
                appointment_type_id=types[0].id,
                start=480,
                end=660,
                max_overlap=1,
                max_per_day=1,
            ),
        ),
    )
    booked = _booked(chance, clinic, days)
    if size.startswith(REAL):
        booked = with_real_rules(booked)
    requests = _requests(chance, booked, days, shape.requests)
    return Week(booked, tuple(requests), shape.days)


def _types() -> list[AppointmentType]:
    return [
        AppointmentType(
            uid(3, number),
            name,
            minutes,
            buffer_after=after,
            required_skills=frozenset({skill}),
            required_equipment=frozenset(equipment),
        )
        for number, (name, minutes, after, skill, equipment, _) in enumerate(KINDS)
    ]


def _staff(chance: random.Random, count: int) -> list[Provider]:
    skills = [
        {skill for skill, share in SKILL_SHARES.items() if chance.random() < share}
        for _ in range(count)
    ]
    for skill in SKILL_SHARES:  # somebody can do everything
        skills[chance.randrange(count)].add(skill)
    return [
        Provider(
            uid(1, number),
            f"Dr. {SURNAMES[number % len(SURNAMES)]}" + " II" * (number >= len(SURNAMES)),
            skills=frozenset(skills[number] or {"gp"}),
            daily_cap=chance.choice((None, 20, 16)),
            buffer_before=chance.choice((0, 0, 5)),
            buffer_after=chance.choice((0, 5, 5)),
        )
        for number in range(count)
    ]


def _rooms(chance: random.Random, count: int) -> list[Room]:
    return [
        Room(
            uid(2, number),
            f"Room {number + 1}",
            equipment=frozenset(
                EQUIPMENT_SHARES
                if number == 0
                else (e for e, share in EQUIPMENT_SHARES.items() if chance.random() < share)
            ),
            turnover_minutes=chance.choice((0, 5, 5, 10)),
        )
        for number in range(count)
    ]


def _availability(
    chance: random.Random, staff: list[Provider], days: list[dt.date]
) -> list[Availability]:
    rows = []
    for provider in staff:
        for day in days:
            for opens, closes in _working_day(chance, is_only=len(days) == 1):
                rows.append(
                    Availability(opens, closes, provider_id=provider.id, weekday=day.isoweekday())
                )
    return rows


def _working_day(chance: random.Random, *, is_only: bool) -> list[Span]:
    opens = chance.choice((480, 510, 540))
    closes = chance.choice((990, 1020, 1050, 1080))
    lunch = chance.choice((705, 720, 735))
    morning, afternoon = (opens, lunch), (lunch + 45, closes)
    draw = chance.random()
    if draw < 0.10 and not is_only:
        return []
    if draw < 0.18:
        return [morning]
    if draw < 0.26:
        return [afternoon]
    return [morning, afternoon]


class _Agenda:
    """What is taken so far, minute spans by owner and date."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, dt.date], list[Span]] = {}

    def is_free(self, owner: str, day: dt.date, span: Span) -> bool:
        taken = self._taken.get((owner, day), ())
        return not any(start < span[1] and span[0] < end for start, end in taken)

    def take(self, owner: str, day: dt.date, span: Span) -> None:
        self._taken.setdefault((owner, day), []).append(span)


def _booked(chance: random.Random, clinic: Clinic, days: list[dt.date]) -> Clinic:
    """Return the clinic with :data:`BOOKED_SHARE` of each provider-day booked, all regular."""
    agenda = _Agenda()
    bookings: list[Booking] = []
    grid = clinic.settings.grid_minutes
    for day in days:
        windows = Windows.on(clinic, day).provider
        for provider in clinic.providers:
            kinds = [t for t in clinic.appointment_types if t.required_skills <= provider.skills]
            left = BOOKED_SHARE * sum(end - start for start, end in windows[provider.id])
            for _ in range(30):
                kind = chance.choice(kinds)
                start = chance.randrange(480, 1080, grid)
                mine = provider_busy_span(provider, kind, start)
                room = chance.choice(
                    [r for r in clinic.rooms if kind.required_equipment <= r.equipment]
                )
                there = room_busy_span(room, kind, start)
                if (
                    left <= 0
                    or not window_around(windows[provider.id], start, start + kind.duration_minutes)
                    or not agenda.is_free(provider.id, day, mine)
                    or not agenda.is_free(room.id, day, there)
                ):
                    continue
                agenda.take(provider.id, day, mine)
                agenda.take(room.id, day, there)
                left -= mine[1] - mine[0]
                number = len(bookings)
                bookings.append(
                    Booking(
                        uid(5, number),
                        provider.id,
                        room.id,
                        kind.id,
                        day,
                        start,
                        f"booked-{number + 1}",
                    )
                )
    return clinic.with_bookings(bookings)


def _requests(
    chance: random.Random, clinic: Clinic, days: list[dt.date], count: int
) -> list[Request]:
    shares = [share for *_, share in KINDS]
    requests: list[Request] = []
    for number in range(1, count + 1):
        kind = chance.choices(clinic.appointment_types, shares)[0]
        able = [p for p in clinic.providers if kind.required_skills <= p.skills]
        middle, width = chance.randrange(510, 1050, 30), chance.choice((120, 180, 300))
        dates = frozenset(chance.sample(days, chance.randint(1, len(days))))
        requests.append(
            Request(
                f"r{number}",
                kind.id,
                priority=chance.choices(PRIORITIES, PRIORITY_SHARES)[0],
                dates=None if len(dates) == len(days) else dates,
                provider_id=(
                    chance.choice(able).id if chance.random() < NAMED_PROVIDER_SHARE else None
                ),
                preferred=(
                    (max(480, middle - width // 2), min(1080, middle + width // 2))
                    if chance.random() < PREFERENCE_SHARE
                    else None
                ),
                patient_ref=_patient(chance, number),
            )
        )
    return requests


def _patient(chance: random.Random, number: int) -> str | None:
    if chance.random() >= PATIENT_SHARE:
        return None
    return f"patient-{(number + 9) // 10}"
