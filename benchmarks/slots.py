"""Slot queries in process and over HTTP: cost by size of clinic, and against the plain reading."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.clinics import MONDAY, as_document, make_clinic
from benchmarks.measure import Timing, time_each
from data.clinic_file import ClinicFile
from data.embedded import EmbeddedPostgres
from data.engine import create_engine, migrate
from data.transfer import import_file
from solver.checker import Checker
from solver.clinic import Clinic, SlotRequest
from solver.ranking import Rooms
from solver.slots import best_slot, find_slots
from solver.timeline import format_time

SIZES = ((5, 8), (50, 100), (500, 1000))
NOW = dt.datetime(2027, 2, 1, tzinfo=dt.UTC)
LOADS = {"empty": 0.02, "half full": 0.5, "nearly full": 0.9}


def run(*, quick: bool) -> dict[str, Any]:
    """Return the figures of the suite; `quick` takes a tenth of the repeats."""
    repeats = 30 if quick else 300
    report: dict[str, Any] = {"in process, limit 50": {}, "by load, 5 x 8": {}}
    for providers, rooms in SIZES:
        clinic = make_clinic(providers, rooms)
        timing = time_each(_queries(clinic, repeats, limit=50))
        report["in process, limit 50"][f"{providers} x {rooms}"] = timing.as_json()
    for name, load in LOADS.items():
        clinic = make_clinic(5, 8, load=load)
        report["by load, 5 x 8"][name] = {
            "limit 50": time_each(_queries(clinic, repeats, limit=50)).as_json(),
            "limit 5000, all rooms": time_each(
                _queries(clinic, repeats // 5, limit=5000, rooms="all")
            ).as_json(),
        }
    medians = [timing["median"] for timing in report["in process, limit 50"].values()]
    small = make_clinic(5, 8)
    plain = time_each(_plain(small, max(10, repeats // 30)), warm_up=1)
    best = time_each(_best(small, max(20, repeats // 10)))
    report["over HTTP, 5 x 8"] = _over_http(small, repeats).as_json()
    report["the best one proved, 5 x 8"] = best.as_json()
    report["plain reading, 5 x 8"] = plain.as_json()
    report["ratios"] = {
        "50 x 100 to 5 x 8": round(medians[1] / medians[0], 2),
        "500 x 1000 to 5 x 8": round(medians[2] / medians[0], 2),
        "plain reading to ours, 5 x 8": round(plain.median / medians[0], 1),
    }
    return report


def _requests(clinic: Clinic, count: int) -> Iterator[SlotRequest]:
    chance = random.Random(count)
    for _ in range(count):
        wish = chance.randrange(480, 960, 15)
        kind = chance.choice(clinic.appointment_types)
        yield SlotRequest(kind.id, MONDAY, NOW, preferred=(wish, wish + 120))


def _queries(
    clinic: Clinic, count: int, *, limit: int, rooms: Rooms = "best"
) -> list[Callable[[], object]]:
    return [
        partial(find_slots, clinic, request, limit=limit, rooms=rooms)
        for request in _requests(clinic, count + 5)
    ]


def _plain(clinic: Clinic, count: int) -> list[Callable[[], object]]:
    return [partial(Checker(clinic).read_slots, request) for request in _requests(clinic, count)]


def _best(clinic: Clinic, count: int) -> list[Callable[[], object]]:
    return [partial(best_slot, clinic, request) for request in _requests(clinic, count)]


def _over_http(clinic: Clinic, count: int) -> Timing:
    """Time queries to a real service on an embedded database, one after the other."""
    monday = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    monday += dt.timedelta(days=(1 - monday.isoweekday()) % 7)
    with (
        tempfile.TemporaryDirectory(prefix="slotwright-bench-") as directory,
        EmbeddedPostgres(Path(directory)) as server,
    ):
        asyncio.run(_fill(server.url, clinic, monday))
        with (
            _service(server.url) as base,
            httpx.Client(base_url=base, timeout=30) as client,
        ):

            def ask(request: SlotRequest) -> None:
                opens, closes = request.preferred or (0, 1440)
                answer = client.get(
                    "/slots",
                    params={
                        "date": monday.isoformat(),
                        "appointment_type_id": request.appointment_type_id,
                        "preferred_start": format_time(opens),
                        "preferred_end": format_time(closes),
                    },
                )
                answer.raise_for_status()

            calls: list[Callable[[], object]] = [
                partial(ask, request) for request in _requests(clinic, count + 20)
            ]
            return time_each(calls, warm_up=20)


async def _fill(url: str, clinic: Clinic, monday: dt.date) -> None:
    engine = create_engine(url)
    await migrate(engine)
    moved = clinic.with_bookings(replace(booking, date=monday) for booking in clinic.bookings)
    file = ClinicFile.model_validate(as_document(moved))
    await import_file(engine, file, replace=True, today=monday)
    await engine.dispose()


@contextmanager
def _service(url: str) -> Iterator[str]:
    """Yield the address of a service in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from api.cli import main; main()",
        "serve",
        "--port",
        f"{port}",
    ]
    base = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "DATABASE_URL": url, "SLOTWRIGHT_RATE_LIMITS": "off"}
    with subprocess.Popen(command, env=environment) as process:
        try:
            while not _is_ready(base):
                if process.poll() is not None:
                    raise RuntimeError("the service did not start")
                time.sleep(0.1)
            yield base
        finally:
            process.terminate()


def _is_ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz").is_success
    except httpx.HTTPError:
        return False
