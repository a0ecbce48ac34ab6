"""A booking's life: holds, confirmation, moving, swapping, states, repeats, history."""

import asyncio
import datetime as dt
import itertools
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, order, small_clinic
from tests.support.over_http import (
    MONDAY,
    book_at_once,
    booked,
    do,
    load,
    run_out,
    split,
    to,
    two_of_each,
)
from tests.support.strategies import uid


async def test_a_hold_reserves_and_is_confirmed_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    wish = order(MONDAY, "10:00")
    del wish["patient_ref"]
    status, hold = await do(client, "/holds", **wish, minutes=7)
    assert (status, hold["status"], hold["patient_ref"]) == (201, "held", None)
    life = dt.datetime.fromisoformat(hold["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=6, seconds=50) < life <= dt.timedelta(minutes=7)
    assert (await do(client, "/bookings", **order(MONDAY, "10:00")))[0] == 409

    status, lacking = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, lacking["errors"][0]["field"]) == (422, "patient_ref")
    status, confirmed = await do(client, f"/holds/{hold['id']}/confirm", patient_ref="Ada")
    assert (status, confirmed["status"], confirmed["patient_ref"]) == (200, "booked", "Ada")
    assert confirmed["expires_at"] is None
    status, again = await do(client, f"/holds/{hold['id']}/confirm", patient_ref="Ada")
    assert (status, again["code"]) == (409, "INVALID_STATE")


async def test_of_many_confirmations_at_once_one_counts(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
    answers = await asyncio.gather(*(do(client, f"/holds/{hold['id']}/confirm") for _ in range(6)))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409, 409]


async def test_a_hold_that_has_run_out_is_gone_at_once(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    before = (await client.get("/slots", params=query)).json()["total"]
    await run_out(engine, hold["id"])
    assert (await client.get("/slots", params=query)).json()["total"] > before
    assert (await client.get(f"/bookings/{hold['id']}")).json()["status"] == "cancelled"
    assert (await client.get("/bookings", params={"status": "held"})).json() == []
    status, refused = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, refused["code"]) == (409, "INVALID_STATE")
    await booked(client, "10:00", patient_ref="another")


@pytest.mark.parametrize("minutes", [0, 61, "5", 2.5])
async def test_how_long_a_hold_may_last(client: httpx.AsyncClient, minutes: Any) -> None:
    await load(client, small_clinic())
    status, body = await do(client, "/holds", **order(MONDAY, "10:00"), minutes=minutes)
    assert (status, body["errors"][0]["field"]) == (422, "minutes")


# Patients


async def test_one_patient_is_one_however_written(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    anna = await booked(client, "10:00", patient_ref="Anna  Berg")
    assert anna["patient_ref"] == "Anna  Berg"  # as it was typed
    elsewhere = {"provider_id": uid(1, 1), "patient_ref": " anna\u00a0BERG"}
    overlapping = order(MONDAY, "10:15", **elsewhere)
    for path in ("/bookings", "/holds"):
        status, body = await do(client, path, **overlapping)
        assert (status, body["code"]) == (409, "PATIENT_CONFLICT"), path
    _, hold = await do(client, "/holds", **overlapping | {"patient_ref": None})
    status, body = await do(client, f"/holds/{hold['id']}/confirm", patient_ref="ANNA BERG")
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")
    await do(client, f"/bookings/{hold['id']}/cancel")
    later = await booked(client, "11:00", **elsewhere)
    assert later["patient_ref"] == " anna\u00a0BERG"
    status, body = await do(client, f"/bookings/{later['id']}/reschedule", **to("10:15"))
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")
    other = await booked(client, "09:45", provider_id=uid(1, 1), patient_ref="another")
    status, body = await do(client, "/bookings/swap", a=later["id"], b=other["id"])
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")


async def test_at_once_one_patient_is_one_however_written(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    orders = [
        order(
            MONDAY, "10:00", provider_id=uid(1, n % 2), patient_ref="anna".upper()[:n] + "anna"[n:]
        )
        for n in range(4)
    ]
    won, lost = split(await book_at_once(client, orders))
    assert len(won) == 1
    assert {body["code"] for body in lost} <= {"PATIENT_CONFLICT", "SLOT_UNAVAILABLE"}


async def test_imported_patients_are_known_however_written(client: httpx.AsyncClient) -> None:
    anna = booking(0, MONDAY, "10:00", patient_ref="ANNA")
    await load(client, two_of_each() | {"bookings": [anna]})
    status, body = await do(
        client, "/bookings", **order(MONDAY, "10:15", provider_id=uid(1, 1), patient_ref="anna")
    )
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")
    exported = (await client.get("/clinic/export")).json()["bookings"]
    assert [row["patient_ref"] for row in exported] == ["ANNA"]
    blank = two_of_each() | {"bookings": [anna | {"patient_ref": "\ufeff "}]}
    answer = await client.post("/clinic/import", json=blank)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "bookings[0].patient_ref"


# Moving


async def test_reschedule(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    first = await booked(client, "10:00", room_id=uid(2, 1))
    status, moved = await do(client, f"/bookings/{first['id']}/reschedule", **to("10:15"))
    assert (status, moved["start_time"], moved["version"]) == (200, "10:15", 2)
    assert moved["room_id"] == uid(2, 1)  # it stays where it is free
    assert moved["is_overbooked"] is False  # only its own old place was in the way
    status, there = await do(
        client, f"/bookings/{first['id']}/reschedule", **to("11:00", provider_id=uid(1, 1))
    )
    assert (status, there["provider_id"]) == (200, uid(1, 1))
    await booked(client, "10:00", patient_ref="another")  # the old place is free


async def test_a_lost_reschedule_keeps_the_old_place(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00", patient_ref="a")
    await booked(client, "10:00", patient_ref="b")
    status, lost = await do(client, f"/bookings/{first['id']}/reschedule", **to("10:15"))
    assert (status, lost["code"]) == (409, "SLOT_UNAVAILABLE")
    assert (await client.get(f"/bookings/{first['id']}")).json() == first


async def test_a_stale_version_is_refused(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    path = f"/bookings/{first['id']}/reschedule"
    assert (await do(client, path, **to("09:30", version=1)))[0] == 200
    status, stale = await do(client, path, **to("10:00", version=1))
    assert (status, stale["code"]) == (409, "STALE_VERSION")
    answers = await asyncio.gather(
        *(do(client, path, **to(start, version=2)) for start in ("10:00", "10:30", "11:00"))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409]


async def test_crossing_reschedules_end_in_order(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    a = await booked(client, "09:00", provider_id=uid(1, 0), patient_ref="a")
    b = await booked(client, "09:00", provider_id=uid(1, 1), patient_ref="b")
    for _ in range(5):
        crossing = [
            (a["id"], to("09:00", provider_id=uid(1, 1))),
            (b["id"], to("09:00", provider_id=uid(1, 0))),
        ]
        answers = await asyncio.gather(
            *(do(client, f"/bookings/{key}/reschedule", **body) for key, body in crossing)
        )
        assert {status for status, _ in answers} <= {200, 409}
        listed = (await client.get("/bookings", params={"status": "booked"})).json()
        assert len({(x["provider_id"], x["start_time"]) for x in listed}) == 2


async def test_swap(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    a = await booked(client, "09:00", provider_id=uid(1, 0), patient_ref="a")
    b = await booked(client, "10:00", provider_id=uid(1, 1), patient_ref="b")
    status, body = await do(client, "/bookings/swap", a=a["id"], b=b["id"])
    assert status == 200
    where = ("provider_id", "room_id", "date", "start_time")
    assert [body["a"][key] for key in where] == [b[key] for key in where]
    assert [body["b"][key] for key in where] == [a[key] for key in where]
    assert (body["a"]["patient_ref"], body["a"]["version"]) == ("a", 2)
    listed = (await client.get("/bookings")).json()
    assert {x["id"]: x["status"] for x in listed} == {a["id"]: "booked", b["id"]: "booked"}


async def test_neighbours_of_unequal_length_do_not_swap(client: httpx.AsyncClient) -> None:
    document = small_clinic()
    long = {"id": uid(3, 1), "name": "Long", "duration_minutes": 60, "required_skills": ["gp"]}
    document["appointment_types"].append(long)
    await load(client, document)
    a = await booked(client, "11:30", patient_ref="a")
    b = await booked(client, "09:00", patient_ref="b", appointment_type_id=long["id"])
    status, refused = await do(client, "/bookings/swap", a=a["id"], b=b["id"])
    assert (status, refused["code"]) == (409, "SLOT_UNAVAILABLE")
    for before in (a, b):
        assert (await client.get(f"/bookings/{before['id']}")).json() == before
    assert (await do(client, "/bookings/swap", a=a["id"], b=a["id"]))[0] == 422
    assert (await do(client, "/bookings/swap", a=a["id"], b=uid(9, 9)))[0] == 404


async def test_a_swap_leaves_no_patient_in_two_places(client: httpx.AsyncClient) -> None:
    document = two_of_each()
    long = {"id": uid(3, 1), "name": "Long", "duration_minutes": 60, "required_skills": ["gp"]}
    document["appointment_types"].append(long)
    await load(client, document)
    a = await booked(client, "09:00", provider_id=uid(1, 0), patient_ref="a")
    there = {"provider_id": uid(1, 1), "room_id": uid(2, 1)}
    b = await booked(client, "09:30", patient_ref="a", appointment_type_id=long["id"], **there)
    status, refused = await do(client, "/bookings/swap", a=a["id"], b=b["id"])
    assert (status, refused["code"]) == (409, "PATIENT_CONFLICT")
    assert refused["booking_id"] == a["id"]


# States

MOVES = ("cancel", "check-in", "complete", "no-show", "undo")


def insisting(move: str) -> dict[str, bool]:
    """What lets a visit be on another date than its own."""
    return {"confirm": True} if move in ("check-in", "complete") else {}


@pytest.mark.parametrize(
    ("moves", "status", "refused"),
    [
        (("check-in", "complete"), "completed", ("cancel", "check-in", "complete")),
        (("cancel",), "cancelled", ("cancel", "check-in", "complete")),
        (("check-in",), "checked_in", ("check-in",)),
        ((), "booked", ("complete",)),
    ],
)
async def test_states(
    client: httpx.AsyncClient, moves: tuple[str, ...], status: str, refused: tuple[str, ...]
) -> None:
    await load(client, small_clinic())
    key = (await booked(client, "09:00"))["id"]
    for move in moves:
        code, body = await do(client, f"/bookings/{key}/{move}", **insisting(move))
        assert code == 200, body
    assert (await client.get(f"/bookings/{key}")).json()["status"] == status
    for move in refused:
        answer = await client.post(f"/bookings/{key}/{move}")
        assert (answer.status_code, answer.json()["code"]) == (409, "INVALID_STATE")
    if status != "booked":
        code, body = await do(client, f"/bookings/{key}/reschedule", **to("10:00"))
        assert (code, body["code"]) == (409, "INVALID_STATE")


@pytest.mark.parametrize("path", [*MOVES, "reschedule", "history"])
async def test_a_booking_that_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    await load(client, small_clinic())
    url = f"/bookings/{uid(9, 9)}/{path}"
    answer = (
        await client.get(url)
        if path == "history"
        else await client.post(url, json=to("10:00") if path == "reschedule" else None)
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


# Repeats


async def keyed(
    client: httpx.AsyncClient, key: str, body: dict[str, Any], path: str = "/bookings"
) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


async def test_a_repeat_returns_the_first_answer(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await keyed(client, "k1", order(MONDAY, "10:00"))
    again = await keyed(client, "k1", order(MONDAY, "10:00"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await client.get("/bookings")).json()) == 1


async def test_a_refusal_is_repeated_too(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    taken = await booked(client, "10:00", patient_ref="other")
    first = await keyed(client, "k1", order(MONDAY, "10:00"))
    await client.post(f"/bookings/{taken['id']}/cancel")
    again = await keyed(client, "k1", order(MONDAY, "10:00"))
    assert (first.status_code, again.status_code) == (409, 409)
    assert again.json() == first.json()
    assert (await keyed(client, "k2", order(MONDAY, "10:00"))).status_code == 201


async def test_another_request_with_the_same_key(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    await keyed(client, "k1", order(MONDAY, "10:00"))
    for body, path in ((order(MONDAY, "11:00"), "/bookings"), (order(MONDAY, "10:00"), "/holds")):
        answer = await keyed(client, "k1", body, path)
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_repeats_at_once_book_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    body = order(MONDAY, "10:00")
    answers = await asyncio.gather(*(keyed(client, "k1", body) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_key_is_forgotten_after_a_day(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    first = (await keyed(client, "k1", order(MONDAY, "10:00"))).json()
    await client.post(f"/bookings/{first['id']}/cancel")
    aged = text("UPDATE idempotency_keys SET created_at = now() - CAST(:age AS interval)")
    for age in (dt.timedelta(hours=23, minutes=59), dt.timedelta(hours=24, minutes=1)):
        again = await keyed(client, "k1", order(MONDAY, "10:00"))
        assert again.json() == first
        async with engine.begin() as connection:
            await connection.execute(aged, {"age": age})
    second = await keyed(client, "k1", order(MONDAY, "10:00"))
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "has blank"])
async def test_keys_that_are_none(client: httpx.AsyncClient, key: str) -> None:
    await load(client, small_clinic())
    answer = await keyed(client, key, order(MONDAY, "10:00"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].lower() == "idempotency-key"


# History


async def test_history_tells_every_write(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "09:00"))
    key = hold["id"]
    await do(client, f"/holds/{key}/confirm")
    await do(client, f"/bookings/{key}/reschedule", **to("10:00"))
    await do(client, f"/bookings/{key}/reschedule", **to("23:00"))  # refused: not a write
    await client.post(f"/bookings/{key}/cancel")
    entries = (await client.get(f"/bookings/{key}/history")).json()
    assert [entry["action"] for entry in entries] == ["hold", "confirm", "reschedule", "cancel"]
    assert entries[0]["before"] is None
    for earlier, later in itertools.pairwise(entries):
        assert later["before"] == earlier["after"]
    assert entries[2]["before"]["start_minute"] == 540
    assert entries[2]["after"]["start_minute"] == 600
    assert entries[3]["after"]["status"] == "cancelled"


async def test_the_audit_log_only_grows(
    client: httpx.AsyncClient, engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    await booked(client, "09:00")
    for statement in (
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ):
        for whose, refusal in ((engine, "permission denied"), (admin_engine, "only grows")):
            async with whose.connect() as connection:
                with pytest.raises(DBAPIError, match=refusal):
                    await connection.execute(text(statement))


async def test_a_buffer_over_midnight_is_guarded_at_once(client: httpx.AsyncClient) -> None:
    document = small_clinic()
    document["providers"][0]["buffer_after"] = 60
    document["availability"] = [
        {"provider_id": PROVIDER, "weekday": day, "start_time": "00:00", "end_time": "24:00"}
        for day in (1, 2)
    ]
    document["rooms"].append({"id": uid(2, 1), "name": "R1"})
    await load(client, document)
    tuesday = MONDAY + dt.timedelta(days=1)
    for _ in range(4):
        answers = await asyncio.gather(
            client.post("/bookings", json=order(MONDAY, "23:30", patient_ref="a", room_id=ROOM)),
            client.post(
                "/bookings", json=order(tuesday, "00:30", patient_ref="b", room_id=uid(2, 1))
            ),
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        for answer in answers:
            if answer.status_code == 201:
                await client.post(f"/bookings/{answer.json()['id']}/cancel")
