"""Ways of writing a booking under contention: what each lets through, and what it costs.

Sixteen connections book 30-minute appointments on a few providers and rooms of one day, at starts
five minutes apart, so most requests are for places that overlap another's. Each way looks whether
the place is free, inserts, and commits; they differ in what keeps two of them from both doing so.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import numpy as np
from sqlalchemy import make_url

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites import crowd, write_path

WRITERS = 16


PROVIDERS, ROOMS = 5, 8


MINUTES = 30


OPENS, CLOSES = 480, 1080


COLUMNS = """
    provider_no int8 NOT NULL, room_no int8 NOT NULL, day int NOT NULL,
    start_minute int NOT NULL, end_minute int NOT NULL,
    provider_span int8range GENERATED ALWAYS AS (int8range(
        provider_no * 268435456 + day * 1440 + start_minute,
        provider_no * 268435456 + day * 1440 + end_minute)) STORED,
    room_span int8range GENERATED ALWAYS AS (int8range(
        room_no * 268435456 + day * 1440 + start_minute,
        room_no * 268435456 + day * 1440 + end_minute)) STORED
"""


UNIQUES = "UNIQUE (provider_no, day, start_minute), UNIQUE (room_no, day, start_minute)"


EXCLUDES = "EXCLUDE USING gist (provider_span WITH &&), EXCLUDE USING gist (room_span WITH &&)"


TABLES = {
    "unique": f"{COLUMNS}, {UNIQUES}",
    "exclude": f"{COLUMNS}, {UNIQUES}, {EXCLUDES}",
}


INSERT = (
    "INSERT INTO {table} (provider_no, room_no, day, start_minute, end_minute)"
    " VALUES ($1, $2, $3, $4, $5)"
)


IS_TAKEN = """
    SELECT EXISTS (SELECT FROM {table} WHERE day = $3 AND (provider_no = $1 OR room_no = $2)
                   AND start_minute < $5 AND $4 < end_minute)
"""


LOCK_ROWS = """
    INSERT INTO day_locks VALUES ('p', $1, $3), ('r', $2, $3) ON CONFLICT DO NOTHING
"""


LOCK = """
    SELECT FROM day_locks WHERE (kind, no, day) IN (('p', $1, $3), ('r', $2, $3))
    ORDER BY kind, no FOR UPDATE
