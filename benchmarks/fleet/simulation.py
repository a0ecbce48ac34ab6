"""Ten thousand clinics on many machines, simulated with service times measured on this one.

Clinics are pinned: each one's database is on one machine, and its application in one process of
that machine, so a machine can be simulated by itself, and a clinic's rush is felt by those beside
it. A process works on one request at a time; the part of a request that the database does holds
one of the database's cores meanwhile and no process. Arrivals are a Poisson process whose rate
follows the hours of a day (a discrete-event simulation with SimPy).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fleet.tenants import Tenancy

if TYPE_CHECKING:
    from simpy import Environment, Event, Resource


type Floats = NDArray[np.float64]


type Ints = NDArray[np.int64]


# What is asked of the fleet

CLINICS = 10_000


MEDIAN_PROVIDERS, SPREAD, MOST_PROVIDERS = 5, 0.8, 50
"""Of a lognormal number of providers."""


BOOKINGS_OF_PROVIDER = 20
"""A day, each counted when it is made."""


QUERIES_OF_BOOKING = 5


HOURS = {7: 6, 8: 16, 9: 13, 10: 11, 11: 9, 12: 5, 13: 8, 14: 10, 15: 9, 16: 7, 17: 4, 18: 2}
"""Per cent of a day's requests by hour: telephones ring in the morning."""


PEAK = 8


RUNS_OF_CLINIC = 0.5
"""What-if runs a day."""


RUN_SECONDS = 60
"""That a run keeps a worker of two cores busy: five scenarios of 30 seconds, two side by side."""


# What a machine is

CORES, MEMORY_GIB, EUROS = 8, 32, 100
"""A rented machine with local disks, and its price a month in round figures."""


PROCESSES, DATABASE_CORES = 6, 2


FILL = 0.75
"""The share of memory that clinics may take."""


LEAST = 0.02
"""The share of a core that is left for answers in any case, so that all come to an end."""


P99_MS, BUSY = 120.0, 0.7
"""What 99 of 100 queries take in the busiest hour, and how busy the busiest process is, at most."""


@dataclass(frozen=True)
class Times:
    """What was measured on this machine.

    Attributes
    ----------
    query_ms
        By providers: a process's milliseconds for a query.
    shape
        Queries' times to their mean, as they come one after the other.
    booking_ms
        A process's milliseconds for a booking.
    database_ms
        Of a query in the database.
    """

    query_ms: dict[int, float]
    shape: Sequence[float]
    booking_ms: float
    database_ms: float
    tenancy: Tenancy

    def of_clinics(self, providers: Ints) -> Floats:
        """Return the milliseconds of a query of clinics, between and beyond what was measured."""
        sizes = sorted(self.query_ms)
        result: Floats = np.interp(providers, sizes, [self.query_ms[size] for size in sizes])
        return result


def clinics_by_memory(tenancy: Tenancy) -> int:
    """Return how many clinics a machine has memory for."""
    left = FILL * 1024 * MEMORY_GIB - PROCESSES * tenancy.base_mib
    return int(left / max(tenancy.clinic_mib + tenancy.server_mib, 0.1))


# One machine


@dataclass(frozen=True)
class Hour:
    """What an hour was like: milliseconds from asking to the answer, and how busy what was."""

    per_second: float
    p50: float
    p95: float
    p99: float
    booking_p99: float
    busy: float
    busiest: float
    database: float

    @property
    def holds(self) -> bool:
        """Whether those who ask are served as they should be."""
        return self.p99 <= P99_MS and self.busiest <= BUSY

    def as_row(self) -> dict[str, Any]:
        """Return it as cells of a table."""
        return {
            "requests a second": round(self.per_second, 1),
            "processes busy": round(self.busy, 2),
            "the busiest": round(self.busiest, 2),
            "database busy": round(self.database, 2),
            "query p50, ms": round(self.p50, 1),
            "p95": round(self.p95, 1),
            "p99": round(self.p99, 1),
            "booking p99, ms": round(self.booking_p99, 1),
        }


@dataclass
class _Process:
    """One process of a machine: its clinics, and what its requests took."""

    providers: Ints
    query_ms: Floats
    idle: float
    """The share of its time that goes to what clinics need though nobody asks for anything."""
    busy_ms: float = 0.0
    queries: list[float] = field(default_factory=list)
    bookings: list[float] = field(default_factory=list)


