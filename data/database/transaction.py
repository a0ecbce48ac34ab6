"""Transactions that write: run again where they lost, and the locks they take, in one order."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.locks import lock_clinic
from data.errors import BusyError, SlotUnavailableError
from models.bookings import (
    APART_FROM_TEAMS,
    NO_PROVIDER_OVERLAP,
    NO_ROOM_OVERLAP,
    TEAMS_APART,
    TIME_TO_TRAVEL,
    UNIQUE_PROVIDER_START,
    UNIQUE_ROOM_START,
    WITHIN_POOLS,
)

PATIENCE_SECONDS = 8
"""A transaction that lost to another is run again, for as long as this."""


LONGEST_PAUSE_SECONDS = 0.3
"""Before it is run again, at most; the first pauses are much shorter."""


SLICE_MILLISECONDS = 500
"""How long a transaction that has locked rows waits at a time for the clinic."""


CONSTRAINT_REASONS = {
    UNIQUE_PROVIDER_START: "PROVIDER_BUSY",
    NO_PROVIDER_OVERLAP: "PROVIDER_BUSY",
    UNIQUE_ROOM_START: "ROOM_BUSY",
    NO_ROOM_OVERLAP: "ROOM_BUSY",
    WITHIN_POOLS: "EQUIPMENT_BUSY",
    TEAMS_APART: "ROLE_UNFILLED",
    APART_FROM_TEAMS: "PROVIDER_BUSY",
    TIME_TO_TRAVEL: "PROVIDER_TRAVEL",
}


_RERUN = {"40001", "40P01"}  # serialization failure, deadlock


_BUSY = (
    "08",  # the connection ended, also while it was being made, or a pooler has none to give
    "53",  # too many connections, no memory or disk left
    "55P03",  # lock not available
    "57014",  # query cancelled: the statement's time is up
    "57P01",  # the server shuts down
    "57P02",  # the server crashed
    "57P03",  # the server starts up
    "25P03",  # idle in transaction for too long
    "57P05",  # idle for too long
)
"""What SQLSTATEs begin with where the same request may succeed later."""


class ChangedMeanwhileError(Exception):
    """What was seen before the locks is no longer so: the transaction is to run again."""


async def run[Result](
    engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]
) -> Result:
    """Run `work` in one transaction, committed before this returns.

    Raises
    ------
    SlotUnavailableError
        When a constraint of the book refuses what was written.
    BusyError
        When the transaction lost too often, waited too long, or the database is away.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    longest = 0.01
    while True:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except IntegrityError as error:
            raise refusal_of(error) from None
        except (ChangedMeanwhileError, DBAPIError) as error:
            if isinstance(error, DBAPIError) and not (_has_lost(error) or is_busy(error)):
                raise
            pause = random.uniform(0, longest)  # noqa: S311
            is_over = time.monotonic() + pause > give_up
            if is_over or (isinstance(error, DBAPIError) and not _has_lost(error)):
                raise BusyError("The database is busy; please repeat the request.") from error
        # Whoever was faster may be waited for: each time someone has got through.
        await asyncio.sleep(pause)
        longest = min(2 * longest, LONGEST_PAUSE_SECONDS)


def _has_lost(error: DBAPIError) -> bool:
    """Return whether the transaction was ended in favour of another, and may do when run again."""
    return getattr(error.orig, "sqlstate", None) in _RERUN


def is_busy(error: DBAPIError) -> bool:
    """Return whether the database is away or overloaded, and nothing is wrong with the request."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(_BUSY)


def refusal_of(error: IntegrityError) -> Exception:
    """Return what a broken constraint means to the caller, or `error` where it means nothing."""
    reason = CONSTRAINT_REASONS.get(constraint_of(error) or "")
    if reason is None:
        return error
    return SlotUnavailableError("This place has just been taken.", reasons=[reason])


def constraint_of(error: IntegrityError) -> str | None:
    """Return the name of the constraint that a write broke."""
    cause = error.orig.__cause__ if error.orig is not None else None
    return getattr(cause, "constraint_name", None)


async def lock_clinic_holding_rows(connection: AsyncConnection, seconds: float) -> None:
    """Lock the clinic as :func:`lock_clinic` does, in a transaction that has locked rows already.

    A booking under way may wait for one of these rows: a deadlock. This transaction waits in
    slices shorter than PostgreSQL's ``deadlock_timeout`` (1 s), so that the other one, which has
    done less, is the one that is ended.

    Raises
    ------
    DBAPIError
        When the lock could not be had within so many seconds.
    """
    give_up = time.monotonic() + seconds
    while True:
        attempt = await connection.begin_nested()
        try:
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{SLICE_MILLISECONDS}ms'")
            await lock_clinic(connection)
        except DBAPIError as error:
            await attempt.rollback()
            if not is_busy(error) or time.monotonic() > give_up:
                raise
        else:
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{seconds}s'")
            await attempt.commit()
            return


def patient_resource(key: str) -> str:
    """Return the name of a patient's days: a hash, for a row that is locked need not tell whom."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
