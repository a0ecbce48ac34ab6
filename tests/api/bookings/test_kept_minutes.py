"""A booking keeps the duration and the buffers that it was made with, until it is moved."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.clinics import PROVIDER, TYPE, coming_monday, order, small_clinic
from tests.support.over_http import booked, do, load, to, two_of_each
from tests.support.strategies import uid

MONDAY = coming_monday()


async def resize(client: httpx.AsyncClient, duration: int, before: int, after: int) -> None:
    """Change what the type takes; no booking is outside the rules for it."""
    minutes = {"duration_minutes": duration, "buffer_before": before, "buffer_after": after}
    for dry_run in (True, False):
        answer = await client.patch(
            f"/appointment-types/{TYPE}", json=minutes, params={"dry_run": dry_run}
        )
        assert (answer.status_code, answer.json()["conflicts"]) == (200, []), answer.text
    assert (await client.get("/bookings/conflicts")).json() == []


async def kept(engine: AsyncEngine, booking: dict[str, Any]) -> tuple[int, ...]:
    """The minutes that are stored of a booking: duration, before and after."""
    async with engine.connect() as connection:
        query = text(
            "SELECT duration_minutes, buffer_before, buffer_after FROM bookings WHERE id = :key"
        )
        return tuple((await connection.execute(query, {"key": booking["id"]})).one())


async def test_an_edit_of_a_type_changes_later_bookings_only(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    early, late = await booked(client, "09:00"), await booked(client, "09:30", patient_ref="b")
    await resize(client, 45, 5, 15)
    assert (await client.get(f"/bookings/{early['id']}")).json() == early
    new = await booked(client, "10:15", patient_ref="c")
    assert new["end_time"] == "11:00"
    assert [await kept(engine, each) for each in (early, late, new)] == [
        (30, 0, 0),
        (30, 0, 0),
        (45, 5, 15),
    ]


async def test_the_buffers_that_a_booking_keeps_stay_free(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    await resize(client, 30, 0, 30)
    first = await booked(client, "09:00")
    await resize(client, 30, 0, 0)
    refused = await client.post("/bookings", json=order(MONDAY, "09:30", patient_ref="b"))
    assert refused.json()["reasons"] == ["ROOM_BUSY", "PROVIDER_BUSY"]
    slots = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    shown = (await client.get("/slots", params=slots)).json()["slots"]
    assert min(slot["start_time"] for slot in shown) == "10:00"
    await client.post(f"/bookings/{first['id']}/cancel")
    assert (await booked(client, "09:30", patient_ref="b"))["end_time"] == "10:00"


async def test_a_booking_that_is_moved_takes_what_its_type_has_now(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    made = await booked(client, "09:00")
    await resize(client, 45, 5, 15)
    status, moved = await do(client, f"/bookings/{made['id']}/reschedule", **to("10:00"))
    assert (status, moved["start_time"], moved["end_time"]) == (200, "10:00", "10:45")
    assert await kept(engine, made) == (45, 5, 15)


async def test_so_does_one_that_is_moved_to_where_it_is(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    made = await booked(client, "09:00")
    await resize(client, 45, 0, 0)
    status, same = await do(client, f"/bookings/{made['id']}/reschedule", **to("09:00"))
    assert (status, same["end_time"]) == (200, "09:45")
    assert await kept(engine, made) == (45, 0, 0)


async def test_one_that_would_be_too_long_now_is_not_moved(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    made, _ = await booked(client, "09:00"), await booked(client, "10:30", patient_ref="b")
    await resize(client, 45, 0, 0)
    status, body = await do(client, f"/bookings/{made['id']}/reschedule", **to("10:00"))
    assert (status, body["reasons"]) == (409, ["ROOM_BUSY", "PROVIDER_BUSY"])
    assert await kept(engine, made) == (30, 0, 0)


async def test_two_that_change_places_take_what_their_type_has_now(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, two_of_each())
    rooms = uid(2, 0), uid(2, 1)
    a = await booked(client, "09:00", room_id=rooms[0])
    b = await booked(
        client, "10:00", provider_id=uid(1, 1), room_id=rooms[1], patient_ref="another"
    )
    await resize(client, 45, 5, 0)
    status, swapped = await do(client, "/bookings/swap", a=a["id"], b=b["id"])
    assert status == 200, swapped
    assert [swapped[key]["end_time"] for key in ("a", "b")] == ["10:45", "09:45"]
    assert [await kept(engine, each) for each in (a, b)] == [(45, 5, 0)] * 2


async def test_a_hold_that_is_confirmed_is_as_long_as_it_was_offered(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """A longer one would not fit any more, nor would it stay within the provider's hours."""
    await load(client, small_clinic())
    _, between = await do(client, "/holds", **order(MONDAY, "10:00"))
    _, last = await do(client, "/holds", **order(MONDAY, "11:30", patient_ref="b"))
    await booked(client, "10:30", patient_ref="c")
    await resize(client, 60, 20, 20)
    for hold, end in ((between, "10:30"), (last, "12:00")):
        status, confirmed = await do(client, f"/holds/{hold['id']}/confirm")
        assert (status, confirmed["status"], confirmed["end_time"]) == (200, "booked", end)
        assert await kept(engine, hold) == (30, 0, 0)


async def test_a_hold_is_judged_by_the_minutes_that_it_keeps(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
    await resize(client, 15, 0, 0)
    closed = {"start_time": "10:15", "end_time": "10:30", "kind": "closed"}
    row = {"provider_id": PROVIDER, "date": MONDAY.isoformat()} | closed
    assert (await client.post("/availability", json=row)).is_success
    status, body = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, body["reasons"]) == (409, ["OUTSIDE_PROVIDER_HOURS"])


@pytest.mark.parametrize(
    ("moves", "status"),
    [
        (["check-in"], "checked_in"),
        (["check-in", "complete"], "completed"),
        (["check-in", "undo"], "booked"),
        (["cancel", "undo"], "booked"),
    ],
)
async def test_a_change_of_status_and_its_undoing_leave_the_minutes(
    client: httpx.AsyncClient, engine: AsyncEngine, moves: list[str], status: str
) -> None:
    await load(client, small_clinic())
    made = await booked(client, "11:30")
    await resize(client, 45, 5, 15)
    for move in moves:
        insisting = {"confirm": True} if move in ("check-in", "complete") else {}
        code, body = await do(client, f"/bookings/{made['id']}/{move}", **insisting)
        assert code == 200, body
    assert (body["status"], body["end_time"]) == (status, "12:00")
    assert await kept(engine, made) == (30, 0, 0)


async def test_a_cancellation_is_taken_back_beside_others_by_the_minutes_kept(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic())
    made = await booked(client, "09:00")
    await do(client, f"/bookings/{made['id']}/cancel")
    await resize(client, 15, 0, 0)
    await booked(client, "09:15", patient_ref="b")
    status, body = await do(client, f"/bookings/{made['id']}/undo")
    assert (status, body["code"]) == (409, "SLOT_UNAVAILABLE")
    assert body["reasons"] == ["ROOM_BUSY", "PROVIDER_BUSY"]


async def test_a_patient_is_where_the_kept_minutes_say(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    await booked(client, "09:00")
    elsewhere = {"provider_id": uid(1, 1), "room_id": uid(2, 1)}
    await resize(client, 15, 0, 0)
    status, body = await do(client, "/bookings", **order(MONDAY, "09:15", **elsewhere))
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")
    await resize(client, 60, 0, 0)
    status, body = await do(client, "/bookings", **order(MONDAY, "09:30", **elsewhere))
    assert (status, body["end_time"]) == (201, "10:30")
