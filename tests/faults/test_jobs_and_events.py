"""Jobs and events where processes are killed, are several, or have the wrong time."""

import asyncio
import datetime as dt
import os
import signal
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import libfaketime
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.audit import CALCULATOR, NO_SHOW_MARKER
from data.clinic.import_export import import_document
from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from data.jobs.retention import CLEANER
from tests.support.clinics import booking, coming_monday, order, small_clinic
from tests.support.fake_hub import drips, hangs, hub, says
from tests.support.service import service, started
from tests.support.strategies import uid

MONDAY = coming_monday()
JOBS = sorted([NO_SHOW_MARKER, CALCULATOR, CLEANER])


@pytest.fixture
async def admin(database: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.url, pool_size=2)
    yield engine
    await engine.dispose()


async def write(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def rows(engine: AsyncEngine, query: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def fill(engine: AsyncEngine, *ended_ago: int) -> None:
    """A clinic with bookings of half an hour that ended some minutes ago."""
    now = dt.datetime.now(dt.UTC)
    day = now.date() - dt.timedelta(days=9)
    starts = [f"{9 + n:02d}:00" for n in range(len(ended_ago))]
    document = small_clinic(
        clinic={"name": "C", "timezone": "UTC"},
        bookings=[booking(n, day, start) for n, start in enumerate(starts)],
    )
    await import_document(
        engine, orjson.dumps(document), is_yaml=False, replace=True, today=now.date()
    )
    for number, minutes in enumerate(ended_ago):
        start = now - dt.timedelta(minutes=minutes + 30)
        minute = start.hour * 60 + start.minute
        await write(
            engine,
            "UPDATE bookings SET date = :day, start_minute = :start WHERE id = :key",
            day=start.date(),
            start=minute,
            key=uid(5, number),
        )


async def until_done(engine: AsyncEngine) -> None:
    query = "SELECT job FROM job_runs WHERE hour = date_trunc('hour', now()) ORDER BY job"
    async with asyncio.timeout(60):
        while await rows(engine, query) != [(job,) for job in JOBS]:
            await asyncio.sleep(0.05)  # between two looks


async def test_events_outlive_a_service_that_is_killed(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    environment = {"DATABASE_URL": database.url, "SLOTWRIGHT_HUB_DELIVERY": "outbox"}
    async with hub(hangs) as hanging:
        environment["SLOTWRIGHT_HUB_URL"] = hanging.url
        with service("serve", **environment) as (process, base):
            async with httpx.AsyncClient(base_url=base, timeout=30) as client:
                await client.post("/clinic/import", json=small_clinic())
                booked = [
                    (await client.post("/bookings", json=order(MONDAY, start, patient_ref=start)))
                    for start in ("09:00", "10:00", "11:00")
                ]
                first = booked[0].json()["id"]
                await client.post(f"/bookings/{first}/check-in", json={"confirm": True})
                sent = await hanging.heard(3)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
    await write(admin, "UPDATE outbox SET due_at = now()")  # the pause, over
    async with hub() as listening:
        environment["SLOTWRIGHT_HUB_URL"] = listening.url
        with service("serve", **environment):
            events = await listening.heard(4)
            async with asyncio.timeout(20):
                while await rows(admin, "SELECT 1 FROM outbox"):
                    await asyncio.sleep(0.05)  # between two looks
    assert {e["id"] for e in sent} <= {e["id"] for e in events}
    created = {e["booking_id"] for e in events if e["type"] == "booking.created"}
    assert created == {answer.json()["id"] for answer in booked}
    of_first = [e["type"] for e in events if e["booking_id"] == first]
    assert of_first == ["booking.created", "booking.checked_in"]


async def test_a_service_serves_whatever_its_hub_does(
    database: EmbeddedPostgres, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    async def failures(number: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(60):
            while True:
                lines = [orjson.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]
                found = [line for line in lines if line["event"] == "hub_failed"]
                if len(found) >= number:
                    return found
                await asyncio.sleep(0.05)  # between two looks

    async with hub() as other, hub() as misbehaving:
        redirects = says(f"307 Elsewhere\r\nLocation: {other.url}")
        kinds = [hangs, drips, says("500 Broken"), redirects]

        async def answer(writer: asyncio.StreamWriter) -> None:
            await kinds[len(misbehaving.bodies) - 1](writer)

        misbehaving.answer = answer
        environment = {"DATABASE_URL": database.url, "SLOTWRIGHT_HUB_URL": misbehaving.url}
        with service("serve", log=log, **environment) as (_, base):
            async with httpx.AsyncClient(base_url=base, timeout=30) as client:
                await client.post("/clinic/import", json=small_clinic())

                async def book(start: str, day: dt.date = MONDAY) -> None:
                    body = order(day, start, patient_ref=start)
                    assert (await client.post("/bookings", json=body)).status_code == 201

                for number, start in enumerate(["09:00", "09:45", "10:30", "11:15"], start=1):
                    await book(start)
                    await misbehaving.heard(number)
                seen = await failures(4)
                misbehaving.server.close()
                await book("09:00", MONDAY + dt.timedelta(days=7))
                seen = await failures(5)
    reasons = ["ConnectError", "TimeoutError", "TimeoutError", "status 307", "status 500"]
    assert sorted(line["reason"] for line in seen) == reasons
    sent = {event["id"] for event in misbehaving.events}
    assert len(sent) == 4
    assert sent < {line["event_id"] for line in seen}
    assert {line["level"] for line in seen} == {"warning"}
    assert other.bodies == []


async def test_many_processes_do_each_hours_work_once(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    await fill(admin, 60, 90, 120)
    hour_ago = "date_trunc('hour', now()) - interval '3 hours'"
    for job in JOBS:
        await write(admin, f"INSERT INTO job_runs VALUES (:job, {hour_ago})", job=job)
    with (
        service("serve", "--workers", "2", DATABASE_URL=database.url),
        service("serve", DATABASE_URL=database.url),
    ):
        await until_done(admin)
        hours = "SELECT job, count(*) FROM job_runs GROUP BY job ORDER BY job"
        assert [(job, count) for job, count in await rows(admin, hours) if count < 4] == []
    changed_twice = [("no_show", 3)]  # dated back above, then marked
    assert await rows(admin, "SELECT DISTINCT status, version FROM bookings") == changed_twice
    entries = "SELECT entity_id FROM audit_log WHERE action = 'no_show' ORDER BY entity_id"
    assert [str(key) for (key,) in await rows(admin, entries)] == [uid(5, n) for n in range(3)]
    kept = "SELECT sum(no_shows) FROM daily_statistics"
    assert (await rows(admin, kept))[0][0] in (0, 3)  # whichever job came first


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_process_whose_clock_is_wrong_marks_by_the_databases(
    database: EmbeddedPostgres, admin: AsyncEngine, hours: int
) -> None:
    await fill(admin, 5, 60)
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    environment = {
        "DATABASE_URL": database.url,
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with started("serve", **environment) as (_, base):
        date = parsedate_to_datetime(httpx.get(f"{base}/healthz").headers["date"])
        is_off_by = date - dt.datetime.now(dt.UTC)
        assert round(is_off_by / dt.timedelta(hours=1)) == hours
        await until_done(admin)
    statuses = await rows(admin, "SELECT status FROM bookings ORDER BY id")
    assert statuses == [("booked",), ("no_show",)]
