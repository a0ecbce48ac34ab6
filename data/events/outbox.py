"""Events that wait in the database, each until the notification hub has taken it.

Whoever sends one leases it: it is due again after a pause that doubles with each attempt, so what
a sender that died had under way is sent again by another. A booking's events go one after
another: one is not due while an older one waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.events.events import Event
from models.tables import OUTBOX

FIRST_PAUSE_SECONDS = 10
"""Before the second attempt; longer than any attempt takes."""


LONGEST_PAUSE_SECONDS = 3600


_LEASE = text(
    """
    UPDATE outbox
    SET attempts = attempts + 1,
        due_at = clock_timestamp()
            + make_interval(secs => least(:first * 2.0 ^ least(attempts, 30), :longest))
    WHERE number = (
        SELECT number FROM outbox AS waiting
        WHERE due_at <= clock_timestamp()
          AND NOT EXISTS (
              SELECT FROM outbox AS older
              WHERE older.booking_id = waiting.booking_id AND older.number < waiting.number
          )
        ORDER BY due_at, number
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING number, event
    """
).bindparams(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)


async def put(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Write events down in the transaction of what they tell."""
    rows = [{"booking_id": event["booking_id"], "event": event} for event in events]
    await connection.execute(insert(OUTBOX), rows)


async def lease(engine: AsyncEngine) -> Row[Any] | None:
    """Return the number and the event of one that is due, if there is any."""
    async with engine.begin() as connection:
        return (await connection.execute(_LEASE)).one_or_none()


async def settle(engine: AsyncEngine, number: int) -> None:
    """Forget an event that was taken."""
    async with engine.begin() as connection:
        await connection.execute(delete(OUTBOX).where(OUTBOX.c.number == number))
