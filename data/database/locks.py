"""The locks that writers take, in one order for all, and the number of every advisory lock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from sqlalchemy import ARRAY, BigInteger, Date, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

SCHEMA_LOCK = 7306093
"""Held by whoever brings the schema up."""


EDIT_LOCK = 7306094
"""Bookings share it, an edit of the clinic holds it alone."""


RUN_LOCKS = 7306095
"""First key of the locks of what-if runs, each held by whoever solves it."""


JOB_LOCKS = 7306096
"""First key of the locks of background jobs, each held by whoever does it."""


NAMING_LOCK = 7306097
"""Serialises the naming of keys. Another lock than the clinic's, which a long import holds."""


async def lock_clinic(connection: AsyncConnection) -> None:
    """Take the exclusive edit lock until this transaction ends: bookings under way end first."""
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({EDIT_LOCK})"))


type DayKey = tuple[str, str, dt.date]
"""Kind of resource, its id, and the date."""


_LOCK_DAYS = text(
    """
    INSERT INTO resource_days (kind, resource, date)
    SELECT wanted.*
    FROM (SELECT pg_advisory_xact_lock_shared(:edit_lock)) AS shared,
         unnest(:kinds, :resources, :dates) AS wanted
    ON CONFLICT (kind, resource, date) DO UPDATE SET date = excluded.date WHERE false
    """
).bindparams(
    bindparam("edit_lock", EDIT_LOCK, type_=BigInteger),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("resources", type_=ARRAY(Text)),
    bindparam("dates", type_=ARRAY(Date)),
)
"""Rows are inserted in the order of the arrays; a conflicting one is locked, and not updated."""


async def lock_days(connection: AsyncConnection, keys: Collection[DayKey]) -> None:
    """Lock the rows of resources on dates, in the one global order, and keep edits out.

    Edits of the clinic wait until this transaction ends, or this waits for theirs; bookings share
    that lock. The rows are written where they are missing, so there is always something to lock.
    """
    kinds, resources, dates = zip(*sorted(set(keys)), strict=True)
    await connection.execute(
        _LOCK_DAYS, {"kinds": list(kinds), "resources": list(resources), "dates": list(dates)}
    )
