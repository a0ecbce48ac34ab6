"""Two service processes, one database: whoever books in the other process, there is time to travel.

Each race is between two places half an hour apart: of one provider, or of one patient with two.
"""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import httpx

from tests.support.clinics import coming_monday, order
from tests.support.databases import migrated_server
from tests.support.service import service
from tests.support.strategies import uid

MONDAY, RACES = coming_monday(), 24
NORTH, SOUTH = uid(9, 0), uid(9, 1)
AT = (("10:00", uid(2, 0)), ("10:45", uid(2, 1)))
"""A start and a room here, and a start and a room there, too soon after it."""


def clinic() -> dict[str, Any]:
    hours = {"start_time": "09:00", "end_time": "12:00"}
    providers = [uid(1, n) for n in range(3)]
    return {
        "clinic": {"name": "Storm", "timezone": "Europe/Berlin"},
        "locations": [{"id": NORTH, "name": "North"}, {"id": SOUTH, "name": "South"}],
        "travel": [{"from_id": NORTH, "to_id": SOUTH, "minutes": 30}],
        "providers": [{"id": key, "name": "P", "buffer_after": 0} for key in providers],
        "rooms": [
            {"id": room, "name": "R", "location_id": place}
            for (_, room), place in zip(AT, (NORTH, SOUTH), strict=True)
        ],
        "appointment_types": [{"id": uid(3, 0), "name": "Visit", "duration_minutes": 30}],
        "availability": [
            {"provider_id": key, "weekday": day, **hours}
            for key in providers
            for day in range(1, 8)
        ],
    }


def orders(day: dt.date, *, of_provider: bool) -> list[dict[str, Any]]:
    """One here, one there: with one provider for two patients, or of one patient with two."""
    return [
        order(
            day,
            start,
            room_id=room,
            provider_id=uid(1, 0 if of_provider else n),
            patient_ref=f"p{n}" if of_provider else "p",
        )
        for n, (start, room) in enumerate(AT)
    ]


async def test_nobody_is_in_two_places_by_two_processes(tmp_path: Path) -> None:
    with migrated_server(tmp_path / "database") as database:
        environment = {"DATABASE_URL": database.url}
        with (
            service("serve", **environment) as (_, one),
            service("serve", **environment) as (
                _,
                other,
            ),
        ):
            async with (
                httpx.AsyncClient(base_url=one, timeout=30) as here,
                httpx.AsyncClient(base_url=other, timeout=30) as there,
            ):
                loaded = await here.post("/clinic/import", json=clinic())
                assert loaded.status_code == 200, loaded.text
                for race in range(RACES):
                    day = MONDAY + dt.timedelta(days=race)
                    of_provider = race % 2 == 0
                    answers = await asyncio.gather(
                        *(
                            client.post("/bookings", json=body)
                            for client, body in zip(
                                (here, there), orders(day, of_provider=of_provider), strict=True
                            )
                        )
                    )
                    told = sorted(answer.status_code for answer in answers)
                    assert told == [201, 409], [answer.text for answer in answers]
                    (lost,) = (answer for answer in answers if answer.status_code == 409)
                    expected = "PROVIDER_TRAVEL" if of_provider else "PATIENT_CONFLICT"
                    assert lost.json()["reasons"] == [expected]
