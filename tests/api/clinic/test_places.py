"""Places over HTTP: rows, files and faults, and what is made of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.database import days_to_lock
from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load, solved, split
from tests.support.strategies import uid

MONDAY = coming_monday()
NORTH, SOUTH, OTHER_ROOM, OTHER = uid(7, 0), uid(7, 1), uid(2, 1), uid(1, 1)


def two_places(**changes: Any) -> dict[str, Any]:
    """A room in the North and one in the South, half an hour apart; the small clinic's Mondays."""
    document = small_clinic(
        rooms=[
            {"id": ROOM, "name": "Room 1", "location_id": NORTH},
            {"id": OTHER_ROOM, "name": "Room 2", "location_id": SOUTH},
        ],
        locations=[{"id": NORTH, "name": "North"}, {"id": SOUTH, "name": "South"}],
        travel=[{"from_id": NORTH, "to_id": SOUTH, "minutes": 30}],
    )
    document["providers"].append({"id": OTHER, "name": "Dr. Linn", "skills": ["gp"]})
    document["availability"].append(
        {"provider_id": OTHER, "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    )
    return document | changes


async def book(client: httpx.AsyncClient, start: str, **changes: Any) -> httpx.Response:
    return await client.post("/bookings", json=order(MONDAY, start, **changes))


async def slots(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    asked = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE, "rooms": "all", "limit": 500}
    answer = await client.get("/slots", params=asked | query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_rows_are_made_changed_and_deleted(client: httpx.AsyncClient) -> None:
    await load(client, two_places())
    made = await client.post("/locations", json={"name": "West"})
    assert (made.status_code, made.json()["active"]) == (201, True)
    west = made.json()["id"]
    way = {"from_id": west, "to_id": NORTH, "minutes": 20}
    there = await client.post("/travel", json=way)
    assert (there.status_code, way.items() <= there.json().items()) == (201, True)
    assert (await client.post("/travel", json=way)).status_code == 409
    path = f"/travel/{there.json()['id']}"
    assert (await client.patch(path, json={"minutes": 25})).json()["minutes"] == 25
    assert len((await client.get("/travel")).json()) == 2
    gone = await client.delete(f"/locations/{west}")
    assert gone.json()["deleted"]
    assert (await client.get(path)).status_code == 404
    kept = await client.delete(f"/locations/{SOUTH}")
    assert not kept.json()["deleted"]
    assert (await client.get(f"/locations/{SOUTH}")).json()["active"] is False
    assert {slot["room_id"] for slot in (await slots(client))["slots"]} == {ROOM}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/travel", {"from_id": NORTH, "to_id": NORTH, "minutes": 5}, "to_id"),
        ("/travel", {"from_id": NORTH, "to_id": uid(7, 9), "minutes": 5}, "to_id"),
        ("/travel", {"from_id": SOUTH, "to_id": NORTH, "minutes": 721}, "minutes"),
        ("/locations", {"name": "West", "minutes": 5}, "minutes"),
        ("/rooms", {"name": "Room 3", "location_id": uid(7, 9)}, "location_id"),
        (
            "/availability",
            {
                "room_id": ROOM,
                "weekday": 1,
                "start_time": "09:00",
                "end_time": "10:00",
                "location_id": NORTH,
            },
            "location_id",
        ),
    ],
)
async def test_faults(client: httpx.AsyncClient, path: str, body: Any, field: str) -> None:
    await load(client, two_places())
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_all_faults_of_a_file_at_once(client: httpx.AsyncClient) -> None:
    document = two_places(
        travel=[
            {"from_id": NORTH, "to_id": NORTH, "minutes": 5},
            {"from_id": NORTH, "to_id": SOUTH, "minutes": 5},
            {"from_id": NORTH, "to_id": SOUTH, "minutes": 6},
            {"from_id": NORTH, "to_id": uid(7, 8), "minutes": -1},
        ]
    )
    document["rooms"][0]["location_id"] = uid(7, 9)
    document["availability"][0]["location_id"] = uid(7, 9)
    answer = await client.post("/clinic/import", json=document)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {
        "travel[0].to_id",
        "travel[2].to_id",
        "travel[3].to_id",
        "travel[3].minutes",
        "rooms[0].location_id",
        "availability[0].location_id",
    }


async def test_a_file_comes_back_as_it_went_in(client: httpx.AsyncClient) -> None:
    document = two_places()
    document["availability"][0]["location_id"] = SOUTH
    await load(client, document)
    before = (await client.get("/clinic/export")).json()
    assert [row["location_id"] for row in before["rooms"]] == [NORTH, SOUTH]
    assert before["availability"][0]["location_id"] == SOUTH
    again = await client.post("/clinic/import", json=before, params={"replace": True})
    assert (again.status_code, again.json()["removed"]) == (200, {})
    unnamed = before | {"travel": [{"from_id": NORTH, "to_id": SOUTH, "minutes": 40}]}
    assert (await client.post("/clinic/import", json=unnamed)).status_code == 200
    (way,) = (await client.get("/travel")).json()
    assert way == before["travel"][0] | {"minutes": 40}
    none = small_clinic()
    removed = (await client.post("/clinic/import", json=none, params={"replace": True})).json()
    assert (removed["removed"]["locations"], removed["removed"]["travel"]) == (2, 1)


async def test_slots_and_bookings_leave_time_to_travel(client: httpx.AsyncClient) -> None:
    await load(client, two_places())
    assert (await book(client, "10:00", room_id=ROOM)).status_code == 201
    query = {"provider_id": PROVIDER, "location_id": SOUTH}
    starts = {slot["start_time"] for slot in (await slots(client, **query))["slots"]}
    assert starts == {"09:00", "11:00", "11:15", "11:30"}
    refused = await book(client, "10:45", room_id=OTHER_ROOM, patient_ref="another")
    assert (refused.status_code, refused.json()["reasons"]) == (409, ["PROVIDER_TRAVEL"])
    over = {"override": ["PROVIDER_TRAVEL"], "override_reason": "who knows"}
    lifted = await book(client, "10:45", room_id=OTHER_ROOM, patient_ref="another", **over)
    assert (lifted.status_code, lifted.json()["code"]) == (422, "VALIDATION_ERROR")
    elsewhere = await book(client, "10:45", provider_id=OTHER, room_id=OTHER_ROOM)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "PATIENT_CONFLICT")
    beside = await book(client, "10:45", provider_id=OTHER)
    assert (beside.status_code, beside.json()["room_id"]) == (201, ROOM)
    allowed = await book(
        client, "09:15", provider_id=OTHER, room_id=OTHER_ROOM, allow_patient_overlap=True
    )
    assert allowed.status_code == 201
    missing = await client.get(
        "/slots",
        params={
            "date": MONDAY.isoformat(),
            "appointment_type_id": TYPE,
            "location_id": uid(7, 9),
        },
    )
    assert missing.status_code == 404


