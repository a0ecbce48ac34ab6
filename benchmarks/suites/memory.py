"""Peak memory of slot queries and of the service, each in a process of its own.

``python -m benchmarks.suites.memory PROVIDERS ROOMS`` is such a process; without rooms it only
imports.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.memory import peak_mib
from benchmarks.measure.meter import Meter
from benchmarks.suites.http import ask, queries_to
from benchmarks.suites.slots import SIZES, queries
from benchmarks.support.clinics import make_clinic
from benchmarks.support.service import coming_monday, fill, service

QUERIES = 20


TOLERANCE = 0.15


IN_PROCESS = "Peak memory, slot queries in process"


OF_SERVICE = "Peak memory of the service"


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    meter.look(20)
    sizes = SIZES[:1] if meter.quick else SIZES
    figures = [Figure(IN_PROCESS, "nothing done", "MiB", (_apart(0, 0),), tolerance=TOLERANCE)]
    for providers, rooms in sizes:
        label = f"{providers} × {rooms}"
        mib = _apart(providers, rooms)
        size = float(providers)
        figures.append(Figure(IN_PROCESS, label, "MiB", (mib,), size=size, tolerance=TOLERANCE))
    url = meter.new_database()
    for providers, rooms in SIZES[: 0 if meter.quick else 2]:
        peak = _of_service(url, providers, rooms)
        label = f"{providers} × {rooms}"
        figures.append(Figure(OF_SERVICE, label, "MiB", (peak,), tolerance=TOLERANCE))
    largest = figures[len(sizes)].median / figures[0].median
    return Suite(
        figures, [Ratio(f"memory of queries, {figures[len(sizes)].label} to none", largest)]
    )


def _apart(providers: int, rooms: int) -> float:
    command = [sys.executable, "-m", "benchmarks.suites.memory", f"{providers}", f"{rooms}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _of_service(url: str, providers: int, rooms: int) -> float:
    """Return the peak memory of a service with one process after some queries."""
    clinic, monday = make_clinic(providers, rooms), coming_monday()
    fill(url, clinic, monday)
    paths = queries_to(clinic, monday, QUERIES)
    with service(url) as running:
        asyncio.run(ask(running, paths, at_once=4, count=QUERIES * 3))
        return peak_mib(running.pid)


def _main(providers: int, rooms: int) -> None:
    if rooms:
        for call in queries(make_clinic(providers, rooms), QUERIES):
            call()
    print(peak_mib())


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
