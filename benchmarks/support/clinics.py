"""Seeded clinics of any size, booked up to a share of their open time.

``clinics.json`` has the sizes, loads and seeds of those that suites measure, and a digest of each:
a change of what is measured does not go unseen. ``python -m benchmarks.support.clinics`` writes the
digests anew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
)

MONDAY = dt.date(2027, 3, 1)


SKILLS = ("gp", "derma", "physio", "cardio")


EQUIPMENT = ("ecg", "ultrasound", "laser", "couch")


DURATIONS = (15, 20, 30, 30, 45, 45, 60, 90)


KNOWN = Path(__file__).with_name("clinics.json")


def uid(group: int, number: int) -> str:
    """Return a UUID made of a group of rows and a number in it."""
    return str(UUID(int=(group << 64) + number))


def make_clinic(
    providers: int, rooms: int, *, seed: int = 0, load: float = 0.6, grid: int = 15
) -> Clinic:
    """Return a clinic whose Monday is booked up to `load` of each provider's open minutes."""
    chance = random.Random(f"{providers}x{rooms}:{seed}")
    staff = [
        Provider(
            uid(1, i),
            f"Provider {i}",
            skills=frozenset({"gp", *(s for s in SKILLS if chance.random() < 0.6)}),
            daily_cap=24,
            buffer_before=chance.choice((0, 0, 5)),
            buffer_after=chance.choice((0, 5, 10)),
        )
        for i in range(providers)
    ]
    places = [
        Room(
            uid(2, i),
            f"Room {i}",
            equipment=frozenset(
                EQUIPMENT if i == 0 else (e for e in EQUIPMENT if chance.random() < 0.4)
            ),
            turnover_minutes=chance.choice((0, 5)),
        )
        for i in range(rooms)
    ]
    types = [
        AppointmentType(
            uid(3, i),
            f"Type {i}",
            duration_minutes=duration,
            buffer_after=chance.choice((0, 5)),
            required_skills=frozenset({chance.choice(SKILLS)} if i % 2 else ()),
            required_equipment=frozenset({chance.choice(EQUIPMENT)} if i % 3 == 1 else ()),
        )
        for i, duration in enumerate(DURATIONS)
    ]
    availability = []
    for provider in staff:
        opens, closes = chance.choice((480, 510, 540)), chance.choice((960, 1020, 1080))
        lunch = chance.choice((705, 720, 735))
        for weekday in range(1, 6):
            for start, end in ((opens, lunch), (lunch + 45, closes)):
                availability.append(
                    Availability(start, end, provider_id=provider.id, weekday=weekday)
                )
    rules = (
        OverbookingRule(uid(4, 0), weekday=1, start=480, end=660, max_overlap=1, max_per_day=1),
    )
    return Clinic(
        ClinicSettings(f"{providers} x {rooms}", "Europe/Berlin", grid_minutes=grid),
        tuple(staff),
        tuple(places),
        tuple(types),
        tuple(availability),
        rules,
        tuple(_bookings(chance, staff, places, types, availability, load)),
    )


def as_document(clinic: Clinic) -> dict[str, Any]:
    """Return a clinic as a clinic file."""

    def plain(row: Any, **renamed: str) -> dict[str, Any]:
        fields = {}
        for name in row.__dataclass_fields__:
            value = getattr(row, name)
            if isinstance(value, frozenset):
                value = sorted(value)
            elif isinstance(value, dt.date):
                value = value.isoformat()
            if name in renamed and value is not None:
                value = format_time(value)
            fields[renamed.get(name, name)] = value
        return fields

    times = {"start": "start_time", "end": "end_time"}
    rows: dict[str, Any] = {"clinic": plain(clinic.settings)}
    rows_as_they_are = "providers rooms equipment_pools appointment_types provider_types"
    for name in (*rows_as_they_are.split(), "locations", "travel"):
        rows[name] = [plain(row) for row in getattr(clinic, name)]
    for row in rows["appointment_types"]:
        row["required_pools"] = [need._asdict() for need in row["required_pools"]]
        row["roles"] = [
            {**asdict(role), "required_skills": sorted(role.required_skills)}
            for role in row["roles"]
        ]
    rows["availability"] = [plain(row, **times) for row in clinic.availability]
    rows["overbooking_rules"] = [plain(row, **times) for row in clinic.overbooking_rules]
    rows["sessions"] = [_session(plain(row, **times)) for row in clinic.sessions]
    rows["bookings"] = [plain(b, start="start_time") for b in clinic.bookings]
    for row in rows["bookings"]:
        for name in ("duration_minutes", "buffer_before", "buffer_after"):
            if row[name] is None:
                del row[name]
        if not row["overrides"]:  # as an export writes it
            del row["overrides"]
        if not row["team"]:
            del row["team"]
        else:
            row["team"] = dict(row["team"])
    return rows


def _session(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a session's fields, its instants as a clinic file writes them."""
    for name in ("opens", "releases"):
        lead = fields[name]
        if lead is not None and lead.minutes_before is not None:
            fields[name] = {"minutes_before": lead.minutes_before}
        elif lead is not None:
            fields[name] = {"days_before": lead.days_before, "at": format_time(lead.at)}
    return fields


def _bookings(
    chance: random.Random,
    staff: list[Provider],
    places: list[Room],
    types: list[AppointmentType],
    availability: list[Availability],
    load: float,
) -> list[Booking]:
    bookings: list[Booking] = []
    room_free = {room.id: 0 for room in places}
    windows: dict[str, list[tuple[int, int]]] = {}
    for row in availability:
        if row.weekday == 1 and row.provider_id is not None:
            windows.setdefault(row.provider_id, []).append((row.start, row.end))
    agenda = sorted((s, e, p.id) for p in staff for s, e in windows[p.id])
    for start, end, provider_id in agenda:
        provider = next(p for p in staff if p.id == provider_id)
        kinds = [t for t in types if t.required_skills <= provider.skills]
        at = start
        while True:
            kind = chance.choice(kinds)
            at += 5 * int(chance.expovariate(load / (1.01 - load) / 8))
            if at + kind.duration_minutes > end:
                break
            room = next(
                (
                    r
                    for r in chance.sample(places, min(len(places), 12))
                    if room_free[r.id] <= at and kind.required_equipment <= r.equipment
                ),
                None,
            )
            if room is None:
                at += 15
                continue
            bookings.append(
                Booking(
                    uid(5, len(bookings)),
                    provider.id,
                    room.id,
                    kind.id,
                    MONDAY,
                    at,
                    f"patient {len(bookings)}",
                )
            )
            busy = kind.duration_minutes + 15
            room_free[room.id] = at + busy
            at += busy
    return bookings


def known() -> list[dict[str, Any]]:
    """Return size, load, seed and digest of each clinic that suites measure."""
    rows: list[dict[str, Any]] = orjson.loads(KNOWN.read_bytes())
    return rows


def digest(row: dict[str, Any]) -> str:
    """Return the SHA-256 of the clinic file of a row's size, load and seed."""
    clinic = make_clinic(row["providers"], row["rooms"], seed=row["seed"], load=row["load"])
    document = orjson.dumps(as_document(clinic), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(document).hexdigest()


if __name__ == "__main__":
    lines = [orjson.dumps(row | {"sha256": digest(row)}).decode() for row in known()]
    KNOWN.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n")
