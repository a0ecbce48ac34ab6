"""Every hour: guards that could not grow, as another booking was in the way, are tried again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.clinic.guards import BookingCursor, go_on, match_guards
from data.jobs.hourly import Work

KEEPER = "guard keeper"
"""The job's name."""


def keep_guards(engine: AsyncEngine) -> Work:
    """Return the work of the guard keeper.

    It brings the guards of the bookings ahead to what their types say, as far as others are not in
    the way: those in whose way another was, and those that a process which ended did not come to.
    What is more than a set is done behind the job.
    """

    async def work(connection: AsyncConnection, hour: dt.datetime) -> Sequence[Row[Any]]:
        go_on(engine, await match_guards(connection, BookingCursor.ahead(hour.date()), hold=True))
        return []

    return work
