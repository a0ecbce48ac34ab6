"""What ten thousand clinics need: service times measured here, and machines simulated with them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from itertools import count

import numpy as np
import orjson

from benchmarks.fleet import tenants
from benchmarks.fleet.simulation import (
    BOOKINGS_OF_PROVIDER,
    CLINICS,
    CORES,
    DATABASE_CORES,
    EUROS,
    HOURS,
    MEDIAN_PROVIDERS,
    MEMORY_GIB,
    PEAK,
    PROCESSES,
    QUERIES_OF_BOOKING,
    RUN_SECONDS,
    Times,
    clinics_by_memory,
    machine_hour,
    solver_waits,
)
from benchmarks.measure.figures import Figure, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.http import ask, queries_to
from benchmarks.suites.slots import requests
from benchmarks.support.clinics import make_clinic
from benchmarks.support.http_client import connected
from benchmarks.support.service import Service, coming_monday, fill, first_order, query, service
from data.clinic.snapshot import Snapshots
from data.database.engine import create_engine

CLINICS_OF_MACHINE = (125, 250, 500, 1000, 2000, 4000)


SOLVERS = (8, 12, 16, 24, 32)


MEASURED = ((5, 8), (16, 30), (50, 100))


def run(meter: Meter) -> Suite:
    """Return the figures of the suite; without SimPy there are only the measured ones."""
    times = measured(meter)
    meter.look(10)
    figures = [
        *(
            Figure("A process's time for a query", f"{size} providers", "ms", (ms,), size=size)
            for size, ms in times.query_ms.items()
        ),
        Figure("A process's time for a booking", "5 providers", "ms", (times.booking_ms,)),
        Figure("The database's time for a query", "5 providers", "ms", (times.database_ms,)),
        Figure("Memory", "a process", "MiB", (times.tenancy.base_mib,), tolerance=0.2),
        Figure(
            "Memory", "one more clinic in it", "MiB", (times.tenancy.clinic_mib,), tolerance=0.3
        ),
        Figure(
            "Cores of an idle clinic",
            "in its process",
            "",
            (times.tenancy.idle_cores,),
            tolerance=0.5,
        ),
        Figure(
            "Cores of an idle clinic",
            "in the database",
            "",
            (times.tenancy.idle_server_cores,),
            tolerance=0.5,
        ),
        Figure("Memory", "its connections", "MiB", (times.tenancy.server_mib,), tolerance=0.3),
    ]
    try:
        return simulated(times, figures, quick=meter.quick)
    except ModuleNotFoundError:
        return Suite(figures, notes=["SimPy is not installed, so nothing was simulated."])


def simulated(times: Times, figures: Sequence[Figure], *, quick: bool) -> Suite:
    """Return what the fleet needs, and what those who ask notice of it."""
    sizes = CLINICS_OF_MACHINE[:3] if quick else CLINICS_OF_MACHINE
    hours = {size: machine_hour(times, size, PEAK, seconds=600) for size in sizes}
    fits = [size for size, hour in hours.items() if hour.holds]
    by_time = max(fits, default=sizes[0])
    by_memory = clinics_by_memory(times.tenancy)
    chosen = min(by_time, by_memory)
    day = {hour: machine_hour(times, chosen, hour, seconds=120 if quick else 600) for hour in HOURS}
    machines = math.ceil(CLINICS / chosen)
    spare = machines + max(1, math.ceil(machines / 10))
    waits = {workers: solver_waits(workers) for workers in SOLVERS}
    workers = next((n for n, wait in waits.items() if wait.p95 <= RUN_SECONDS), SOLVERS[-1])
    solver_machines = math.ceil(2 * workers / CORES)
    euros = EUROS * (2 * spare + solver_machines)
    return Suite(
        figures,
        notes=[
            f"{CLINICS:,} clinics with a lognormal number of providers (median "
            f"{MEDIAN_PROVIDERS}); {BOOKINGS_OF_PROVIDER} bookings a provider and day, each after "
            f"{QUERIES_OF_BOOKING} slot queries; {HOURS[PEAK]} % of a day's in the hour from "
            f"{PEAK}:00. A machine has {CORES} cores ({PROCESSES} for processes, {DATABASE_CORES} "
            f"for the database), {MEMORY_GIB} GiB, and costs {EUROS} € a month.",
            "Service times are measured on this machine, with as many cores as it has; everything "
            "else is simulated.",
        ],
        tables={
            f"The busiest hour of one machine, from {PEAK}:00": [
                {"clinics": size, **hour.as_row()} for size, hour in hours.items()
            ],
            "The fleet": [
                {
                    "of": "clinics of a machine, by time",
                    "is": f"{by_time:,}" if fits else f"fewer than {by_time:,}",
                },
                {"of": "clinics of a machine, by memory", "is": f"{by_memory:,}"},
                {"of": "machines that carry them", "is": f"{machines}"},
                {"of": "machines with spare ones", "is": f"{spare}"},
                {"of": "as many again as standbys", "is": f"{2 * spare}"},
                {"of": "machines that solve what-ifs", "is": f"{solver_machines}"},
                {"of": "euros a month", "is": f"{euros:,}"},
                {"of": "euros a month and clinic", "is": f"{euros / CLINICS:.2f}"},
            ],
            "What-if runs of a day by workers": [
                {
                    "workers of two cores": n,
                    "median wait, s": round(wait.p50, 1),
                    "95 of 100 wait at most, s": round(wait.p95, 1),
                    "busy in the busiest hour": round(wait.busy, 2),
                }
                for n, wait in waits.items()
            ],
        },
        curves={
            f"Milliseconds of a query from {PEAK}:00 by clinics of a machine": {
                "p50": [[float(size), hour.p50] for size, hour in hours.items()],
                "p99": [[float(size), hour.p99] for size, hour in hours.items()],
            },
            f"Milliseconds of a query by hour, {chosen} clinics of a machine": {
                "p50": [[float(at), hour.p50] for at, hour in day.items()],
                "p99": [[float(at), hour.p99] for at, hour in day.items()],
            },
        },
    )


# Measuring


def measured(meter: Meter) -> Times:
    """Measure what a process and the database take here, with one process kept busy."""
    monday, url = coming_monday(), meter.new_database()
    seconds, rounds = (0.5, 2) if meter.quick else (1.0, 5)
    query_ms = {}
    shape: list[float] = []
    booking_ms = 0.0
    for providers, rooms in MEASURED[:2] if meter.quick else MEASURED:
        clinic = make_clinic(providers, rooms)
        fill(url, clinic, monday)
        paths = queries_to(clinic, monday)
        with service(url) as running:
            asyncio.run(ask(running, paths, at_once=8, seconds=seconds))
            meter.look(5)
            each = []
            for _ in range(rounds):
                done, elapsed = asyncio.run(ask(running, paths, at_once=8, seconds=seconds))
                each.append(1000 * elapsed / len(done))
            query_ms[providers] = float(np.median(each))
            if not shape:
                alone, _ = asyncio.run(ask(running, paths, at_once=1, count=120))
                shape = (np.array(alone[20:]) / np.mean(alone[20:])).tolist()
                booking_ms = asyncio.run(_booking_ms(running, paths))
    clinic = make_clinic(*MEASURED[0])
    fill(url, clinic, monday)
    return Times(
        query_ms,
        shape,
        booking_ms,
        asyncio.run(_database_ms(url)),
        tenants.measure(url, query(next(requests(clinic, 1)), monday)),
    )


async def _booking_ms(running: Service, paths: Sequence[str]) -> float:
    """Return the milliseconds of a booking, asked for one after the other."""
    samples = []
    names = count()
    async with connected(running.base) as connection:
        for path in paths[:30]:
            found = orjson.loads(await connection.expect(200, "GET", path))
            order = first_order(found)
            if order is None:
                continue
            order |= {"patient_ref": f"patient of the fleet {next(names)}"}
            begin = time.perf_counter()
            await connection.expect(201, "POST", "/bookings", order)
            samples.append(1000 * (time.perf_counter() - begin))
    return float(np.median(samples))


async def _database_ms(url: str) -> float:
    """Return the milliseconds of a query's statement, its way there and back included."""
    engine, monday = create_engine(url), coming_monday()
    snapshots = Snapshots(engine)
    samples = []
    for _ in range(60):
        begin = time.perf_counter()
        await snapshots.load(monday, monday)
        samples.append(1000 * (time.perf_counter() - begin))
    await engine.dispose()
    return float(np.median(samples[10:]))
