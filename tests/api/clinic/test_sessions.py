"""Sessions over HTTP: rows, files and faults, and what is made of them."""

import datetime as dt
from typing import Any

import httpx
import pytest

from tests.support.clinics import PROVIDER, ROOM, TYPE, coming_monday, small_clinic
from tests.support.over_http import load
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
