"""The part of the service that takes what-if runs from their queue and has them solved."""

from __future__ import annotations

import asyncio
import datetime as dt
import queue
from collections.abc import AsyncIterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.service.settings import Settings
from api.what_if.executors import solve
from api.what_if.progress_channel import ProgressServer, host_for
from data.clinic.snapshot import FOR_PLANS, load_clinic
from data.database.engine import create_engine
from data.files.run_file import InvalidRunFileError, horizon_of, parse_run
from data.what_if import queue as runs
from solver.planning.problem import Progress, relative_gap
from solver.whatif.run_result import ProgressEvent
from solver.whatif.solve import PlanRejectedError

IDLE_SECONDS = 0.5
"""How often the queue is looked at."""


WATCH_SECONDS = 0.25
"""How often a run under way is looked at: what it tells, and whether it is to stop."""


AWAY_SECONDS = 2.0
"""How long to wait after the database was away."""


log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """Solve queued runs, one at a time, while the block lasts.

    A run under way at the end is left to whoever comes next: it is given back by the connection
    that holds it, which a cancelled task would have lost in the middle of a statement.
    """
    assert settings.database_url is not None
    engine = create_engine(settings.database_url, pool_size=1)
    ending = asyncio.Event()
    task = asyncio.create_task(_work(engine, settings, ending))
    try:
        yield
    finally:
        ending.set()
        await task
        await engine.dispose()


async def _work(engine: AsyncEngine, settings: Settings, ending: asyncio.Event) -> None:
    while not ending.is_set():
        try:
            async with runs.claim(engine) as claim:
                if claim is not None:
                    await _solve(claim, settings, ending)
            if claim is None:
                await _pause(IDLE_SECONDS, ending)
        except (DBAPIError, OSError) as error:
            log.warning("runs_wait", error=type(error).__name__)
            await _pause(AWAY_SECONDS, ending)


async def _pause(seconds: float, ending: asyncio.Event) -> None:
    """Wait, but no longer than until the end."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)


async def _solve(claim: runs.Claim, settings: Settings, ending: asyncio.Event) -> None:
    """Solve one run; a fault of its own ends it, one of the database leaves it to be taken up."""
    now = dt.datetime.now(dt.UTC)
    news: queue.SimpleQueue[ProgressEvent] = queue.SimpleQueue()
    try:
        clinic = await load_clinic(
            claim.connection, *horizon_of(claim.document, now.date()), FOR_PLANS
        )
        horizon = settings.horizon_days
        run = await asyncio.to_thread(parse_run, claim.document, clinic, now, horizon)
        host = host_for(settings.solver_address)
        with ProgressServer(lambda *step: news.put(_event(*step)), host) as server:
            thread = ThreadPoolExecutor(1)  # lives as long as the processes that it starts
            solving = thread.submit(
                solve,
                run,
                clinic,
                now,
                server,
                weights=settings.weights,
                cluster=settings.solver_address,
            )
            is_stopped = False
            try:
                while not solving.done() and not ending.is_set():
                    await _pause(WATCH_SECONDS, ending)
                    await _report(claim, news)
                    if not is_stopped and await claim.is_to_stop():
                        is_stopped = True
                        server.stop()
                is_left = not solving.done()
            finally:
                server.stop()
                await asyncio.to_thread(thread.shutdown)
            if is_left:
                await claim.give_back()
                return
            await _report(claim, news)
            await claim.finish(solving.result(), clinic, stopped=is_stopped)
    except InvalidRunFileError as error:
        await claim.fail(f"The clinic has changed, and the run does not fit it any more: {error}")
    except DBAPIError:
        raise
    except Exception as error:
        log.exception("run_failed", run=claim.run_id)
        await claim.fail(f"The solver failed: {_why(error)}")


def _why(error: Exception) -> str:
    match error:
        case PlanRejectedError():
            return str(error)
        case BrokenExecutor() | MemoryError():
            return "its process was ended, most often for want of memory; ask for fewer days"
        case _:
            return type(error).__name__


async def _report(claim: runs.Claim, news: queue.SimpleQueue[ProgressEvent]) -> None:
    """Store the newest event of each scenario."""
    last: dict[str, ProgressEvent] = {}
    with suppress(queue.Empty):
        while True:
            event = news.get_nowait()
            last[event["scenario"]] = event
    for event in last.values():
        await claim.report(event)


def _event(scenario: str, progress: Progress) -> ProgressEvent:
    return {
        "scenario": scenario,
        "stage": progress.stage,
        "incumbent": round(progress.objective, 4) + 0.0,
        "bound": round(progress.bound, 4) + 0.0,  # no minus zero
        "gap": round(relative_gap(progress.objective, progress.bound), 4) + 0.0,
        "placed": progress.placed,
        "seconds": round(progress.seconds, 2),
    }
