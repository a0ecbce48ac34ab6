"""Holds whose time is over are written off, they alone, and it is told why."""

import datetime as dt
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.bookings.statements import cancel_expired_holds
from data.clinic.import_export import import_document
from models.tables import BOOKINGS
from tests.support.clinics import booking, coming_monday, small_clinic
from tests.support.strategies import uid

MONDAY = coming_monday()


TUESDAY = MONDAY + dt.timedelta(days=1)


async def test_only_holds_that_ran_out_are_written_off(
    engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    now = dt.datetime.now(dt.UTC)
    over = {"status": "held", "expires_at": (now + dt.timedelta(minutes=1)).isoformat()}
    lasting = {"status": "held", "expires_at": (now + dt.timedelta(hours=1)).isoformat()}
    rows = [
        booking(0, MONDAY, "09:00", **over),
        booking(1, MONDAY, "10:00", **lasting),
        booking(2, MONDAY, "11:00"),
        booking(3, TUESDAY, "09:00", **over),
    ]
    document = orjson.dumps(small_clinic(bookings=rows))
    await import_document(engine, document, is_yaml=False, replace=True, today=now.date())
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE bookings SET expires_at = expires_at - interval '2 minutes',"
                " updated_at = updated_at - interval '1 hour'"
            )
        )
    async with admin_engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("TRUNCATE audit_log"))
    before = await book(engine)

    async with engine.begin() as connection:
        await cancel_expired_holds(connection, BOOKINGS.c.date == MONDAY)
    after = await book(engine)
    gone = after.pop(uid(5, 0))
    was = before.pop(uid(5, 0))
    assert after == before
    assert (gone.pop("status"), gone.pop("expires_at")) == ("cancelled", None)
    assert gone.pop("version") == was.pop("version") + 1
    assert gone.pop("updated_at") > was.pop("updated_at") + dt.timedelta(hours=1)
    assert gone.items() <= was.items()
    assert await told(engine) == [("expiry", "expire", "booking", uid(5, 0), None, "cancelled")]

    async with engine.begin() as connection:
        await cancel_expired_holds(connection)
    statuses = {key: row["status"] for key, row in (await book(engine)).items()}
    assert statuses == {
        uid(5, 0): "cancelled",
        uid(5, 1): "held",
        uid(5, 2): "booked",
        uid(5, 3): "cancelled",
    }
    assert len(await told(engine)) == 2


async def book(engine: AsyncEngine) -> dict[str, dict[str, Any]]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT * FROM bookings"))
        return {str(row["id"]): dict(row) for row in rows.mappings()}


async def told(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    query = text(
        "SELECT actor, action, entity, entity_id::text, before, after->>'status'"
        " FROM audit_log ORDER BY id"
    )
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]
