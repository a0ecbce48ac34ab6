"""Full rounds of the garbage collector wait until nobody is kept waiting by them."""

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from api.service.garbage_collection import NEVER, FullRounds, Pace, collecting
from benchmarks.hospital.book import hospital_clinic
from benchmarks.support.clinics import as_document
from benchmarks.support.service import first_order
from tests.support.clinics import coming_monday

MONDAY = coming_monday()


class Circle:
    """Refers to itself, so only the collector finds out that nobody else does."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def old_circle() -> Iterator[weakref.ref[Circle]]:
    """A circle that has become old, and that nobody has any more."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], NEVER)
    gc.collect()
    circle = Circle()
    for generation in (0, 1, 1, 1, 1, 1, 1):
        gc.collect(generation)
    found = weakref.ref(circle)
    del circle
    yield found
    gc.set_threshold(*before)


def test_a_quiet_process_makes_the_round_that_is_due(old_circle: weakref.ref[Circle]) -> None:
    rounds = FullRounds(Pace(quiet_looks=3))
    rounds.look()  # which does not know yet how much there was to do
    assert [rounds.look() for _ in range(3)] == [False, False, True]
    assert old_circle() is None
    assert not rounds.look()  # nothing is due again


def test_a_busy_process_makes_none_until_it_is_late(old_circle: weakref.ref[Circle]) -> None:
    rounds = FullRounds(Pace(most_young=-1))  # however little there was to do
    for _ in range(5):
        assert not rounds.look()
    assert old_circle() is not None
    rounds.pace = replace(rounds.pace, longest_seconds=-1)
    assert rounds.look()
    assert old_circle() is None


async def test_no_answer_leaves_a_clinic_to_a_full_round(client: httpx.AsyncClient) -> None:
    clinic = hospital_clinic(MONDAY, providers=4, bookings=400)
    loaded = await client.post("/clinic/import", json=as_document(clinic))
    assert loaded.status_code == 200, loaded.text
    kind = clinic.appointment_types[0].id

    async def ask(number: int) -> None:
        query = {"date": MONDAY.isoformat(), "appointment_type_id": kind}
        order = first_order((await client.get("/slots", params=query)).json())
        assert order is not None
        booked = await client.post("/bookings", json=order | {"patient_ref": f"P-{number}"})
        assert booked.status_code == 201, booked.text
        changes = {"daily_cap": 3 + number}
        for dry_run in (True, False):
            path = f"/providers/{clinic.providers[0].id}?dry_run={dry_run}"
            assert (await client.patch(path, json=changes)).status_code == 200
        assert (await client.get("/bookings/conflicts")).status_code == 200
        assert (await client.get("/clinic/export")).status_code == 200

    await ask(0)  # what is kept from the first time on
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for number in range(1, 4):
            await ask(number)
        gc.collect()
        left = Counter(type(each).__qualname__ for each in gc.garbage if is_ours(each))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == Counter()


def is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith("solver.")


async def test_they_are_made_beside_the_service(
    old_circle: weakref.ref[Circle], client: httpx.AsyncClient
) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert gc.get_threshold()[2] == NEVER
    async with collecting(Pace(look_seconds=0.01, most_young=1000, quiet_looks=1)):
        async with asyncio.timeout(20):
            while old_circle() is not None:
                await asyncio.sleep(0.01)  # between two looks
