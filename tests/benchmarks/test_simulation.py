"""The simulated machines behave as queues do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet import simulation
from benchmarks.fleet.simulation import (
    DATABASE_CORES,
    HOURS,
    PEAK,
    PROCESSES,
    Times,
    clinics_by_memory,
    machine_hour,
    solver_waits,
)
from benchmarks.fleet.tenants import Tenancy

FREE = Tenancy(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
STEADY = Times({5: 10.0}, [1.0], booking_ms=10.0, database_ms=2.0, tenancy=FREE)
"""Every request takes ten milliseconds, and two in the database."""


def test_where_nobody_waits_a_request_takes_what_it_takes() -> None:
    hour = machine_hour(STEADY, 50, PEAK, seconds=300)
    assert hour.p50 == pytest.approx(12.0)
    assert hour.holds


def test_work_done_is_work_that_came() -> None:
    hour = machine_hour(STEADY, 500, PEAK, seconds=100)
    assert hour.busy == pytest.approx(hour.per_second * 0.010 / PROCESSES, rel=1e-6)
    assert hour.database == pytest.approx(hour.per_second * 0.002 / DATABASE_CORES, rel=1e-6)
    assert hour.busy <= hour.busiest < 1.2 * hour.busy


def test_the_share_of_those_who_wait_is_the_share_of_the_time_that_is_busy() -> None:
    """Poisson arrivals see time averages (Wolff 1982): just over 40 % busy, so most do not wait."""
    times = replace(STEADY, query_ms={5: 60.0}, booking_ms=60.0, database_ms=0.001)
    hour = machine_hour(times, 1200, PEAK, seconds=100)
    assert 0.4 < hour.busy < 0.5
    assert hour.p50 == pytest.approx(60.0, abs=0.1)
    fuller = machine_hour(times, 2000, PEAK, seconds=100)
    assert fuller.busy > 0.65
    assert fuller.p50 > 70
    assert fuller.p99 > hour.p99


def test_more_is_asked_for_in_the_hours_that_say_so() -> None:
    rates = {hour: machine_hour(STEADY, 300, hour, seconds=120).per_second for hour in HOURS}
    busiest = max(rates, key=lambda hour: rates[hour])
    assert HOURS[busiest] == max(HOURS.values())


def test_what_idle_clinics_need_is_taken_from_those_who_ask() -> None:
    idle = replace(STEADY, tenancy=replace(FREE, idle_cores=PROCESSES / 400 * 0.5))
    slowed = machine_hour(idle, 400, PEAK, seconds=120)
    assert slowed.p50 >= 2 + 2 * 10 * 0.99
    assert slowed.busy > 0.5
    flooded = replace(STEADY, tenancy=replace(FREE, idle_cores=1.0))
    assert not machine_hour(flooded, 400, PEAK, seconds=10).holds


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60).map(np.array),
    st.integers(1, 8),
)
def test_clinics_are_spread_evenly(providers: simulation.Ints, bins: int) -> None:
    spread = simulation._spread(providers, bins)
    assert sorted(clinic for each in spread for clinic in each) == list(range(len(providers)))
    loads = [int(providers[each].sum()) if each else 0 for each in spread]
    assert max(loads) - min(loads) <= max(providers)


def test_more_workers_wait_less() -> None:
    few, enough = solver_waits(8), solver_waits(24)
    assert few.busy > 1 > enough.busy
    assert few.p95 > few.p50 > enough.p95


def test_memory_bounds_clinics() -> None:
    assert clinics_by_memory(Tenancy(200, 2, 5, 3, 0, 0)) == int((0.75 * 32768 - 1200) / 7)
