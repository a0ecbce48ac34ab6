"""``GET /stats`` against a plain count, and how current and how careful it is."""

import asyncio
import datetime as dt
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.audit import CALCULATOR
from data.events.events import Audience
from data.jobs.hourly import do_due_hours
from data.statistics import keep_hours
from solver.clinic.clinic import Clinic
from solver.clinic.teams.in_roles import in_roles
from solver.rules.checked_slots import SlotChecker
from tests.conftest import empty_tables
from tests.support.clinics import (
    PROVIDER,
    booking,
    coming_monday,
    order,
    small_clinic,
    without_collisions,
)
from tests.support.over_http import load, load_clinic
from tests.support.strategies import MONDAY as EXAMPLE_MONDAY
from tests.support.strategies import clinics, uid

MONDAY = coming_monday()


NOTHING = {
    "booked": 0,
    "completed": 0,
    "cancelled": 0,
    "no_shows": 0,
    "no_show_rate": 0.0,
    "overbooked": 0,
    "open_minutes": 0,
    "busy_minutes": 0,
    "utilisation": 0.0,
    "mean_score": None,
}


async def stats_of(
    client: httpx.AsyncClient, first: dt.date, last: dt.date, *providers: str
) -> list[dict[str, Any]]:
    params = {"from": str(first), "to": str(last), "provider_id": list(providers)}
    answer = await client.get("/stats", params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


def share(part: int, whole: int) -> float:
    if not whole:
        return 0.0
    return float((Decimal(part) / whole).quantize(Decimal("0.0001"), ROUND_HALF_UP))


def plain_count(clinic: Clinic, day: dt.date, provider_id: str) -> dict[str, Any] | None:
    """The figures minute by minute; None where there is no row."""
    provider = clinic.provider_by_id[provider_id]
    mine = [b for b in clinic.bookings if (b.provider_id, b.date) == (provider_id, day)]
    by_status = Counter(b.status for b in mine)
    live = [b for b in mine if b.status not in ("held", "cancelled")]
    if not provider.active and not live and not by_status["cancelled"]:
        return None
    checker = SlotChecker(clinic)
    is_open = {
        minute
        for minute, is_open in enumerate(checker.open_minutes(provider, day))
        if is_open and provider.active
    }
    busy = {b.start + minute for b in live for minute in range(clinic.kind_of(b).duration_minutes)}
    for b in clinic.bookings:
        if b.date == day and b.status not in ("held", "cancelled"):
            for each in in_roles(clinic.kind_of(b), b):
                busy |= set(range(*each.span)) if each.provider_id == provider_id else set()
    return {
        "booked": len(live),
        "completed": by_status["completed"],
        "cancelled": by_status["cancelled"],
        "no_shows": by_status["no_show"],
        "no_show_rate": share(by_status["no_show"], len(live)),
        "overbooked": sum(b.is_overbooked for b in live),
        "open_minutes": len(is_open),
        "busy_minutes": len(busy & is_open),
        "utilisation": share(len(busy & is_open), len(is_open)),
        "mean_score": None,
    }


@given(clinics())
@settings(max_examples=30)
async def test_the_figures_are_those_of_a_plain_count(
    client: httpx.AsyncClient, admin_engine: AsyncEngine, clinic: Clinic
) -> None:
    clinic = without_collisions(clinic)
    await empty_tables(admin_engine)
    await load_clinic(client, clinic)
    first = EXAMPLE_MONDAY - dt.timedelta(days=1)
    days = [first + dt.timedelta(days=ahead) for ahead in range(4)]
    expected = {
        (day.isoformat(), provider.id): figures
        for day in days
        for provider in sorted(clinic.providers, key=lambda p: p.id)
        if (figures := plain_count(clinic, day, provider.id)) is not None
    }
    rows = await stats_of(client, first, days[-1])
    shown = [{name: row[name] for name in NOTHING} for row in rows]
    keys = [(row["date"], row["provider_id"]) for row in rows]
    assert dict(zip(keys, shown, strict=True)) == expected
    assert keys == sorted(keys)
    assert await stats_of(client, first, days[-1]) == rows


async def test_a_booking_counts_at_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    assert await stats_of(client, MONDAY, MONDAY) == [
        {
            "date": MONDAY.isoformat(),
            "provider_id": PROVIDER,
            "provider_name": "Dr. Vega",
            **NOTHING,
            "open_minutes": 180,
        }
    ]
    first = (await client.post("/bookings", json=order(MONDAY, "09:00"))).json()
    second = (await client.post("/bookings", json=order(MONDAY, "09:30", patient_ref="b"))).json()
    (row,) = await stats_of(client, MONDAY, MONDAY)
    assert (row["booked"], row["utilisation"]) == (2, share(60, 180))
    assert row["mean_score"] == share(round(5000 * (first["score"] + second["score"])), 10000)
    await client.post(f"/bookings/{first['id']}/cancel")
    (row,) = await stats_of(client, MONDAY, MONDAY)
    assert (row["booked"], row["cancelled"], row["utilisation"]) == (1, 1, share(30, 180))
    assert row["mean_score"] == second["score"]
    for move in ("check-in", "complete"):
        answer = await client.post(f"/bookings/{second['id']}/{move}", json={"confirm": True})
        assert answer.is_success
    (row,) = await stats_of(client, MONDAY, MONDAY)
    assert (row["booked"], row["completed"]) == (1, 1)


async def test_hours_count_at_once(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    await client.post("/bookings", json=order(MONDAY, "09:00"))
    (window,) = (await client.get("/availability")).json()
    await client.patch(f"/availability/{window['id']}", json={"end_time": "10:00"})
    assert (await stats_of(client, MONDAY, MONDAY))[0]["utilisation"] == 0.5
    closure = {"date": MONDAY.isoformat(), "start_time": "00:00", "end_time": "24:00"}
    await client.post("/availability", json={**closure, "kind": "closed"})
    (row,) = await stats_of(client, MONDAY, MONDAY)
    assert (row["booked"], row["utilisation"]) == (1, 0.0)


async def test_a_hold_counts_only_once_it_is_confirmed(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    keys = [
        (await client.post("/holds", json=order(MONDAY, start, patient_ref=start))).json()["id"]
        for start in ("09:00", "09:30", "10:00")
    ]
    await client.post(f"/bookings/{keys[0]}/cancel")
    assert {**NOTHING, "open_minutes": 180}.items() <= (await stats_of(client, MONDAY, MONDAY))[
        0
    ].items()
    for key in keys[1:]:
        assert (await client.post(f"/holds/{key}/confirm")).status_code == 200
    await client.post(f"/bookings/{keys[1]}/cancel")
    (row,) = await stats_of(client, MONDAY, MONDAY)
    assert (row["booked"], row["cancelled"]) == (1, 1)


async def test_some_providers_only(client: httpx.AsyncClient) -> None:
    providers = [
        {"id": uid(1, n), "name": f"P{n}", "skills": ["gp"], "active": n < 2} for n in range(4)
    ]
    bookings = [booking(1, MONDAY, "09:00", provider_id=uid(1, 3))]
    await load(client, small_clinic(providers=providers, bookings=bookings))
    following = MONDAY + dt.timedelta(days=1)

    async def shown(*asked: str) -> list[tuple[str, str]]:
        rows = await stats_of(client, MONDAY, following, *asked)
        return [(row["date"], row["provider_id"]) for row in rows]

    monday, tuesday = MONDAY.isoformat(), following.isoformat()
    assert await shown() == [
        *((monday, uid(1, n)) for n in (0, 1, 3)),
        *((tuesday, uid(1, n)) for n in (0, 1)),
    ]
    assert await shown(uid(1, 2)) == [(monday, uid(1, 2)), (tuesday, uid(1, 2))]
    assert await shown(uid(1, 1), uid(1, 0)) == [
        (day, uid(1, n)) for day in (monday, tuesday) for n in (0, 1)
    ]
    nobody = {"from": monday, "to": monday, "provider_id": uid(1, 9)}
    answer = await client.get("/stats", params=nobody)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("days", "changes", "field"),
    [
        (0, {}, None),
        (365, {}, None),
        (366, {}, "to"),
        (-1, {}, "to"),
        (0, {"from": "soon"}, "from"),
        (0, {"to": ""}, "to"),
        (0, {"provider_id": "me"}, "provider_id[0]"),
        (0, {"until": "now"}, "until"),
    ],
)
async def test_what_may_be_asked(
    client: httpx.AsyncClient, days: int, changes: dict[str, str], field: str | None
) -> None:
    dates = {"from": str(MONDAY), "to": str(MONDAY + dt.timedelta(days=days))}
    answer = await client.get("/stats", params=dates | changes)
    if field is None:
        assert (answer.status_code, answer.json()) == (200, [])
    else:
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_from_and_to_are_needed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/stats")
    assert [error["field"] for error in answer.json()["errors"]] == ["from", "to"]


async def kept(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    query = "SELECT date, booked, busy_minutes, open_minutes FROM daily_statistics ORDER BY date"
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def test_many_at_once_answer_alike_and_keep_one_row_each(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic(bookings=[booking(1, MONDAY, "09:00")]))
    last = MONDAY + dt.timedelta(days=9)
    answers = await asyncio.gather(*(stats_of(client, MONDAY, last) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    days = [MONDAY + dt.timedelta(days=ahead) for ahead in range(10)]
    weekly = [(1, 30, 180), *[(0, 0, 0)] * 6, (0, 0, 180), *[(0, 0, 0)] * 2]
    assert await kept(engine) == [(day, *row) for day, row in zip(days, weekly, strict=True)]


async def test_the_calculator_keeps_the_last_days(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    rows = [booking(n, today - dt.timedelta(days=n), "09:00") for n in range(12)]
    clinic = {"name": "C", "timezone": "UTC"}
    await load(client, small_clinic(clinic=clinic, bookings=rows))
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE job_runs SET hour = now() - interval '25 hours' WHERE job = :job"),
            {"job": CALCULATOR},
        )
    await do_due_hours(engine, CALCULATOR, keep_hours, Audience())
    dates = {day for day, booked, *_ in await kept(engine) if booked}
    assert {today - dt.timedelta(days=n) for n in range(8)} <= dates
    assert today - dt.timedelta(days=11) not in dates
