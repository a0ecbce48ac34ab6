"""Booking over HTTP, alone and many at once."""

import asyncio
import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.clinics import PROVIDER, ROOM, RULE, TYPE, booking, order, small_clinic
from tests.support.databases import left_open, until_stuck
from tests.support.over_http import MONDAY, book_at_once, load, split
from tests.support.strategies import uid


async def test_a_booking_and_what_it_says(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    answer = await client.post("/bookings", json=order(MONDAY, "09:00", notes="first visit"))
    assert answer.status_code == 201
    body = answer.json()
    begins = dt.datetime.combine(MONDAY, dt.time(9), ZoneInfo("Europe/Berlin"))
    assert {key: body[key] for key in body if key not in ("id", "created_at", "updated_at")} == {
        "provider_id": PROVIDER,
        "room_id": ROOM,
        "appointment_type_id": TYPE,
        "date": MONDAY.isoformat(),
        "start_time": "09:00",
        "end_time": "09:30",
        "start": begins.isoformat(),
        "end": (begins + dt.timedelta(minutes=30)).isoformat(),
        "patient_ref": "someone",
        "status": "booked",
        "is_overbooked": False,
        "overrides": [],
        "team": {},
        "notes": "first visit",
        "score": 0.825 + 0.0875,
        "version": 1,
        "expires_at": None,
    }
    assert (await client.get(f"/bookings/{body['id']}")).json() == body
    listed = await client.get(
        "/bookings", params={"date": MONDAY, "provider_id": PROVIDER, "status": "booked"}
    )
    assert listed.json() == [body]
    assert (await client.get("/bookings", params={"room_id": uid(2, 7)})).json() == []


@pytest.mark.parametrize("with_room", [True, False])
async def test_ten_at_once_for_one_slot(client: httpx.AsyncClient, with_room: bool) -> None:
    await load(client, small_clinic())
    room = {"room_id": ROOM} if with_room else {}
    orders = [order(MONDAY, "10:00", patient_ref=f"p{n}", **room) for n in range(10)]
    won, lost = split(await book_at_once(client, orders))
    assert len(won) == 1
    assert [answer["code"] for answer in lost] == ["SLOT_UNAVAILABLE"] * 9
    assert all("PROVIDER_BUSY" in answer["reasons"] for answer in lost)


async def test_overlapping_starts_at_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    starts = ["10:00", "10:15", "10:30"] * 5
    orders = [order(MONDAY, start, patient_ref=f"p{n}") for n, start in enumerate(starts)]
    won, lost = split(await book_at_once(client, orders))
    assert {tuple(sorted(b["start_time"] for b in won))} <= {("10:00", "10:30"), ("10:15",)}
    assert {answer["code"] for answer in lost} == {"SLOT_UNAVAILABLE"}


async def test_one_room_and_many_providers_at_once(client: httpx.AsyncClient) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(8)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(3)]
    await load(client, small_clinic(providers=providers, availability=rows, rooms=rooms))
    orders = [order(MONDAY, "10:00", provider_id=p["id"], patient_ref=p["name"]) for p in providers]
    won, lost = split(await book_at_once(client, orders))
    assert sorted(b["room_id"] for b in won) == [room["id"] for room in rooms]
    assert [answer["reasons"] for answer in lost] == [["ROOM_BUSY"]] * 5


async def test_a_cap_at_once(client: httpx.AsyncClient) -> None:
    document = small_clinic()
    document["providers"][0]["daily_cap"] = 6
    document["appointment_types"][0]["duration_minutes"] = 15
    await load(client, document)
    starts = [f"{hour:02d}:{minute}" for hour in (9, 10, 11) for minute in ("00", "15", "30", "45")]
    orders = [order(MONDAY, start, patient_ref=start) for start in starts]
    orders += [order(MONDAY, start, patient_ref=f"{start} too") for start in starts[:8]]
    won, lost = split(await book_at_once(client, orders))
    assert (len(won), len(lost)) == (6, 14)
    assert {answer["code"] for answer in lost} == {"SLOT_UNAVAILABLE"}


async def test_a_type_cap_over_several_providers_at_once(client: httpx.AsyncClient) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(6)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(6)]
    document = small_clinic(providers=providers, availability=rows, rooms=rooms)
    document["appointment_types"][0]["daily_cap"] = 4
    await load(client, document)
    orders = [
        order(MONDAY, "10:00", provider_id=p["id"], room_id=r["id"], patient_ref=p["name"])
        for p, r in zip(providers, rooms, strict=True)
    ]
    won, lost = split(await book_at_once(client, orders))
    assert len(won) == 4
    assert [answer["reasons"] for answer in lost] == [["TYPE_DAILY_CAP"]] * 2


