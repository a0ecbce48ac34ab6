"""A hospital's day: two processes under a mixed load, with the health of each looked at all along.

Desks query, book, move and cancel; managers edit the clinic, for real and as dry runs; lists are
paged, conflicts asked for, and the whole clinic is exported and parts of it imported again. What
the suite promises: no answer of 500 or above, ``/healthz`` of each process within 200 ms at any
moment, and 1 GiB of memory a process; and before that load, each kind of edit within 2 s, as a dry
run within 1 s. Under it both wait for the cores, like everything that gives way.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import orjson

from benchmarks.hospital.book import hospital_clinic
from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.memory import peak_mib
from benchmarks.measure.meter import Meter
from benchmarks.support.clinics import as_document
from benchmarks.support.service import Service, first_order, load, service

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


SECONDS, QUICK_SECONDS = 600, 20


BOOKINGS, QUICK_BOOKINGS = 300_000, 20_000


IMPORTED = 48_000


CLIENTS_NICENESS = 5


ROUNDS = 3
"""How often each kind of edit is asked for before the load begins."""


DESKS = 8


SECONDS_BETWEEN = {
    "desk": 2.0,
    "list": 2.0,
    "dry run": 5.0,
    "edit": 10.0,
    "conflicts": 10.0,
    "export": 60.0,
    "import": 90.0,
}
"""On the average, from one of its kind to the next; of each desk."""


HEALTH_EVERY = 0.1
"""Seconds between two looks at a process's health."""


HEALTH_AT_MOST, EDIT_AT_MOST, DRY_RUN_AT_MOST = 200.0, 2000.0, 1000.0
"""Milliseconds."""


MEMORY_AT_MOST = 1024.0
"""MiB of each process."""


HEALTH, ANSWERS = "Health of a process under load", "Answers under load, by what was asked"


ALONE = "Edits while nothing else is asked"


@dataclass
class Load:
    """What is asked of the services, and what came of it.

    Attributes
    ----------
    clients
        One for each process; whoever asks draws one of them.
    clinic, hours
        The clinic file, and the rows of availability as the service has them, with their ids.
    days, until
        Dates with bookings; the monotonic second at which the load ends.
    took
        Milliseconds of the answers, by what was asked.
    statuses
        How many answers had which status, by what was asked.
    """

    clients: Sequence[httpx.AsyncClient]
    clinic: dict[str, Any]
    hours: list[dict[str, Any]]
    days: Sequence[dt.date]
    until: float
    chance: random.Random = field(default_factory=lambda: random.Random("hospital"))
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failed: list[str] = field(default_factory=list)

    async def ask(self, what: str, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Send a request to one of the services; None when no answer came."""
        begin = time.perf_counter()
        try:
            answer = await self.chance.choice(self.clients).request(method, path, **more)
        except httpx.HTTPError as error:
            self.failed.append(f"{what}: {error!r}")
            return None
        self.took[what].append((time.perf_counter() - begin) * 1000)
        self.statuses[what][answer.status_code] += 1
        if answer.status_code >= 500:
            self.failed.append(f"{what}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def every(self, seconds: float, job: Callable[[], Awaitable[object]]) -> None:
        """Do a job again and again, so many seconds apart on the average, until the end."""
        while True:
            left = max(0.0, self.until - time.monotonic())
            await asyncio.sleep(min(left, self.chance.expovariate(1 / seconds)))
            if time.monotonic() >= self.until:
                return
            await job()

    def one(self, rows: str) -> dict[str, Any]:
        """Draw a row of the clinic."""
        row: dict[str, Any] = self.chance.choice(self.clinic[rows])
        return row


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    bookings = QUICK_BOOKINGS if meter.quick else BOOKINGS
    seconds = QUICK_SECONDS if meter.quick else SECONDS
    url = meter.new_database()
    today = dt.datetime.now(dt.UTC).date()
    hospital = as_document(hospital_clinic(today + dt.timedelta(days=1), bookings=bookings))
    asyncio.run(load(url, hospital, today))
    with service(url) as one, service(url) as other:
        services = (one, other)
        alone = asyncio.run(_alone(services, hospital))
        with _watched_health(services) as health:
            done = _mixed(services, hospital, seconds)
        memory = [peak_mib(each.pid) for each in services]
    figures = [
        Figure(HEALTH, f"process {number}", "ms", tuple(samples), tolerance=None)
        for number, samples in enumerate(health, 1)
    ]
    figures += [
        Figure(title, what, "ms", tuple(samples), tolerance=None)
        for title, asked in ((ALONE, alone), (ANSWERS, done))
        for what, samples in sorted(asked.took.items())
    ]
    figures += [
        Figure("Peak memory under load", f"process {number}", "MiB", (mib,))
        for number, mib in enumerate(memory, 1)
    ]
    rows = [
        {
            "asked": what,
            "answers": sum(counts.values()),
            "statuses": ", ".join(f"{status}: {n}" for status, n in sorted(counts.items())),
            "median ms": round(median(done.took[what]), 1),
            "slowest ms": round(max(done.took[what]), 1),
        }
        for what, counts in sorted(done.statuses.items())
    ]
    return Suite(
        figures,
        [
            Ratio(
                "answers of 500 and above, and requests without an answer",
                len(alone.failed) + len(done.failed),
                at_most=0,
            ),
            Ratio("slowest /healthz, ms", max(map(max, health)), at_most=HEALTH_AT_MOST),
            Ratio("slowest edit, ms", _slowest(alone, "edit"), at_most=EDIT_AT_MOST),
            Ratio("slowest dry run, ms", _slowest(alone, "dry run"), at_most=DRY_RUN_AT_MOST),
            Ratio("peak memory of a process, MiB", max(memory), at_most=MEMORY_AT_MOST),
        ],
        notes=[
            f"{bookings:,} bookings ahead of {len(hospital['providers'])} providers, two "
            f"processes, {seconds} s; the clients and the database run on the same cores.",
            *(alone.failed + done.failed)[:10],
        ],
        tables={"What was asked": rows},
    )


def _slowest(asked: Load, kind: str) -> float:
    return max(max(ms) for what, ms in asked.took.items() if what.startswith(kind))


async def _alone(services: Sequence[Service], clinic: dict[str, Any]) -> Load:
    """Ask for each kind of edit, one after the other: as a dry run, for real, and back again."""
    async with _load(services, clinic, 0) as put:
        for _ in range(ROUNDS):
            for change in _changes(put):
                await _try(put, change)
                await _carry_out(put, change)
    return put


def _mixed(services: Sequence[Service], clinic: dict[str, Any], seconds: float) -> Load:
    """Put the load on the services for so many seconds.

    The clients are a process that gives way: they would be on machines of their own.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, spawn, initializer=os.nice, initargs=(CLIENTS_NICENESS,)
    ) as clients:
        return clients.submit(_put_on, services, clinic, seconds).result()


