"""Slot queries over HTTP with console pages open in a real browser, and with none.

Rounds with and without take turns in one run, so the ratio holds on a busy machine, too. The
browser is there in both: what is compared is what open pages cost the service, and the cores.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.http import ONE_BY_ONE, ask, queries_to
from benchmarks.suites.slots import SIZES
from benchmarks.support.clinics import make_clinic
from benchmarks.support.service import Service, coming_monday, fill, service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


PAGES = 10


AT_MOST = 1.2
"""By how much the 99th of 100 queries may take longer with the pages open."""


WARM_UP = 20


SETTLE_SECONDS = 4.0
"""Until pages that were just opened, or left and given up, cost no more than from then on."""


WITHOUT, WITH = "no console page open", f"{PAGES} console pages open"


def run(meter: Meter) -> Suite:
    """Return the figures of the suite; a note in their place where there is no browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        import playwright  # noqa: F401 - of the development dependencies
    except ImportError:
        browser = None
    if browser is None:
        return Suite([], notes=["Not measured: it takes Playwright and Chromium."])
    monday = coming_monday()
    clinic = make_clinic(*SIZES[0])
    url = meter.new_database()
    fill(url, clinic, monday)
    paths = queries_to(clinic, monday)
    rounds, count = (1, 40) if meter.quick else (10, 250)
    with service(url) as running:
        samples = asyncio.run(
            take_turns(meter, running, browser, monday, paths, rounds=rounds, count=count)
        )
    figures = [Figure(ONE_BY_ONE, label, "ms", tuple(samples[label])) for label in (WITHOUT, WITH)]
    without, with_ = (figure.quantile(0.99) for figure in figures)
    halves = [figure.median for figure in figures]
    name = f"HTTP query with {PAGES} console pages open to none"
    return Suite(
        figures,
        [
            Ratio(f"{name}, p99", with_ / without, at_most=AT_MOST),
            Ratio(f"{name}, median", halves[1] / halves[0]),
        ],
        notes=[
            f"{rounds} rounds of {count} queries each way, in turns; the pages are day boards, "
            "each in a browser context of its own, on the service's cores."
        ],
    )


async def take_turns(
    meter: Meter,
    running: Service,
    browser: str,
    day: dt.date,
    paths: list[str],
    *,
    rounds: int,
    count: int,
    pages: int = PAGES,
    settle_seconds: float = SETTLE_SECONDS,
) -> dict[str, list[float]]:
    """Return the milliseconds of the queries of all rounds, with the pages open and without.

    Parameters
    ----------
    browser
        The path of a Chromium.
    day
        What the boards show; it has bookings.
    rounds, count
        How many rounds each way, and how many queries in each.
    """
    samples: dict[str, list[float]] = {WITHOUT: [], WITH: []}
    board = f"{running.base}/console/?date={day}"
    async with _empty_pages(browser, pages) as opened:
        for number in range(rounds):
            turns = (WITHOUT, WITH) if number % 2 == 0 else (WITH, WITHOUT)
            for label in turns:
                await _show(opened, board if label == WITH else None)
                await asyncio.sleep(settle_seconds)
                meter.look(5)
                taken, _ = await ask(running, paths, at_once=1, count=WARM_UP + count)
                samples[label] += taken[WARM_UP:]
    return samples


@asynccontextmanager
async def _empty_pages(browser: str, count: int) -> AsyncIterator[Sequence[Any]]:
    """Yield empty pages, each in a context of its own."""
    from playwright.async_api import async_playwright

    async with AsyncExitStack() as held:
        playwright = await held.enter_async_context(async_playwright())
        chromium = await playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        held.push_async_callback(chromium.close)
        contexts = [await chromium.new_context() for _ in range(count)]
        yield [await context.new_page() for context in contexts]


async def _show(pages: Sequence[Any], board: str | None) -> None:
    """Let the pages show a day board, or nothing."""
    for page in pages:
        await page.goto(board or "about:blank")
        if board is not None:
            await page.locator(".sw-booking").first.wait_for()
