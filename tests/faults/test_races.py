"""Two processes write at once what a session, a pool or a provider's cap cannot all take."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import httpx

from tests.support.clinics import TYPE, coming_monday, order, small_clinic, uid
from tests.support.databases import migrated_server
from tests.support.service import service

MONDAY = coming_monday()
TUESDAY, WEDNESDAY = (MONDAY + dt.timedelta(days=ahead) for ahead in (1, 2))

SCAN, POOL = uid(3, 1), uid(8, 0)
PEOPLE = 6
ROUNDS = 3
"""Weeks in each of which everything is raced for."""


def contended() -> dict[str, Any]:
    """Six providers with rooms of their own who share little.

    Mondays take three bookings, of everybody together; two scanners are there; and the first
    provider does three visits a day.
    """
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(PEOPLE)]
    hours = {"start_time": "09:00", "end_time": "12:00"}
    return small_clinic(
        providers=providers,
        rooms=[{"id": uid(2, n), "name": f"Room {n}"} for n in range(PEOPLE)],
        equipment_pools=[{"id": POOL, "name": "Scanner", "quantity": 2, "return_minutes": 10}],
        appointment_types=[
            {"id": TYPE, "name": "Visit", "duration_minutes": 15},
            {
                "id": SCAN,
                "name": "Scan",
                "duration_minutes": 15,
                "required_pools": [{"pool_id": POOL, "quantity": 1}],
            },
        ],
        availability=[
            {"provider_id": row["id"], "weekday": day, **hours}
            for row in providers
            for day in (1, 2, 3)
        ],
        provider_types=[{"provider_id": uid(1, 0), "appointment_type_id": TYPE, "daily_cap": 3}],
        sessions=[{"id": uid(7, 0), "name": "Quiet", "weekday": 1, "max_bookings": 3, **hours}],
    )


def orders(week: int) -> dict[str, list[dict[str, Any]]]:
    """What is asked for in a week at once, by the code that refuses all but a few of it."""

    def wish(day: dt.date, start: str, who: int, room: int, **more: Any) -> dict[str, Any]:
        own = {"provider_id": uid(1, who), "room_id": uid(2, room)}
        ref = f"{week} {day} {start} {who} {room}"
        return order(day + dt.timedelta(weeks=week), start, patient_ref=ref, **own, **more)

    everybody = range(PEOPLE)
    return {
        "SESSION_FULL": [wish(MONDAY, s, n, n) for s in ("09:00", "10:00") for n in everybody],
        "EQUIPMENT_BUSY": [
            wish(TUESDAY, s, n, n, appointment_type_id=SCAN)
            for s in ("09:00", "09:15")
            for n in everybody
        ],
        "PROVIDER_DAILY_CAP": [
            wish(WEDNESDAY, f"{hour}:{quarter}", 0, n % PEOPLE)
            for n, (hour, quarter) in enumerate(
                (hour, quarter) for hour in ("09", "10", "11") for quarter in ("00", "15", "30")
            )
        ],
    }


MOST = {"SESSION_FULL": 3, "EQUIPMENT_BUSY": 2, "PROVIDER_DAILY_CAP": 3}


async def _race(bases: list[str]) -> None:
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        loaded = await client.post(f"{bases[0]}/clinic/import", json=contended())
        assert loaded.status_code == 200, loaded.text
        for week in range(ROUNDS):
            for code, bodies in orders(week).items():
                answers = await asyncio.gather(
                    *(
                        client.post(f"{bases[n % len(bases)]}/bookings", json=body)
                        for n, body in enumerate(bodies)
                    )
                )
                won = [answer for answer in answers if answer.status_code == 201]
                assert len(won) == MOST[code], (week, code)
                lost = [answer.json() for answer in answers if answer.status_code != 201]
                assert all(code in refusal["reasons"] for refusal in lost)
        last = MONDAY + dt.timedelta(weeks=ROUNDS)
        dates = {"from": MONDAY.isoformat(), "to": last.isoformat()}
        standing = await client.get(f"{bases[1]}/bookings/conflicts", params=dates)
        assert (standing.status_code, standing.json()) == (200, [])


def test_two_processes_leave_no_booking_beyond_a_limit(tmp_path: Path) -> None:
    with migrated_server(tmp_path / "database") as database:
        environment = {"DATABASE_URL": database.url}
        with (
            service("serve", **environment) as (_, one),
            service("serve", **environment) as (_, two),
        ):
            asyncio.run(_race([one, two]))
