"""A data directory on which nothing more can be written, and its database once there is room."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from tests.support.clinics import TYPE, coming_monday, order, small_clinic
from tests.support.service import postmaster_of, service

MONDAY = coming_monday()
QUERY = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own with a directory on it."""
    with tempfile.TemporaryDirectory(prefix="slotwright-disk-") as directory:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", directory]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def limit_files(pid: int, size: int) -> None:
    """Let a process, and those that it starts from now on, write no file beyond `size` bytes."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A service on its embedded database, with a booking at 09:00; it lives until the end."""
    with service("serve", "--data-dir", str(directory)) as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            assert (await client.post("/clinic/import", json=small_clinic())).is_success
            assert (await client.post("/bookings", json=order(MONDAY, "09:00"))).is_success
            yield client, process.pid
        assert process.poll() is None


async def live_starts(client: httpx.AsyncClient) -> list[str]:
    """The starts of all bookings that are not cancelled."""
    rows = (await client.get("/bookings")).json()
    return sorted(row["start_time"] for row in rows if row["status"] == "booked")


async def is_put_off(client: httpx.AsyncClient, **fields: Any) -> bool:
    """Whether a booking at 10:00, or its cancellation, is refused for now, and cleanly."""
    body = order(MONDAY, "10:00", patient_ref="b", **fields)
    answer = await client.post("/bookings", json=body)
    if answer.is_success:
        answer = await client.post(f"/bookings/{answer.json()['id']}/cancel")
        if answer.is_success:
            return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["code"] == "TEMPORARILY_UNAVAILABLE"
    assert "/" not in answer.json()["detail"]  # no file, no SQL
    return True


async def until_ready(client: httpx.AsyncClient, status: int) -> None:
    deadline = time.monotonic() + 120
    while (await client.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)  # between two looks


async def goes_down_and_comes_back(
    client: httpx.AsyncClient, live: list[str], make_room: Callable[[], None]
) -> None:
    """See all requests put off while the database cannot write, and the live starts kept."""
    await until_ready(client, 503)
    assert await is_put_off(client)
    assert (await client.get("/slots", params=QUERY)).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    make_room()
    await until_ready(client, 200)
    assert await live_starts(client) == live
    answer = await client.post("/bookings", json=order(MONDAY, "11:00", patient_ref="c"))
    assert answer.status_code == 201


async def test_a_full_disk_refuses_writes_answers_reads_and_recovers() -> None:
    with small_disk(96) as disk:
        async with served(disk) as (client, _):
            fill(disk / "ballast")
            async with asyncio.timeout(120):
                while not await is_put_off(client, notes="x" * 2000):
                    pass
            assert (await client.get("/readyz")).status_code == 200
            live = await live_starts(client)  # with 10:00 where its cancellation was refused
            assert live in (["09:00"], ["09:00", "10:00"])
            assert (await client.get("/slots", params=QUERY)).json()["total"] > 0

            engine = create_engine(EmbeddedPostgres(disk / "postgres").admin_url, pool_size=1)
            with contextlib.suppress(DBAPIError):  # the end of what is left for its log
                async with engine.begin() as connection:
                    await connection.execute(text("SELECT pg_switch_wal()"))
                    await connection.execute(text("CREATE TABLE written ()"))
            await engine.dispose()
            await goes_down_and_comes_back(client, live, (disk / "ballast").unlink)


async def test_a_database_that_is_started_again_and_cannot_write_recovers(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, pid):
        limit_files(pid, 100_000)
        server = postmaster_of(tmp_path)
        assert server is not None
        os.kill(server, signal.SIGKILL)
        await goes_down_and_comes_back(
            client, ["09:00"], lambda: limit_files(pid, resource.RLIM_INFINITY)
        )
