"""The service, on a real database, agrees with the plain checker on random clinics."""

import dataclasses
import datetime as dt
import random
from typing import Any

import httpx
from hypothesis import event, given, settings
from sqlalchemy.ext.asyncio import AsyncEngine

from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.request import SlotRequest
from solver.rules.checked_slots import Found, SlotChecker
from tests.conftest import empty_tables
from tests.support.clinics import coming_monday, moved_to, without_collisions
from tests.support.over_http import load_clinic
from tests.support.strategies import clinics


def expected_slots(found: list[Found], clinic: Clinic, kind: str) -> list[dict[str, Any]]:
    return [
        {
            "provider_id": f.provider_id,
            "room_id": f.room_id,
            "start_time": format_time(f.start),
            "end_time": format_time(f.start + clinic.kind_at(kind, f.provider_id).duration_minutes),
            "score": float(f.score),
            "is_overbooked": f.is_overbooked,
        }
        for f in found
    ]


@given(clinics())
@settings(max_examples=25)
async def test_slots_over_http_are_what_the_checker_reads(
    client: httpx.AsyncClient, admin_engine: AsyncEngine, clinic: Clinic
) -> None:
    monday = coming_monday()
    clinic = without_collisions(moved_to(clinic, monday))
    await empty_tables(admin_engine)
    await load_clinic(client, clinic)
    for kind in clinic.appointment_types:
        request = SlotRequest(kind.id, monday, dt.datetime.now(dt.UTC))
        found = SlotChecker(clinic).read_slots(request)
        event("feasible" if found else "nothing fits")
        params = {"date": monday, "appointment_type_id": kind.id, "rooms": "all", "limit": 5000}
        body = (await client.get("/slots", params=params)).json()
        expected = expected_slots(found, clinic, kind.id)
        assert body["total"] == len(found)
        assert [{key: slot[key] for key in expected[0]} for slot in body["slots"]] == expected
        if not found:
            assert is_first_date(body["next_available_date"], clinic, request)


def is_first_date(date: str | None, clinic: Clinic, request: SlotRequest) -> bool:
    """Whether a date has a slot, or is None, and three dates before it, drawn at random, none."""
    days = [request.date + dt.timedelta(days=ahead) for ahead in range(1, 15)]
    if date is not None:
        day = dt.date.fromisoformat(date)
        if day not in days or not _has_slot(clinic, request, day):
            return False
        days = days[: days.index(day)]
    drawn = random.Random(request.appointment_type_id).sample(days, min(3, len(days)))
    return not any(_has_slot(clinic, request, day) for day in drawn)


def _has_slot(clinic: Clinic, request: SlotRequest, day: dt.date) -> bool:
    return bool(SlotChecker(clinic).read_slots(dataclasses.replace(request, date=day)))


@given(clinics())
@settings(max_examples=25)
async def test_what_is_offered_can_be_booked_and_nothing_else(
    client: httpx.AsyncClient, admin_engine: AsyncEngine, clinic: Clinic
) -> None:
    monday = coming_monday()
    clinic = without_collisions(moved_to(clinic, monday))
    await empty_tables(admin_engine)
    await load_clinic(client, clinic)
    kind = clinic.appointment_types[0]
    checker = SlotChecker(clinic)
    request = SlotRequest(kind.id, monday, dt.datetime.now(dt.UTC))
    feasible = {(f.provider_id, f.room_id, f.start): f for f in checker.read_slots(request)}
    grid = clinic.settings.grid_minutes
    everything = [
        (p.id, r.id, start)
        for p in clinic.providers
        for r in clinic.rooms
        for start in [*range(420, 1140, grid), 547, 1439]
    ]
    chance = random.Random(len(everything))
    sample = [
        *chance.sample(sorted(feasible), min(12, len(feasible))),
        *chance.sample(everything, min(12, len(everything))),
    ]
    for provider, room, start in sample:
        body = {
            "appointment_type_id": kind.id,
            "provider_id": provider,
            "room_id": room,
            "date": monday.isoformat(),
            "start_time": format_time(start),
            "patient_ref": "someone",
            "accept_overbooked": True,
        }
        answer = await client.post("/bookings", json=body)
        found = feasible.get((provider, room, start))
        if found is None:
            assert answer.status_code == 409, answer.text
            assert answer.json()["code"] == "SLOT_UNAVAILABLE"
            assert answer.json()["reasons"]
            continue
        assert answer.status_code == 201, (answer.text, found)
        assert answer.json()["is_overbooked"] == found.is_overbooked
        cancelled = await client.post(f"/bookings/{answer.json()['id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
