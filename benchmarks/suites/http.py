"""Slot queries to a real service on an embedded database: how long, how many, how many at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.flame import profiled_task
from benchmarks.measure.meter import Meter
from benchmarks.suites.slots import SIZES, requests
from benchmarks.support.clinics import make_clinic
from benchmarks.support.http_client import connected
from benchmarks.support.in_process import application, get
from benchmarks.support.service import Service, coming_monday, fill, query, service
from solver.clinic.clinic import Clinic

AT_ONCE = (1, 4, 16)


WORKERS = (1, 2)


ONE_BY_ONE = "One query after the other"


RATES = "Queries a second, 5 × 8"


LATENCY = "Each query's time, 5 × 8"


AIMS = {"5 × 8": 30.0, "50 × 100": 50.0, "500 × 1000": 120.0}
"""Milliseconds that 99 of 100 queries do not exceed on two quiet cores."""


MEDIAN_AIMS = {"5 × 8": 15.0}


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    figures = _one_by_one(meter)
    small, monday = make_clinic(*SIZES[0]), coming_monday()
    url = meter.new_database()
    fill(url, small, monday)
    paths = queries_to(small, monday)
    figures += _under_load(meter, url, paths)
    of = {(figure.group, figure.label): figure for figure in figures}
    ratios = [
        Ratio(f"HTTP query, p99 in ms, {label}", of[ONE_BY_ONE, label].quantile(0.99), at_most=aim)
        for label, aim in AIMS.items()
        if (ONE_BY_ONE, label) in of
    ]
    ratios += [
        Ratio(f"HTTP query, p50 in ms, {label}", of[ONE_BY_ONE, label].median, at_most=aim)
        for label, aim in MEDIAN_AIMS.items()
    ]
    if (ONE_BY_ONE, "500 × 1000") in of:
        growth = of[ONE_BY_ONE, "500 × 1000"].median / of[ONE_BY_ONE, "5 × 8"].median
        ratios.append(Ratio("HTTP query, 500 × 1000 to 5 × 8", growth, at_most=5))
    one = [of[key].median for n in AT_ONCE if (key := (RATES, _label(1, n))) in of]
    ratios.append(Ratio("HTTP queries a second, one process", max(one), at_least=80))
    busy = [of.get((RATES, _label(workers, AT_ONCE[-1]))) for workers in WORKERS]
    if busy[0] is not None and busy[1] is not None:
        # Round by round, for a machine is not equally fast in all of them.
        more = np.median(np.array(busy[1].samples) / np.array(busy[0].samples))
        name = "HTTP queries a second, two processes to one"
        ratios.append(Ratio(name, float(more), at_least=1.7))
    return Suite(
        figures,
        ratios,
        notes=[
            "The client runs on the same cores as the service and its database, so the rate of "
            "two processes is that of two cores less what the client and the database take.",
            "The book does not change between queries, so it is read and not parsed again; the "
            "suite of growth tells what parsing takes.",
        ],
        profiles={} if meter.quick else asyncio.run(_profiles(url, paths)),
    )


async def _profiles(url: str, paths: list[str]) -> dict[str, dict[str, Any]]:
    """Return where the time of queries goes from the route to the answer, waits included."""
    async with application(url) as app:

        async def queries() -> None:
            for path in paths:
                await get(app, path)

        await queries()
        tree = await profiled_task(queries)
    return {} if tree is None else {"Slot queries through the whole service, 5 × 8": tree}


def _label(workers: int, at_once: int) -> str:
    return f"{workers} {'process' if workers == 1 else 'processes'}, {at_once} at once"


def queries_to(clinic: Clinic, monday: dt.date, count: int = 100) -> list[str]:
    """Return the paths of so many queries to a clinic, seeded."""
    return [query(request, monday) for request in requests(clinic, count)]


def _one_by_one(meter: Meter) -> list[Figure]:
    """Return the times of queries to clinics of all sizes, a few to each in turn.

    What slows the machine for a while slows them all, so that it is not taken for growth.
    """
    sizes, monday = SIZES[:1] if meter.quick else SIZES, coming_monday()
    rounds, in_a_row = (3, 20) if meter.quick else (10, 20)
    samples: list[list[float]] = [[] for _ in sizes]
    with ExitStack() as held:
        asked = []
        for size in sizes:
            clinic, url = make_clinic(*size), meter.new_database()
            fill(url, clinic, monday)
            asked.append((held.enter_context(service(url)), queries_to(clinic, monday)))
        for running, paths in asked:
            asyncio.run(ask(running, paths, at_once=1, count=in_a_row))
        for number in range(rounds):
            for (running, paths), times in zip(asked, samples, strict=True):
                meter.look(3)
                few = np.roll(paths, -number * in_a_row)[:in_a_row].tolist()
                times.extend(asyncio.run(ask(running, few, at_once=1, count=in_a_row))[0])
    return [
        Figure(ONE_BY_ONE, f"{providers} × {rooms}", "ms", tuple(times), size=providers * rooms)
        for (providers, rooms), times in zip(sizes, samples, strict=True)
    ]


def _under_load(meter: Meter, url: str, paths: list[str]) -> list[Figure]:
    """Return the rates of one process and of two, and each query's time, in turn."""
    seconds, rounds = (0.6, 2) if meter.quick else (1.0, 7)
    rates: dict[tuple[int, int], list[float]] = defaultdict(list)
    times: dict[tuple[int, int], list[float]] = defaultdict(list)
    with ExitStack() as held:
        running = {
            workers: held.enter_context(service(url, workers))
            for workers in (WORKERS[:1] if meter.quick else WORKERS)
        }
        for at_once in AT_ONCE[1:2] if meter.quick else AT_ONCE:
            for each in running.values():
                asyncio.run(ask(each, paths, at_once=at_once, seconds=seconds / 2))
            for _ in range(rounds):
                for workers, each in running.items():
                    meter.look(5)
                    samples, elapsed = asyncio.run(
                        ask(each, paths, at_once=at_once, seconds=seconds)
                    )
                    rates[workers, at_once].append(len(samples) / elapsed)
                    times[workers, at_once] += samples
    return [
        figure
        for key in sorted(rates)
        for figure in (
            Figure(RATES, _label(*key), "a second", tuple(rates[key]), more_is_better=True),
            Figure(LATENCY, _label(*key), "ms", tuple(times[key]), tolerance=None),
        )
    ]


async def ask(
    running: Service,
    paths: list[str],
    *,
    at_once: int,
    count: int | None = None,
    seconds: float | None = None,
) -> tuple[list[float], float]:
    """Ask for the paths over and over, so many at once, `count` times or for `seconds`.

    The client is as plain as can be, for it takes its time from the service's cores.

    Returns
    -------
    tuple
        The milliseconds of each query, and the seconds of all.
    """
    turn = itertools.cycle(paths)
    samples: list[float] = []
    begin = time.perf_counter()
    left = itertools.count() if count is None else iter(range(count))

    async def client() -> None:
        async with connected(running.base) as connection:
            for _ in left:
                start = time.perf_counter()
                if seconds is not None and start - begin > seconds:
                    break
                await connection.expect(200, "GET", next(turn))
                samples.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return samples, time.perf_counter() - begin
