"""``GET /slots``: its body, its bounds and its errors."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.context import Context
from benchmarks.support.clinics import as_document, make_clinic
from tests.support.clinics import (
    PROVIDER,
    ROOM,
    TYPE,
    booking,
    coming_monday,
    moved_to,
    order,
    small_clinic,
)
from tests.support.over_http import load
from tests.support.strategies import uid

MONDAY = coming_monday()


def query(**changes: Any) -> dict[str, Any]:
    return {"date": MONDAY.isoformat(), "appointment_type_id": TYPE} | changes


async def test_the_body(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "10:30")]))
    answer = await client.get("/slots", params=query(limit=1, preferred_start="09:00"))
    begins = dt.datetime.combine(MONDAY, dt.time(9), ZoneInfo("Europe/Berlin"))
    assert answer.status_code == 200
    assert answer.json() == {
        "date": MONDAY.isoformat(),
        "appointment_type_id": TYPE,
        "total": 8,
        "slots": [
            {
                "provider_id": PROVIDER,
                "provider_name": "Dr. Vega",
                "room_id": ROOM,
                "room_name": "Room 1",
                "date": MONDAY.isoformat(),
                "start_time": "09:00",
                "end_time": "09:30",
                "start": begins.isoformat(),
                "end": (begins + dt.timedelta(minutes=30)).isoformat(),
                "score": 0.9125,
                "score_parts": {"preference": 1.0, "gap": 0.75, "room": 1.0, "overbook": 1.0},
                "is_overbooked": False,
                "session_ids": [],
                "team": {},
            }
        ],
        "next_available_date": None,
        "blocked_by": {},
        "opens_later": [],
    }


async def test_nothing_is_kept_between_queries(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    before = (await client.get("/slots", params=query())).json()["total"]
    await client.post("/bookings", json=order(MONDAY, "09:00"))
    after = (await client.get("/slots", params=query())).json()["total"]
    assert (before, after) == (11, 9)


async def starts(client: httpx.AsyncClient, **changes: Any) -> list[str]:
    answer = await client.get("/slots", params=query(limit=500, **changes))
    assert answer.status_code == 200, answer.text
    return sorted(slot["start_time"] for slot in answer.json()["slots"])


async def test_as_if_a_booking_were_not_there(client: httpx.AsyncClient) -> None:
    document = small_clinic(bookings=[booking(0, MONDAY, "10:00"), booking(1, MONDAY, "11:00")])
    document["providers"][0]["daily_cap"] = 2
    await load(client, document)
    full = (await client.get("/slots", params=query())).json()
    assert (full["slots"], full["blocked_by"]["PROVIDER_DAILY_CAP"]) == ([], 5)
    free = await starts(client, without=uid(5, 0))
    assert free == ["09:00", "09:15", "09:30", "09:45", "10:00", "10:15", "10:30", "11:30"]
    moved = await client.post(
        f"/bookings/{uid(5, 0)}/reschedule",
        json={"date": MONDAY.isoformat(), "start_time": "10:15"},
    )
    assert moved.status_code == 200, moved.text
    assert await starts(client, without=uid(5, 0).upper()) == free


async def test_without_a_booking_that_is_elsewhere_or_cancelled_nothing_changes(
    client: httpx.AsyncClient,
) -> None:
    rows = [
        booking(0, MONDAY, "10:00"),
        booking(1, MONDAY, "11:00", status="cancelled"),
        booking(2, MONDAY + dt.timedelta(days=7), "09:00"),
    ]
    await load(client, small_clinic(bookings=rows))
    free = await starts(client)
    assert await starts(client, without=uid(5, 1)) == free
    assert await starts(client, without=uid(5, 2)) == free
    assert await starts(client, without=uid(5, 0)) != free


async def test_the_next_date_is_told_without_the_booking_too(client: httpx.AsyncClient) -> None:
    next_week = MONDAY + dt.timedelta(days=7)
    hour = {"provider_id": PROVIDER, "start_time": "09:00", "end_time": "09:30"}
    rows = [{**hour, "date": next_week.isoformat()}]
    document = small_clinic(availability=rows, bookings=[booking(0, next_week, "09:00")])
    await load(client, document)
    told = {}
    for name, params in (("as it is", {}), ("without", {"without": uid(5, 0)})):
        body = (await client.get("/slots", params=query(**params))).json()
        assert body["slots"] == []
        told[name] = body["next_available_date"]
    assert told == {"as it is": None, "without": next_week.isoformat()}


async def test_why_nothing_was_found_and_when_next(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    tuesday = MONDAY + dt.timedelta(days=1)
    body = (await client.get("/slots", params=query(date=tuesday.isoformat()))).json()
    assert (body["total"], body["slots"]) == (0, [])
    assert body["next_available_date"] == (MONDAY + dt.timedelta(days=7)).isoformat()
    assert body["blocked_by"] == {"OUTSIDE_PROVIDER_HOURS": 95}


async def test_a_provider_that_does_not_do_the_type(client: httpx.AsyncClient) -> None:
    other = {"id": uid(1, 1), "name": "Nurse", "skills": []}
    document = small_clinic()
    document["providers"].append(other)
    await load(client, document)
    body = (await client.get("/slots", params=query(provider_id=other["id"]))).json()
    assert body["slots"] == []
    assert body["next_available_date"] is None
    assert body["blocked_by"] == {"PROVIDER_LACKS_SKILLS": 95}


async def test_providers_asked_for(client: httpx.AsyncClient) -> None:
    document = small_clinic()
    for number in (1, 2):
        document["providers"].append({"id": uid(1, number), "name": "x", "skills": ["gp"]})
        row = {"weekday": 1, "start_time": "09:00", "end_time": "10:00"}
        document["availability"].append({"provider_id": uid(1, number), **row})
    await load(client, document)
    params = query(provider_id=[PROVIDER, uid(1, 2)], limit=500)
    body = (await client.get("/slots", params=params)).json()
    assert {slot["provider_id"] for slot in body["slots"]} == {PROVIDER, uid(1, 2)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"date": "2027-02-30"}, "date"),
        ({"date": "0"}, "date"),
        ({"date": None}, "date"),
        ({"appointment_type_id": "visit"}, "appointment_type_id"),
        ({"provider_id": "vega"}, "provider_id[0]"),
        ({"preferred_start": "25:00"}, "preferred_start"),
        ({"preferred_end": "9"}, "preferred_end"),
        ({"preferred_start": "10:00", "preferred_end": "10:00"}, "preferred_end"),
        ({"rooms": "some"}, "rooms"),
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"without": "P-1"}, "without"),
        ({"provder_id": PROVIDER}, "provder_id"),
    ],
)
async def test_malformed(client: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    await load(client, small_clinic())
    params = {key: value for key, value in query(**change).items() if value is not None}
    answer = await client.get("/slots", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_dates_that_cannot_be_asked_for(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    today = dt.datetime.now(ZoneInfo("Europe/Berlin")).date()
    for ahead, status in ((-1, 422), (0, 200), (365, 200), (366, 422)):
        day = today + dt.timedelta(days=ahead)
        answer = await client.get("/slots", params=query(date=day.isoformat()))
        assert answer.status_code == status
        if status == 422:
            assert answer.json()["code"] == "DATE_OUT_OF_RANGE"


@pytest.mark.parametrize("day", ["9999-12-31", "9999-12-30", "0001-01-01", "1999-01-01"])
async def test_the_ends_of_the_calendar(client: httpx.AsyncClient, day: str) -> None:
    await load(client, small_clinic())
    answer = await client.get("/slots", params=query(date=day))
    assert (answer.status_code, answer.json()["code"]) == (422, "DATE_OUT_OF_RANGE")


@pytest.mark.parametrize(
    "change",
    [{"appointment_type_id": uid(3, 9)}, {"provider_id": uid(1, 9)}, {"without": uid(5, 9)}],
)
async def test_unknown_ids(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    await load(client, small_clinic())
    answer = await client.get("/slots", params=query(**change))
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(("providers", "rooms"), [(2, 2), (30, 40)])
async def test_one_query_for_any_size(
    client: httpx.AsyncClient, engine: AsyncEngine, providers: int, rooms: int
) -> None:
    clinic = moved_to(make_clinic(providers, rooms), MONDAY)
    await load(client, as_document(clinic))
    statements: list[str] = []
    context: Context = client._transport.app.state.context  # type: ignore[attr-defined]

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "api_keys" not in statement:  # read at most once a second, whatever is asked
            statements.append(statement)

    event.listen(context.engine.sync_engine, "before_cursor_execute", count)
    params = {"date": MONDAY.isoformat(), "appointment_type_id": clinic.appointment_types[0].id}
    assert (await client.get("/slots", params=params)).json()["total"] > 0
    assert len(statements) == 1


@pytest.mark.parametrize(
    ("path", "changes", "field", "message"),
    [
        ("/slots", {"prefered_end": "09:00"}, "prefered_end", "did you mean `preferred_end`?"),
        ("/slots", {"limit": "0"}, "limit", "must be at least 1"),
        ("/slots", {"limit": "many"}, "limit", "must be a whole number"),
        ("/slots", {"rooms": "some"}, "rooms", "must be 'best' or 'all'"),
        ("/bookings", {"patient": "P-1"}, "patient", "did you mean `patient_ref`?"),
        ("/bookings", {"accept_overbooked": "yes"}, "accept_overbooked", "must be true or false"),
        ("/rooms", {"name": 1}, "name", "must be text"),
    ],
)
async def test_faults_are_told_in_plain_words(
    client: httpx.AsyncClient, path: str, changes: dict[str, Any], field: str, message: str
) -> None:
    if path == "/slots":
        answer = await client.get(path, params=query(**changes))
    else:
        answer = await client.post(path, json=order(MONDAY, "09:00", **changes))
    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert answer.status_code == 422
    assert message in told[field]
    assert not any(word in answer.text for word in ("Input should", "Extra inputs", "Field req"))
