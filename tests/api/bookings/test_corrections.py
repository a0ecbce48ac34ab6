"""What a front desk sets right: days, no-shows, changes taken back, names, holds that aged."""

import asyncio
import datetime as dt
import itertools
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import served
from tests.support.clinics import (
    PROVIDER,
    ROOM,
    RULE,
    TYPE,
    booking,
    coming_monday,
    order,
    small_clinic,
)
from tests.support.over_http import booked, do, load, run_out, to, two_of_each
from tests.support.strategies import uid

MONDAY = coming_monday()


KEY = uid(5, 0)


def noon() -> tuple[str, dt.date]:
    """A zone in which it is between noon and one, and the date there: no test meets midnight."""
    now = dt.datetime.now(dt.UTC)
    ahead = 12 - now.hour
    return f"Etc/GMT{-ahead:+d}", now.date()


def open_today(*bookings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A clinic where it is noon, open all week."""
    zone, _ = noon()
    hours = [
        {"provider_id": PROVIDER, "weekday": day, "start_time": "00:00", "end_time": "24:00"}
        for day in range(1, 8)
    ]
    clinic = {"name": "Noon", "timezone": zone}
    document = small_clinic(clinic=clinic, availability=hours, bookings=list(bookings))
    return document | changes


async def now_is(client: httpx.AsyncClient, key: str = KEY) -> tuple[str, int]:
    body = (await client.get(f"/bookings/{key}")).json()
    return body["status"], body["version"]


async def actions(client: httpx.AsyncClient, key: str = KEY) -> list[str]:
    entries = (await client.get(f"/bookings/{key}/history")).json()
    for earlier, later in itertools.pairwise(entries):
        assert later["before"] == earlier["after"]
    return [entry["action"] for entry in entries]


async def age(admin_engine: AsyncEngine, minutes: int) -> None:
    """Let all that was written have been written so long ago."""
    async with admin_engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text("UPDATE audit_log SET at = at - make_interval(mins => :minutes)"),
            {"minutes": minutes},
        )


# The day


@pytest.mark.parametrize("move", ["check-in", "complete"])
async def test_a_visit_is_on_its_day_or_insisted_on(client: httpx.AsyncClient, move: str) -> None:
    await load(client, small_clinic())
    key = (await booked(client, "09:00"))["id"]
    if move == "complete":
        await do(client, f"/bookings/{key}/check-in", confirm=True)
    status, body = await do(client, f"/bookings/{key}/{move}")
    assert (status, body["code"]) == (409, "INVALID_STATE")
    assert "confirm: true" in body["detail"]
    assert MONDAY.isoformat() in body["detail"]
    status, body = await do(client, f"/bookings/{key}/{move}", confirm=True)
    assert (status, body["status"]) == (200, {"check-in": "checked_in"}.get(move, "completed"))


async def test_today_is_the_clinics_own(client: httpx.AsyncClient) -> None:
    _, today = noon()
    await load(client, open_today(booking(0, today, "09:00")))
    assert (await do(client, f"/bookings/{KEY}/check-in"))[0] == 200
    assert (await do(client, f"/bookings/{KEY}/complete"))[0] == 200


# No-shows


async def test_a_person_marks_a_no_show_once_it_has_begun(client: httpx.AsyncClient) -> None:
    _, today = noon()
    later = booking(1, today, "15:00")
    await load(client, open_today(booking(0, today, "09:00"), later))
    status, body = await do(client, f"/bookings/{KEY}/no-show", version=1)
    assert (status, body["status"], body["version"]) == (200, "no_show", 2)
    status, body = await do(client, f"/bookings/{later['id']}/no-show")
    assert (status, body["code"]) == (409, "INVALID_STATE")
    assert "before it has begun" in body["detail"]
    status, body = await do(client, f"/bookings/{KEY}/no-show")
    assert (status, body["detail"]) == (
        409,
        "A booking that is a no-show cannot be marked as a no-show.",
    )


async def test_a_no_show_who_comes_after_all_is_checked_in(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    _, today = noon()
    missed = booking(0, today, "09:00", status="no_show")
    old = booking(1, today - dt.timedelta(days=1), "09:00", status="no_show")
    await load(client, open_today(missed, old))
    assert (await do(client, f"/bookings/{KEY}/check-in"))[1]["status"] == "checked_in"
    await age(admin_engine, 60)  # the day is not over, unless it is five to one just now
    if noon()[1] == today:
        assert (await do(client, f"/bookings/{KEY}/undo"))[1]["status"] == "no_show"
    status, body = await do(client, f"/bookings/{old['id']}/check-in")
    assert (status, body["code"]) == (409, "INVALID_STATE")
    assert (await do(client, f"/bookings/{old['id']}/check-in", confirm=True))[0] == 200


# Taking back


@pytest.mark.parametrize(
    ("moves", "before"),
    [
        (["check-in"], "booked"),
        (["check-in", "complete"], "checked_in"),
        (["no-show"], "booked"),
        (["cancel"], "booked"),
        (["check-in", "cancel"], "checked_in"),
    ],
)
async def test_the_last_change_of_status_is_taken_back(
    client: httpx.AsyncClient, moves: list[str], before: str
) -> None:
    _, today = noon()
    await load(client, open_today(booking(0, today, "09:00")))
    for move in moves:
        _, done = await do(client, f"/bookings/{KEY}/{move}")
    status, body = await do(client, f"/bookings/{KEY}/undo", version=done["version"])
    assert (status, body["status"], body["version"]) == (200, before, done["version"] + 1)
    assert {name: body[name] for name in ("date", "start_time", "provider_id", "room_id")} == {
        name: done[name] for name in ("date", "start_time", "provider_id", "room_id")
    }
    assert (await actions(client))[-1] == "undo"
    status, body = await do(client, f"/bookings/{KEY}/undo", version=done["version"])
    assert (status, body["code"]) == (409, "STALE_VERSION")
    status, body = await do(client, f"/bookings/{KEY}/undo")  # is a change like any other
    assert (status, body["status"]) == (200, done["status"])


async def test_a_cancelled_hold_is_held_again_as_long_as_it_would_have_been(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
    await do(client, f"/bookings/{hold['id']}/cancel")
    status, body = await do(client, f"/bookings/{hold['id']}/undo")
    assert (status, body["status"], body["expires_at"]) == (200, "held", hold["expires_at"])
    await run_out(engine, hold["id"])
    await do(client, "/holds", **order(MONDAY, "10:00"))  # writes the first one off
    status, body = await do(client, f"/bookings/{hold['id']}/undo")
    assert (status, body["code"]) == (409, "INVALID_STATE")


async def test_nothing_to_take_back(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    for _ in range(2):
        status, body = await do(client, f"/bookings/{first['id']}/undo")
        assert (status, body["code"]) == (409, "INVALID_STATE")
        assert body["detail"] == "There is no change of status to take back."
        await do(client, f"/bookings/{first['id']}/reschedule", **to("10:00"))  # is no such change
    assert (await do(client, f"/bookings/{uid(9, 9)}/undo"))[0] == 404


async def test_a_confirmed_hold_is_held_again_as_long_as_it_would_have_been(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "11:00"))
    path = f"/bookings/{hold['id']}/undo"
    await do(client, f"/holds/{hold['id']}/confirm", patient_ref="Anna")
    status, body = await do(client, path)
    assert (status, body["status"], body["expires_at"]) == (200, "held", hold["expires_at"])
    status, body = await do(client, path)  # what booked it was the confirmation
    assert (status, body["code"]) == (409, "INVALID_STATE")
    status, body = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, body["status"], body["expires_at"]) == (200, "booked", None)


async def test_a_hold_whose_time_is_over_is_not_held_again(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    _, hold = await do(client, "/holds", **order(MONDAY, "11:00"))
    await do(client, f"/holds/{hold['id']}/confirm")
    passed = "jsonb_set(before::jsonb, '{expires_at}', '\"2020-01-01T00:00:00+00:00\"')"
    async with admin_engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text(f"UPDATE audit_log SET before = {passed} WHERE action = 'confirm'")
        )
    status, body = await do(client, f"/bookings/{hold['id']}/undo")
    assert (status, body["code"]) == (409, "INVALID_STATE")
    assert body["detail"].startswith("The time of the hold is over")


async def test_the_rows_of_the_clinic_alone_are_named_by_if_match(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    path, headers = f"/bookings/{first['id']}", {"If-Match": '"1"'}
    answer = await client.patch(path, json={"notes": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "If-Match")
    assert (await client.get(path)).json()["notes"] is None


async def test_it_is_too_late(client: httpx.AsyncClient, admin_engine: AsyncEngine) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    await do(client, f"/bookings/{first['id']}/cancel")
    await age(admin_engine, 29)
    assert (await do(client, f"/bookings/{first['id']}/undo"))[0] == 200
    await do(client, f"/bookings/{first['id']}/cancel")
    await age(admin_engine, 31)
    status, body = await do(client, f"/bookings/{first['id']}/undo")
    assert (status, body["code"]) == (409, "INVALID_STATE")
    assert "30 minutes" in body["detail"]


async def test_how_long_it_takes_to_be_too_late_is_a_setting(
    engine: AsyncEngine, database_url: str
) -> None:
    async with served(database_url, rate_limits="off", undo_minutes=0) as client:
        await load(client, small_clinic())
        first = await booked(client, "09:00")
        await do(client, f"/bookings/{first['id']}/cancel")
        status, body = await do(client, f"/bookings/{first['id']}/undo")
        assert (status, body["code"]) == (409, "INVALID_STATE")


async def test_a_place_that_was_given_up_has_to_be_won_again(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    first = await booked(client, "09:00", patient_ref="Anna")
    await do(client, f"/bookings/{first['id']}/cancel")
    other = await booked(client, "09:15", patient_ref="Bo")
    status, body = await do(client, f"/bookings/{first['id']}/undo")
    assert (status, body["code"]) == (409, "SLOT_UNAVAILABLE")
    assert "PROVIDER_BUSY" in body["reasons"]
    await do(client, f"/bookings/{other['id']}/cancel")
    there = {"provider_id": uid(1, 1), "room_id": uid(2, 1)}
    second = await booked(client, "09:15", patient_ref="ANNA ", **there)
    status, body = await do(client, f"/bookings/{first['id']}/undo")
    assert (status, body["code"]) == (409, "PATIENT_CONFLICT")
    await do(client, f"/bookings/{second['id']}/cancel")
    await client.patch(f"/rooms/{first['room_id']}", json={"active": False})
    status, body = await do(client, f"/bookings/{first['id']}/undo")
    assert (status, body["reasons"]) == (409, ["ROOM_INACTIVE"])
    await client.patch(f"/rooms/{first['room_id']}", json={"active": True})
    assert (await do(client, f"/bookings/{first['id']}/undo"))[1]["status"] == "booked"
    assert (await now_is(client, first["id"])) == ("booked", 3)


async def test_a_place_off_the_grid_that_has_begun_is_won_again(client: httpx.AsyncClient) -> None:
    _, today = noon()
    await load(client, open_today(booking(0, today, "09:07")))
    await do(client, f"/bookings/{KEY}/cancel")
    status, body = await do(client, f"/bookings/{KEY}/undo")
    assert (status, body["status"], body["start_time"]) == (200, "booked", "09:07")


async def test_one_of_many_who_take_back_at_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    await do(client, f"/bookings/{first['id']}/cancel")
    orders = [
        do(client, f"/bookings/{first['id']}/undo", version=2),
        do(client, f"/bookings/{first['id']}/undo", version=2),
        do(client, "/bookings", **order(MONDAY, "09:00", patient_ref="b")),
        do(client, "/bookings", **order(MONDAY, "09:15", patient_ref="c")),
    ]
    answers = await asyncio.gather(*orders)
    assert sorted(status for status, _ in answers)[1:] == [409, 409, 409]


# Patient and notes


async def test_a_name_and_notes_are_changed(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00", patient_ref="Ana", notes="Needs a chair.")
    path = f"/bookings/{first['id']}"
    answer = await client.patch(path, json={"patient_ref": "Anna", "version": 1})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["patient_ref"], body["notes"], body["version"]) == ("Anna", "Needs a chair.", 2)
    body = (await client.patch(path, json={"notes": None})).json()
    assert (body["patient_ref"], body["notes"], body["version"]) == ("Anna", None, 3)
    body = (await client.patch(path, json={"patient_ref": "Anna"})).json()
    assert body["version"] == 3  # nothing has changed
    assert await actions(client, first["id"]) == ["book", "amend", "amend"]
    answer = await client.patch(path, json={"notes": "x", "version": 2})
    assert (answer.status_code, answer.json()["code"]) == (409, "STALE_VERSION")


@pytest.mark.parametrize("name", [" ", "\u200b", "", None, 5])
async def test_blanks_are_no_name(client: httpx.AsyncClient, name: Any) -> None:
    await load(client, small_clinic())
    first = await booked(client, "09:00")
    answer = await client.patch(f"/bookings/{first['id']}", json={"patient_ref": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["field"] == "patient_ref"


async def test_a_name_does_not_put_a_patient_in_two_places(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    await booked(client, "09:00", patient_ref="Anna")
    second = await booked(client, "09:15", provider_id=uid(1, 1), patient_ref="Bo")
    path = f"/bookings/{second['id']}"
    answer = await client.patch(path, json={"patient_ref": "anna "})
    assert (answer.status_code, answer.json()["code"]) == (409, "PATIENT_CONFLICT")
    answer = await client.patch(path, json={"patient_ref": "BO"})  # is still the same
    assert (answer.status_code, answer.json()["patient_ref"]) == (200, "BO")
    answer = await client.patch(path, json={"patient_ref": "anna ", "allow_patient_overlap": True})
    assert answer.status_code == 200


async def test_names_that_are_changed_at_once(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    first = await booked(client, "09:00", patient_ref="Anna")
    second = await booked(client, "09:15", provider_id=uid(1, 1), patient_ref="Bo")
    answers = await asyncio.gather(
        *(
            client.patch(f"/bookings/{key['id']}", json={"patient_ref": "Cleo"})
            for key in (first, second)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_booking_without_a_patient_waits_for_one(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00", patient_ref=None)]))
    answer = await client.patch(f"/bookings/{KEY}", json={"patient_ref": "Anna"})
    assert (answer.status_code, answer.json()["patient_ref"]) == (200, "Anna")


# Holds that aged


async def held(client: httpx.AsyncClient, start: str, **changes: Any) -> dict[str, Any]:
    status, hold = await do(client, "/holds", **order(MONDAY, start, **changes))
    assert status == 201, hold
    body: dict[str, Any] = hold
    return body


@pytest.mark.parametrize(
    ("path", "edit", "reason"),
    [
        (f"/rooms/{ROOM}", {"active": False}, "ROOM_INACTIVE"),
        (f"/providers/{PROVIDER}", {"active": False}, "PROVIDER_INACTIVE"),
        (f"/providers/{PROVIDER}", {"skills": []}, "PROVIDER_LACKS_SKILLS"),
        (f"/providers/{PROVIDER}", {"daily_cap": 0}, "PROVIDER_DAILY_CAP"),
        (f"/appointment-types/{TYPE}", {"daily_cap": 0}, "TYPE_DAILY_CAP"),
        (f"/appointment-types/{TYPE}", {"required_equipment": ["ecg"]}, "ROOM_LACKS_EQUIPMENT"),
        (f"/rooms/{ROOM}", {"turnover_minutes": 45}, "ROOM_BUSY"),
        (
            "/availability",
            {"date": MONDAY.isoformat(), "start_time": "09:00", "end_time": "10:15"}
            | {"kind": "closed"},
            "OUTSIDE_PROVIDER_HOURS",
        ),
    ],
)
async def test_a_hold_that_the_rules_no_longer_allow_is_not_booked(
    client: httpx.AsyncClient, path: str, edit: dict[str, Any], reason: str
) -> None:
    await load(client, small_clinic())
    hold = await held(client, "10:00", patient_ref="a")
    await booked(client, "11:00", patient_ref="b")
    send = client.post if path == "/availability" else client.patch
    assert (await send(path, json=edit)).is_success
    status, body = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, body["code"]) == (409, "SLOT_UNAVAILABLE")
    assert reason in body["reasons"]
    assert await now_is(client, hold["id"]) == ("held", 1)  # until it runs out


async def test_a_hold_is_confirmed_where_nobody_could_book_any_more(
    client: httpx.AsyncClient,
) -> None:
    rule = {"id": RULE, "provider_id": PROVIDER, "max_overlap": 1, "max_per_day": 1}
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    await load(client, small_clinic(rooms=rooms, overbooking_rules=[rule]))
    hold = await held(client, "10:00", patient_ref="a")
    over = await booked(client, "10:15", patient_ref="b", accept_overbooked=True)
    assert over["is_overbooked"]
    await client.patch("/clinic", json={"min_notice_minutes": 100_000, "grid_minutes": 60})
    status, body = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, body["status"], body["is_overbooked"]) == (200, "booked", False)


async def test_a_hold_that_was_moved_is_not_booked_unseen(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    hold = await held(client, "10:00")
    document = (await client.get("/clinic/export")).json()
    document["bookings"][0]["start_time"] = "11:00"
    assert (await client.post("/clinic/import", json=document)).is_success
    path = f"/holds/{hold['id']}/confirm"
    status, body = await do(client, path)
    assert (status, body["code"]) == (409, "STALE_VERSION")
    assert "11:00" in body["detail"]
    seen = (await client.get(f"/bookings/{hold['id']}")).json()
    status, body = await do(client, path, version=seen["version"] + 1)
    assert (status, body["code"]) == (409, "STALE_VERSION")
    status, body = await do(client, path, version=seen["version"])
    assert (status, body["start_time"]) == (200, "11:00")


async def test_a_hold_that_was_moved_back_is_where_it_was_seen(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    hold = await held(client, "10:00")
    document = (await client.get("/clinic/export")).json()
    for start in ("11:00", "10:00"):
        document["bookings"][0]["start_time"] = start
        assert (await client.post("/clinic/import", json=document)).is_success
    assert (await do(client, f"/holds/{hold['id']}/confirm"))[0] == 200
