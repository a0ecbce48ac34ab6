"""What-if runs over HTTP: asked, watched, stopped, reported and carried out."""

import datetime as dt
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, order, small_clinic
from tests.support.over_http import MONDAY, ended, load, run_of, six_wishes, solved, submitted
from tests.support.strategies import uid


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


def closed_scenarios() -> list[dict[str, Any]]:
    """The clinic as it is; one away that Monday; somebody new; twice the requests."""
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    return [
        {"name": "baseline", "changes": []},
        {"name": "away", "changes": [out]},
        {"name": "hire", "changes": [{"op": "add_provider", "name": "Dr. New", "skills": ["gp"]}]},
        {"name": "more", "changes": [{"op": "scale_demand", "factor": 2}]},
    ]


async def away_run(client: httpx.AsyncClient) -> str:
    """A solved run of a clinic of two providers, one of whom sees two people that Monday."""
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    bookings = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "10:00")]
    later = booking(2, MONDAY + dt.timedelta(days=7), "09:00")
    await load(
        client, small_clinic(providers=providers, availability=rows, bookings=[*bookings, later])
    )
    run = run_of([{"id": "r"}], existing="movable", scenarios=closed_scenarios())
    return (await solved(client, run))[0]


async def starts_offered(client: httpx.AsyncClient, provider: str) -> int:
    query = {
        "date": MONDAY.isoformat(),
        "appointment_type_id": TYPE,
        "provider_id": provider,
    }
    total: int = (await client.get("/slots", params=query)).json()["total"]
    return total


async def test_a_scenario_is_carried_out_with_its_changes(client: httpx.AsyncClient) -> None:
    key = await away_run(client)
    body = (await client.get(f"/what-if/{key}")).json()
    assert body["applied"] is None
    told = {row["name"]: row["carry_out"] for row in body["scenarios"]}
    day = f"{MONDAY:%a} {MONDAY.day} {MONDAY:%b %Y}"
    assert told["baseline"] == {"possible": True, "reason": None, "changes": []}
    assert told["away"] == {
        "possible": True,
        "reason": None,
        "changes": [f"P0 is away on {day}."],
    }
    assert not told["hire"]["possible"]
    assert "Dr. New, who is not in the clinic yet" in told["hire"]["reason"]
    assert told["hire"]["changes"] == ["Dr. New joins the clinic."]
    assert not told["more"]["possible"]

    path = f"/what-if/{key}/apply"
    for scenario in ("hire", "more"):
        for apply_changes in (False, True):
            order = {"scenario": scenario, "apply_changes": apply_changes}
            refused = await client.post(path, json=order)
            assert (refused.status_code, refused.json()["code"]) == (409, "PLAN_NOT_APPLICABLE")
            assert refused.json()["detail"] == told[scenario]["reason"]

    assert await starts_offered(client, PROVIDER) > 0
    done = await client.post(path, json={"scenario": "away", "apply_changes": True})
    assert done.status_code == 200, done.text
    assert {row["provider_id"] for row in done.json()["moved"]} == {uid(1, 1)}
    assert done.json()["conflicts"] == []
    assert await starts_offered(client, PROVIDER) == 0
    closed = [row for row in (await client.get("/availability")).json() if row["kind"] == "closed"]
    assert [(row["provider_id"], row["date"]) for row in closed] == [(PROVIDER, MONDAY.isoformat())]
    applied = (await client.get(f"/what-if/{key}")).json()["applied"]
    assert (applied["scenario"], applied["by"], applied["apply_changes"]) == (
        "away",
        "anonymous",
        True,
    )
    assert dt.datetime.fromisoformat(applied["at"]).tzinfo is not None


