"""Types that start in a rhythm of their own, from a window, or right behind other appointments."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load, solved
from tests.support.strategies import uid

MONDAY = coming_monday()
LINN, OTHER_ROOM = uid(1, 1), uid(2, 1)


def of_type(**fields: Any) -> list[dict[str, Any]]:
    visit = {"id": TYPE, "name": "Visit", "duration_minutes": 50, "required_skills": ["gp"]}
    return [visit | fields]


async def free(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    asked = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE} | query
    return (await client.get("/slots", params=asked)).json()


async def starts(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return sorted(slot["start_time"] for slot in (await free(client, **query))["slots"])


async def book(client: httpx.AsyncClient, start: str, **changes: Any) -> httpx.Response:
    return await client.post("/bookings", json=order(MONDAY, start, **changes))


async def test_sessions_back_to_back_from_nine(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(appointment_types=of_type()))
    path = f"/appointment-types/{TYPE}"
    changed = await client.patch(path, json={"start_every": 50, "start_anchor": "window"})
    assert changed.status_code == 200
    assert changed.json()["conflicts"] == []
    assert await starts(client) == ["09:00", "09:50", "10:40"]
    refused = await book(client, "10:00")
    assert (refused.status_code, refused.json()["reasons"]) == (409, ["OFF_GRID"])
    body = order(MONDAY, "10:00", override=["TOO_SOON"], override_reason="They are here already")
    refused = await client.post("/bookings", json=body)
    assert (refused.status_code, refused.json()["reasons"]) == (409, ["OFF_GRID"])
    assert (await book(client, "09:50")).status_code == 201
    assert await starts(client) == ["09:00", "10:40"]

    late = {"start_time": "09:20", "end_time": "12:00", "date": MONDAY.isoformat()}
    opened = await client.post("/availability", json={"provider_id": PROVIDER} | late)
    assert opened.json()["conflicts"] == []  # a rhythm holds for what is booked from now on
    assert await starts(client) == ["11:00"]


async def test_what_is_packed_leaves_no_gap_behind_what_is_booked(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "09:00", duration_minutes=37)]
    packed = of_type(packed=True, start_every=60, buffer_before=3)
    await load(client, small_clinic(appointment_types=packed, bookings=rows))
    assert await starts(client) == ["09:40", "10:00", "11:00"]
    assert await starts(client, without=uid(5, 0)) == ["09:00", "10:00", "11:00"]
    own_place = {"date": MONDAY.isoformat(), "start_time": "09:40"}
    moved = await client.post(f"/bookings/{uid(5, 0)}/reschedule", json=own_place)
    assert (moved.status_code, moved.json()["reasons"]) == (409, ["OFF_GRID"])
    made = await book(client, "09:40", patient_ref="b")
    assert made.status_code == 201, made.text

    await client.post(f"/bookings/{uid(5, 0)}/cancel")
    undone = await client.post(f"/bookings/{uid(5, 0)}/undo")
    assert undone.status_code == 200, undone.text
    assert await starts(client) == ["10:33", "11:00"]
    held = await client.post("/holds", json=order(MONDAY, "10:34", patient_ref="c"))
    assert (held.status_code, held.json()["reasons"]) == (409, ["OFF_GRID"])
    held = await client.post("/holds", json=order(MONDAY, "10:33", patient_ref="c"))
    assert held.status_code == 201
    await client.post(f"/bookings/{made.json()['id']}/cancel")
    confirmed = await client.post(f"/holds/{held.json()['id']}/confirm", json={})
    assert confirmed.status_code == 200, confirmed.text


async def test_of_two_at_once_right_behind_a_booking_one_is_made(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "09:00", duration_minutes=37)]
    packed = of_type(packed=True, start_every=60, duration_minutes=30)
    rooms = [{"id": ROOM, "name": "Room 1"}, {"id": OTHER_ROOM, "name": "Room 2"}]
    await load(client, small_clinic(appointment_types=packed, bookings=rows, rooms=rooms))
    answers = await asyncio.gather(
        book(client, "09:37", patient_ref="a"),
        book(client, "09:37", patient_ref="b", room_id=OTHER_ROOM),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert await starts(client) == ["10:07", "11:00"]


async def test_starts_of_others_count_as_off_the_grid(client: httpx.AsyncClient) -> None:
    hours = {"weekday": 1, "end_time": "12:00"}
    document = small_clinic(
        appointment_types=of_type(start_every=100, start_anchor="window", daily_cap=0),
        providers=[
            {"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]},
            {"id": LINN, "name": "Dr. Linn", "skills": ["gp"]},
        ],
        availability=[
            {"provider_id": PROVIDER, "start_time": "09:00", **hours},
            {"provider_id": LINN, "start_time": "09:10", **hours},
        ],
    )
    await load(client, document)
    assert (await free(client))["blocked_by"] == {"OFF_GRID": 4, "TYPE_DAILY_CAP": 4}
    alone = await free(client, provider_id=LINN)
    assert alone["blocked_by"] == {"TYPE_DAILY_CAP": 2}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start_offset": 5}, "start_offset"),
        ({"start_every": 20, "start_offset": 20}, "start_offset"),
        ({"start_every": 20, "start_offset": 5, "start_anchor": "window"}, "start_offset"),
        ({"start_every": 241}, "start_every"),
        ({"start_every": 0}, "start_every"),
        ({"start_every": 2.5}, "start_every"),
        ({"start_anchor": "hour"}, "start_anchor"),
        ({"packed": None}, "packed"),
    ],
)
async def test_faults_name_the_field_on_every_way_in(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    await load(client, small_clinic())
    made = await client.post(
        "/appointment-types", json={"name": "Talk", "duration_minutes": 20} | fields
    )
    edited = await client.patch(f"/appointment-types/{TYPE}", json=fields)
    imported = await client.post(
        "/clinic/import", json=small_clinic(appointment_types=of_type(**fields))
    )
    for answer, path in (
        (made, field),
        (edited, field),
        (imported, f"appointment_types[0].{field}"),
    ):
        assert answer.status_code == 422, answer.text
        assert path in [fault["field"] for fault in answer.json()["errors"]]


async def test_a_what_if_asks_for_another_rhythm(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(appointment_types=of_type()))
    wishes = [{"id": f"r{n}", "appointment_type_id": TYPE} for n in range(4)]
    set_ = {"op": "set", "entity": "appointment_types", "id": TYPE}
    run = {
        "name": "In a row",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": wishes,
        "time_limit_seconds": 5,
        "scenarios": [
            {"name": "baseline", "changes": []},
            {
                "name": "every hour and a half",
                "changes": [set_ | {"field": "start_every", "value": 90}],
            },
            {
                "name": "in a row",
                "changes": [
                    set_ | {"field": "start_every", "value": 50},
                    set_ | {"field": "start_anchor", "value": "window"},
                ],
            },
        ],
    }
    _, result = await solved(client, run)
    placed = {
        scenario["name"]: sorted(p["start_time"] for p in scenario["placements"])
        for scenario in result["scenarios"]
    }
    assert placed["every hour and a half"] == ["09:00", "10:30"]
    assert placed["in a row"] == ["09:00", "09:50", "10:40"]
    assert len(placed["baseline"]) == 3
    assert all(s["status"] == "optimal" for s in result["scenarios"])
