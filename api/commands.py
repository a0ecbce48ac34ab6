"""What the commands do."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api import logs
from api.app import create_app
from api.schemas import MAX_LIMIT, Conflict, SlotQuery, preferred_window, slots_body
from api.settings import InvalidSettingError, Settings, read_settings
from data import demo as demo_clinic
from data.clinic_file import ClinicFile, InvalidClinicFileError, faults_of, read_clinic_file
from data.embedded import EmbeddedPostgres, EmbeddedPostgresError
from data.engine import create_engine, migrate
from data.errors import ImportConflictError, RequestError
from data.snapshot import load_clinic
from data.transfer import export_clinic, import_document
from solver.checker import Checker
from solver.clinic import Clinic, SlotRequest
from solver.slots import (
    LOOK_AHEAD_DAYS,
    DateOutOfRangeError,
    SlotPage,
    check_date,
    find_slots,
    next_available_date,
)

EMBEDDED = "postgres"
"""The embedded server's directory in the data directory."""


DEMO_ROWS = 10


class UsageError(ValueError):
    """An argument that does not fit; the message names it."""


COMPLAINTS: tuple[type[Exception], ...] = (
    DateOutOfRangeError,
    EmbeddedPostgresError,
    InvalidClinicFileError,
    InvalidSettingError,
    OSError,
    RequestError,
    SQLAlchemyError,
    UsageError,
)


def explain(error: Exception) -> str:
    """Say in one line (a line a fault for a clinic file) what is wrong."""
    if isinstance(error, InvalidClinicFileError):
        lines = [f"{fault.path}: {fault.message}" for fault in error.faults]
        return "\n  ".join([f"the clinic file has {len(lines)} fault(s):", *lines])
    if isinstance(error, ImportConflictError):
        lines = [
            f"booking {c['booking_id']} on {c['date']} at {c['start_time']}, "
            f"with {c['with_booking_id']}: {c['detail']}"
            for c in error.extra["conflicts"]
        ]
        return "\n  ".join([error.detail, *lines])
    if isinstance(error, DateOutOfRangeError):
        return f"--date: {error}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, SQLAlchemyError):
        return f"the database refused: {str(error).splitlines()[0]}"
    return str(error)


# The service


def serve(host: str, port: int, data_dir: Path | None, workers: int) -> int:
    """Run the service until it is told to stop."""
    settings = read_settings()
    logs.configure(settings.log_level)
    with _database(settings, data_dir) as url:
        asyncio.run(_with_engine(url, migrate))
        os.environ["DATABASE_URL"] = url  # the workers read it, too
        uvicorn.run(
            "api.app:service",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            **_uvicorn_options(),
        )
    return 0


def demo(port: int, data_dir: Path | None) -> int:
    """Run the demo clinic; print one query's answer once it serves."""
    settings = read_settings()
    logs.configure("WARNING")
    directory = data_dir or settings.data_dir / "demo"
    console = Console()
    with EmbeddedPostgres(directory / EMBEDDED) as server:
        asyncio.run(_with_engine(server.url, _seed_demo))
        settings = settings.model_copy(update={"database_url": server.url})
        config = uvicorn.Config(
            create_app(settings), host="127.0.0.1", port=port, **_uvicorn_options()
        )
        asyncio.run(_serve_and_show(uvicorn.Server(config), console))
    return 0


async def _seed_demo(engine: AsyncEngine) -> None:
    await migrate(engine)
    await demo_clinic.seed(engine, dt.datetime.now(dt.UTC))


async def _serve_and_show(server: uvicorn.Server, console: Console) -> None:
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if serving.done():
        await serving
        return
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    query = demo_clinic.first_query(dt.datetime.now(dt.UTC))
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        answer = await client.get("/slots", params=query)
    answer.raise_for_status()
    body = answer.json()
    console.print(f"[bold]Demo clinic on {base}[/], its API on {base}/docs; Ctrl-C ends it\n")
    console.print(f"GET {answer.url}", soft_wrap=True)
    title = f"A check-up on {body['date']}, best in the morning: {body['total']} places"
    console.print(_slot_table(body, title, DEMO_ROWS))
    await serving


