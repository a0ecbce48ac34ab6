"""The guard of a booking: the minutes, up to `end_minute`, that the constraints protect.

After the duration of a type has changed, the guards of its bookings are set to start + duration: a
first set of them in the edit's own transaction, the others behind it, set by set, so that nobody
waits for long. A booking that another follows too soon keeps its shorter guard; it is told of as a
conflict, and looked at again every hour. Neither version nor audit log changes: nobody has edited
the booking.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, Integer, TextClause, Uuid, bindparam, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.locks import lock_clinic
from data.database.transaction import is_busy, run
from data.errors import BusyError

GUARDS_AT_ONCE = 300
"""Bookings that one transaction looks at."""


REST = 2.0
"""How long the work behind an edit rests after each set, in times of what the set took."""


PATIENCE_MILLISECONDS = 500
"""How long a set waits for the clinic, or a place. Shorter than PostgreSQL's ``deadlock_timeout``:
of it and an import under way it is this that gives in."""


TRIES, PAUSE_SECONDS = 10, 1.0
"""How often a set is tried that something stands in the way of, and the pause before it is."""


AT_WORK: set[asyncio.Task[None]] = set()
"""What edits have left to be done behind them."""


_BEFORE_ALL, _LAST = dt.date(1999, 12, 31), dt.date(2500, 12, 31)


_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class BookingCursor:
    """Bookings still to be looked at: those beyond a date and id, up to a date, in this order."""

    kinds: tuple[str, ...] | None
    """The types whose bookings they are; None: all."""
    date: dt.date
    last: dt.date = _LAST
    id: UUID = _LAST_ID
    then: BookingCursor | None = None
    """What is to be looked at afterwards."""

    @classmethod
    def ahead(cls, today: dt.date) -> BookingCursor:
        """Return the way along all bookings from yesterday on, wherever the clinic may be."""
        return cls(None, today - dt.timedelta(days=2))

    @classmethod
    def of_types(cls, kinds: Collection[str]) -> BookingCursor:
        """Return the way along all bookings of types: those ahead and near first."""
        known = tuple(sorted(kinds))
        before = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2)
        return cls(known, before, then=cls(known, _BEFORE_ALL, before))


_ENDS = "b.start_minute + t.duration_minutes"


def _is_free(owner: str) -> str:
    """SQL: no other booking is in the minutes that a longer guard would take in addition.

    Guards do not overlap, so what stands in its way begins within these minutes, however long its
    own guard is or becomes. Of two bookings that are in each other's way it is therefore always the
    earlier one that keeps its guard, and a whole set grows at once without a collision.
    """
    span = f"b.{owner}_span"
    return f"""NOT EXISTS (
        SELECT FROM bookings AS o
        WHERE o.status <> 'cancelled'{" AND NOT o.is_overbooked" if owner == "provider" else ""}
            AND o.{owner}_span && int8range(upper({span}), lower({span}) + t.duration_minutes)
    )"""


_MAY_CHANGE = f"""
    CASE WHEN b.end_minute > {_ENDS} OR b.status = 'cancelled' THEN true
    ELSE {_is_free("room")} AND (b.is_overbooked OR {_is_free("provider")}) END
"""


_TYPES: dict[str, Any] = {
    "kinds": ARRAY(Uuid(as_uuid=False)),
    "ids": ARRAY(Uuid),
    "id": Uuid,
    "date": Date,
    "first": Date,
    "last": Date,
    "most": Integer,
}
"""Of the parameters below."""


def _statement(sql: str) -> TextClause:
    statement = text(sql)
    names = statement.compile().params
    return statement.bindparams(*(bindparam(name, type_=_TYPES[name]) for name in names))


def _find(of_types: str) -> TextClause:
    return _statement(f"""
        WITH b AS MATERIALIZED (
            SELECT b.*
            FROM bookings AS b JOIN appointment_types AS t ON t.id = b.appointment_type_id
            WHERE b.end_minute <> {_ENDS} AND b.date BETWEEN :date AND :last
                AND (b.date, b.id) > (:date, :id){of_types}
            ORDER BY b.date, b.id LIMIT :most
        )
        SELECT b.id, b.date, {_MAY_CHANGE} AS may_change
        FROM b JOIN appointment_types AS t ON t.id = b.appointment_type_id
        ORDER BY b.date, b.id
    """)  # noqa: S608 - names of columns


_OF_TYPES = " AND b.appointment_type_id = ANY(:kinds)"


_FIND, _FIND_OF_TYPES = _find(""), _find(_OF_TYPES)
"""The next bookings whose guards differ from what their types say; they lock nothing."""


_MATCH = _statement(f"""
    UPDATE bookings AS b SET end_minute = told.ends
    FROM (
        SELECT b.id, {_ENDS} AS ends
        FROM bookings AS b JOIN appointment_types AS t ON t.id = b.appointment_type_id
        WHERE b.id = ANY(:ids) AND b.end_minute <> {_ENDS} AND {_MAY_CHANGE}
        ORDER BY b.date, b.id
        FOR NO KEY UPDATE OF b SKIP LOCKED
    ) AS told
    WHERE b.id = told.id
