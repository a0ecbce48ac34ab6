"""What the commands do."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.database import on_database
from api.schemas import Conflict
from api.settings import InvalidSettingError
from api.tables import print_conflicts, print_json
from data import keys
from data.audit import OPERATOR
from data.clinic_file import InvalidFileError, is_yaml, read_clinic_file
from data.embedded import EmbeddedPostgresError
from data.engine import NewerSchemaError
from data.errors import ImportConflictError, RequestError
from data.keys import Role
from data.snapshot import load_clinic
from data.transaction import run
from data.transfer import export_clinic, import_document
from solver.checker import Checker
from solver.clinic import Clinic
from solver.timeline import DateOutOfRangeError


class UsageError(ValueError):
    """An argument that does not fit; the message names it."""


COMPLAINTS: tuple[type[Exception], ...] = (
    DateOutOfRangeError,
    EmbeddedPostgresError,
    InvalidFileError,
    InvalidSettingError,
    NewerSchemaError,
    OSError,
    RequestError,
    SQLAlchemyError,
    UsageError,
)


def explain(error: Exception) -> str:
    """Say in one line (a line a fault for a file) what is wrong."""
    if isinstance(error, InvalidFileError):
        lines = [f"{fault.path}: {fault.message}" for fault in error.faults]
        return "\n  ".join([f"the {error.kind} has {len(lines)} fault(s):", *lines])
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


def read_moment(text: str | None, zone: dt.tzinfo) -> dt.datetime:
    """Return what ``--now`` says, in the clinic's zone unless it carries an offset."""
    if text is None:
        return dt.datetime.now(zone)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--now: '{text}' is no moment; write 2027-03-01T08:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def migrate_database(data_dir: Path | None) -> int:
    """Bring the schema to the newest version."""

    async def nothing_more(_: AsyncEngine) -> None:
        return

    on_database(data_dir, nothing_more)
    Console().print("The schema is up to date.")
    return 0


# The clinic file


def import_file(file: Path, replace: bool, data_dir: Path | None) -> int:
    """Import a clinic file and print what was taken and what it warns of."""
    document = file.read_bytes()
    today = dt.datetime.now(dt.UTC).date()
    report = on_database(
        data_dir,
        lambda engine: import_document(
            engine, document, is_yaml=is_yaml(file), replace=replace, today=today, actor=OPERATOR
        ),
    )
    console = Console()
    taken = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in report.imported.items()
    )
    console.print(f"Imported {taken}.")
    for name, count in report.removed.items():
        console.print(f"Removed {count} {name.replace('_', ' ')}.")
    print_conflicts(console, [Conflict.of(violation) for violation in report.warnings])
    return 0


def export_file(file: Path, data_dir: Path | None) -> int:
    """Write the database's clinic to `file`."""
    exported = on_database(data_dir, export_clinic)
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
        clinic = on_database(data_dir, _load_all)
    conflicts = [Conflict.of(violation) for violation in Checker(clinic).violations()]
    if as_json:
        print_json({"violations": [c.model_dump(mode="json") for c in conflicts]})
    else:
        console = Console()
        print_conflicts(console, conflicts)
        if not conflicts:
            console.print(
                f"{sum(row.is_live for row in clinic.bookings)} bookings, no rule broken."
            )
    return 1 if conflicts else 0


async def _load_all(engine: AsyncEngine) -> Clinic:
    async with engine.connect() as connection:
        return await load_clinic(connection)


# API keys


def create_key(role: Role, name: str | None, data_dir: Path | None) -> int:
    """Make a key and print it; only the key goes to standard output."""
    if name is not None:
        try:
            name = TypeAdapter[str](keys.Name).validate_python(name)
        except ValidationError as error:
            raise UsageError(f"--name: {error.errors()[0]['msg']}") from None
    known, secret = on_database(
        data_dir, lambda engine: run(engine, lambda c: keys.create(c, role, name, OPERATOR))
    )
    Console(stderr=True).print(f"Key {known.name} ({known.id}), {role}. It is not shown again:")
    sys.stdout.write(f"{secret}\n")
    return 0


def list_keys(data_dir: Path | None) -> int:
    """Print every key ever made."""
    table = Table("id", "name", "role", "made", "revoked")
    for key in on_database(data_dir, keys.every):
        revoked = "" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d %H:%M}"
        table.add_row(key.id, key.name, key.role, f"{key.created_at:%Y-%m-%d %H:%M}", revoked)
    Console().print(table)
    return 0


def revoke_key(key_id: str, data_dir: Path | None) -> int:
    """Revoke a key, named by its id."""
    try:
        key_id = str(UUID(key_id))
    except ValueError:
        raise UsageError(f"{key_id}: not an id; slotwright keys list shows them") from None
    known = on_database(
        data_dir, lambda engine: run(engine, lambda c: keys.revoke(c, key_id, OPERATOR))
    )
    Console().print(f"Revoked {known.name}.")
    return 0