def _uvicorn_options() -> dict[str, Any]:
    return {
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": 20,
        "timeout_keep_alive": 30,
        "server_header": False,
    }


@contextmanager
def _database(settings: Settings, data_dir: Path | None) -> Iterator[str]:
    """Yield the database's URL; without DATABASE_URL, of an embedded server."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    directory = data_dir or settings.data_dir
    with EmbeddedPostgres(directory / EMBEDDED) as server:
        yield server.url


async def _with_engine[Result](
    url: str, work: Callable[[AsyncEngine], Awaitable[Result]]
) -> Result:
    engine = create_engine(url, pool_size=2)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def _on_database[Result](
    data_dir: Path | None, work: Callable[[AsyncEngine], Awaitable[Result]]
) -> Result:
    """Do `work` on the migrated database of the settings."""

    async def migrated(engine: AsyncEngine) -> Result:
        await migrate(engine)
        return await work(engine)

    settings = read_settings()
    logs.configure("WARNING")
    with _database(settings, data_dir) as url:
        return asyncio.run(_with_engine(url, migrated))


def migrate_database(data_dir: Path | None) -> int:
    """Bring the schema to the newest version."""

    async def nothing_more(_: AsyncEngine) -> None:
        return

    _on_database(data_dir, nothing_more)
    Console().print("The schema is up to date.")
    return 0


# The clinic file


def import_file(file: Path, replace: bool, data_dir: Path | None) -> int:
    """Import a clinic file and print what was taken and what it warns of."""
    document = file.read_bytes()
    is_yaml = file.suffix.lower() in (".yaml", ".yml")
    today = dt.datetime.now(dt.UTC).date()
    report = _on_database(
        data_dir,
        lambda engine: import_document(
            engine, document, is_yaml=is_yaml, replace=replace, today=today
        ),
    )
    console = Console()
    taken = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in report.imported.items()
    )
    console.print(f"Imported {taken}.")
    for name, count in report.removed.items():
        console.print(f"Removed {count} {name.replace('_', ' ')}.")
    _print_conflicts(console, [Conflict.of(violation) for violation in report.warnings])
    return 0


def export_file(file: Path, data_dir: Path | None) -> int:
    """Write the database's clinic to `file`."""
    exported = _on_database(data_dir, export_clinic)
    text = orjson.dumps(exported.to_json(), option=orjson.OPT_INDENT_2) + b"\n"
    if str(file) == "-":
        sys.stdout.buffer.write(text)
    else:
        file.write_bytes(text)
    return 0


def check(file: Path | None, data_dir: Path | None, *, as_json: bool) -> int:
    """Print every rule that a booking breaks; 1 if any does."""
    if file is not None:
        clinic = read_clinic_file(file).to_clinic(dt.datetime.now(dt.UTC))
    else:
        clinic = _on_database(data_dir, _load_all)
    conflicts = [Conflict.of(violation) for violation in Checker(clinic).violations()]
    if as_json:
        print_json({"violations": [c.model_dump(mode="json") for c in conflicts]})
    else:
        console = Console()
        _print_conflicts(console, conflicts)
        if not conflicts:
            console.print(f"{len(clinic.bookings)} bookings, no rule broken.")
    return 1 if conflicts else 0


async def _load_all(engine: AsyncEngine) -> Clinic:
    async with engine.connect() as connection:
        return await load_clinic(connection)


def _print_conflicts(console: Console, conflicts: list[Conflict]) -> None:
    if not conflicts:
        return
    table = Table(title=f"{len(conflicts)} broken rules", title_justify="left")
    for heading in ("Booking", "Date", "Start", "Rule", "What is wrong"):
        table.add_column(heading, overflow="fold")
    for c in conflicts:
        table.add_row(c.booking_id, str(c.date), c.start_time, str(c.rule), c.detail)
    console.print(table)


# One slot query


