"""A semaphore that callers share fairly."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSemaphore:
    """At most `at_once` at a time, the callers who wait one after another (round robin).

    Whoever asks for a hundred things waits for them: another caller's one thing waits for one that
    is under way, and for one of each other caller who waits.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn of `caller`, and have it during the block."""
        await self._wait(caller)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it came in the moment in which nobody waited any more
            raise

    def _pass_on(self) -> None:
        """Give the turn to the caller who has waited longest since its last one."""
        while self._waiting:
            caller, theirs = self._waiting.popitem(last=False)
            turn = theirs.popleft()
            if theirs:
                self._waiting[caller] = theirs  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
