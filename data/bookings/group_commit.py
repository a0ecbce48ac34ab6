"""Group commit of bookings: orders that wait at the same time are written in one transaction.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.bookings.create import Order, book, book_together
from data.bookings.reading import BookingRecord
from data.database.idempotency import Answer, RepeatableRequest, begin, keep, run_and_store
from data.errors import BusyError
from data.events.events import Audience, run_and_tell

_log = logging.getLogger(__name__)


LARGEST = 32
"""Most orders of one transaction: its locks are held while all of them are decided."""


MOST_TRIES = 4
"""How often others may be faster to take an order's room before it goes alone."""


@dataclass(frozen=True, slots=True)
class IdempotentOrder:
    """An order's request that may be repeated, and how its outcome becomes the answer to keep."""

    request: RepeatableRequest
    accept: Callable[[BookingRecord], Answer]
    refuse: Callable[[Exception], Answer | None]
    """None lets it be tried again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer to a repeatable order, and whether it was given before."""

    answer: Answer
    is_repeat: bool


type _Result = BookingRecord | Kept


@dataclass(slots=True, eq=False)
class _Waiting:
    """An order, whoever waits for its answer, and how often it has been in a batch in vain."""

    order: Order
    answer: asyncio.Future[_Result]
    repeatable: IdempotentOrder | None = None
    tries: int = 0


class GroupCommit:
    """Takes the orders of one process, and tells `audience` what is booked."""

    def __init__(self, engine: AsyncEngine, audience: Audience) -> None:
        self._engine = engine
        self._audience = audience
        self._queues: defaultdict[dt.date, list[_Waiting]] = defaultdict(list)
        self._at_work: dict[dt.date, asyncio.Task[None]] = {}

    async def book(self, order: Order) -> BookingRecord:
        """Book, committed before this returns; raises as :func:`data.bookings.create.book` does.

        Raises
        ------
        BusyError
            See :func:`data.database.transaction.run`.
        """
        found = await self._wait_for(order, None)
        assert isinstance(found, tuple)
        return found

    async def book_once(self, order: Order, repeatable: IdempotentOrder) -> Kept:
        """Book and keep the answer, a refusal included; or return the one that is kept.

        Raises
        ------
        IdempotencyKeyReusedError
            When the key came with another request.
        BusyError
            See :func:`data.database.transaction.run`.
        """
        kept = await self._wait_for(order, repeatable)
        assert isinstance(kept, Kept)
        return kept

    async def _wait_for(self, order: Order, repeatable: IdempotentOrder | None) -> _Result:
        day = order.place.date
        answer: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._queues[day].append(_Waiting(order, answer, repeatable))
        if day not in self._at_work:
            self._at_work[day] = asyncio.create_task(self._serve(day))
        return await answer

    async def _serve(self, day: dt.date) -> None:
        """Serve the queue of one date until it is empty."""
        while queue := self._queues.pop(day, None):
            left = await self._write(queue[:LARGEST])
            if rest := [*left, *queue[LARGEST:]]:
                self._queues[day][:0] = rest
        del self._at_work[day]

    async def _write(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Write a batch; return the orders that are to be tried again."""
        alone = [w for w in batch if w.tries == MOST_TRIES or len(batch) == 1]
        for waiting in alone:  # side by side they would only get in each other's way
            await self._write_alone(waiting)
        if alone:
            return [waiting for waiting in batch if waiting not in alone]

        async def together(
            connection: AsyncConnection, told: list[Row[Any]]
        ) -> list[_Result | Exception | None]:
            return await _write_together(connection, batch, told)

        try:
            results = await run_and_tell(self._engine, self._audience, together)
        except (BusyError, PoolTimeoutError) as error:  # alone each would wait as long again
            for waiting in batch:
                _give(waiting.answer, error)
            return []
        except Exception as error:  # it may be but one order's doing
            _log.warning("%d bookings are written one by one: %r", len(batch), type(error))
            for waiting in batch:
                await self._write_alone(waiting)
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
        order, repeatable = waiting.order, waiting.repeatable

        async def alone(connection: AsyncConnection, told: list[Row[Any]]) -> _Result:
            async def once(connection: AsyncConnection) -> BookingRecord:
                found = await book(connection, order.place, order.details, order.policy)
                told.append(found[0])
                return found

            if repeatable is None:
                return await once(connection)

            async def first(connection: AsyncConnection) -> Answer:
                return repeatable.accept(await once(connection))

            (begun,) = await begin(connection, [repeatable.request])
            if isinstance(begun, Answer):
                return Kept(begun, is_repeat=True)
            if begun is not None:
                raise begun
            answer = await run_and_store(connection, repeatable.request, first, repeatable.refuse)
            return Kept(answer, is_repeat=False)

        try:
            result = await run_and_tell(self._engine, self._audience, alone)
        except Exception as error:
            _give(waiting.answer, error)
        else:
            _give(waiting.answer, result)


async def _write_together(
    connection: AsyncConnection, batch: Sequence[_Waiting], told: list[Row[Any]]
) -> list[_Result | Exception | None]:
    """Write what is not answered yet, and keep the answers of what may be repeated."""
    results: dict[int, _Result | Exception | None] = {}
    first_of: dict[tuple[str, str], int] = {}
    for number, waiting in enumerate(batch):
        if (repeatable := waiting.repeatable) is not None:
            name = repeatable.request.caller, repeatable.request.key
            if first_of.setdefault(name, number) != number:
                results[number] = None  # a repeat of another one here: it waits for its answer
    keyed = {n: waiting.repeatable for n in first_of.values() if (waiting := batch[n]).repeatable}
    if keyed:
        requests = [repeatable.request for repeatable in keyed.values()]
        for number, begun in zip(keyed, await begin(connection, requests), strict=True):
            if begun is not None:
                results[number] = Kept(begun, True) if isinstance(begun, Answer) else begun
    fresh = [number for number in range(len(batch)) if number not in results]
    outcomes = await book_together(connection, [batch[number].order for number in fresh])
    told += [outcome[0] for outcome in outcomes if isinstance(outcome, tuple)]
    answers: list[tuple[RepeatableRequest, Answer | None]] = []
    for number, outcome in zip(fresh, outcomes, strict=True):
        results[number] = outcome
        if (repeatable := batch[number].repeatable) is None:
            continue
        answer = None
        if isinstance(outcome, tuple):
            answer = repeatable.accept(outcome)
        elif outcome is not None:
            answer = repeatable.refuse(outcome)
        answers.append((repeatable.request, answer))
        if answer is not None:
            results[number] = Kept(answer, is_repeat=False)
    await keep(connection, answers)
    return [results[number] for number in range(len(batch))]


def _give(answer: asyncio.Future[_Result], result: _Result | Exception) -> None:
    if answer.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
