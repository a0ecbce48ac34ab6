"""The comparison of slot queries beside open pages, at its smallest."""

import shutil

import httpx

from benchmarks.measure.meter import Meter
from benchmarks.suites.console import WITH, WITHOUT, take_turns
from benchmarks.support.service import Service
from tests.console.conftest import VISIT
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


async def test_queries_with_pages_open_and_without(clinic: httpx.Client, served: str) -> None:
    chromium = shutil.which("chromium")
    assert chromium
    assert clinic.post("/bookings", json=order(MONDAY, "09:00")).status_code == 201
    path = f"/slots?date={MONDAY}&appointment_type_id={VISIT}"
    meter = Meter(quick=True, new_database=str)
    samples = await take_turns(
        meter,
        Service(served, 0),
        chromium,
        MONDAY,
        [path],
        rounds=2,
        count=3,
        pages=2,
        settle_seconds=0,
    )
    assert {label: len(times) for label, times in samples.items()} == {WITHOUT: 6, WITH: 6}
    assert min(map(min, samples.values())) > 0
    assert len(meter.yardstick) == 20