def _put_on(services: Sequence[Service], clinic: dict[str, Any], seconds: float) -> Load:
    put = asyncio.run(_work(services, clinic, seconds))
    return replace(put, clients=(), clinic={}, hours=[])  # what was measured goes back


async def _work(services: Sequence[Service], clinic: dict[str, Any], seconds: float) -> Load:
    async with _load(services, clinic, seconds) as put:
        await asyncio.gather(
            *(put.every(SECONDS_BETWEEN["desk"], partial(_desk, put)) for _ in range(DESKS)),
            put.every(SECONDS_BETWEEN["list"], partial(_list, put)),
            put.every(SECONDS_BETWEEN["dry run"], partial(_dry_run, put)),
            put.every(SECONDS_BETWEEN["edit"], partial(_edit, put)),
            put.every(SECONDS_BETWEEN["conflicts"], partial(_conflicts, put)),
            put.every(min(SECONDS_BETWEEN["export"], seconds / 4), partial(_export, put)),
            put.every(min(SECONDS_BETWEEN["import"], seconds / 4), partial(_import, put)),
        )
    return put


@asynccontextmanager
async def _load(
    services: Sequence[Service], clinic: dict[str, Any], seconds: float
) -> AsyncIterator[Load]:
    days = sorted({dt.date.fromisoformat(row["date"]) for row in clinic["bookings"]})
    clients = [httpx.AsyncClient(base_url=each.base, timeout=120) for each in services]
    try:
        hours = (await clients[0].get("/availability")).json()
        yield Load(clients, clinic, hours, days, time.monotonic() + seconds)
    finally:
        for client in clients:
            await client.aclose()


# What is asked


async def _desk(put: Load) -> None:
    """Look for a slot and book it; some are moved, some cancelled afterwards."""
    day, kind = put.chance.choice(put.days), put.one("appointment_types")
    query = {"date": day.isoformat(), "appointment_type_id": kind["id"]}
    found = await put.ask("slots", "GET", "/slots", params=query)
    order = first_order(found.json()) if found is not None and found.is_success else None
    if order is None or put.chance.random() < 0.5:
        return
    order["patient_ref"] = f"load-{put.chance.getrandbits(48):x}"
    booked = await put.ask("book", "POST", "/bookings", json=order)
    if booked is None or not booked.is_success:
        return
    path, draw = f"/bookings/{booked.json()['id']}", put.chance.random()
    if draw < 0.3:
        await put.ask("cancel", "POST", f"{path}/cancel", json={})
    elif draw < 0.6:
        again = await put.ask("slots", "GET", "/slots", params=query)
        there = first_order(again.json()) if again is not None and again.is_success else None
        if there is not None:
            del there["appointment_type_id"]
            await put.ask("reschedule", "POST", f"{path}/reschedule", json=there)


