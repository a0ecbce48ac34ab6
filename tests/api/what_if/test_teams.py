"""What-ifs of types with roles: plans choose teams, reports show them, applying books them."""

from typing import Any

import httpx

from tests.support.clinics import TYPE, coming_monday, small_clinic
from tests.support.over_http import load, solved
from tests.support.strategies import uid

MONDAY = coming_monday()
SURGEONS, NURSES = [uid(1, 0), uid(1, 1)], [uid(1, 10), uid(1, 11)]


def practice() -> dict[str, Any]:
    """Two surgeons and two nurses, Mondays from 9 to 12; a surgery takes a nurse for its end."""
    people = [
        {"id": key, "name": f"{skill} {key[-2:]}", "skills": [skill]}
        for keys, skill in ((SURGEONS, "gp"), (NURSES, "nurse"))
        for key in keys
    ]
    hours = {"weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    role = {"key": "nurse", "required_skills": ["nurse"], "from_minute": 30}
    kind = {"id": TYPE, "name": "Surgery", "duration_minutes": 60, "required_skills": ["gp"]}
    return small_clinic(
        providers=people,
        rooms=[{"id": uid(2, n), "name": f"Room {n}"} for n in range(2)],
        appointment_types=[kind | {"roles": [role]}],
        availability=[{"provider_id": row["id"], **hours} for row in people],
    )


async def test_a_plan_has_teams_and_carrying_it_out_books_them(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    away = {"op": "provider_out", "provider_id": NURSES[1], "date": MONDAY.isoformat()}
    document = {
        "name": "A nurse is away",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "time_limit_seconds": 10,
        "requests": [{"id": "r", "appointment_type_id": TYPE, "count": 6}],
        "scenarios": [
            {"name": "now", "changes": []},
            {"name": "away", "changes": [away]},
            {"name": "nobody", "changes": [away, away | {"provider_id": NURSES[0]}]},
        ],
    }
    key, run = await solved(client, document)
    now, alone, nobody = run["scenarios"]
    assert [scenario["kpis"]["placed"] for scenario in (now, alone, nobody)] == [6, 5, 0]
    assert {row["reason"] for row in nobody["unplaced"]} == {"ROLE_UNFILLED"}
    assert {row["team"]["nurse"] for row in now["placements"]} == set(NURSES)
    report = await client.get(f"/what-if/{key}/report")
    assert "nurse: nurse" in report.text
    answer = await client.post(f"/what-if/{key}/apply", json={"scenario": "now"})
    assert answer.status_code == 200, answer.text
    booked = (await client.get("/bookings")).json()

    def told(rows: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {(row["provider_id"], row["start_time"], row["team"]["nurse"]) for row in rows}

    assert told(booked) == told(now["placements"])
    stale = await client.post(f"/what-if/{key}/apply", json={"scenario": "away"})
    assert (stale.status_code, stale.json()["code"]) == (409, "PLAN_STALE")