async def test_overbooking_at_once(client: httpx.AsyncClient) -> None:
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(4)]
    rules = [{"id": RULE, "max_overlap": 1, "max_per_day": 1}]
    await load(client, small_clinic(rooms=rooms, overbooking_rules=rules))
    orders = [
        order(MONDAY, start, patient_ref=f"{start} {n}", accept_overbooked=True)
        for start in ("10:00", "10:15")
        for n in range(5)
    ]
    won, _ = split(await book_at_once(client, orders))
    assert sorted(b["is_overbooked"] for b in won) == [False, True]
    assert {b["start_time"] for b in won} == {"10:00", "10:15"}


async def test_overbooking_has_to_be_accepted(client: httpx.AsyncClient) -> None:
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    rules = [{"id": RULE, "max_overlap": 1, "max_per_day": 1}]
    document = small_clinic(
        rooms=rooms, overbooking_rules=rules, bookings=[booking(0, MONDAY, "10:00")]
    )
    await load(client, document)
    refused = await client.post("/bookings", json=order(MONDAY, "10:15"))
    assert refused.status_code == 409
    assert refused.json()["reasons"] == ["WOULD_BE_OVERBOOKED"]
    taken = await client.post("/bookings", json=order(MONDAY, "10:15", accept_overbooked=True))
    assert taken.json()["is_overbooked"] is True


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("10:05", "OFF_GRID"),
        ("08:45", "OUTSIDE_PROVIDER_HOURS"),
        ("11:45", "OUTSIDE_PROVIDER_HOURS"),
        ("23:45", "OUTSIDE_PROVIDER_HOURS"),
    ],
)
async def test_reasons(client: httpx.AsyncClient, start: str, reason: str) -> None:
    await load(client, small_clinic())
    answer = await client.post("/bookings", json=order(MONDAY, start))
    assert answer.status_code == 409
    assert reason in answer.json()["reasons"]


async def test_a_patient_is_in_one_place_at_a_time(client: httpx.AsyncClient) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    await load(client, small_clinic(providers=providers, availability=rows, rooms=rooms))
    orders = [order(MONDAY, "10:00", provider_id=p["id"]) for p in providers]
    won, lost = split(await book_at_once(client, orders))
    assert len(won) == 1
    assert [answer["code"] for answer in lost] == ["PATIENT_CONFLICT"]
    other = next(p["id"] for p in providers if p["id"] != won[0]["provider_id"])
    body = order(MONDAY, "10:15", provider_id=other, allow_patient_overlap=True)
    assert (await client.post("/bookings", json=body)).status_code == 201
    after = order(MONDAY, "10:45", provider_id=other)
    assert (await client.post("/bookings", json=after)).status_code == 201


async def test_a_cancelled_place_is_free_again(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = (await client.post("/bookings", json=order(MONDAY, "10:00"))).json()
    cancelled = await client.post(f"/bookings/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    again = await client.post(f"/bookings/{first['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "INVALID_STATE")
    assert (await client.post("/bookings", json=order(MONDAY, "10:00"))).status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"provider_id": uid(1, 9)}, 404, "NOT_FOUND"),
        ({"room_id": uid(2, 9)}, 404, "NOT_FOUND"),
        ({"appointment_type_id": uid(3, 9)}, 404, "NOT_FOUND"),
        ({"date": "2020-01-06"}, 422, "DATE_OUT_OF_RANGE"),
        ({"date": "2499-01-06"}, 422, "DATE_OUT_OF_RANGE"),
        ({"date": "tomorrow"}, 422, "VALIDATION_ERROR"),
        ({"start_time": "9:00"}, 422, "VALIDATION_ERROR"),
        ({"start_time": 540}, 422, "VALIDATION_ERROR"),
        ({"patient_ref": "nul \x00"}, 422, "VALIDATION_ERROR"),
        ({"patient_ref": ""}, 422, "VALIDATION_ERROR"),
        ({"patient_ref": " \n"}, 422, "VALIDATION_ERROR"),
        ({"patient_ref": "\u200b"}, 422, "VALIDATION_ERROR"),
        ({"accept_overbooked": "yes"}, 422, "VALIDATION_ERROR"),
        ({"colour": "red"}, 422, "VALIDATION_ERROR"),
    ],
)
async def test_bad_orders(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, code: str
) -> None:
    await load(client, small_clinic())
    answer = await client.post("/bookings", json=order(MONDAY, "10:00") | change)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 422:
        assert answer.json()["errors"][0]["field"] == next(iter(change))


