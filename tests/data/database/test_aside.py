"""Long reading is done by another process, which may die."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data.database.aside import LARGE, NICENESS, read_in_worker
from data.errors import BusyError


def where() -> tuple[int, int]:
    return os.getpid(), os.nice(0)


def end(number: int) -> None:
    os.kill(os.getpid(), number)


async def test_what_is_large_is_read_by_a_process_that_gives_way_and_stays() -> None:
    assert await read_in_worker(LARGE - 1, where) == (os.getpid(), os.nice(0))
    found = {await read_in_worker(LARGE, where) for _ in range(3)}
    [(process, niceness)] = found
    assert process != os.getpid()
    assert niceness == min(19, os.nice(0) + NICENESS)


async def test_a_process_that_was_killed_is_replaced() -> None:
    first, _ = await read_in_worker(LARGE, where)
    os.kill(first, signal.SIGKILL)
    second, _ = await read_in_worker(LARGE, where)
    assert second != first


async def test_reading_that_kills_its_process_ends_with_an_error() -> None:
    with pytest.raises(BusyError):
        await read_in_worker(LARGE, end, signal.SIGKILL)
    assert (await read_in_worker(LARGE, where))[0] != os.getpid()


SERVES = """
import asyncio, os, signal
from data.database.aside import LARGE, worker_ended, read_in_worker
async def serve():
    async with worker_ended():
        await read_in_worker(LARGE, abs, -1)
if __name__ == "__main__":
    asyncio.run(serve())
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_service_that_is_ended_by_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    program = tmp_path / "serves.py"
    program.write_text(SERVES)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(program)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


async def test_what_goes_wrong_there_is_told_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await read_in_worker(LARGE, int, "x")
