"""What one more clinic costs a process and a database server that carry many.

A clinic is a database, and a service is an application on one; a process may hold several
applications. ``python -m benchmarks.fleet.tenants URL COUNT PATH`` is a process that holds so many,
asks each for a path, and tells its peak memory, that of the server's processes, its connections,
and the cores that both need while nobody asks for anything.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import orjson

from benchmarks.measure.memory import peak_mib, tree_mib, tree_seconds
from benchmarks.support.in_process import application, get

FEW, MANY = 2, 42


IDLE_SECONDS = 4.0


@dataclass(frozen=True)
class Tenancy:
    """What clinics take.

    Attributes
    ----------
    base_mib, clinic_mib
        Of a process without any clinic, and for each one more.
    server_mib
        Of the database server, for each clinic that is connected.
    connections
        That each clinic keeps open.
    idle_cores, idle_server_cores
        Of a process and of the server, for a clinic that nobody asks for anything: what looks
        for runs and for jobs to do.
    """

    base_mib: float
    clinic_mib: float
    server_mib: float
    connections: float
    idle_cores: float
    idle_server_cores: float


def measure(url: str, path: str) -> Tenancy:
    """Return what a clinic takes, from a few and from many in one process.

    All of them are on one database, which holds the clinic that `path` asks about.
    """
    few, many = (_apart(url, count, path) for count in (FEW, MANY))
    each = [(more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)]
    return Tenancy(few[0] - FEW * each[0], *each)


def _apart(url: str, count: int, path: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.fleet.tenants", url, f"{count}", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: list[float] = orjson.loads(done.stdout.splitlines()[-1])
    return told


async def _told(url: str, count: int, path: str) -> list[float]:
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(application(url)) for _ in range(count)]
        for app in apps:
            await get(app, path)
        connection = await asyncpg.connect(url)
        server = _parent(await connection.fetchval("SELECT pg_backend_pid()"))
        open_ones = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        await connection.close()
        before = time.process_time(), tree_seconds(server)
        await asyncio.sleep(IDLE_SECONDS)
        after = time.process_time(), tree_seconds(server)
        idle = [(late - early) / IDLE_SECONDS for early, late in zip(before, after, strict=True)]
        return [peak_mib(), tree_mib(server), float(open_ones), *idle]


def _parent(pid: int) -> int:
    """Return the parent of a process: a backend's is the server."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


if __name__ == "__main__":
    print(orjson.dumps(asyncio.run(_told(sys.argv[1], int(sys.argv[2]), sys.argv[3]))).decode())