async def _list(put: Load) -> None:
    """Page through a few days, or list one patient's bookings."""
    first = put.chance.choice(put.days)
    span = {"from": first.isoformat(), "to": (first + dt.timedelta(days=7)).isoformat()}
    if put.chance.random() < 0.3:
        await put.ask("list of a patient", "GET", "/bookings", params={"patient_ref": "P-1"})
        return
    path, parameters = "/bookings", {**span, "limit": "1000"}
    for _ in range(5):
        answer = await put.ask("list", "GET", path, params=parameters)
        if answer is None or "next" not in answer.links:
            return
        path, parameters = answer.links["next"]["url"], {}


type Change = tuple[str, str, dict[str, Any], dict[str, Any]]


def _changes(put: Load) -> list[Change]:
    """Draw one edit of each kind: its name, its path, what it sends, and the row as it was."""
    provider, room, kind = put.one("providers"), put.one("rooms"), put.one("appointment_types")
    hours, of_provider = put.chance.choice(put.hours), f"/providers/{provider['id']}"
    longer = kind["duration_minutes"] + 5
    return [
        ("name", of_provider, {"name": "Renamed"}, provider),
        ("cap", of_provider, {"daily_cap": 12}, provider),
        ("buffer", of_provider, {"buffer_after": 15}, provider),
        ("turnover", f"/rooms/{room['id']}", {"turnover_minutes": 15}, room),
        ("equipment", f"/rooms/{room['id']}", {"equipment": []}, room),
        ("duration", f"/appointment-types/{kind['id']}", {"duration_minutes": longer}, kind),
        ("hours", f"/availability/{hours['id']}", {"end_time": "15:00"}, hours),
        ("clinic", "/clinic", {"min_notice_minutes": 30}, put.clinic["clinic"]),
    ]


async def _dry_run(put: Load) -> None:
    await _try(put, put.chance.choice(_changes(put)))


async def _edit(put: Load) -> None:
    await _carry_out(put, put.chance.choice(_changes(put)))


async def _try(put: Load, edit: Change) -> None:
    name, path, change, _ = edit
    await put.ask(f"dry run: {name}", "PATCH", f"{path}?dry_run=true", json=change)


async def _carry_out(put: Load, edit: Change) -> None:
    """Change a row and take the change back."""
    name, path, change, row = edit
    await put.ask(f"edit: {name}", "PATCH", path, json=change)
    back = {each: row[each] for each in change}
    await put.ask(f"edit: {name}, back", "PATCH", path, json=back)


async def _conflicts(put: Load) -> None:
    await put.ask("conflicts", "GET", "/bookings/conflicts")


async def _export(put: Load) -> None:
    await put.ask("export", "GET", "/clinic/export")


async def _import(put: Load) -> None:
    """Import a part of the clinic again, with other notes."""
    book = put.clinic["bookings"]
    first = put.chance.randrange(max(1, len(book) - IMPORTED))
    note = f"{put.chance.random()}"
    part = [{**row, "notes": note} for row in book[first : first + IMPORTED]]
    file = orjson.dumps({**put.clinic, "bookings": part})
    typed = {"Content-Type": "application/json"}
    await put.ask("import", "POST", "/clinic/import", content=file, headers=typed)


# Health, from a process of its own


@contextmanager
def _watched_health(services: Sequence[Service]) -> Iterator[list[list[float]]]:
    """Fill lists with the milliseconds of ``/healthz`` of each process while the block runs.

    A second in which it did not answer at all counts with all that it took.
    """
    samples: list[list[float]] = [[] for _ in services]
    spawn = multiprocessing.get_context("spawn")
    watchers = []
    for each in services:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_watch_health, args=(each.base, theirs), daemon=True)
        process.start()
        ours.recv()
        watchers.append((process, ours))
    yield samples
    for kept, (process, line) in zip(samples, watchers, strict=True):
        line.send(None)
        kept.extend(line.recv())
        process.join()


def _watch_health(base: str, line: Connection) -> None:
    address = urlsplit(base)
    samples: list[float] = []
    line.send(None)
    while not line.poll(HEALTH_EVERY):
        begin = time.perf_counter()
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        with suppress(OSError, HTTPException):
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        connection.close()
        samples.append((time.perf_counter() - begin) * 1000)
    line.recv()
    line.send(samples)
