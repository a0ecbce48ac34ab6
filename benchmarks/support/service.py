"""A real service on an embedded database, for suites that ask it over HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import asyncpg
import httpx
from sqlalchemy import URL, make_url

from benchmarks.support.clinics import as_document
from data.clinic.import_export import import_file
from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine, migrate
from data.database.roles import SERVICE
from data.files.clinic_file import ClinicFile
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.request import SlotRequest


def coming_monday() -> dt.date:
    """Return a Monday about a month from now: what is asked of a service lies ahead."""
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    return day + dt.timedelta(days=(1 - day.isoweekday()) % 7)


class Databases:
    """Empty databases on one embedded server, which starts when the first is asked for."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._server: EmbeddedPostgres | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def new(self) -> str:
        """Return the URL of a database of its own."""
        if self._server is None:
            directory = tempfile.TemporaryDirectory(prefix="slotwright-bench-")
            path = Path(self._held.enter_context(directory))
            self._server = self._held.enter_context(EmbeddedPostgres(path))
        self._count += 1
        name = f"bench{self._count}"
        admin = make_url(self._server.admin_url)
        asyncio.run(_create(admin, name))
        return admin.set(database=name, username=SERVICE).render_as_string()


async def _create(admin: URL, name: str) -> None:
    connection = await asyncpg.connect(admin.render_as_string())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    engine = create_engine(admin.set(database=name).render_as_string(), pool_size=1)
    await migrate(engine, make_roles=True)
    await engine.dispose()


def fill(url: str, clinic: Clinic, monday: dt.date) -> None:
    """Make `clinic` the one in the database, with its bookings on `monday`."""
    asyncio.run(_fill(url, clinic, monday))


async def _fill(url: str, clinic: Clinic, monday: dt.date) -> None:
    moved = clinic.with_bookings(replace(booking, date=monday) for booking in clinic.bookings)
    await load(url, as_document(moved), monday)


async def load(url: str, document: dict[str, Any], today: dt.date) -> None:
    """Make the clinic of a clinic file the one in the database."""
    engine = create_engine(url)
    file = ClinicFile.model_validate(document)
    await import_file(engine, file, replace=True, today=today)
    await engine.dispose()


@dataclass(frozen=True)
class Service:
    """A running service: its address, and the process that was started."""

    base: str
    pid: int


@contextmanager
def service(url: str, workers: int = 1) -> Iterator[Service]:
    """Yield a service with so many processes on a database; there is no limit of rates."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from api.cli.main import main; main()", "serve"]
    command += ["--port", f"{port}", "--workers", f"{workers}"]
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "SLOTWRIGHT_RATE_LIMITS": "off",
        "SLOTWRIGHT_LOG_LEVEL": "WARNING",
    }
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=environment) as process:
        try:
            while not _is_ready(base):
                if process.poll() is not None:
                    raise RuntimeError("the service did not start")
                time.sleep(0.1)
            yield Service(base, process.pid)
        finally:
            process.terminate()


def _is_ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz").is_success
    except httpx.HTTPError:
        return False


def query(request: SlotRequest, monday: dt.date) -> str:
    """Return the path that asks for slots on `monday`."""
    opens, closes = request.preferred or (0, 1440)
    return "/slots?" + urlencode(
        {
            "date": monday.isoformat(),
            "appointment_type_id": request.appointment_type_id,
            "preferred_start": format_time(opens),
            "preferred_end": format_time(closes),
        }
    )


def first_order(found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the booking to ask for of the best regular slot of an answer, if it has one."""
    slot = next((slot for slot in found["slots"] if not slot["is_overbooked"]), None)
    if slot is None:
        return None
    wanted = {name: slot[name] for name in ("provider_id", "date", "start_time")}
    return wanted | {"appointment_type_id": found["appointment_type_id"]}
