"""The booking desk: orders that wait at the same time are written in one transaction.

A transaction costs the same for one booking as for twenty, and under load it is most of what a
booking costs. So while one is under way, the orders for its date wait together and go into the
next one, as commits share one flush in a database (group commit). An order that finds no other
waiting goes at once and alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.bookings import Found, Order, book, book_together
from data.events import Audience, run_and_tell

_log = logging.getLogger(__name__)

LARGEST = 32
"""Most orders of one transaction: its locks are held while all of them are decided."""

type _Waiting = tuple[Order, asyncio.Future[Found]]


class Desk:
    """Takes the orders of one process, and tells `audience` what is booked."""

    def __init__(self, engine: AsyncEngine, audience: Audience) -> None:
        self._engine = engine
        self._audience = audience
        self._queues: defaultdict[dt.date, list[_Waiting]] = defaultdict(list)
        self._at_work: dict[dt.date, asyncio.Task[None]] = {}

    async def book(self, order: Order) -> Found:
        """Book, committed before this returns; see :func:`data.bookings.book` for what it raises.

        Raises
        ------
        BusyError
            See :func:`data.transaction.run`.
        """
        day = order.place.date
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._queues[day].append((order, answer))
        if day not in self._at_work:
            self._at_work[day] = asyncio.create_task(self._serve(day))
        return await answer

    async def _serve(self, day: dt.date) -> None:
        """Serve the queue of one date until it is empty."""
        while queue := self._queues.pop(day, None):
            await self._write(queue[:LARGEST])
            if rest := queue[LARGEST:]:
                self._queues[day][:0] = rest
        del self._at_work[day]

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        if len(batch) > 1:
            orders = [order for order, _ in batch]

            async def together(
                connection: AsyncConnection, told: list[Row[Any]]
            ) -> list[Found | Exception]:
                results = await book_together(connection, orders)
                told += [result[0] for result in results if not isinstance(result, Exception)]
                return results

            try:
                results = await run_and_tell(self._engine, self._audience, together)
            except Exception:
                await asyncio.gather(*(self._write_alone(*waiting) for waiting in batch))
                return
            for (_, answer), result in zip(batch, results, strict=True):
                _give(answer, result)
        else:
            await self._write_alone(*batch[0])

    async def _write_alone(self, order: Order, answer: asyncio.Future[Found]) -> None:
        async def alone(connection: AsyncConnection, told: list[Row[Any]]) -> Found:
            found = await book(connection, order.place, order.details, order.policy)
            told.append(found[0])
            return found

        try:
            found = await run_and_tell(self._engine, self._audience, alone)
        except Exception as error:
            _give(answer, error)
        else:
            _give(answer, found)


def _give(answer: asyncio.Future[Found], result: Found | Exception) -> None:
    if answer.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
