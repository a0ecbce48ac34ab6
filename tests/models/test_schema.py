"""The database itself refuses what its constraints forbid, whoever writes."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, make_url, select, text
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
            "end_minute": start + 30,
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
    assert await write(engine, 0, 0, 1425, end_minute=1455) is None
    tomorrow = DAY + dt.timedelta(days=1)
    assert await write(engine, 0, 1, 14, date=tomorrow) == NO_PROVIDER_OVERLAP
    assert await write(engine, 0, 1, 15, date=tomorrow) is None


async def test_the_migrations_make_what_the_models_say(migrated_engine: AsyncEngine) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    async with migrated_engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_patients_of_an_older_book_are_compared_too(
    admin_engine: AsyncEngine, database: EmbeddedPostgres
) -> None:
    autocommit = admin_engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("CREATE DATABASE older"))
    older = create_engine(
        make_url(database.admin_url).set(database="older").render_as_string(False)
    )
    try:
        async with older.begin() as connection:
            await connection.run_sync(lambda c: upgrade(c, "0009"))
        await prepare(older)
        async with older.begin() as connection:
            for number, patient in enumerate((" Anna", "ANNA", "\u200b ", None)):
                await connection.execute(
                    OLDER_BOOKING, {"start": 600 + 30 * number, "who": patient}
                )
        async with older.begin() as connection:
            await connection.run_sync(lambda c: upgrade(c, "0011"))
        async with older.begin() as connection:
            query = select(BOOKINGS.c.patient_ref, BOOKINGS.c.patient_key)
            rows = await connection.execute(query.order_by(BOOKINGS.c.start_minute))
            assert [tuple(row) for row in rows] == [
                (" Anna", "anna"),
                ("ANNA", "anna"),
                (None, None),
                (None, None),
            ]
    finally:
        await older.dispose()
        async with autocommit.connect() as connection:
            await connection.execute(text("DROP DATABASE older"))


OLDER_BOOKING = text(
    """
    INSERT INTO bookings (
        id, provider_id, provider_no, room_id, room_no, appointment_type_id,
        date, start_minute, end_minute, status, is_overbooked, patient_ref
    )
    SELECT gen_random_uuid(), provider.id, provider.no, room.id, room.no, kind.id,
        '2027-03-01', CAST(:start AS int), CAST(:start AS int) + 30, 'booked', false, :who
    FROM providers AS provider, rooms AS room, appointment_types AS kind
    ORDER BY provider.id, room.id LIMIT 1
    """
)


def upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