async def test_edits_tell_what_they_put_out_of_reach(client: httpx.AsyncClient) -> None:
    bookings = [
        booking(0, MONDAY, "09:00"),
        booking(1, MONDAY, "10:00", room_id=OTHER_ROOM),
    ]
    await load(client, two_places(bookings=bookings))
    (way,) = (await client.get("/travel")).json()
    told = (await client.patch(f"/travel/{way['id']}", json={"minutes": 31})).json()
    conflicts = {(c["booking_id"], c["rule"], c["code"]) for c in told["conflicts"]}
    assert conflicts == {(b["id"], 11, "PROVIDER_TRAVEL") for b in bookings}
    await client.patch(f"/travel/{way['id']}", json={"minutes": 30})
    later = (await client.patch(f"/providers/{PROVIDER}", json={"buffer_after": 5})).json()
    assert {(c["booking_id"], c["rule"]) for c in later["conflicts"]} == {
        (b["id"], 11) for b in bookings
    }
    away = await client.patch(f"/rooms/{OTHER_ROOM}", json={"location_id": None})
    assert away.json()["conflicts"] == []
    back = await client.patch(f"/rooms/{OTHER_ROOM}", json={"location_id": SOUTH})
    assert {c["code"] for c in back.json()["conflicts"]} == {"PROVIDER_TRAVEL"}
    shut = await client.patch(f"/locations/{SOUTH}", json={"active": False})
    assert [c["code"] for c in shut.json()["conflicts"]] == ["ROOM_INACTIVE"]
    assert len((await client.get("/bookings/conflicts")).json()) == 2