async def test_an_expired_hold_blocks_nobody(client: httpx.AsyncClient) -> None:
    now = dt.datetime.now(dt.UTC)
    hold = {"status": "held", "expires_at": (now + dt.timedelta(hours=1)).isoformat()}
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "10:00", **hold)]))
    assert (await client.post("/bookings", json=order(MONDAY, "10:00"))).status_code == 409
    gone = {"status": "held", "expires_at": (now - dt.timedelta(seconds=1)).isoformat()}
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "10:00", **gone)]))
    assert (await client.post("/bookings", json=order(MONDAY, "10:00"))).status_code == 201


# Another program writes bookings, and takes no locks


FOREIGN = text(
    """
    INSERT INTO bookings (
        id, provider_id, provider_no, room_id, room_no, appointment_type_id,
        date, start_minute, duration_minutes, buffer_before, buffer_after, status, is_overbooked
    )
    SELECT gen_random_uuid(), provider.id, provider.no, room.id, room.no, kind.id,
        :day, CAST(:start AS int), 30, 0, 0, 'booked', :is_overbooked
    FROM providers AS provider, rooms AS room, appointment_types AS kind
    WHERE provider.name = :provider AND room.name = :room AND kind.name = 'Visit'
    """
)


def three_rooms() -> dict[str, Any]:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(3)]
    document = small_clinic(providers=providers, availability=rows, rooms=rooms)
    document["appointment_types"].append(
        {"id": uid(3, 1), "name": "Long", "duration_minutes": 60, "required_skills": ["gp"]}
    )
    return document


async def audited(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT action FROM audit_log ORDER BY id"))
        return list(rows.scalars())


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize(
    ("foreign", "reason"),
    [
        ({"start": 600, "provider": "P0", "room": "R1", "is_overbooked": True}, "PROVIDER_BUSY"),
        ({"start": 615, "provider": "P0", "room": "R1", "is_overbooked": False}, "PROVIDER_BUSY"),
        ({"start": 600, "provider": "P1", "room": "R0", "is_overbooked": False}, "ROOM_BUSY"),
        ({"start": 615, "provider": "P1", "room": "R0", "is_overbooked": False}, "ROOM_BUSY"),
    ],
)
async def test_what_another_program_has_just_written_stands(
    client: httpx.AsyncClient,
    engine: AsyncEngine,
    headers: dict[str, str],
    foreign: dict[str, Any],
    reason: str,
) -> None:
    await load(client, three_rooms())
    body = order(MONDAY, "10:00", room_id=ROOM)
    async with left_open(engine) as other:
        await other.execute(FOREIGN, {"day": MONDAY, **foreign})
        sent = asyncio.create_task(client.post("/bookings", json=body, headers=headers))
        await until_stuck(engine, sent)
        assert not sent.done()
    answer = await sent
    assert (answer.status_code, answer.json()["code"]) == (409, "SLOT_UNAVAILABLE")
    assert answer.json()["reasons"] == [reason]
    assert await audited(engine) == ["import"]  # an entry is made with its write, or not at all
    if headers:
        again = await client.post("/bookings", json=body, headers=headers)
        assert (again.status_code, again.json()) == (409, answer.json())


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
async def test_a_swap_that_meets_a_foreign_booking_moves_neither(
    client: httpx.AsyncClient, engine: AsyncEngine, headers: dict[str, str]
) -> None:
    await load(client, three_rooms())
    orders = [
        order(MONDAY, "09:00", patient_ref="a", room_id=ROOM),
        order(
            MONDAY,
            "11:00",
            patient_ref="b",
            room_id=uid(2, 1),
            provider_id=uid(1, 1),
            appointment_type_id=uid(3, 1),
        ),
    ]
    before = [(await client.post("/bookings", json=body)).json() for body in orders]
    pair = {"a": before[0]["id"], "b": before[1]["id"]}
    foreign = {"start": 570, "provider": "P0", "room": "R2", "is_overbooked": False}
    async with left_open(engine) as other:
        await other.execute(FOREIGN, {"day": MONDAY, **foreign})
        sent = asyncio.create_task(client.post("/bookings/swap", json=pair, headers=headers))
        await until_stuck(engine, sent)
        assert not sent.done()
    answer = await sent
    assert (answer.status_code, answer.json()["code"]) == (409, "SLOT_UNAVAILABLE")
    for row in before:
        assert (await client.get(f"/bookings/{row['id']}")).json() == row
    assert await audited(engine) == ["import", "book", "book"]
