"""A slot query and a booking with ten thousand and with ten million bookings in the table.

Two databases on one server hold the same clinic and, on the day that is asked for, the same book;
what differs is how many years of other days there are. Two services take turns, so what disturbs
the machine disturbs both. The statements that a query and a booking send are recorded, and their
plans are shown.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.slots import requests
from benchmarks.support.clinics import make_clinic
from benchmarks.support.http_client import Connection, connected
from benchmarks.support.service import Service, coming_monday, fill, query, service
from data.bookings.create import Details, book
from data.bookings.decisions import Place, Policy
from data.clinic.snapshot import Snapshots
from data.database.engine import create_engine
from data.jobs.no_shows import mark_no_shows
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time, parse_time
from solver.scoring.parts import DEFAULT_WEIGHTS

SMALL, MILLION, LARGE, QUICK_LARGE = 10_000, 1_000_000, 10_000_000, 100_000


ROUNDS, QUICK_ROUNDS = 20, 6


PROVIDERS = 50
"""As many rooms, and each provider's bookings are in a room of its own."""


STARTS = tuple(start + 15 * turn for start in (480, 780) for turn in range(10))


MINUTES = 15


PER_DAY = PROVIDERS * len(STARTS)


PAST = 0.8
"""The share of days before the one that is asked for."""


DAYS_AT_ONCE = 100


APART = 60
"""Minutes between the starts of a provider's measured bookings: none is in another's way."""


MOST_ORDERS = 3
"""For a provider, whose daily cap leaves room for one more."""


AT_MOST = 1.3


QUERY, BOOKING = "A slot query over HTTP", "A booking over HTTP"


PLAN = "EXPLAIN (ANALYZE, BUFFERS) "


SCAN = re.compile(r"(?:Seq|Bitmap Heap|Index(?: Only)?) Scan(?: using \w+)?(?= on bookings\b)")


OVERDUE = """
    UPDATE bookings SET status = 'booked' WHERE id IN (
        SELECT id FROM bookings WHERE date < current_date AND status = 'completed' LIMIT 20)
"""


FILL = """
    INSERT INTO bookings (id, provider_id, provider_no, room_id, room_no, appointment_type_id,
                          date, start_minute, duration_minutes, buffer_before, buffer_after,
                          patient_ref, patient_key, status, is_overbooked, score)
    SELECT gen_random_uuid(), provider.id, provider.no, room.id, room.no, $1,
           date, start, $2, 0, 0, patient.name, patient.name,
           CASE WHEN date >= $3 THEN 'booked' WHEN (day + start) % 19 = 0 THEN 'cancelled'
                WHEN (day + start) % 17 = 0 THEN 'no_show' ELSE 'completed' END,
           false, 8000
    FROM generate_series($4::int, $5::int) AS day,
         LATERAL (SELECT $6::date + day AS date) AS dated,
         unnest($7::int[]) AS start,
         (SELECT id, no, row_number() OVER (ORDER BY id) AS rank FROM providers) AS provider
         JOIN (SELECT id, no, row_number() OVER (ORDER BY id) AS rank FROM rooms) AS room
         USING (rank),
         LATERAL (SELECT 'patient ' || (rank * 7919 + day * 104729) % 100003 AS name) AS patient
    ORDER BY day, start
"""


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    if meter.quick:
        return compare(meter, QUICK_LARGE, QUICK_ROUNDS)
    return compare(meter, LARGE, ROUNDS)


def run_million(meter: Meter) -> Suite:
    """Return the figures with a tenth of the rows, for a machine with little time or space."""
    return compare(meter, MILLION, QUICK_ROUNDS if meter.quick else ROUNDS)


