"""What is kept only for a time is removed once it is over, every hour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Date, Integer, Row, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from data.jobs.hourly import Work, clinic_time

CLEANER = "cleaner"
"""The job's name."""


MOST_ROWS = 50_000
"""Removed from one table in one go; what is left is the next hour's."""


_REMOVALS = (
    """
    DELETE FROM idempotency_keys WHERE (caller, key) IN (
        SELECT caller, key FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours'
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    """,
    """
    DELETE FROM resource_days WHERE (kind, resource, date) IN (
        SELECT kind, resource, date FROM resource_days
        WHERE date < :before
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    """,
    """
    DELETE FROM what_if_runs WHERE id IN (
        SELECT id FROM what_if_runs
        WHERE status IN ('done', 'stopped', 'failed')
          AND coalesce(finished_at, created_at) < now() - make_interval(days => :run_days)
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    """,
    """
    DELETE FROM job_runs AS old
    WHERE hour < now() - interval '30 days'
      AND EXISTS (SELECT FROM job_runs AS newer WHERE newer.job = old.job AND newer.hour > old.hour)
    """,
)


def clean(run_days: int) -> Work:
    """Return the work of the cleaner.

    It removes answers to repeatable requests after their 24 hours, the rows that bookings of past
    dates locked, what-if runs `run_days` after they ended, and hours that jobs did a month ago.
    """
    statements = [
        text(statement).bindparams(
            *(
                bindparam(name, type_=kind)
                for name, kind in (("most", Integer), ("before", Date), ("run_days", Integer))
                if f":{name}" in statement
            )
        )
        for statement in _REMOVALS
    ]

    async def work(connection: AsyncConnection, _: dt.datetime) -> Sequence[Row[Any]]:
        now, zone = await clinic_time(connection)
        # A booking on the day after may reach over midnight, and lock the day before.
        before = now.astimezone(zone).date() - dt.timedelta(days=2)
        told = {"most": MOST_ROWS, "before": before, "run_days": run_days}
        for statement in statements:
            wanted = {name: told[name] for name in statement.compile().params}
            await connection.execute(statement, wanted)
        return []

    return work
