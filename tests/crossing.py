"""Transactions left open on purpose, and others that get stuck behind them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

STUCK = text("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")


@contextlib.asynccontextmanager
async def left_open(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that stays open as long as it likes, and is committed at the end."""
    async with engine.connect() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection
        await connection.commit()


async def until_stuck(engine: AsyncEngine, *tasks: asyncio.Task[Any]) -> None:
    """Return when each of the tasks has come to its end or waits for a lock in the database."""
    deadline = time.monotonic() + 20
    while True:
        async with engine.connect() as connection:
            stuck = (await connection.execute(STUCK)).scalar_one()
        if sum(not task.done() for task in tasks) <= stuck:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)  # between two looks