""")  # noqa: S608 - names of columns


_SHORTEN = _statement(f"""
    UPDATE bookings AS b SET end_minute = {_ENDS}
    FROM appointment_types AS t
    WHERE t.id = b.appointment_type_id AND b.end_minute > {_ENDS}{_OF_TYPES}
        AND b.date BETWEEN :first AND :last
""")  # noqa: S608 - names of columns


async def shorten_guards(
    connection: AsyncConnection,
    kinds: Collection[str],
    first: dt.date = _BEFORE_ALL,
    last: dt.date = _LAST,
) -> None:
    """Let no guard of these types be too long on dates: for what is to be written there at once."""
    if kinds:
        told = {"kinds": list(kinds), "first": first, "last": last}
        await connection.execute(_SHORTEN, told)


async def match_guards(
    connection: AsyncConnection, walk: BookingCursor | None, *, hold: bool = False
) -> BookingCursor | None:
    """Bring the guards of a set of bookings to what their types say; return what is left.

    The transaction holds the clinic already, or it is to `hold` it here, if there is anything to
    write. What somebody else is writing to stays as it is, for the next hour. A set that could not
    be written is left, too.
    """
    most = GUARDS_AT_ONCE
    while walk is not None and most > 0:
        find = _FIND if walk.kinds is None else _FIND_OF_TYPES
        place = {"date": walk.date, "last": walk.last, "id": walk.id, "most": most}
        of_types = {} if walk.kinds is None else {"kinds": list(walk.kinds)}
        rows = (await connection.execute(find, place | of_types)).all()
        ids = [row.id for row in rows if row.may_change]
        if ids and not await _write(connection, ids, hold=hold):
            return walk
        is_last = len(rows) < most
        walk = walk.then if is_last else replace(walk, date=rows[-1].date, id=rows[-1].id)
        most -= len(rows)
    return walk


async def _write(connection: AsyncConnection, ids: list[UUID], *, hold: bool) -> bool:
    """Write a set, or nothing of it where that would take long; return whether it is written."""
    patience = await connection.scalar(text("SELECT current_setting('lock_timeout')"))
    attempt = await connection.begin_nested()
    try:
        await _wait_at_most(connection, f"{PATIENCE_MILLISECONDS}ms")
        if hold:
            await lock_clinic(connection)
        await connection.execute(_MATCH, {"ids": ids})
        await _wait_at_most(connection, patience)
    except DBAPIError as error:
        await attempt.rollback()
        if isinstance(error, IntegrityError) or is_busy(error):
            return False
        raise
    await attempt.commit()
    return True


async def _wait_at_most(connection: AsyncConnection, patience: str) -> None:
    await connection.execute(
        text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": patience}
    )


def go_on(engine: AsyncEngine, walk: BookingCursor | None) -> None:
    """Do what is left behind the transaction that has been committed, set by set."""
    if walk is not None:
        task = asyncio.create_task(_go_on(engine, walk))
        AT_WORK.add(task)
        task.add_done_callback(AT_WORK.discard)


async def _go_on(engine: AsyncEngine, walk: BookingCursor) -> None:
    tries = 0
    with suppress(BusyError, DBAPIError):  # what is ahead is looked at again every hour

        async def match(connection: AsyncConnection) -> BookingCursor | None:
            return await match_guards(connection, walk, hold=True)

        began = time.monotonic()
        while (left := await run(engine, match)) is not None and tries < TRIES:
            tries = tries + 1 if left is walk else 0
            await asyncio.sleep(PAUSE_SECONDS if tries else REST * (time.monotonic() - began))
            walk, began = left, time.monotonic()
