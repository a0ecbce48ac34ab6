"""What a front desk and a manager ask of the service over HTTP, and what comes back."""

import asyncio
from typing import Any

import httpx
import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.support.clinics import as_document
from solver.clinic.clinic import Clinic
from tests.support.clinics import TYPE, coming_monday, order, small_clinic
from tests.support.strategies import uid

MONDAY = coming_monday()


async def load(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    answer = await client.post("/clinic/import", json=document)
    assert answer.status_code == 200, answer.text


async def book_at_once(client: httpx.AsyncClient, orders: list[dict[str, Any]]) -> list[Any]:
    return await asyncio.gather(*(client.post("/bookings", json=body) for body in orders))


def split(answers: list[Any]) -> tuple[list[Any], list[Any]]:
    won = [a.json() for a in answers if a.status_code == 201]
    lost = [a.json() for a in answers if a.status_code != 201]
    return won, lost


def two_of_each() -> dict[str, Any]:
    """Two providers, two rooms, Mondays 9 to 12."""
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    return small_clinic(providers=providers, availability=rows, rooms=rooms)


async def booked(client: httpx.AsyncClient, start: str, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/bookings", json=order(MONDAY, start, **changes))
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def do(client: httpx.AsyncClient, path: str, **body: Any) -> tuple[int, Any]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()


def to(start: str, **changes: Any) -> dict[str, Any]:
    return {"date": MONDAY.isoformat(), "start_time": start} | changes


# Holds


async def run_out(engine: AsyncEngine, key: str) -> None:
    """Let a hold's time be over, as if the minutes had gone by."""
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE bookings SET expires_at = now() - interval '1 ms' WHERE id = :key"),
            {"key": key},
        )


async def load_clinic(client: httpx.AsyncClient, clinic: Clinic) -> None:
    answer = await client.post(
        "/clinic/import",
        params={"replace": True},
        content=orjson.dumps(as_document(clinic)),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text


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
