"""Long reading is done by another process, which may die."""

import os
import signal

import pytest

from data.database.aside import LARGE, NICENESS, read_aside
from data.errors import BusyError


def where() -> tuple[int, int]:
    return os.getpid(), os.nice(0)


def end(number: int) -> None:
    os.kill(os.getpid(), number)


async def test_what_is_large_is_read_by_a_process_that_gives_way_and_stays() -> None:
    assert await read_aside(LARGE - 1, where) == (os.getpid(), os.nice(0))
    found = {await read_aside(LARGE, where) for _ in range(3)}
    [(process, niceness)] = found
    assert process != os.getpid()
    assert niceness == min(19, os.nice(0) + NICENESS)


async def test_a_process_that_was_killed_is_replaced() -> None:
    first, _ = await read_aside(LARGE, where)
    os.kill(first, signal.SIGKILL)
    second, _ = await read_aside(LARGE, where)
    assert second != first


async def test_reading_that_kills_its_process_ends_with_an_error() -> None:
    with pytest.raises(BusyError):
        await read_aside(LARGE, end, signal.SIGKILL)
    assert (await read_aside(LARGE, where))[0] != os.getpid()


async def test_what_goes_wrong_there_is_told_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await read_aside(LARGE, int, "x")
