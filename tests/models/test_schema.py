"""The database itself refuses what its constraints forbid, whoever writes."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, TextClause, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from data.database.transaction import constraint_of
from models.base import Base
from models.bookings import (
    NO_PROVIDER_OVERLAP,
    NO_ROOM_OVERLAP,
    UNIQUE_PROVIDER_START,
    UNIQUE_ROOM_START,
)
from models.tables import BOOKINGS, PROVIDERS, ROOMS, TYPES
from tests.support.strategies import uid

DAY = dt.date(2027, 3, 1)


async def prepare(engine: AsyncEngine) -> None:
    buffers = {"buffer_before": 0, "buffer_after": 0, "active": True}
    async with engine.begin() as connection:
        for number in (0, 1):
            await connection.execute(
                insert(PROVIDERS).values(id=uid(1, number), name="P", skills=[], **buffers)
            )
            await connection.execute(
                insert(ROOMS).values(
                    id=uid(2, number), name="R", equipment=[], turnover_minutes=0, active=True
                )
            )
        await connection.execute(
            insert(TYPES).values(
                id=uid(3, 0),
                name="T",
                duration_minutes=30,
                required_skills=[],
                required_equipment=[],
                **buffers,
            )
        )


async def write(
    engine: AsyncEngine, provider: int, room: int, start: int, **changes: Any
) -> str | None:
    """Insert a booking; the constraint that refuses it, if one does."""
    async with engine.connect() as connection:
        numbers = {}
        for name, table, key in (
            ("provider_no", PROVIDERS, uid(1, provider)),
            ("room_no", ROOMS, uid(2, room)),
        ):
            query = select(table.c.no).where(table.c.id == UUID(key))
            numbers[name] = (await connection.execute(query)).scalar_one()
        values = {
            "id": uuid4(),
            "provider_id": uid(1, provider),
            "room_id": uid(2, room),
            "appointment_type_id": uid(3, 0),
            "date": DAY,
            "start_minute": start,
            "duration_minutes": 30,
            "buffer_before": 0,
            "buffer_after": 0,
            "status": "booked",
            "is_overbooked": False,
        }
        try:
            await connection.execute(insert(BOOKINGS).values(**numbers, **(values | changes)))
            await connection.commit()
        except IntegrityError as error:
            return constraint_of(error)
    return None


@pytest.mark.parametrize(
    ("second", "refused_by"),
    [
        ({"provider": 0, "room": 1, "start": 630}, None),
        ({"provider": 1, "room": 1, "start": 600}, None),
        ({"provider": 0, "room": 1, "start": 600, "is_overbooked": True}, UNIQUE_PROVIDER_START),
        ({"provider": 1, "room": 0, "start": 600}, {NO_ROOM_OVERLAP, UNIQUE_ROOM_START}),
        ({"provider": 0, "room": 1, "start": 615}, NO_PROVIDER_OVERLAP),
        ({"provider": 0, "room": 1, "start": 615, "is_overbooked": True}, None),
        ({"provider": 1, "room": 0, "start": 629}, NO_ROOM_OVERLAP),
        ({"provider": 1, "room": 0, "start": 629, "is_overbooked": True}, NO_ROOM_OVERLAP),
        ({"provider": 0, "room": 0, "start": 600, "status": "cancelled"}, None),
        ({"provider": 0, "room": 0, "start": 600, "date": DAY + dt.timedelta(days=1)}, None),
    ],
)
async def test_constraints(
    engine: AsyncEngine, second: dict[str, Any], refused_by: str | set[str] | None
) -> None:
    await prepare(engine)
    assert await write(engine, 0, 0, 600) is None
    refusal = await write(engine, **second)
    assert refusal in refused_by if isinstance(refused_by, set) else refusal == refused_by


async def test_a_span_that_passes_midnight_meets_the_next_date(engine: AsyncEngine) -> None:
    await prepare(engine)
    assert await write(engine, 0, 0, 1425) is None
    tomorrow = DAY + dt.timedelta(days=1)
    assert await write(engine, 0, 1, 14, date=tomorrow) == NO_PROVIDER_OVERLAP
    assert await write(engine, 0, 1, 15, date=tomorrow) is None


@pytest.mark.parametrize(
    ("changes", "refused_by"),
    [
        ({"duration_minutes": 0}, "ck_bookings_duration"),
        ({"duration_minutes": 1441}, "ck_bookings_duration"),
        ({"buffer_before": -1}, "ck_bookings_buffers"),
        ({"buffer_after": 721}, "ck_bookings_buffers"),
        ({"duration_minutes": 1440, "buffer_before": 720, "buffer_after": 720}, None),
    ],
)
async def test_minutes_that_no_booking_has(
    engine: AsyncEngine, changes: dict[str, Any], refused_by: str | None
) -> None:
    await prepare(engine)
    assert await write(engine, 0, 0, 600, **changes) == refused_by


def differences(connection: Connection) -> list[Any]:
    return compare_metadata(MigrationContext.configure(connection), Base.metadata)


async def test_the_migrations_make_what_the_models_say(migrated_engine: AsyncEngine) -> None:
    async with migrated_engine.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.fixture
async def older(
    admin_engine: AsyncEngine, database: EmbeddedPostgres
) -> AsyncIterator[AsyncEngine]:
    """A database of its own, to which no migration has been made."""
    autocommit = admin_engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("CREATE DATABASE older"))
    engine = create_engine(
        make_url(database.admin_url).set(database="older").render_as_string(False)
    )
    yield engine
    await engine.dispose()
    async with autocommit.connect() as connection:
        await connection.execute(text("DROP DATABASE older"))


async def test_patients_of_an_older_book_are_compared_too(older: AsyncEngine) -> None:
    await migrate(older, "0009")
    await prepare(older)
    async with older.begin() as connection:
        for number, patient in enumerate((" Anna", "ANNA", "\u200b ", None)):
            start = 600 + 30 * number
            values = {"start": start, "end": start + 30, "who": patient}
            await connection.execute(GUARDED, values)
    await migrate(older, "0011")
    async with older.begin() as connection:
        query = select(BOOKINGS.c.patient_ref, BOOKINGS.c.patient_key)
        rows = await connection.execute(query.order_by(BOOKINGS.c.start_minute))
        assert [tuple(row) for row in rows] == [
            (" Anna", "anna"),
            ("ANNA", "anna"),
            (None, None),
            (None, None),
        ]


async def test_bookings_of_an_older_book_keep_what_was_guarded_of_them(
    older: AsyncEngine,
) -> None:
    """Down again the guards are as they were; up again, too."""
    await migrate(older, "0016")
    await prepare(older)
    guards = [(600, 615), (615, 645), (660, 690), (1425, 1455)]
    async with older.begin() as connection:
        await connection.execute(text("UPDATE appointment_types SET buffer_after = 10"))
        for start, end in guards:
            await connection.execute(GUARDED, {"start": start, "end": end, "who": None})
    names = "start_minute, duration_minutes, buffer_before, buffer_after, version"
    for _ in range(2):
        await migrate(older, "0017")
        assert await book(older, names) == [(start, end - start, 0, 10, 1) for start, end in guards]
        assert await overlaps(older, LASTING, {"start": 644, "end": 660})
        assert not await overlaps(older, LASTING, {"start": 645, "end": 660})
        await migrate(older, "0016")
        assert await book(older, "start_minute, end_minute, version") == [
            (*guard, 1) for guard in guards
        ]
        assert await overlaps(older, GUARDED, {"start": 644, "end": 660, "who": None})
        assert not await overlaps(older, GUARDED, {"start": 645, "end": 660, "who": None})


async def migrate(engine: AsyncEngine, revision: str) -> None:
    """Bring a database's schema up or down to a revision."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", "migrations")
        config.attributes["connection"] = connection
        present = MigrationContext.configure(connection).get_current_revision() or ""
        (command.upgrade if present < revision else command.downgrade)(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(work)


async def book(engine: AsyncEngine, names: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        query = text(f"SELECT {names} FROM bookings ORDER BY start_minute")
        return [tuple(row) for row in await connection.execute(query)]


async def overlaps(engine: AsyncEngine, statement: TextClause, values: dict[str, Any]) -> bool:
    """Whether a booking is refused because it overlaps another; it is not kept."""
    async with engine.connect() as connection:
        try:
            await connection.execute(statement, values)
        except IntegrityError as error:
            return constraint_of(error) in (NO_PROVIDER_OVERLAP, NO_ROOM_OVERLAP)
    return False


def first_of_each(columns: str, values: str) -> TextClause:
    """Insert a booking of the first provider in the first room, by an older schema."""
    return text(
        f"""
        INSERT INTO bookings (
            id, provider_id, provider_no, room_id, room_no, appointment_type_id,
            date, status, is_overbooked, start_minute, {columns}
        )
        SELECT gen_random_uuid(), provider.id, provider.no, room.id, room.no, kind.id,
            '2027-03-01', 'booked', false, CAST(:start AS int), {values}
        FROM providers AS provider, rooms AS room, appointment_types AS kind
        ORDER BY provider.id, room.id LIMIT 1
        """
    )


GUARDED = first_of_each("end_minute, patient_ref", "CAST(:end AS int), :who")


LASTING = first_of_each(
    "duration_minutes, buffer_before, buffer_after", "CAST(:end AS int) - CAST(:start AS int), 0, 0"
)
