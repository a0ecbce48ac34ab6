"""What-if runs over HTTP: asked, watched, stopped, reported and carried out."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.test_bookings import load
from tests.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.strategies import uid

MONDAY = coming_monday()


def run_of(requests: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "name": "A week",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": [{"appointment_type_id": TYPE, **request} for request in requests],
        "time_limit_seconds": 20,
    } | changes


def six_wishes() -> list[dict[str, Any]]:
    """As many as the small clinic's Monday holds, each a patient's own."""
    return [{"id": f"r{n}", "patient_ref": f"patient {n}"} for n in range(6)]


async def submitted(client: httpx.AsyncClient, run: dict[str, Any]) -> str:
    answer = await client.post("/what-if", json=run)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["status"], body["name"]) == ("queued", run["name"])
    key: str = body["id"]
    return key


async def ended(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        body: dict[str, Any] = (await client.get(f"/what-if/{key}")).json()
        if body["status"] not in ("queued", "running"):
            return body
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)  # between two looks


async def solved(client: httpx.AsyncClient, run: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    key = await submitted(client, run)
    body = await ended(client, key)
    assert (body["status"], body["error"]) == ("done", None)
    return key, body


async def test_a_run_from_asking_to_booking(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    scenarios = [
        {"name": "baseline", "changes": []},
        {"name": "Vega out", "changes": [{**out, "start_time": "10:00"}]},
    ]
    key, body = await solved(client, run_of(six_wishes(), scenarios=scenarios))
    baseline, away = body["scenarios"]
    assert (baseline["status"], baseline["objective"], baseline["bound"]) == ("optimal", 6, 6)
    assert (away["status"], len(away["placements"]), len(away["unplaced"])) == ("optimal", 2, 4)
    placed = next(row for row in body["comparison"] if row["kpi"] == "placed")
    assert placed == {
        "kpi": "placed",
        "values": {"baseline": 6, "Vega out": 2},
        "delta": {"Vega out": -4},
    }
    assert {step["scenario"] for step in body["progress"]} <= {"baseline", "Vega out"}

    listed = (await client.get("/what-if")).json()
    assert [(row["id"], row["status"]) for row in listed] == [(key, "done")]
    page = await client.get(f"/what-if/{key}/report")
    assert page.headers["content-type"].startswith("text/html")
    assert "Vega out" in page.text

    answer = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
    assert answer.status_code == 200, answer.text
    applied = answer.json()["bookings"]
    where = ("provider_id", "room_id", "date", "start_time", "end_time", "is_overbooked")
    assert [(row["request_id"], *(row[name] for name in where)) for row in applied] == [
        (row["request_id"], *(row[name] for name in where)) for row in baseline["placements"]
    ]
    assert {(row["request_id"], row["patient_ref"]) for row in applied} == {
        (wish["id"], wish["patient_ref"]) for wish in six_wishes()
    }
    stored = (await client.get("/bookings")).json()
    assert {row["id"] for row in stored} == {row["id"] for row in applied}
    history = (await client.get(f"/bookings/{applied[0]['id']}/history")).json()
    assert [entry["action"] for entry in history] == ["plan"]

    again = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
    assert (again.status_code, again.json()["code"]) == (409, "PLAN_STALE")
    assert len((await client.get("/bookings")).json()) == 6


async def test_a_plan_with_a_booking_in_its_way_writes_nothing(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    key, body = await solved(client, run_of(six_wishes()))
    taken = body["scenarios"][0]["placements"][2]
    between = await client.post("/bookings", json=order(MONDAY, taken["start_time"]))
    assert between.status_code == 201
    answer = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
    assert (answer.status_code, answer.json()["code"]) == (409, "PLAN_STALE")
    assert answer.json()["stale"] == [
        {"request_id": taken["request_id"], "reasons": ["ROOM_BUSY", "PROVIDER_BUSY"]}
    ]
    assert [row["id"] for row in (await client.get("/bookings")).json()] == [between.json()["id"]]


async def test_overbooking_by_a_plan_has_to_be_accepted(client: httpx.AsyncClient) -> None:
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    rules = [{"id": uid(4, 0), "max_overlap": 2, "max_per_day": 1}]
    await load(client, small_clinic(rooms=rooms, overbooking_rules=rules))
    wishes = [{"id": "r", "count": 7}]
    key, body = await solved(client, run_of(wishes))
    assert [row["is_overbooked"] for row in body["scenarios"][0]["placements"]] == [False] * 6 + [
        True
    ]
    path = f"/what-if/{key}/apply"
    refused = await client.post(path, json={"scenario": "baseline"})
    assert (refused.status_code, refused.json()["reasons"]) == (409, ["WOULD_BE_OVERBOOKED"])
    done = await client.post(path, json={"scenario": "baseline", "accept_overbooked": True})
    assert done.status_code == 200
    assert sum(row["is_overbooked"] for row in (await client.get("/bookings")).json()) == 1

    _, without = await solved(client, run_of(wishes, allow_overbooking=False))
    assert len(without["scenarios"][0]["placements"]) == 0


async def test_displaced_bookings_move(client: httpx.AsyncClient) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    bookings = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "10:00")]
    await load(client, small_clinic(providers=providers, availability=rows, bookings=bookings))
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    scenarios = [{"name": "baseline"}, {"name": "out", "changes": [out]}]
    key, body = await solved(client, run_of([], existing="movable", scenarios=scenarios))
    moves = {move["booking_id"]: move for move in body["scenarios"][1]["moves"]}
    assert body["scenarios"][0]["moves"] == []
    assert {k: (m["to"]["provider_id"], m["to"]["start_time"]) for k, m in moves.items()} == {
        uid(5, 0): (uid(1, 1), "09:00"),
        uid(5, 1): (uid(1, 1), "10:00"),
    }
    path = f"/what-if/{key}/apply"
    moved = await client.post(path, json={"scenario": "out"})
    assert moved.status_code == 200, moved.text
    assert [row["provider_id"] for row in moved.json()["moved"]] == [uid(1, 1)] * 2
    stale = await client.post(path, json={"scenario": "out"})
    assert stale.json()["stale"] == [
        {"booking_id": uid(5, n), "reasons": ["BOOKING_CHANGED"]} for n in range(2)
    ]


async def test_progress_is_streamed(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    key, _ = await solved(client, run_of(six_wishes()))
    answer = await client.get(f"/what-if/{key}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [
        dict(line.split(": ", 1) for line in event.split("\n"))
        for event in answer.text.strip().split("\n\n")
    ]
    assert told[-1]["event"] == "end"
    assert orjson.loads(told[-1]["data"]) == {"status": "done"}
    for event in told[:-1]:
        data = orjson.loads(event["data"])
        assert set(data) >= {"scenario", "incumbent", "bound", "gap", "placed", "seconds"}
    last = max((int(event["id"]) for event in told[:-1]), default=0)
    later = await client.get(f"/what-if/{key}/events", headers={"Last-Event-ID": str(last)})
    assert "progress" not in later.text
    assert (await client.get(f"/what-if/{uid(9, 9)}/events")).status_code == 404


async def test_a_stopped_run_keeps_the_best_found(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    key = await submitted(client, run_of(six_wishes()))
    answer = await client.delete(f"/what-if/{key}")
    assert answer.status_code == 200
    body = await ended(client, key)
    assert body["status"] in ("stopped", "done")
    if body["started_at"] is not None:
        assert len(body["scenarios"][0]["placements"]) == 6
    assert (await client.delete(f"/what-if/{key}")).json()["status"] == body["status"]


async def test_a_report_outlives_the_clinic_that_it_is_about(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    key, _ = await solved(client, run_of([{"id": "r"}]))
    before = (await client.get(f"/what-if/{key}/report")).text
    other = {"clinic": {"name": "Another", "timezone": "Europe/Berlin"}}
    answer = await client.post("/clinic/import?replace=true", json=other)
    assert answer.status_code == 200
    after = await client.get(f"/what-if/{key}/report")
    assert after.status_code == 200
    assert after.text == before


async def test_a_report_of_a_run_that_kept_no_clinic(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    key, _ = await solved(client, run_of([{"id": "r"}]))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE what_if_runs SET clinic = NULL"))
    other = {"clinic": {"name": "Another", "timezone": "Europe/Berlin"}}
    await client.post("/clinic/import?replace=true", json=other)
    page = await client.get(f"/what-if/{key}/report")
    assert page.status_code == 200
    assert "no longer there" in page.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"requests": [{"id": "r", "appointment_type_id": uid(9, 9)}]}, "requests[0]"),
        ({"start_date": "2020-01-01"}, "start_date"),
        ({"days": 61}, "days"),
        ({"time_limit_seconds": 0}, "time_limit_seconds"),
        ({"colour": "red"}, "colour"),
        (
            {
                "scenarios": [
                    {"name": "a"},
                    {
                        "name": "b",
                        "changes": [
                            {
                                "op": "provider_out",
                                "provider_id": uid(9, 9),
                                "date": MONDAY.isoformat(),
                            }
                        ],
                    },
                ]
            },
            "scenarios[1].changes[0].provider_id",
        ),
        ({"requests": [{"id": "r", "appointment_type_id": TYPE, "count": 20001}]}, "requests[0]"),
    ],
)
async def test_runs_that_are_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    await load(client, small_clinic())
    answer = await client.post("/what-if", json=run_of([{"id": "r"}]) | changes)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"] if e["field"].startswith(field)]
    assert (await client.get("/what-if")).json() == []


async def test_what_there_is_not(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    nowhere = f"/what-if/{uid(9, 9)}"
    for answer in (
        await client.get(nowhere),
        await client.get(f"{nowhere}/report"),
        await client.delete(nowhere),
        await client.post(f"{nowhere}/apply", json={"scenario": "baseline"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    key, _ = await solved(client, run_of([{"id": "r"}]))
    answer = await client.post(f"/what-if/{key}/apply", json={"scenario": "nobody's"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "scenario")
    typed = {"Content-Type": "application/json"}
    assert (await client.post("/what-if", content=b"{", headers=typed)).status_code == 422


async def test_a_run_that_can_never_be_booked_is_refused(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    today = dt.datetime.now(dt.UTC).date()
    for date, told in (
        (today - dt.timedelta(days=9), "past"),
        (today + dt.timedelta(days=500), "far"),
    ):
        answer = await client.post("/what-if", json=run_of([{"id": "r"}], start_date=f"{date}"))
        body = answer.json()
        assert (answer.status_code, body["code"]) == (422, "DATE_OUT_OF_RANGE")
        assert body["errors"][0]["field"] == "start_date"
        assert told in body["errors"][0]["message"]


async def test_a_yaml_run(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    text = (
        f"name: In YAML\nstart_date: {MONDAY}\ndays: 1\n"
        f"requests:\n- id: r\n  appointment_type_id: {TYPE}\n  preferred_start: '10:00'\n"
    )
    answer = await client.post(
        "/what-if", content=text, headers={"Content-Type": "application/yaml"}
    )
    assert answer.status_code == 202, answer.text
    body = await ended(client, answer.json()["id"])
    assert body["scenarios"][0]["placements"][0]["room_id"] == ROOM
    assert (await client.get("/what-if/schema")).json()["title"] == "RunFile"


async def test_nothing_can_be_placed(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    tuesday = MONDAY + dt.timedelta(days=1)
    _, body = await solved(client, run_of([{"id": "r"}], start_date=tuesday.isoformat()))
    (scenario,) = body["scenarios"]
    assert scenario["status"] == "infeasible"
    assert [row["reason"] for row in scenario["unplaced"]] == ["OUTSIDE_ALL_WINDOWS"]
