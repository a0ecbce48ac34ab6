"""Several services on one database: what fits is won, and whoever loses is told so, not put off."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import served
from tests.support.clinics import coming_monday, order, small_clinic
from tests.support.over_http import booked, load, two_of_each
from tests.support.strategies import uid

MONDAY = coming_monday()


PROVIDERS, ROOMS = 100, 200


@pytest.fixture
async def services(
    engine: AsyncEngine, database_url: str
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Four services, each with connections and a desk of its own, as four processes have."""
    async with AsyncExitStack() as stack:
        each = [served(database_url, rate_limits="off") for _ in range(4)]
        yield [await stack.enter_async_context(service) for service in each]


def many_of_each() -> dict[str, Any]:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(PROVIDERS)]
    rows = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(ROOMS)]
    return small_clinic(providers=providers, availability=rows, rooms=rooms)


async def in_turn(
    services: list[httpx.AsyncClient],
    requests: Iterable[tuple[str, dict[str, Any], dict[str, str]]],
) -> list[httpx.Response]:
    """Send all at once, each to the next service."""
    return await asyncio.gather(
        *(
            services[n % len(services)].post(path, json=body, headers=headers)
            for n, (path, body, headers) in enumerate(requests)
        )
    )


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("keyed", [False, True])
async def test_all_that_fit_are_booked(
    services: list[httpx.AsyncClient], keyed: bool, number: int
) -> None:
    await load(services[0], many_of_each())
    requests = [
        (
            "/bookings",
            order(MONDAY, "09:00", provider_id=uid(1, n), patient_ref=f"p{n}"),
            {"Idempotency-Key": f"k{n}"} if keyed else {},
        )
        for n in range(PROVIDERS)
    ]
    answers = await in_turn(services[:number], requests)
    assert [answer.status_code for answer in answers] == [201] * PROVIDERS
    assert len({answer.json()["room_id"] for answer in answers}) == PROVIDERS


async def test_when_too_few_rooms_are_free_as_many_are_booked(
    services: list[httpx.AsyncClient],
) -> None:
    await load(services[0], many_of_each() | {"rooms": many_of_each()["rooms"][:20]})
    requests = [
        ("/bookings", order(MONDAY, "09:00", provider_id=uid(1, n), patient_ref=f"p{n}"), {})
        for n in range(60)
    ]
    answers = await in_turn(services, requests)
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (20, 40)
    reasons = [answer.json()["reasons"] for answer in answers if answer.status_code == 409]
    assert reasons == [["ROOM_BUSY"]] * 40


async def test_swaps_of_one_pair_at_once(services: list[httpx.AsyncClient]) -> None:
    await load(services[0], two_of_each())
    a = (await booked(services[0], "09:00", patient_ref="a"))["id"]
    b = (await booked(services[0], "10:00", provider_id=uid(1, 1), patient_ref="b"))["id"]
    for _ in range(5):
        pair = ({"a": a, "b": b}, {"a": b, "b": a})
        requests = [("/bookings/swap", pair[n % 2], {}) for n in range(6)]
        answers = await in_turn(services, requests)
        assert [answer.status_code for answer in answers] == [200] * 6
    assert (await services[0].get(f"/bookings/{a}")).json()["version"] == 31


async def test_reschedules_of_few_bookings_at_once(services: list[httpx.AsyncClient]) -> None:
    await load(services[0], two_of_each())
    starts = ["09:00", "09:30", "10:00", "10:30", "11:00"]
    keys = [(await booked(services[0], at, patient_ref=at))["id"] for at in starts]
    requests = [
        (
            f"/bookings/{keys[n % 5]}/reschedule",
            {
                "date": MONDAY.isoformat(),
                "start_time": starts[n * 7 % 5],
                "provider_id": uid(1, n % 2),
            },
            {},
        )
        for n in range(30)
    ]
    answers = await in_turn(services, requests)
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert any(answer.status_code == 200 for answer in answers)
