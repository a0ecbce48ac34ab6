"""Rate limits: counted by caller and group, told in headers, shared through Redis or not at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from api.access.rate_limits import LIMITS, Limits
from tests.conftest import served
from tests.support.clinics import TYPE, coming_monday, order, small_clinic
from tests.support.redis_server import redis_server
from tests.support.strategies import uid

MONDAY = coming_monday()


QUERY = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}


@pytest.fixture
async def limited(engine: AsyncEngine, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(database_url) as client:
        yield client


async def statuses(client: httpx.AsyncClient, count: int, **request: Any) -> list[int]:
    return [(await client.request(**request)).status_code for _ in range(count)]


async def test_the_hundredth_and_first_booking_waits(limited: httpx.AsyncClient) -> None:
    loaded = await limited.post("/clinic/import", json=small_clinic())
    assert "ratelimit-limit" not in loaded.headers
    first = await limited.post("/bookings", json=order(MONDAY, "09:00"))
    assert first.status_code == 201
    assert first.headers["ratelimit-limit"] == "100"
    assert first.headers["ratelimit-remaining"] == "99"
    assert 1 <= int(first.headers["ratelimit-reset"]) <= 60
    assert first.headers["ratelimit-policy"] == "100;w=60"
    second = await limited.post("/bookings", json=order(MONDAY, "09:00"))
    assert (second.status_code, second.headers["ratelimit-remaining"]) == (409, "98")
    unreadable = await limited.post("/bookings", json={})
    assert (unreadable.status_code, unreadable.headers["ratelimit-remaining"]) == (422, "97")
    held = await limited.post("/holds", json=order(MONDAY, "10:00", patient_ref="h"))
    assert (held.status_code, held.headers["ratelimit-remaining"]) == (201, "96")
    rest = await statuses(limited, 96, method="POST", url="/bookings", json={})
    assert set(rest) == {422}
    over = await limited.post("/bookings", json=order(MONDAY, "11:00", patient_ref="o"))
    assert (over.status_code, over.json()["code"]) == (429, "RATE_LIMITED")
    assert over.headers["content-type"] == "application/problem+json"
    assert 1 <= int(over.headers["retry-after"]) <= 60
    assert over.headers["ratelimit-remaining"] == "0"
    listed = await limited.get("/bookings", params={"date": MONDAY.isoformat()})
    assert [row["start_time"] for row in listed.json()] == ["09:00", "10:00"]
    cancelled = await limited.post(f"/bookings/{first.json()['id']}/cancel")
    assert (cancelled.status_code, cancelled.headers["ratelimit-remaining"]) == (200, "49")


async def test_each_caller_has_a_count_of_its_own(limited: httpx.AsyncClient) -> None:
    admin = (await limited.post("/keys", json={"role": "admin"})).json()["key"]
    mine = {"Authorization": f"Bearer {admin}"}
    made = await limited.post("/keys", json={"role": "viewer"}, headers=mine)
    theirs = {"Authorization": f"Bearer {made.json()['key']}"}
    request = {"method": "GET", "url": "/slots"}
    assert set(await statuses(limited, 200, headers=mine, **request)) == {422}
    assert await statuses(limited, 2, headers=mine, **request) == [429, 429]
    forged = {**mine, "X-Forwarded-For": "203.0.113.9"}
    assert await statuses(limited, 1, headers=forged, **request) == [429]
    assert await statuses(limited, 1, headers=theirs, **request) == [422]


async def test_many_at_once_are_counted_exactly() -> None:
    limits = Limits()
    standings = await asyncio.gather(*(limits.hit("cancellations", "c") for _ in range(70)))
    assert sum(standing is not None and standing.is_within for standing in standings) == 50


async def test_two_processes_share_one_count_in_redis() -> None:
    with redis_server() as server:
        one, other = Limits(server.url), Limits(server.url)
        standings = await asyncio.gather(
            *(limits.hit("statistics", "c") for limits in (one, other) for _ in range(35))
        )
        assert all(standing is not None for standing in standings)
        assert sum(s is not None and s.is_within for s in standings) == 60
        again = await one.hit("statistics", "another")
        assert again is not None
        assert again.remaining == LIMITS["statistics"].amount - 1
        await one.close()
        await other.close()


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_without_its_redis_nobody_is_limited(how: str) -> None:
    with redis_server() as server:
        limits = Limits(server.url)
        assert await limits.hit("cancellations", "c") is not None
        getattr(server, how)()
        with capture_logs() as logged:
            for _ in range(120):
                assert await limits.hit("cancellations", "c") is None
        assert [(entry["event"], entry["log_level"]) for entry in logged] == [
            ("limits_open", "warning")
        ]
        await limits.close()


async def test_a_redis_that_comes_back_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.access.rate_limits.AWAY_SECONDS", 0.0)
    with redis_server() as server:
        limits = Limits(server.url)
        server.stop()
        with capture_logs() as logged:
            assert [await limits.hit("slots", "c") for _ in range(3)] == [None] * 3
            server.start()
            found = await limits.hit("slots", "c")
        assert found is not None
        assert found.remaining == 199
        assert [entry["event"] for entry in logged] == ["limits_open", "limits_back"]
        await limits.close()


async def test_no_redis_there_is_no_error_of_the_service(
    engine: AsyncEngine, database_url: str
) -> None:
    async with served(database_url, REDIS_URL="redis://127.0.0.1:1/0") as client:
        await client.post("/clinic/import", json=small_clinic())
        found = await statuses(client, 210, method="GET", url=f"/bookings/{uid(9, 9)}/cancel")
        assert set(found) == {405}
        answer = await client.get("/slots", params=QUERY)
        assert answer.status_code == 200
        assert "ratelimit-limit" not in answer.headers
