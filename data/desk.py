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
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Row
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.bookings import Found, Order, book, book_together
from data.deciding import Place
from data.errors import BusyError
from data.events import Audience, run_and_tell

_log = logging.getLogger(__name__)

LARGEST = 32
"""Most orders of one transaction: its locks are held while all of them are decided."""

MOST_TRIES = 4
"""How often others may be faster to take an order's room before it goes alone."""


@dataclass(slots=True)
class _Waiting:
    """An order, whoever waits for its answer, and how often it has been in a batch in vain."""

    order: Order
    answer: asyncio.Future[Found]
    tries: int = 0


class Desk:
    """Takes the orders of one process, and tells `audience` what is booked."""

    def __init__(self, engine: AsyncEngine, audience: Audience) -> None:
        self._engine = engine
        self._audience = audience
        self._queues: defaultdict[dt.date, list[_Waiting]] = defaultdict(list)
        self._at_work: dict[dt.date, asyncio.Task[None]] = {}
        self._turns: WeakValueDictionary[dt.date, asyncio.Lock] = WeakValueDictionary()

    async def book(self, order: Order) -> Found:
        """Book, committed before this returns; see :func:`data.bookings.book` for what it raises.

        Raises
        ------
        BusyError
            See :func:`data.transaction.run`.
        """
        day = order.place.date
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._queues[day].append(_Waiting(order, answer))
        if day not in self._at_work:
            self._at_work[day] = asyncio.create_task(self._serve(day))
        return await answer

    def turn(self, place: Place) -> AbstractAsyncContextManager[Any]:
        """Wait for one's turn to book `place` in a transaction of one's own.

        Those who ask for any room of a date would all try the same rooms, one after another, and
        wait for one another at each; so they go one by one.
        """
        if place.room_id is not None:
            return nullcontext()
        return self._turns.setdefault(place.date, asyncio.Lock())

    async def _serve(self, day: dt.date) -> None:
        """Serve the queue of one date until it is empty."""
        while queue := self._queues.pop(day, None):
            left = await self._write(queue[:LARGEST])
            if rest := [*left, *queue[LARGEST:]]:
                self._queues[day][:0] = rest
        del self._at_work[day]

    async def _write(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Write a batch; return the orders that are to be tried again."""
        if len(batch) == 1 or any(waiting.tries == MOST_TRIES for waiting in batch):
            await asyncio.gather(*map(self._write_alone, batch))
            return []
        orders = [waiting.order for waiting in batch]

        async def together(
            connection: AsyncConnection, told: list[Row[Any]]
        ) -> list[Found | Exception | None]:
            results = await book_together(connection, orders)
            told += [result[0] for result in results if isinstance(result, tuple)]
            return results

        try:
            results = await run_and_tell(self._engine, self._audience, together)
        except (BusyError, PoolTimeoutError) as error:  # alone each would wait as long again
            for waiting in batch:
                _give(waiting.answer, error)
            return []
        except Exception as error:  # it may be but one order's doing
            _log.warning("%d bookings are written one by one: %r", len(batch), type(error))
            await asyncio.gather(*map(self._write_alone, batch))
            return []
        left = []
        for waiting, result in zip(batch, results, strict=True):
            if result is None:
                waiting.tries += 1
                left.append(waiting)
            else:
                _give(waiting.answer, result)
        return left

    async def _write_alone(self, waiting: _Waiting) -> None:
        order, answer = waiting.order, waiting.answer

        async def alone(connection: AsyncConnection, told: list[Row[Any]]) -> Found:
            found = await book(connection, order.place, order.details, order.policy)
            told.append(found[0])
            return found

        try:
            async with self.turn(order.place):
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
