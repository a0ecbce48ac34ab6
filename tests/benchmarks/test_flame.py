"""Flame graphs: what the work called, each once, and nothing of who wanted to know."""

import asyncio
from collections.abc import Iterator
from typing import Any

from benchmarks.measure.flame import profiled, profiled_task


def burn() -> int:
    return sum(number * number for number in range(60_000))


def one() -> int:
    return burn()


def other() -> int:
    return burn()


def work() -> None:
    for _ in range(20):
        one()
        other()


async def waiting_work() -> None:
    for _ in range(20):
        await asyncio.to_thread(burn)
        one()


def names(tree: dict[str, Any]) -> Iterator[str]:
    yield tree["name"].partition(" ")[0]
    for child in tree["children"]:
        yield from names(child)


def test_calls_in_turn_are_put_together() -> None:
    tree = profiled(work)
    assert tree is not None
    found = list(names(tree))
    assert found[:2] == ["profiled", "work"]
    assert found.count("one") == found.count("other") == 1
    (child,) = tree["children"]
    inside = child["children"]
    rounding = 0.005 * (len(inside) + 1)
    assert sum(each["ms"] for each in inside) <= child["ms"] + rounding
    assert child["ms"] <= tree["ms"]


def test_what_is_waited_for_counts() -> None:
    tree = asyncio.run(profiled_task(waiting_work))
    assert tree is not None
    found = list(names(tree))
    assert found[:2] == ["profiled_task", "waiting_work"]
    assert found.count("to_thread") == found.count("one") == 1
