"""Full rounds of the garbage collector wait until nobody is kept waiting by them."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from api.collector import NEVER, FullRounds, Pace, collecting


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


async def test_they_are_made_beside_the_service(
    old_circle: weakref.ref[Circle], client: httpx.AsyncClient
) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert gc.get_threshold()[2] == NEVER
    async with collecting(Pace(look_seconds=0.01, most_young=1000, quiet_looks=1)):
        async with asyncio.timeout(20):
            while old_circle() is not None:
                await asyncio.sleep(0.01)  # between two looks