def slots(file: Path, kind: str, fields: dict[str, Any], now: str | None, *, as_json: bool) -> int:
    """Answer one slot query from a clinic file, as a table or as the body of ``GET /slots``."""
    settings = read_settings()
    read = read_clinic_file(file)
    zone = read.clinic.to_solver().zone
    moment = _moment(now, zone) if now is not None else dt.datetime.now(zone)
    clinic = read.to_clinic(moment)
    query = _query(read, kind, fields)
    check_date(clinic.settings, query.date, moment, settings.horizon_days)
    request = SlotRequest(
        query.appointment_type_id,
        query.date,
        moment,
        provider_ids=frozenset(query.provider_id) or None,
        preferred=preferred_window(query.preferred_start, query.preferred_end),
    )
    page = find_slots(
        clinic, request, limit=query.limit, rooms=query.rooms, weights=settings.weights
    )
    following = None
    if not page.slots:
        last = moment.astimezone(zone).date() + dt.timedelta(days=settings.horizon_days)
        following = next_available_date(clinic, request, last=last)
    body = slots_body(page, zone, following)
    if as_json:
        print_json(body)
    else:
        _print_slots(body, page)
    return 0


def _query(file: ClinicFile, kind: str, fields: dict[str, Any]) -> SlotQuery:
    names = {"provider": "--provider", "appointment_type": "--type"}
    given = {name: value for name, value in fields.items() if value is not None}
    given["appointment_type_id"] = _id_of(file.appointment_types, kind, names["appointment_type"])
    given["provider_id"] = [
        _id_of(file.providers, name, names["provider"]) for name in given.pop("provider")
    ]
    try:
        return SlotQuery.model_validate(given)
    except ValidationError as error:
        fault = faults_of(error)[0]
        option = fault.path.split("[", maxsplit=1)[0].replace("_", "-")
        raise UsageError(f"--{option}: {fault.message}") from None


def _id_of(rows: list[Any], name: str, option: str) -> str:
    found = [row.id for row in rows if name.lower() == row.id or name == row.name]
    if not found:
        found = [row.id for row in rows if name.casefold() == row.name.casefold()]
    if len(found) == 1:
        return str(found[0])
    choices = ", ".join(sorted(row.name for row in rows)) or "none"
    if found:
        raise UsageError(f"{option}: '{name}' names {len(found)} rows; use an id")
    raise UsageError(f"{option}: there is no '{name}'; the file has {choices}")


def _moment(text: str, zone: dt.tzinfo) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--now: '{text}' is no moment; write 2027-03-01T08:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _print_slots(body: dict[str, Any], page: SlotPage) -> None:
    console = Console()
    if page.slots:
        title = f"{page.kind.name} on {page.date:%A, %d %B %Y}: {page.total} places"
        console.print(_slot_table(body, title))
        return
    console.print(f"No slot for {page.kind.name} on {page.date:%A, %d %B %Y}.")
    for rule, count in page.blocked_by.items():
        console.print(f"  {count:>8} places: {rule.replace('_', ' ').lower()}")
    following = body["next_available_date"]
    if following is not None:
        console.print(f"Next available: [bold]{following}[/]")
    else:
        console.print(f"Nor in the {LOOK_AHEAD_DAYS} days after.")


def _slot_table(body: dict[str, Any], title: str, most: int = MAX_LIMIT) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Time", no_wrap=True)
    table.add_column("Provider", no_wrap=True)
    table.add_column("Room", no_wrap=True)
    for heading in ("Score", "Pref", "Gap", "Fit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for slot in body["slots"][:most]:
        parts = slot["score_parts"]
        table.add_row(
            f"{slot['start_time']}-{slot['end_time']}",
            slot["provider_name"],
            slot["room_name"],
            f"{slot['score']:.4f}",
            f"{parts['preference']:.2f}",
            f"{parts['gap']:.2f}",
            f"{parts['room']:.2f}",
            "overbooked" if slot["is_overbooked"] else "",
        )
    return table


def print_json(body: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()