async def test_lost_bookings_give_way_only_where_that_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    """One room; its nine o'clock is lost with its doctor, and the plan gives the room away."""
    other = {"id": uid(1, 1), "name": "P1", "skills": ["gp"]}
    document = small_clinic()
    document["providers"].append(other)
    document["appointment_types"].append(
        {"id": uid(3, 1), "name": "Surgery", "duration_minutes": 30, "required_skills": ["knife"]}
    )
    document["providers"][0]["skills"].append("knife")
    document["availability"].append(
        {"provider_id": other["id"], "weekday": 1, "start_time": "09:00", "end_time": "10:00"}
    )
    surgery = {"appointment_type_id": uid(3, 1)}
    document["bookings"] = [
        booking(1, MONDAY, "09:00", **surgery),
        booking(2, MONDAY, "11:00", **surgery),
    ]
    await load(client, document)
    away = [{"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}]
    run = run_of(
        [{"id": "r", "count": 2, "patient_ref": None}],
        existing="movable",
        scenarios=[{"name": "baseline", "changes": []}, {"name": "away", "changes": away}],
    )
    key, body = await solved(client, run)
    scenario = next(row for row in body["scenarios"] if row["name"] == "away")
    assert [move["to"] for move in scenario["moves"]] == [None, None]
    assert {row["start_time"] for row in scenario["placements"]} == {"09:00", "09:30"}

    order = {"scenario": "away", "apply_changes": True}
    refused = await client.post(f"/what-if/{key}/apply", json=order)
    assert (refused.status_code, refused.json()["code"]) == (409, "PLAN_NOT_APPLICABLE")
    assert refused.json()["lost"] == [uid(5, 1)]
    assert [row["status"] for row in (await client.get("/bookings")).json()] == ["booked"] * 2
    done = await client.post(f"/what-if/{key}/apply", json=order | {"cancel_lost": True})
    assert done.status_code == 200, done.text
    assert [row["id"] for row in done.json()["cancelled"]] == [uid(5, 1)]
    assert len(done.json()["bookings"]) == 2
    history = (await client.get(f"/bookings/{uid(5, 1)}/history")).json()
    assert history[-1]["action"] == "cancel"
    assert [row["booking_id"] for row in done.json()["conflicts"]] == [uid(5, 2)]
    assert (await client.get(f"/bookings/{uid(5, 2)}")).json()["status"] == "booked"


async def test_a_run_is_carried_out_once(client: httpx.AsyncClient) -> None:
    key = await away_run(client)
    done = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
    assert done.status_code == 200, done.text
    [booked] = done.json()["bookings"]
    assert (await client.post(f"/bookings/{booked['id']}/cancel")).status_code == 200
    before = (await client.get("/bookings")).json()
    order = {"scenario": "away", "apply_changes": True}
    same = {"scenario": "baseline"}  # whose requests have been booked
    for again in (order, same):
        refused = await client.post(f"/what-if/{key}/apply", json=again)
        assert (refused.status_code, refused.json()["code"]) == (409, "PLAN_STALE")
        assert refused.json()["reasons"] == ["CARRIED_OUT"]
    assert (await client.get("/bookings")).json() == before
    assert all(row["kind"] == "open" for row in (await client.get("/availability")).json())
    assert (await client.get(f"/what-if/{key}")).json()["applied"]["scenario"] == "baseline"


@pytest.mark.parametrize(
    "path",
    [
        f"/providers/{uid(1, 1)}",
        f"/rooms/{ROOM}",
        f"/appointment-types/{TYPE}",
    ],
)
async def test_a_plan_that_needs_what_is_out_of_use_says_so_beforehand(
    client: httpx.AsyncClient, path: str
) -> None:
    key = await away_run(client)
    patched = await client.patch(path, json={"active": False})
    assert patched.status_code == 200
    scenarios = (await client.get(f"/what-if/{key}")).json()["scenarios"]
    told = next(row["carry_out"] for row in scenarios if row["name"] == "away")
    assert not told["possible"]
    assert (
        told["reason"]
        == f"It needs {patched.json()['name']}, which is no longer in use; ask again."
    )


async def test_without_its_changes_only_the_plan_is_carried_out(client: httpx.AsyncClient) -> None:
    key = await away_run(client)
    done = await client.post(f"/what-if/{key}/apply", json={"scenario": "away"})
    assert done.status_code == 200
    assert done.json()["moved"]
    assert await starts_offered(client, PROVIDER) > 0
    assert (await client.get(f"/what-if/{key}")).json()["applied"]["apply_changes"] is False


async def test_a_type_that_a_plan_makes_longer_leaves_its_bookings(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """What the plan moves or places takes the new minutes; what stays keeps its own."""
    kinds = [{"id": TYPE, "name": "Visit", "duration_minutes": 15, "required_skills": ["gp"]}]
    rows = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "09:15")]
    await load(client, small_clinic(appointment_types=kinds, bookings=rows))
    longer = {"op": "set", "entity": "appointment_types", "id": TYPE, "field": "duration_minutes"}
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    changes = [{**longer, "value": 30}, {**out, "start_time": "09:15", "end_time": "09:30"}]
    scenarios = [{"name": "baseline"}, {"name": "longer", "changes": changes}]
    wishes = [{"id": "r0", "patient_ref": "new"}]
    key, body = await solved(client, run_of(wishes, existing="movable", scenarios=scenarios))
    [moved], [placed] = (body["scenarios"][1][name] for name in ("moves", "placements"))
    assert (moved["from"]["start_time"], moved["from"]["end_time"]) == ("09:15", "09:30")
    assert (moved["to"]["start_time"], moved["to"]["end_time"]) == ("09:30", "10:00")
    order = {"scenario": "longer", "apply_changes": True}
    done = await client.post(f"/what-if/{key}/apply", json=order)
    assert done.status_code == 200, done.text
    assert done.json()["conflicts"] == []
    async with engine.connect() as connection:
        query = text("SELECT id, duration_minutes FROM bookings")
        minutes = {str(key): minutes for key, minutes in await connection.execute(query)}
    assert minutes.pop(uid(5, 0)) == 15
    assert list(minutes.values()) == [30, 30]
    assert placed["start_time"] != "09:30"


async def test_changes_are_audited_and_tell_what_they_strand(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    providers = [{"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]}]
    bookings = [booking(0, MONDAY, "09:00"), booking(1, MONDAY + dt.timedelta(days=7), "09:00")]
    rules = [{"id": uid(4, 0), "provider_id": PROVIDER, "max_overlap": 1, "max_per_day": 1}]
    document = small_clinic(providers=providers, bookings=bookings, overbooking_rules=rules)
    week_before = (MONDAY - dt.timedelta(days=4)).isoformat()  # its weeks are not the run's
    document["availability"].append(
        document["availability"][0]
        | {"start_time": "16:00", "end_time": "17:00"}
        | {"valid_from": week_before, "every_weeks": 2}
    )
    await load(client, document)
    on = {"date": MONDAY.isoformat(), "start_time": "13:00", "end_time": "15:00"}
    changes = [
        {"op": "set", "entity": "providers", "id": PROVIDER, "field": "skills", "value": []},
        {"op": "set", "entity": "clinic", "field": "grid_minutes", "value": 30},
        {"op": "open_hours", "provider_id": PROVIDER, **on},
        {"op": "close_room", "room_id": ROOM, "date": MONDAY.isoformat(), "start_time": "14:30"},
        {"op": "remove", "entity": "overbooking_rules", "id": uid(4, 0)},
        {"op": "add_overbooking_rule", "id": uid(4, 1), "max_overlap": 2, "max_per_day": 3},
    ]
    scenarios = [{"name": "baseline"}, {"name": "all", "changes": changes}]
    key, body = await solved(client, run_of([], scenarios=scenarios))
    same, _ = await solved(client, run_of([], scenarios=scenarios))
    told = body["scenarios"][1]["carry_out"]
    assert told["possible"], told
    assert [sentence.partition(":")[0] for sentence in told["changes"]][:2] == [
        "Dr. Vega",
        "The clinic",
    ]
    order = {"scenario": "all", "apply_changes": True}
    done = await client.post(f"/what-if/{key}/apply", json=order)
    assert done.status_code == 200, done.text
    stranded = {row["booking_id"] for row in done.json()["conflicts"]}
    assert stranded == {uid(5, 0), uid(5, 1)}  # nobody has the skill any more
    assert (await client.get("/clinic")).json()["grid_minutes"] == 30
    rules = (await client.get("/overbooking-rules")).json()
    assert [row["id"] for row in rules] == [uid(4, 1)]
    rows = (await client.get("/availability")).json()
    of_monday = {
        (row["start_time"], row["end_time"], row["kind"])
        for row in rows
        if row["date"] == MONDAY.isoformat()
    }
    assert of_monday == {
        ("09:00", "12:00", "open"),  # the weekly hours, kept beside the new ones
        ("13:00", "15:00", "open"),
        ("14:30", "24:00", "closed"),
    }
    async with engine.connect() as connection:
        logged = await connection.execute(
            text("SELECT entity, action FROM audit_log WHERE entity <> 'booking' ORDER BY id")
        )
        entries = [tuple(row) for row in logged]
    assert entries.count(("availability", "create")) == 3
    assert {("providers", "patch"), ("clinic", "patch"), ("what_if_run", "apply")} <= set(entries)
    again = await client.post(f"/what-if/{same}/apply", json=order)
    assert again.status_code == 200  # what is there already is not added again
    assert len((await client.get("/availability")).json()) == len(rows)


async def test_a_plan_that_is_stale_leaves_the_clinic_as_it_is(client: httpx.AsyncClient) -> None:
    key = await away_run(client)
    assert (await client.post(f"/bookings/{uid(5, 0)}/cancel")).status_code == 200
    order = {"scenario": "away", "apply_changes": True}
    stale = await client.post(f"/what-if/{key}/apply", json=order)
    assert (stale.status_code, stale.json()["code"]) == (409, "PLAN_STALE")
    assert all(row["kind"] == "open" for row in (await client.get("/availability")).json())
    assert (await client.get(f"/what-if/{key}")).json()["applied"] is None


async def test_a_hold_is_not_moved_by_a_plan(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key = await away_run(client)
    async with engine.begin() as connection:  # as of a plan made before holds stayed
        await connection.execute(
            text(
                "UPDATE bookings SET status = 'held', expires_at = now() + interval '1 hour'"
                " WHERE id = :id"
            ),
            {"id": uid(5, 1)},
        )
    stale = await client.post(f"/what-if/{key}/apply", json={"scenario": "away"})
    assert (stale.status_code, stale.json()["code"]) == (409, "PLAN_STALE")
    assert stale.json()["stale"] == [{"booking_id": uid(5, 1), "reasons": ["HELD"]}]


async def test_what_is_booked_for_nobody_waits_for_a_patient(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    key, _ = await solved(client, run_of([{"id": "r", "count": 2}]))
    done = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
    assert done.status_code == 200
    assert [row["patient_ref"] for row in done.json()["bookings"]] == [None, None]
    for row in done.json()["bookings"]:
        moved = await client.post(f"/bookings/{row['id']}/cancel")
        assert moved.status_code == 200


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
