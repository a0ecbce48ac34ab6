"""The ``import``, ``export`` and ``check`` commands."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.cli.arguments import require_writable
from api.cli.tables import counted, print_json, print_violations
from api.cli.whole_files import write_file
from api.server.database import database_name, on_database, on_existing_database
from api.service.error_messages import UsageError
from data.audit import OPERATOR
from data.clinic.import_export import ImportReport, export_clinic, import_document
from data.clinic.snapshot import load_clinic
from data.files.clinic_file import read_clinic_file
from data.files.documents import MAX_YAML, is_yaml, yaml_of
from models.tables import PROVIDERS, ROOMS, TYPES
from solver.clinic.clinic import Clinic
from solver.rules import whole_book_rules as whole_book


def import_file(file: Path, replace: bool, data_dir: Path | None) -> int:
    """Import a clinic file and print what was taken and what it warns of."""
    document = file.read_bytes()
    today = dt.datetime.now(dt.UTC).date()

    async def bring_in(engine: AsyncEngine) -> tuple[ImportReport, dict[str, str]]:
        report = await import_document(
            engine, document, is_yaml=is_yaml(file), replace=replace, today=today, actor=OPERATOR
        )
        async with engine.connect() as connection:
            return report, await _names_in(connection)

    report, names = on_database(data_dir, bring_in)
    console = Console()
    console.print(f"Imported {_counts(report.imported)}.", soft_wrap=True)
    if report.removed:
        console.print(f"Removed {_counts(report.removed)}.", soft_wrap=True)
    print_violations(console, report.warnings, names)
    if not report.outside.is_whole:
        console.print(
            f"These are the first of {report.outside.count}; slotwright check tells of all.",
            soft_wrap=True,
        )
    return 0


def _counts(by_list: dict[str, int]) -> str:
    """Write how many rows of each of a clinic file's lists, without the lists that have none."""
    nouns = {"availability": "availability row"}
    counts = [
        counted(count, nouns.get(name, name.removesuffix("s").replace("_", " ")))
        for name, count in by_list.items()
        if count
    ]
    return ", ".join(counts) or "no rows"


async def _names_in(connection: AsyncConnection) -> dict[str, str]:
    """Return the names of providers, rooms and types by their ids."""
    names = {}
    for table in (PROVIDERS, ROOMS, TYPES):
        for key, name in await connection.execute(select(table.c.id, table.c.name)):
            names[str(key)] = name
    return names


def export_file(file: Path, data_dir: Path | None, *, force: bool) -> int:
    """Write the database's clinic to `file`, as YAML where its name says so."""
    if str(file) == "-":
        print_json(on_existing_database(data_dir, export_clinic))
        return 0
    require_writable(None, file)
    is_there = file.exists() and file.is_file() and file.stat().st_size > 0
    if is_there and not force and not _is_clinic_file(file):
        raise UsageError(f"{file}: this is no clinic file; --force writes over it all the same")
    document = on_existing_database(data_dir, export_clinic)
    text = yaml_of(document).encode() if is_yaml(file) else _as_json(document)
    if is_yaml(file) and len(text) > MAX_YAML:
        raise UsageError(
            f"{file}: the clinic takes {len(text)} bytes of YAML, more than the {MAX_YAML} that an "
            "import reads; write it as .json"
        )
    write_file(file, text)
    counts = _counts({name: len(rows) for name, rows in document.items() if name != "clinic"})
    Console().print(
        f"{'Replaced' if is_there else 'Wrote'} {escape(str(file))}: {counts}.", soft_wrap=True
    )
    return 0


def _as_json(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _is_clinic_file(file: Path) -> bool:
    """Whether a file may be a clinic's, by its beginning."""
    with file.open("rb") as opened:
        return (
            re.search(rb"""^\W*clinic["']?\s*:""", opened.read(1 << 20), re.MULTILINE) is not None
        )


def check(file: Path | None, data_dir: Path | None, *, as_json: bool) -> int:
    """Print every rule that a booking breaks; 1 if any does."""
    now = dt.datetime.now(dt.UTC)
    if file is not None:
        clinic = read_clinic_file(file).to_clinic(now)
        where = str(file)
    else:
        clinic, where = on_existing_database(data_dir, _load_all), database_name(data_dir)
    violations = whole_book.violations(clinic, now=now)
    if as_json:
        from api.clinic.schemas import Conflict  # the interface's models take a while to import

        conflicts = [Conflict.of(v, clinic).model_dump(mode="json") for v in violations]
        print_json({"violations": conflicts})
        return 1 if violations else 0
    console = Console()
    names = {
        **{row.id: row.name for row in clinic.providers},
        **{row.id: row.name for row in clinic.rooms},
        **{row.id: row.name for row in clinic.appointment_types},
    }
    print_violations(console, violations, names)
    live = sum(row.is_live for row in clinic.bookings)
    told = f"{counted(live, 'booking')} read from {where}"
    if not violations:
        console.print(f"{told}; no rule is broken.", markup=False, highlight=False, soft_wrap=True)
    return 1 if violations else 0


async def _load_all(engine: AsyncEngine) -> Clinic:
    async with engine.connect() as connection:
        return await load_clinic(connection)