def machine_hour(times: Times, clinics: int, hour: int, *, seconds: int) -> Hour:
    """Simulate some seconds of an hour on a machine with so many clinics."""
    from simpy import Environment, Resource

    chance = np.random.default_rng([clinics, hour])
    providers = _providers(chance, clinics)
    query_ms = times.of_clinics(providers)
    tenancy = times.tenancy
    processes = [
        _Process(providers[chosen], query_ms[chosen], len(chosen) * tenancy.idle_cores)
        for chosen in _spread(providers, PROCESSES)
    ]
    idle = clinics * tenancy.idle_server_cores / DATABASE_CORES
    environment = Environment()
    database = Resource(environment, DATABASE_CORES)
    for process in processes:
        slowed = times.database_ms / max(1 - idle, LEAST)
        source = _arrivals(environment, database, process, times, slowed, hour, seconds, chance)
        environment.process(source)
    environment.run()
    queries = np.array([ms for process in processes for ms in process.queries])
    bookings = np.array([ms for process in processes for ms in process.bookings])
    busy = [process.idle + process.busy_ms / 1000 / seconds for process in processes]
    answered = len(queries) + len(bookings)
    p50, p95, p99 = np.quantile(queries, (0.5, 0.95, 0.99)).tolist()
    return Hour(
        answered / seconds,
        p50,
        p95,
        p99,
        booking_p99=float(np.quantile(bookings, 0.99)),
        busy=float(np.mean(busy)),
        busiest=max(busy),
        database=idle + answered * times.database_ms / 1000 / seconds / DATABASE_CORES,
    )


def _providers(chance: np.random.Generator, clinics: int) -> Ints:
    drawn = chance.lognormal(math.log(MEDIAN_PROVIDERS), SPREAD, clinics)
    result: Ints = np.clip(np.rint(drawn), 1, MOST_PROVIDERS).astype(np.int64)
    return result


def _spread(providers: Ints, bins: int) -> list[list[int]]:
    """Pin clinics to processes, the largest first, each to the one with the least so far."""
    loads, chosen = [0] * bins, [list[int]() for _ in range(bins)]
    for clinic in np.argsort(-providers, kind="stable").tolist():
        least = loads.index(min(loads))
        loads[least] += int(providers[clinic])
        chosen[least].append(clinic)
    return chosen


def _arrivals(
    environment: Environment,
    database: Resource,
    process: _Process,
    times: Times,
    database_ms: float,
    hour: int,
    seconds: int,
    chance: np.random.Generator,
) -> Generator[Event, Any, None]:
    """Let the requests of a process's clinics come, some seconds of an hour of them."""
    from simpy import Resource

    server = Resource(environment)
    bookings = process.providers.sum() * BOOKINGS_OF_PROVIDER * HOURS[hour] / 100 * seconds / 3600
    number = chance.poisson(bookings * (1 + QUERIES_OF_BOOKING))
    moments: list[float] = np.sort(chance.uniform(0, seconds * 1000, number)).tolist()
    weights = process.providers / process.providers.sum()
    of = chance.choice(len(process.providers), number, p=weights)
    are_bookings = chance.random(number) < 1 / (1 + QUERIES_OF_BOOKING)
    shape = chance.choice(np.asarray(times.shape), number)
    whole = np.where(are_bookings, times.booking_ms, process.query_ms[of])
    needed: list[float] = (whole * shape).tolist()
    slowed: list[float] = (whole * shape / max(1 - process.idle, LEAST)).tolist()
    in_database: list[float] = (database_ms * shape).tolist()

    def served(turn: int) -> Generator[Event, Any, None]:
        begin = environment.now
        with database.request() as core:
            yield core
            yield environment.timeout(in_database[turn])
        with server.request() as mine:
            yield mine
            yield environment.timeout(slowed[turn])
        process.busy_ms += needed[turn]
        told = process.bookings if are_bookings[turn] else process.queries
        told.append(environment.now - begin)

    for turn, moment in enumerate(moments):
        yield environment.timeout(moment - environment.now)
        environment.process(served(turn))


# What-ifs


@dataclass(frozen=True)
class Waits:
    """Seconds that runs wait for a worker, and how busy workers are in the busiest hour."""

    p50: float
    p95: float
    busy: float


def solver_waits(workers: int) -> Waits:
    """Simulate a day of the fleet's what-if runs on so many workers."""
    from simpy import Environment, Resource

    chance = np.random.default_rng(workers)
    runs = CLINICS * RUNS_OF_CLINIC
    moments = np.sort(
        np.concatenate(
            [
                3600 * (hour + chance.uniform(0, 1, chance.poisson(runs * share / 100)))
                for hour, share in HOURS.items()
            ]
        )
    )
    environment = Environment()
    pool = Resource(environment, workers)
    waited: list[float] = []

    def solved() -> Generator[Event, Any, None]:
        begin = environment.now
        with pool.request() as mine:
            yield mine
            waited.append(environment.now - begin)
            yield environment.timeout(RUN_SECONDS)

    def arrivals() -> Generator[Event, Any, None]:
        for moment in moments:
            yield environment.timeout(moment - environment.now)
            environment.process(solved())

    environment.process(arrivals())
    environment.run()
    p50, p95 = np.quantile(waited, (0.5, 0.95)).tolist()
    asked = runs * HOURS[PEAK] / 100 * RUN_SECONDS / 3600
    return Waits(p50, p95, asked / workers)
