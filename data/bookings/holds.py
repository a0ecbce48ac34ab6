"""Holds whose time is over: gone by the rules, not yet by the constraints, which know no time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.clinic.snapshot import IS_EXPIRED
from models.tables import BOOKINGS

CANCEL_EXPIRED = "expire"
"""What was done, as the audit log has it."""


async def cancel_expired_holds(connection: AsyncConnection, *where: Any) -> None:
    """Cancel the holds that have run out, those of certain bookings or all."""
    statement = audit.with_entry(
        update(BOOKINGS)
        .where(IS_EXPIRED, *where)
        .values(
            status="cancelled",
            expires_at=None,
            version=BOOKINGS.c.version + 1,
            updated_at=func.now(),
        ),
        BOOKINGS,
    )
    await connection.execute(statement, audit.about(audit.EXPIRY, CANCEL_EXPIRED))