"""


LOST = (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError)


RERUN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.OutOfMemoryError,  # SERIALIZABLE's room for conflicts is full: "run fewer at a time"
)


ATTEMPTS = 4


type Place = tuple[int, int, int, int, int]


type Way = Callable[[asyncpg.Connection, str, Place], Awaitable[bool]]


async def _look_and_insert(connection: asyncpg.Connection, table: str, place: Place) -> bool:
    if await connection.fetchval(IS_TAKEN.format(table=table), *place):
        return False
    await connection.execute(INSERT.format(table=table), *place)
    return True


async def _plain(connection: asyncpg.Connection, table: str, place: Place) -> bool:
    async with connection.transaction():
        return await _look_and_insert(connection, table, place)


async def _locked(connection: asyncpg.Connection, table: str, place: Place) -> bool:
    async with connection.transaction():
        await connection.execute(LOCK_ROWS, *place[:3])
        await connection.execute(LOCK, *place[:3])
        return await _look_and_insert(connection, table, place)


async def _serializable(connection: asyncpg.Connection, table: str, place: Place) -> bool:
    async with connection.transaction(isolation="serializable"):
        return await _look_and_insert(connection, table, place)


WAYS: dict[str, tuple[str, Way]] = {
    "unique only": ("unique", _plain),
    "exclude only": ("exclude", _plain),
    "locks + exclude": ("exclude", _locked),
    "serializable + retry, unique": ("unique", _serializable),
    "serializable + retry, exclude": ("exclude", _serializable),
}


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    attempts = 300 if meter.quick else 3000
    meter.look(20)
    url = meter.new_database()
    path = asyncio.run(write_path.run(url, rounds=2 if meter.quick else 10, count=200))
    meter.look(20)
    names = ("locks + exclude",) if meter.quick else tuple(WAYS)  # others deadlock, a second each
    owner = make_url(url).set(username="postgres").render_as_string()  # who may make tables
    ways = asyncio.run(_run(owner, attempts, names))
    meter.look(20)
    rush = crowd.run(meter)
    return Suite(
        figures=[
            *(
                Figure("Bookings a second", name, "a second", tuple(rates), more_is_better=True)
                for name, rates in path.items()
            ),
            *rush.figures,
        ],
        ratios=[
            Ratio(
                "bookings to bare inserts, rate",
                float(np.median(np.array(path["bookings"]) / np.array(path["bare inserts"]))),
                at_least=0.5,
            ),
            *(
                Ratio(f"double bookings, {name}", ways[name]["double bookings"], at_most=0)
                for name in ("locks + exclude",)
            ),
            *rush.ratios,
        ],
        notes=[
            "A bare insert is one committed row with all its constraints and nothing looked at; a "
            "booking looks, locks, looks again, decides by the model, and writes its audit entry.",
            f"The ways to write are shown under contention: {WRITERS} connections and places of "
            "which most overlap another.",
        ],
        tables={"Ways to write": [{"way": name, **row} for name, row in ways.items()]}
        | rush.tables,
    )


async def _run(url: str, attempts: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    pool = await asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS)
    await pool.execute(
        "CREATE TABLE day_locks (kind text, no int8, day int, PRIMARY KEY (kind, no, day))"
    )
    report: dict[str, dict[str, Any]] = {
        "no look, no contention": {"requests a second": await _bare(pool, attempts)}
    }
    for name in names:
        kind, way = WAYS[name]
        await pool.execute(f"DROP TABLE IF EXISTS trial; CREATE TABLE trial ({TABLES[kind]})")
        report[name] = await _storm(pool, way, attempts)
    await pool.close()
    return report


async def _bare(pool: asyncpg.Pool, count: int) -> int:
    """Return how many rows a second the same table takes without contention or a look."""
    await pool.execute(f"DROP TABLE IF EXISTS trial; CREATE TABLE trial ({TABLES['exclude']})")
    places = iter(
        [
            (number % 50, number % 50, number // 50, OPENS, OPENS + MINUTES)
            for number in range(count)
        ]
    )

    async def write() -> None:
        async with pool.acquire() as connection:
            for place in places:
                await connection.execute(INSERT.format(table="trial"), *place)

    begin = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return round(count / (time.perf_counter() - begin))


async def _storm(pool: asyncpg.Pool, way: Way, attempts: int) -> dict[str, Any]:
    chance = random.Random(attempts)
    places = iter(
        [
            (chance.randrange(PROVIDERS), chance.randrange(ROOMS), day, start, start + MINUTES)
            for day in range(attempts // 100)
            for start in chance.choices(range(OPENS, CLOSES, 5), k=100)
        ]
    )
    outcomes: Counter[str] = Counter()
    seconds: list[float] = []

    async def write() -> None:
        async with pool.acquire() as connection:
            for place in places:
                begin = time.perf_counter()
                outcomes[await _attempt(connection, way, place, outcomes)] += 1
                seconds.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    elapsed = time.perf_counter() - begin
    overlaps = await pool.fetchval(
        "SELECT count(*) FROM trial a JOIN trial b ON a.ctid < b.ctid"
        " AND (a.provider_span && b.provider_span OR a.room_span && b.room_span)"
    )
    return {
        **{name: outcomes[name] for name in ("won", "refused", "gave up", "reruns", "deadlocks")},
        "double bookings": overlaps,
        "requests a second": round(len(seconds) / elapsed),
        "p99 ms": round(float(np.quantile(seconds, 0.99)) * 1000, 1),
    }


async def _attempt(
    connection: asyncpg.Connection, way: Way, place: Place, outcomes: Counter[str]
) -> str:
    for _ in range(ATTEMPTS):
        try:
            return "won" if await way(connection, "trial", place) else "refused"
        except LOST:
            return "refused"
        except RERUN as error:
            outcomes["reruns"] += 1
            outcomes["deadlocks"] += isinstance(error, asyncpg.DeadlockDetectedError)
    return "gave up"