def compare(meter: Meter, large: int, rounds: int) -> Suite:
    """Return what a query and a booking take with few rows and with `large` many."""
    monday = coming_monday()
    clinic = make_clinic(PROVIDERS, PROVIDERS).with_bookings(())
    tables = []
    for rows in (SMALL, large):
        url = meter.new_database()
        fill(url, clinic, monday)
        begin = time.perf_counter()
        mib = asyncio.run(_fill(url, clinic, monday, rows))
        tables.append(_Table(url, f"{rows:,} bookings", mib, time.perf_counter() - begin))
    few, many = tables
    meter.look(20)
    with service(few.url) as first, service(many.url) as second:
        samples = asyncio.run(_in_turn((first, second), clinic, monday, rounds))
    meter.look(20)
    shown = {table.label: asyncio.run(_plans(table.url, clinic, monday)) for table in tables}
    figures = [
        Figure(group, table.label, "ms", tuple(ms), size=rows)
        for group, each in samples.items()
        for table, rows, ms in zip(tables, (SMALL, large), each, strict=True)
    ]
    of = {(figure.group, figure.label): figure.median for figure in figures}
    return Suite(
        figures,
        ratios=[
            *(
                Ratio(
                    f"{words}, {many.label} to {few.label}",
                    of[group, many.label] / of[group, few.label],
                    at_most=AT_MOST,
                )
                for group, words in ((QUERY, "slot query"), (BOOKING, "booking"))
            ),
            Ratio(
                f"pages that a statement of either reads, most, {many.label} to {few.label}",
                max(
                    plan.pages / before.pages
                    for before, plan in zip(shown[few.label], shown[many.label], strict=True)
                    if plan.what != _JOB and before.pages
                ),
                at_most=2,
            ),
        ],
        notes=[
            f"The clinic has {PROVIDERS} providers and {PER_DAY:,} bookings a day; four fifths of "
            "the days come before the one that is asked for. Each booking has a place of its own.",
            "Beside a query and a booking, the hourly marker of no-shows is shown where twenty "
            "bookings are overdue; with few rows there are none.",
        ],
        tables={
            "The tables": [
                {
                    "bookings": table.label.partition(" ")[0],
                    "MiB with indexes": table.mib,
                    "seconds to fill": round(table.seconds, 1),
                }
                for table in tables
            ],
            "The statements": [
                {
                    "of": plan.what,
                    "table": label,
                    "statement": number,
                    "ms": plan.ms,
                    "pages": plan.pages,
                    "reads bookings by": ", ".join(plan.scans),
                }
                for label, each in shown.items()
                for number, plan in enumerate(each, 1)
            ],
        },
        texts={
            f"{plan.what}, statement {number}, {label}": f"{plan.statement}\n\n{plan.text}"
            for label, each in shown.items()
            for number, plan in enumerate(each, 1)
        },
    )


@dataclass(frozen=True)
class _Table:
    url: str
    label: str
    mib: int
    seconds: float


async def _fill(url: str, clinic: Clinic, monday: dt.date, rows: int) -> int:
    """Fill the table with so many bookings around `monday`; return its size in MiB.

    All indexes are there and exclusions are checked, which takes most of the time, so there is a
    writer for every core. References, which hold by construction, are not looked up for every row.
    """
    days = rows // PER_DAY
    first = monday - dt.timedelta(days=int(PAST * days))
    today = dt.datetime.now(dt.UTC).date()
    kind = clinic.appointment_types[0].id
    admin = make_url(url).set(username="postgres").render_as_string()
    begins = iter(range(0, days, DAYS_AT_ONCE))

    async def written() -> None:
        connection = await asyncpg.connect(admin)
        await connection.execute("SET session_replication_role = replica")
        for begin in begins:
            end = min(begin + DAYS_AT_ONCE, days) - 1
            values = (kind, MINUTES, today, begin, end, first, list(STARTS))
            await connection.execute(FILL, *values, timeout=None)
        await connection.close()

    await asyncio.gather(*(written() for _ in range(os.cpu_count() or 1)))
    connection = await asyncpg.connect(admin)
    await connection.execute("VACUUM ANALYZE", timeout=None)
    size: int = await connection.fetchval("SELECT pg_total_relation_size('bookings')")
    await connection.close()
    return round(size / 2**20)


# Asking both in turn


async def _in_turn(
    services: tuple[Service, Service], clinic: Clinic, monday: dt.date, rounds: int
) -> dict[str, list[list[float]]]:
    """Return the milliseconds of queries and bookings, those of each service by itself."""
    paths = [query(request, monday) for request in requests(clinic, 10)]
    samples: dict[str, list[list[float]]] = {QUERY: [[], []], BOOKING: [[], []]}
    async with connected(services[0].base) as few, connected(services[1].base) as many:
        orders = [await _orders(each, clinic, monday) for each in (few, many)]
        for number in range(rounds + 1):
            for side, connection in enumerate((few, many)):
                asked = [await _timed(connection, 200, "GET", path) for path in paths]
                booked = [
                    await _timed(connection, 201, "POST", "/bookings", orders[side].pop())
                    for _ in range(6)
                ]
                if number:  # the first is to warm up
                    samples[QUERY][side] += asked
                    samples[BOOKING][side] += booked
    return samples