async def test_a_file_tells_who_has_no_time_to_travel(client: httpx.AsyncClient) -> None:
    rows = [
        booking(0, MONDAY, "09:00", patient_ref="a"),
        booking(1, MONDAY, "09:45", room_id=OTHER_ROOM, patient_ref="b"),
        booking(2, MONDAY, "10:45", patient_ref="c"),
        booking(3, MONDAY, "11:30", room_id=OTHER_ROOM, provider_id=OTHER, patient_ref="c"),
        booking(4, MONDAY, "09:15", room_id=OTHER_ROOM, provider_id=OTHER, patient_ref="d"),
        booking(5, MONDAY, "10:00", provider_id=OTHER, patient_ref="d", status="cancelled"),
    ]
    answer = await client.post("/clinic/import", json=two_places(bookings=rows))
    assert answer.status_code == 200, answer.text
    told = {(w["booking_id"], w["rule"], w["code"]) for w in answer.json()["warnings"]}
    assert told == {(uid(5, n), 11, "PROVIDER_TRAVEL") for n in (0, 1)} | {
        (uid(5, n), 11, "PATIENT_CONFLICT") for n in (2, 3)
    }
    words = [w["detail"] for w in answer.json()["warnings"] if w["booking_id"] == uid(5, 2)]
    assert words == [f"the patient has no time for the way between it and booking {uid(5, 3)}"]
    nearer = two_places(travel=[{"from_id": NORTH, "to_id": SOUTH, "minutes": 15}])
    assert (await client.post("/clinic/import", json=nearer)).json()["warnings"] == []


async def test_a_pool_at_a_location_serves_its_rooms_alone(client: httpx.AsyncClient) -> None:
    scanner = {"id": uid(8, 0), "name": "Scanner", "quantity": 1, "location_id": SOUTH}
    document = two_places(equipment_pools=[scanner])
    document["appointment_types"][0]["required_pools"] = [{"pool_id": uid(8, 0), "quantity": 1}]
    await load(client, document)
    assert {slot["room_id"] for slot in (await slots(client))["slots"]} == {OTHER_ROOM}
    refused = await book(client, "10:00", room_id=ROOM)
    assert (refused.status_code, refused.json()["reasons"]) == (409, ["EQUIPMENT_BUSY"])
    made = await book(client, "10:00")
    assert (made.status_code, made.json()["room_id"]) == (201, OTHER_ROOM)
    broken = {(made.json()["id"], 10, "EQUIPMENT_BUSY")}

    async def conflicts(path: str, **changes: Any) -> set[tuple[str, int, str]]:
        answer = await client.patch(path, json=changes)
        assert answer.status_code == 200, answer.text
        return {(c["booking_id"], c["rule"], c["code"]) for c in answer.json()["conflicts"]}

    assert await conflicts(f"/rooms/{OTHER_ROOM}", location_id=None) == broken
    assert await conflicts(f"/equipment-pools/{uid(8, 0)}", location_id=None) == set()
    assert await conflicts(f"/equipment-pools/{uid(8, 0)}", location_id=NORTH) == broken
    assert await conflicts(f"/rooms/{OTHER_ROOM}", location_id=NORTH) == set()
    assert not (await client.delete(f"/locations/{NORTH}")).json()["deleted"]
    await client.patch(f"/locations/{NORTH}", json={"active": True})

    exported = (await client.get("/clinic/export")).json()
    assert exported["equipment_pools"][0]["location_id"] == NORTH
    moved = booking(7, MONDAY, "11:00", provider_id=OTHER, patient_ref="another")
    exported["bookings"].append(moved)
    exported["rooms"][0]["location_id"] = SOUTH
    answer = await client.post("/clinic/import", json=exported)
    assert (answer.status_code, answer.json()["code"]) == (409, "BOOKING_CONFLICT")
    assert answer.json()["conflicts"][0]["detail"] == "1 of Scanner are out then, there are 0"
    unknown = exported | {"equipment_pools": [scanner | {"location_id": uid(7, 9)}]}
    answer = await client.post("/clinic/import", json=unknown)
    assert [e["field"] for e in answer.json()["errors"]] == ["equipment_pools[0].location_id"]


