"""Long reading in a process of its own, which gives way to whatever the service answers meanwhile.

A thread would share the interpreter with the event loop: a book of hundreds of thousands of
bookings would then hold every request up, health included.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from data.database.embedded.launcher import end_with_parent
from data.errors import BusyError

LARGE = 20_000
"""Bytes of what is to be read from which on another process reads it."""


NICENESS = 10
"""How far such a process gives way to everything that someone waits for (0 to 19)."""


async def read_in_worker[Result](
    size: int, read: Callable[..., Result], *arguments: Any, **named: Any
) -> Result:
    """Call `read`, a function of a module, beside the event loop; return what it returns.

    What has fewer than :data:`LARGE` bytes, `size`, is read in a thread.

    Raises
    ------
    BusyError
        When the process that read was killed, twice.
    """
    work = partial(read, *arguments, **named)
    if size < LARGE:
        return await asyncio.to_thread(work)
    for _ in range(2):
        try:
            return await asyncio.get_running_loop().run_in_executor(_reader(), work)
        except BrokenProcessPool:
            _reader.cache_clear()
    raise BusyError("The process that reads the bookings was ended; please repeat the request.")


@cache
def _reader() -> ProcessPoolExecutor:
    """Return the process that reads, one request after the other."""
    return worker_process()


@asynccontextmanager
async def worker_ended() -> AsyncIterator[None]:
    """End the process that reads, if there is one, with this block.

    Otherwise one that is ended by a signal leaves the names of its semaphores behind.
    """
    try:
        yield
    finally:
        if _reader.cache_info().currsize:
            reader = _reader()
            _reader.cache_clear()
            await asyncio.to_thread(reader.shutdown, wait=True, cancel_futures=True)


def worker_process() -> ProcessPoolExecutor:
    """Return a process that gives way to others and ends with this one."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=begin_worker, initargs=(os.getpid(),))


def begin_worker(parent: int) -> None:
    """Prepare a process that works beside `parent`: it gives way, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    end_with_parent(parent, signal.SIGKILL)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
