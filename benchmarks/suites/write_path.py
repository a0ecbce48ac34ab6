"""The whole write path against bare inserts into the same table, round by round in one run.

Sixteen writers share the service's pool of sixteen connections. A bare insert is one committed row
of the ``bookings`` table with all its constraints and nothing looked at; a booking is what the API
does: look, lock, look again, decide by masks and model, insert with its audit entry, commit; those
that wait at the same time share a transaction.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice, product
from uuid import uuid4

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks.support.clinics import MONDAY, as_document, make_clinic
from data.bookings.create import Details, Order
from data.bookings.decisions import Place, Policy
from data.bookings.group_commit import GroupCommit
from data.clinic.import_export import import_file
from data.database.engine import POOL_SIZE, create_engine
from data.events.events import Audience
from data.files.clinic_file import ClinicFile
from models.tables import BOOKINGS, PROVIDERS, ROOMS
from solver.clinic.clinic import Clinic
from solver.clinic.patients import patient_key
from solver.scoring.parts import DEFAULT_WEIGHTS

PAIRS = 40
"""Providers, each with a room of its own: these bookings do not compete."""


STARTS = range(600, 690, 30)


MINUTES = 15


def asked(clinic: Clinic) -> Iterator[Place]:
    """Yield places that are free and feasible, none twice."""
    kind = next(
        row
        for row in clinic.appointment_types
        if row.duration_minutes == MINUTES and not row.required_skills
    )
    for week, start in product(range(50), STARTS):
        for provider, room in zip(clinic.providers, clinic.rooms, strict=True):
            yield Place(kind.id, provider.id, MONDAY + dt.timedelta(weeks=week), start, room.id)


async def run(url: str, *, rounds: int, count: int) -> dict[str, list[float]]:
    """Return the rates of `rounds` of `count` rows each way."""
    clinic = make_clinic(PAIRS, PAIRS).with_bookings(())
    engine = create_engine(url)
    file = ClinicFile.model_validate(as_document(clinic))
    await import_file(engine, file, replace=True, today=MONDAY - dt.timedelta(days=7))
    numbers = await _numbers(engine)
    now = dt.datetime.combine(MONDAY - dt.timedelta(days=7), dt.time(), dt.UTC)
    policy = Policy(now, DEFAULT_WEIGHTS, horizon_days=3650)
    places = asked(clinic)

    group_commit = GroupCommit(engine, Audience())

    async def bare(place: Place, patient: str) -> None:
        async with engine.begin() as connection:
            await insert_bare(connection, place, patient)

    async def insert_bare(connection: AsyncConnection, place: Place, patient: str) -> None:
        assert place.room_id is not None
        await connection.execute(
            insert(BOOKINGS).values(
                id=uuid4(),
                provider_id=place.provider_id,
                provider_no=numbers[place.provider_id],
                room_id=place.room_id,
                room_no=numbers[place.room_id],
                appointment_type_id=place.appointment_type_id,
                date=place.date,
                start_minute=place.start,
                duration_minutes=MINUTES,
                buffer_before=0,
                buffer_after=0,
                patient_ref=patient,
                patient_key=patient_key(patient),
                status="booked",
                is_overbooked=False,
                score=0,
            )
        )

    async def whole(place: Place, patient: str) -> None:
        await group_commit.book(Order(place, Details(patient), policy))

    rates: dict[str, list[float]] = {"bare inserts": [], "bookings": []}
    for number in range(rounds + 1):
        for name, write in (("bare inserts", bare), ("bookings", whole)):
            rate = await _rate(write, list(islice(places, count)))
            if number:  # the first round opens the connections
                rates[name].append(rate)
    await engine.dispose()
    return rates


async def _numbers(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = [
            row
            for table in (PROVIDERS, ROOMS)
            for row in await connection.execute(select(table.c.id, table.c.no))
        ]
    return {str(row.id): row.no for row in rows}


async def _rate(write: Callable[[Place, str], Awaitable[None]], places: list[Place]) -> float:
    waiting = iter(enumerate(places))

    async def writer() -> None:
        for number, place in waiting:
            await write(place, f"p{number}")

    begin = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(POOL_SIZE)))
    return len(places) / (time.perf_counter() - begin)
