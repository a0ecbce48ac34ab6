"""Sessions over HTTP: rows, files and faults, and what is made of them."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest

from tests.conftest import served
from tests.support.clinics import (
    PROVIDER,
    ROOM,
    TYPE,
    booking,
    coming_monday,
    order,
    small_clinic,
)
from tests.support.over_http import load, solved
from tests.support.strategies import uid

MONDAY = coming_monday()
SCAN = uid(3, 1)


def session(number: int = 0, **fields: Any) -> dict[str, Any]:
    """Mondays from 9 to 10, for scans alone, of nobody."""
    row = {
        "id": uid(7, number),
        "name": f"Session {number}",
        "weekday": 1,
        "start_time": "09:00",
        "end_time": "10:00",
        "appointment_type_ids": [SCAN],
    }
    return row | fields


def clinic_with(*sessions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The small clinic, which does visits and scans."""
    kinds = [
        {"id": key, "name": name, "duration_minutes": 30, "required_skills": ["gp"]}
        for key, name in ((TYPE, "Visit"), (SCAN, "Scan"))
    ]
    return small_clinic(appointment_types=kinds, sessions=list(sessions)) | changes


async def faults(answer: httpx.Response) -> set[str]:
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    return {error["field"] for error in answer.json()["errors"]}


async def test_rows_are_made_changed_and_deleted(client: httpx.AsyncClient) -> None:
    await load(client, clinic_with())
    given = session(releases={"days_before": 0, "at": "08:00"}, max_bookings=3)
    del given["id"]
    seen = await client.post("/sessions", json=given, params={"dry_run": True})
    assert seen.status_code == 200
    assert (await client.get("/sessions")).json() == []
    made = await client.post("/sessions", json=given)
    assert made.status_code == 201
    assert given.items() <= made.json().items()
    path = f"/sessions/{made.json()['id']}"
    read = await client.get(path)
    assert read.json() == {k: v for k, v in made.json().items() if not k.startswith("conflict")}
    changes = {"releases": {"minutes_before": 60}, "appointment_type_ids": None}
    changed = await client.patch(path, json=changes, headers={"If-Match": read.headers["etag"]})
    assert changes.items() <= changed.json().items()
    stale = await client.patch(path, json={}, headers={"If-Match": read.headers["etag"]})
    assert stale.status_code == 412
    assert (await client.delete(path)).json()["deleted"]
    assert (await client.get(path)).status_code == 404


async def test_who_or_what_is_deleted_leaves_sessions(client: httpx.AsyncClient) -> None:
    room, provider = uid(2, 1), uid(1, 1)
    document = clinic_with(
        session(0, appointment_type_ids=[TYPE, SCAN]),
        session(1),
        session(2, room_id=room),
        session(3, provider_id=provider),
        session(4, appointment_type_ids=None),
    )
    document["rooms"].append({"id": room, "name": "Room 2"})
    document["providers"].append({"id": provider, "name": "Dr. Linn", "skills": ["gp"]})
    await load(client, document)
    for path in (f"/appointment-types/{SCAN}", f"/rooms/{room}", f"/providers/{provider}"):
        assert (await client.delete(path)).json()["deleted"]
    rows = (await client.get("/sessions")).json()
    assert [(row["id"], row["appointment_type_ids"]) for row in rows] == [
        (uid(7, 0), [TYPE]),
        (uid(7, 1), []),
        (uid(7, 4), None),
    ]