async def test_scenarios_move_places_apart_and_tell_the_way(client: httpx.AsyncClient) -> None:
    scanner = {"id": uid(8, 0), "name": "Scanner", "quantity": 4, "location_id": SOUTH}
    document = two_places(equipment_pools=[scanner], bookings=[booking(0, MONDAY, "10:30")])
    scan = {"id": uid(3, 1), "name": "Scan", "duration_minutes": 30}
    scan["required_pools"] = [{"pool_id": uid(8, 0), "quantity": 1}]
    document["appointment_types"].append(scan)
    document["travel"][0]["id"] = uid(9, 0)
    await load(client, document)
    west, change = uid(7, 2), {"op": "set", "field": "location_id", "value": uid(7, 2)}
    moved = [
        {"op": "add_location", "id": west, "name": "West"},
        change | {"entity": "rooms", "id": OTHER_ROOM},
    ]
    far = {"op": "set", "entity": "travel", "id": uid(9, 0), "field": "minutes", "value": 120}
    run = {
        "name": "Two places",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "time_limit_seconds": 10,
        "allow_overbooking": False,
        "requests": [
            {"id": "r", "appointment_type_id": scan["id"], "count": 4, "provider_id": PROVIDER}
        ],
        "scenarios": [
            {"name": "now", "changes": []},
            {"name": "far", "changes": [far]},
            {"name": "moved", "changes": moved},
            {
                "name": "all moved",
                "changes": [*moved, change | {"entity": "equipment_pools", "id": uid(8, 0)}],
            },
            {"name": "gone", "changes": [{"op": "remove", "entity": "locations", "id": SOUTH}]},
        ],
    }
    _, answer = await solved(client, run)
    told = {
        scenario["name"]: (
            scenario["kpis"]["placed"],
            scenario["kpis"]["travel_minutes"],
            {row["reason"] for row in scenario["unplaced"]},
        )
        for scenario in answer["scenarios"]
    }
    assert told == {
        "now": (3, 60, {"LOST_TO_CONTENTION"}),
        "far": (0, 0, {"PROVIDER_TRAVEL"}),
        "moved": (0, 0, {"EQUIPMENT_BUSY"}),
        "all moved": (4, 0, set()),
        "gone": (0, 0, {"EQUIPMENT_BUSY"}),
    }


# The last word


def _hold(client: httpx.AsyncClient, number: int) -> Awaitable[httpx.Response]:
    """Hold a place, here or there by turns: holds are written each in its own transaction."""
    room, start = ((ROOM, "10:00"), (OTHER_ROOM, "10:45"))[number % 2]
    own = {"room_id": room, "patient_ref": f"p{number}"}
    return client.post("/holds", json=order(MONDAY, start, **own))


async def test_without_locks_the_database_keeps_the_time_to_travel(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(client, two_places())
    monkeypatch.setattr(days_to_lock, "provider_days", lambda *_: set())
    answers = await asyncio.gather(*(_hold(client, number) for number in range(2)))
    (won,), (lost,) = split(answers)
    assert lost["reasons"] == ["PROVIDER_TRAVEL"]
    moved = await client.post(f"/bookings/{won['id']}/cancel", json={})
    assert moved.status_code == 200


async def test_without_the_trigger_the_locks_keep_the_time_to_travel(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await load(client, two_places())
    async with _switched_off(admin_engine, "new_bookings_time_to_travel"):
        answers = await asyncio.gather(*(_hold(client, number) for number in range(2)))
    won, lost = split(answers)
    assert (len(won), [refused["reasons"] for refused in lost]) == (1, [["PROVIDER_TRAVEL"]])


@asynccontextmanager
async def _switched_off(engine: AsyncEngine, trigger: str) -> AsyncIterator[None]:
    async def switch(word: str) -> None:
        async with engine.begin() as connection:
            await connection.execute(text(f"ALTER TABLE bookings {word} TRIGGER {trigger}"))

    await switch("DISABLE")
    try:
        yield
    finally:
        await switch("ENABLE")


async def test_of_bookings_too_near_to_travel_one_wins(client: httpx.AsyncClient) -> None:
    await load(client, two_places())
    orders = [
        order(MONDAY, start, room_id=room, patient_ref=f"p{n}", provider_id=provider)
        for n, (start, room, provider) in enumerate(
            (start, room, provider)
            for start, room in (("10:00", ROOM), ("10:45", OTHER_ROOM))
            for provider in (PROVIDER, OTHER)
        )
    ]
    answers = await asyncio.gather(*(client.post("/bookings", json=body) for body in orders * 2))
    won, lost = split(answers)
    assert len({(b["provider_id"]) for b in won}) == len(won) == 2
    assert {a.status_code for a in answers} == {201, 409}
    assert (await client.get("/bookings/conflicts")).json() == []
    assert len(lost) == 6
