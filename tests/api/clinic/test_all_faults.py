"""Bad input: whatever is wrong with a row is told at once, in a file and in a request."""

from typing import Any

import httpx
import pytest

from tests.support.clinics import MONDAY, PROVIDER, ROOM, TYPE, booking, small_clinic, uid
from tests.support.over_http import load

NOBODY, NOWHERE, NOTHING = uid(1, 99), uid(2, 99), uid(3, 99)
BACKWARDS = {"start_time": "10:00", "end_time": "09:00"}
TWICE = {"weekday": 1, "date": MONDAY.isoformat()}

ROWS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "providers": (
        {"name": " ", "skills": ["gp", ""], "buffer_before": 721, "daily_cap": -1},
        {"name", "skills[1]", "buffer_before", "daily_cap"},
    ),
    "rooms": (
        {"name": "", "turnover_minutes": -1, "location_id": NOWHERE},
        {"name", "turnover_minutes", "location_id"},
    ),
    "equipment_pools": (
        {"name": "x", "quantity": -1, "return_minutes": 1441, "location_id": NOWHERE, "colour": 1},
        {"quantity", "return_minutes", "location_id", "colour"},
    ),
    "appointment_types": (
        {
            "name": "x",
            "duration_minutes": 0,
            "start_offset": 5,
            "required_pools": [{"pool_id": NOTHING, "quantity": 1}],
        },
        {"duration_minutes", "start_offset", "required_pools[0].pool_id"},
    ),
    "availability": (
        {
            "provider_id": NOBODY,
            "room_id": ROOM,
            "location_id": NOWHERE,
            "kind": "shut",
            "every_weeks": 2,
            **TWICE,
            **BACKWARDS,
        },
        {
            "provider_id",
            "room_id",
            "location_id",
            "kind",
            "every_weeks",
            "weekday",
            "end_time",
        },
    ),
    "overbooking_rules": (
        {
            "provider_id": NOBODY,
            "appointment_type_id": NOTHING,
            "weekday": 8,
            "max_overlap": -1,
            **BACKWARDS,
        },
        {"provider_id", "appointment_type_id", "weekday", "max_overlap", "end_time"},
    ),
    "provider_types": (
        {"provider_id": NOBODY, "appointment_type_id": NOTHING, "duration_minutes": 0},
        {"provider_id", "appointment_type_id", "duration_minutes"},
    ),
    "sessions": (
        {
            "name": "x",
            "provider_id": NOBODY,
            "room_id": ROOM,
            "valid_from": "2027-02-01",
            "valid_to": "2027-01-01",
            "appointment_type_ids": [TYPE, NOTHING, uid(3, 98)],
            "max_bookings": -1,
            "opens": {"minutes_before": 60, "at": "09:00"},
            "releases": {"days_before": 367, "at": "24:00"},
            **TWICE,
            **BACKWARDS,
        },
        {
            "provider_id",
            "room_id",
            "valid_to",
            "date",
            "appointment_type_ids[1]",
            "appointment_type_ids[2]",
            "max_bookings",
            "opens.minutes_before",
            "releases.days_before",
            "releases.at",
            "weekday",
            "end_time",
        },
    ),
    "locations": ({"name": "", "active": 1}, {"name", "active"}),
    "travel": (
        {"from_id": NOWHERE, "to_id": NOWHERE, "minutes": 721},
        {"from_id", "to_id", "minutes"},
    ),
}
"""A row of each kind with faults in fields, between them and in what it refers to; the fields."""


def told(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("name", ROWS)
async def test_of_a_row(client: httpx.AsyncClient, name: str) -> None:
    row, fields = ROWS[name]
    path = name.replace("_", "-")
    await load(client, small_clinic())
    made = await client.post(f"/{path}", json=row)
    assert made.json()["code"] == "VALIDATION_ERROR"
    assert sorted(told(made)) == sorted(fields)
    assert sorted(told(await client.post(f"/{path}", json=row | {"id": "x"}))) == sorted(
        {*fields, "id"}
    )


async def test_of_a_file(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    document = small_clinic()
    expected = []
    for name, (row, fields) in ROWS.items():
        rows = document.setdefault(name, [])
        rows.append(row if name == "availability" else row | {"id": uid(9, len(rows))})
        expected += [f"{name}[{len(rows) - 1}].{field}" for field in fields]
    bad = booking(0, MONDAY, "25:00", duration_minutes=0)
    ids = {"provider_id": NOBODY, "room_id": NOWHERE, "appointment_type_id": NOTHING}
    document["bookings"] = [bad | ids]
    fields = ["start_time", "provider_id", "room_id", "appointment_type_id", "duration_minutes"]
    expected += [f"bookings[0].{field}" for field in fields]
    refused = await client.post("/clinic/import", json=document)
    assert refused.json()["code"] == "INVALID_CLINIC_FILE"
    assert sorted(told(refused)) == sorted(expected)


async def test_of_a_change(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    (hours,) = (await client.get("/availability")).json()
    path = f"/availability/{hours['id']}"
    bad = {"end_time": "00:00", "room_id": NOWHERE, "location_id": NOWHERE, "every_weeks": 9}
    changed = await client.patch(path, json=bad | {"id": uid(9, 9), "colour": "red"})
    assert sorted(told(changed)) == sorted({*bad, "id", "colour"})
    assert (await client.get("/availability")).json() == [hours]
    same = await client.patch(path, json={"id": hours["id"].upper()})
    assert same.status_code == 200


async def test_of_a_session_that_is_released_too_early(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    hour = {"start_time": "09:00", "end_time": "10:00", "weekday": 1}
    early = {"opens": {"minutes_before": 60}, "releases": {"minutes_before": 120}}
    row = {"name": "", "provider_id": NOBODY, "max_bookings": -1, **hour, **early}
    fields = ["max_bookings", "name", "provider_id", "releases"]
    assert sorted(told(await client.post("/sessions", json=row))) == fields
    document = small_clinic(sessions=[row | {"id": uid(9, 1)}])
    refused = await client.post("/clinic/import", json=document)
    assert sorted(told(refused)) == [f"sessions[0].{field}" for field in fields]


async def test_a_booking_is_told_all_that_is_not_there(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    place = {"date": MONDAY.isoformat(), "start_time": "09:00", "patient_ref": "P"}
    ids = {"appointment_type_id": NOTHING, "provider_id": NOBODY, "room_id": NOWHERE}
    unknown = await client.post("/bookings", json=place | ids)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    assert all(key in unknown.json()["detail"] for key in ids.values())
    one = await client.post("/bookings", json=place | ids | {"provider_id": PROVIDER})
    assert PROVIDER not in one.json()["detail"]


@pytest.mark.parametrize("body", [[], 7, "x", None])
async def test_a_row_is_an_object(client: httpx.AsyncClient, body: object) -> None:
    await load(client, small_clinic())
    assert told(await client.post("/rooms", json=body)) == ["body"]
    assert told(await client.patch("/clinic", json=body)) == ["body"]