async def test_faults_are_all_told_at_once(client: httpx.AsyncClient) -> None:
    today = dt.datetime.now(dt.UTC).date()
    bad = clinic_with(
        session(0, provider_id=PROVIDER, room_id=ROOM),
        session(1, weekday=None),
        session(2, date=today.isoformat()),
        session(3, end_time="09:00"),
        session(4, every_weeks=2),
        session(5, provider_id=uid(1, 9), appointment_type_ids=[TYPE, uid(3, 8)]),
        session(6, opens={"days_before": 1, "at": "24:00"}),
        session(7, opens={"days_before": 367, "at": "08:00"}, releases={"minutes_before": -1}),
        session(8, opens={"minutes_before": 5, "days_before": 1, "at": "08:00"}),
        session(9, opens={}, releases={"days_before": 1}),
        session(10, opens={"minutes_before": 60}, releases={"days_before": 1, "at": "08:00"}),
        session(11, max_bookings=-1, colour="red"),
        session(11),
        session(12, opens={"minutes_before": 60}, releases={"minutes_before": 60}),
    )
    assert await faults(await client.post("/clinic/import", json=bad)) == {
        "sessions[0].room_id",
        "sessions[1].weekday",
        "sessions[2].weekday",
        "sessions[3].end_time",
        "sessions[4].valid_from",
        "sessions[5].provider_id",
        "sessions[5].appointment_type_ids[1]",
        "sessions[6].opens.at",
        "sessions[7].opens.days_before",
        "sessions[7].releases.minutes_before",
        "sessions[8].opens.minutes_before",
        "sessions[9].opens.days_before",
        "sessions[9].releases.at",
        "sessions[10].releases",
        "sessions[11].max_bookings",
        "sessions[11].colour",
        "sessions[12].id",
        "sessions[13].releases",
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"provider_id": PROVIDER, "room_id": ROOM}, "room_id"),
        ({"appointment_type_ids": [SCAN, uid(3, 8)]}, "appointment_type_ids[1]"),
        ({"opens": {"minutes_before": 5}, "releases": {"minutes_before": 5}}, "releases"),
        ({"date": MONDAY.isoformat()}, "weekday"),
        ({"releases": {"at": "08:00"}}, "releases.days_before"),
    ],
)
async def test_a_row_that_cannot_be_is_refused(
    client: httpx.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    await load(client, clinic_with(session(1)))
    assert await faults(await client.post("/sessions", json=session() | fields)) == {field}
    assert await faults(await client.patch(f"/sessions/{uid(7, 1)}", json=fields)) == {field}


async def test_one_date_is_compared_on_that_date_alone(client: httpx.AsyncClient) -> None:
    leads = {"opens": {"days_before": 0, "at": "08:00"}, "releases": {"minutes_before": 45}}
    await load(client, clinic_with(session(weekday=None, date=MONDAY.isoformat(), **leads)))
    later = {"start_time": "08:45", "releases": {"minutes_before": 45}}
    refused = await client.patch(f"/sessions/{uid(7, 0)}", json=later)
    assert await faults(refused) == {"releases"}
    assert MONDAY.isoformat() in refused.json()["errors"][0]["message"]


async def book(client: httpx.AsyncClient, start: str, **changes: Any) -> httpx.Response:
    return await client.post("/bookings", json=order(MONDAY, start, **changes))


async def test_kept_hours_are_refused_until_they_are_released(client: httpx.AsyncClient) -> None:
    kept = session(
        releases={"days_before": 0, "at": "08:00"}, opens={"days_before": 2, "at": "08:00"}
    )
    await load(client, clinic_with(kept))
    assert (await book(client, "09:30")).json()["reasons"] == ["RESERVED"]
    assert (await book(client, "08:45")).json()["reasons"] == ["OUTSIDE_PROVIDER_HOURS", "RESERVED"]
    early = await book(client, "09:00", appointment_type_id=SCAN)
    assert early.json()["reasons"] == ["NOT_YET_OPEN"]
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    found = (await client.get("/slots", params=query)).json()
    assert {slot["start_time"] for slot in found["slots"]}.isdisjoint({"09:00", "09:30", "09:45"})
    assert found["opens_later"][-1]["count"] == 4
    assert dt.datetime.fromisoformat(found["opens_later"][-1]["at"]).time() == dt.time(8)
    released = await client.patch(
        f"/sessions/{kept['id']}", json={"releases": {"minutes_before": 0}}
    )
    assert released.status_code == 200
    made = await book(
        client,
        "09:30",
        override=["RESERVED"],
        override_reason="The only time that she can come.",
    )
    assert (made.status_code, made.json()["overrides"]) == (201, ["RESERVED"])
    none = await client.patch(f"/sessions/{kept['id']}", json={"opens": None, "releases": None})
    assert none.json()["conflicts"] == [], "what was booked on purpose is in nobody's way"
    assert (await book(client, "09:00", appointment_type_id=SCAN)).status_code == 201


async def test_edits_tell_who_is_in_hours_that_are_kept(client: httpx.AsyncClient) -> None:
    rows = [booking(n, MONDAY, f"{9 + n}:00".zfill(5)) for n in range(3)]
    await load(client, clinic_with(bookings=rows))

    def told(answer: httpx.Response) -> set[tuple[str, int, str]]:
        assert answer.is_success, answer.text
        found = answer.json()["conflicts"]
        return {(each["booking_id"], each["rule"], each["code"]) for each in found}

    reserved = (uid(5, 0), 8, "RESERVED")
    row = session(end_time="10:00")
    assert told(await client.post("/sessions", json=row, params={"dry_run": True})) == {reserved}
    assert told(await client.post("/sessions", json=row)) == {reserved}
    path = f"/sessions/{row['id']}"
    listed = (await client.get("/bookings/conflicts")).json()
    assert [each["id"] for each in listed] == [uid(5, 0)]
    opened = {"appointment_type_ids": None, "opens": {"minutes_before": 5}}
    assert told(await client.patch(path, json=opened)) == set()
    full = await client.patch(path, json={"end_time": "11:00", "max_bookings": 1})
    assert told(full) == {(uid(5, n), 8, "SESSION_FULL") for n in (0, 1)}
    assert told(await client.patch(path, json={"name": "Tea"})) == set()
    assert told(await client.patch(path, json={"active": False})) == set()
    assert (await client.get("/bookings/conflicts")).json() == []


async def test_a_booking_that_moves_leaves_its_own_count_out(client: httpx.AsyncClient) -> None:
    await load(client, clinic_with(session(appointment_type_ids=None, max_bookings=2)))
    first, second = [(await book(client, t, patient_ref=t)).json() for t in ("09:00", "09:30")]
    assert (await book(client, "09:00", patient_ref="c")).json()["reasons"][0] == "SESSION_FULL"
    other = (await book(client, "11:00", patient_ref="c")).json()
    to = {"date": MONDAY.isoformat(), "start_time": "09:45"}
    refused = await client.post(f"/bookings/{other['id']}/reschedule", json=to)
    assert refused.json()["reasons"] == ["SESSION_FULL", "ROOM_BUSY", "PROVIDER_BUSY"]
    moved = await client.post(f"/bookings/{second['id']}/reschedule", json=to)
    assert moved.status_code == 200
    swapped = await client.post("/bookings/swap", json={"a": first["id"], "b": other["id"]})
    assert swapped.status_code == 200


async def test_two_services_never_overfill_a_session(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """Everybody's session: writers of two providers and rooms have no other day in common."""
    other = {"id": uid(1, 1), "name": "Dr. Linn", "skills": ["gp"]}
    document = clinic_with(session(appointment_type_ids=None, max_bookings=3, end_time="12:00"))
    document["providers"].append(other)
    document["rooms"].append({"id": uid(2, 1), "name": "Room 2"})
    document["availability"].append(document["availability"][0] | {"provider_id": other["id"]})
    await load(client, document)
    orders = [
        order(MONDAY, f"{9 + n // 2:02d}:{30 * (n % 2):02d}", patient_ref=f"{n} {who}")
        | {"provider_id": uid(1, who), "room_id": uid(2, who)}
        for n in range(6)
        for who in range(2)
    ]
    async with served(database_url, rate_limits="off") as second:
        sent = zip(orders, (client, second) * 6, strict=True)
        answers = await asyncio.gather(*(c.post("/bookings", json=each) for each, c in sent))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (3, 9)
    refused = (answer.json()["reasons"] for answer in answers if answer.status_code == 409)
    assert all(reasons == ["SESSION_FULL"] for reasons in refused)


async def test_a_scenario_keeps_hours_and_is_carried_out(client: httpx.AsyncClient) -> None:
    await load(client, clinic_with())
    added = session(appointment_type_ids=[], end_time="11:00")
    run = {
        "name": "Sessions",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": [{"id": "r", "appointment_type_id": TYPE, "count": 6}],
        "scenarios": [
            {"name": "baseline"},
            {"name": "changed", "changes": [{"op": "add_session", **added}]},
        ],
        "time_limit_seconds": 20,
    }
    key, done = await solved(client, run)
    assert [len(each["placements"]) for each in done["scenarios"]] == [6, 2]
    assert {row["reason"] for row in done["scenarios"][1]["unplaced"]} <= {
        "RESERVED",
        "LOST_TO_CONTENTION",
    }
    answer = await client.post(
        f"/what-if/{key}/apply", json={"scenario": "changed", "apply_changes": True}
    )
    assert answer.status_code == 200, answer.text
    assert added.items() <= (await client.get(f"/sessions/{added['id']}")).json().items()