async def _timed(
    connection: Connection, wanted: int, method: str, path: str, body: Any = None
) -> float:
    begin = time.perf_counter()
    await connection.expect(wanted, method, path, body)
    return 1000 * (time.perf_counter() - begin)


async def _orders(connection: Connection, clinic: Clinic, monday: dt.date) -> list[dict[str, Any]]:
    """Return bookings to ask for that are not in each other's way."""
    kind = clinic.appointment_types[0].id
    path = f"/slots?date={monday}&appointment_type_id={kind}&limit=5000"
    slots = orjson.loads(await connection.expect(200, "GET", path))["slots"]
    slots.sort(key=lambda slot: (slot["provider_id"], slot["start_time"]))
    starts: defaultdict[str, list[int]] = defaultdict(list)
    for slot in slots:
        taken, start = starts[slot["provider_id"]], parse_time(slot["start_time"])
        is_near = bool(taken) and start < taken[-1] + APART
        if not (slot["is_overbooked"] or is_near or len(taken) == MOST_ORDERS):
            taken.append(start)
    return [
        {
            "appointment_type_id": kind,
            "provider_id": provider,
            "date": monday.isoformat(),
            "start_time": format_time(start),
            "patient_ref": f"new {provider} {start}",
        }
        for provider, taken in starts.items()
        for start in taken
    ]


# The plans of what is sent


@dataclass(frozen=True)
class _Plan:
    what: str
    statement: str
    text: str

    @property
    def ms(self) -> float:
        """Milliseconds in the database, planning included."""
        return sum(
            float(ms) for ms in re.findall(r"(?:Planning|Execution) Time: ([\d.]+) ms", self.text)
        )

    @property
    def pages(self) -> int:
        """Pages looked at by the statement's topmost node."""
        found = re.search(r"Buffers: (.*)", self.text)
        return sum(int(n) for n in re.findall(r"(?:hit|read)=(\d+)", found[1])) if found else 0

    @property
    def scans(self) -> list[str]:
        """How bookings are read."""
        return list(dict.fromkeys(SCAN.findall(self.text)))


_SLOTS, _BOOK, _JOB = "slot query", "booking", "no-show marker, hourly"


async def _plans(url: str, clinic: Clinic, monday: dt.date) -> list[_Plan]:
    """Return the plans of every statement of a slot query, a booking and the hourly marker."""
    engine = create_engine(url)
    now = dt.datetime.now(dt.UTC)
    policy = Policy(now, DEFAULT_WEIGHTS, horizon_days=365)
    kind, provider = clinic.appointment_types[0], clinic.providers[0]
    place = Place(kind.id, provider.id, monday, STARTS[-1] + 4 * MINUTES, clinic.rooms[0].id)
    try:
        with _recorded(engine) as said:
            snapshots = Snapshots(engine)
            for _ in range(2):  # once with all rows, once beside those that are kept
                await snapshots.load(monday, monday)
            asked = list(said)
            said.clear()
            async with _undone(engine) as connection:
                await book(connection, place, Details("patient 1"), policy)
            booked = list(said)
            async with engine.begin() as connection:
                await connection.exec_driver_sql(OVERDUE)
            said.clear()
            async with _undone(engine) as connection:
                await mark_no_shows(30)(connection, now)
            marked = list(said)
        return [
            *await _explained(engine, _SLOTS, asked),
            *await _explained(engine, _BOOK, booked),
            *await _explained(engine, _JOB, marked),
        ]
    finally:
        await engine.dispose()


@contextmanager
def _recorded(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """Yield the list of all statements that are sent meanwhile, with their parameters."""
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        said.append((statement, values))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


@asynccontextmanager
async def _undone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in a transaction whose work is taken back."""
    async with engine.connect() as connection:
        yield connection
        await connection.rollback()


async def _explained(engine: AsyncEngine, what: str, said: list[tuple[str, Any]]) -> list[_Plan]:
    """Send the statements again, in one transaction that is taken back, and keep their plans."""
    plans = []
    async with _undone(engine) as connection:
        for statement, values in said:
            rows = await connection.exec_driver_sql(PLAN + statement, values)
            plans.append(_Plan(what, statement, "\n".join(row[0] for row in rows)))
    return plans
