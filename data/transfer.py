"""The clinic file in and out of the database."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    Table,
    Uuid,
    all_,
    any_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import ANONYMOUS
from data.clinic_file import (
    AppointmentTypeRow,
    AvailabilityRow,
    BookingRow,
    ClinicFile,
    ClinicRow,
    OverbookingRuleRow,
    ProviderRow,
    RoomRow,
    Strict,
    parse_clinic_file,
)
from data.errors import ImportConflictError
from data.holds import write_off_holds
from data.outside import Found, find_all_outside
from data.snapshot import (
    AVAILABILITY,
    BOOKINGS,
    CLINIC,
    OVERBOOKING_RULES,
    PROVIDERS,
    ROOMS,
    TYPES,
)
from data.transaction import hold_clinic, run
from solver.checker import Violation
from solver.patients import patient_key
from solver.timeline import format_time

HOLD_MINUTES = 5
"""How long a hold from a file lasts that does not say when it expires."""
BATCH = 1000

TABLES: dict[str, Table] = {
    "providers": PROVIDERS,
    "rooms": ROOMS,
    "appointment_types": TYPES,
    "overbooking_rules": OVERBOOKING_RULES,
}
"""The lists of the file whose rows are known by id and stand in a table as they are."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did: rows taken by list, rows removed, and rules that bookings break."""

    imported: dict[str, int]
    removed: dict[str, int]
    outside: Found
    """The bookings ahead, and those of the file, that break rules."""

    @property
    def warnings(self) -> list[Violation]:
        """The rules that they break, as far as it is told."""
        return self.outside.violations


def columns_of(row: Strict) -> dict[str, Any]:
    """Return a row's fields under the names of the table's columns."""
    fields = dict(row)
    for field, column in (("start_time", "start_minute"), ("end_time", "end_minute")):
        if field in fields:
            fields[column] = fields.pop(field)
    return fields


def from_row[Model: Strict](row: Any, model: type[Model]) -> Model:
    """Return a database row as a row of the file, without checking it again."""
    names = {"start_time": "start_minute", "end_time": "end_minute"}
    fields = {field: getattr(row, names.get(field, field)) for field in model.model_fields}
    for field, value in fields.items():
        if isinstance(value, UUID):
            fields[field] = str(value)
    constructed: Model = model.model_construct(None, **fields)  # type: ignore[assignment]
    return constructed


async def export_clinic(engine: AsyncEngine) -> ClinicFile:
    """Return all there is as a clinic file, at one moment, in a stable order."""
    at_one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with at_one_moment.connect() as connection:
        return await _read(connection)


async def _read(connection: AsyncConnection) -> ClinicFile:
    async def rows[Model: Strict](table: Table, model: type[Model], order: str) -> list[Model]:
        found = await connection.execute(select(table).order_by(*order.split()))
        return [from_row(row, model) for row in found]

    return ClinicFile.model_construct(
        clinic=(await rows(CLINIC, ClinicRow, "id"))[0],
        providers=await rows(PROVIDERS, ProviderRow, "id"),
        rooms=await rows(ROOMS, RoomRow, "id"),
        appointment_types=await rows(TYPES, AppointmentTypeRow, "id"),
        availability=await rows(AVAILABILITY, AvailabilityRow, _SAID_ORDER),
        overbooking_rules=await rows(OVERBOOKING_RULES, OverbookingRuleRow, "id"),
        bookings=_bookings(
            await rows(BOOKINGS, BookingRow, "date start_minute id"),
            await _column_by_id(connection, TYPES, "duration_minutes"),
        ),
    )


def _bookings(rows: list[BookingRow], durations: dict[str, int]) -> list[BookingRow]:
    """Leave the end out where it follows from the type."""
    for row in rows:
        if row.end_time == row.start_time + durations[row.appointment_type_id]:
            row.end_time = None
    return rows


async def import_document(
    engine: AsyncEngine,
    document: bytes,
    *,
    is_yaml: bool,
    replace: bool,
    today: dt.date,
    actor: str = ANONYMOUS,
) -> ImportReport:
    """Read a clinic file and bring it into the database, all of it or nothing.

    Rows are matched by id, availability rows (which have none) by what they say. With `replace`,
    rows that the file lacks are removed.

    Raises
    ------
    InvalidClinicFileError
        When the document is not a clinic file.
    ImportConflictError
        When bookings break a constraint of the database; every one is named.
    """
    while True:
        async with engine.connect() as connection:
            known = {} if replace else await _known_ids(connection)
        # Reading a large document takes long: not on the event loop, and before the lock.
        file = await asyncio.to_thread(parse_clinic_file, document, is_yaml=is_yaml, known=known)
        report = await _import(engine, file, replace=replace, today=today, actor=actor, known=known)
        if report is not None:
            return report


async def import_file(
    engine: AsyncEngine, file: ClinicFile, *, replace: bool, today: dt.date, actor: str = ANONYMOUS
) -> ImportReport:
    """Bring a clinic file that has been read into the database; see :func:`import_document`."""
    report = await _import(engine, file, replace=replace, today=today, actor=actor, known=None)
    assert report is not None
    return report


async def _import(
    engine: AsyncEngine,
    file: ClinicFile,
    *,
    replace: bool,
    today: dt.date,
    actor: str,
    known: Mapping[str, frozenset[str]] | None,
) -> ImportReport | None:
    """Bring a file in; None when the rows it was read beside, if given, are others by now."""

    async def work(connection: AsyncConnection) -> ImportReport | None:
        await hold_clinic(connection)
        if known and await _known_ids(connection) != known:
            return None
        return await _bring_in(connection, file, replace=replace, today=today, actor=actor)

    return await run(engine, work)


async def _known_ids(connection: AsyncConnection) -> dict[str, frozenset[str]]:
    known = {}
    for name, table in TABLES.items():
        ids = await connection.execute(select(table.c.id))
        known[name] = frozenset(str(key) for key in ids.scalars())
    return known


async def _bring_in(
    connection: AsyncConnection,
    file: ClinicFile,
    *,
    replace: bool,
    today: dt.date,
    actor: str = ANONYMOUS,
) -> ImportReport:
    await connection.exec_driver_sql("SET LOCAL statement_timeout = '60s'")
    # A large clinic is checked, booking by booking, between two statements.
    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
    before = (await _read(connection)).to_json()
    await connection.execute(update(CLINIC).values(columns_of(file.clinic)))
    removed: dict[str, int] = {}
    if replace:
        await _remove_absent(connection, "bookings", BOOKINGS, file.bookings, removed)
        await _remove_absent_availability(connection, file.availability, removed)
    for name, table in TABLES.items():
        await _upsert(connection, table, [columns_of(row) for row in getattr(file, name)])
    await _add_availability(connection, file.availability)
    await _write_bookings(connection, file.bookings)
    if replace:  # only now does no booking name them any more
        for name, table in reversed(TABLES.items()):
            await _remove_absent(connection, name, table, getattr(file, name), removed)
    await shrink_guards(connection)
    imported = {
        name: len(getattr(file, name)) for name in ClinicFile.model_fields if name != "clinic"
    }
    touched = frozenset(row.id for row in file.bookings)
    outside = await find_all_outside(connection, since=today, or_of=touched)
    await audit.record(
        connection,
        actor,
        "import",
        "clinic",
        before=before,
        after={"imported": imported, "removed": removed, "file": file.to_json()},
    )
    return ImportReport(imported, removed, outside)


async def _remove_absent(
    connection: AsyncConnection,
    name: str,
    table: Table,
    rows: Sequence[Any],
    removed: dict[str, int],
) -> None:
    gone = await connection.execute(
        delete(table).where(table.c.id != all_(_uuids(row.id for row in rows)))
    )
    if gone.rowcount:
        removed[name] = gone.rowcount


async def _remove_absent_availability(
    connection: AsyncConnection, rows: Sequence[AvailabilityRow], removed: dict[str, int]
) -> None:
    said = {_said(columns_of(row)) for row in rows}
    present = (await connection.execute(select(AVAILABILITY))).mappings()
    absent = [row["id"] for row in present if _said(row) not in said]
    if absent:
        removed["availability"] = len(absent)
        await connection.execute(
            delete(AVAILABILITY).where(AVAILABILITY.c.id == any_(_uuids(map(str, absent))))
        )


def _uuids(ids: Iterable[str]) -> ColumnElement[Any]:
    """Return ids as one array parameter, since there may be more than a statement may have."""
    return literal(list(ids), ARRAY(Uuid(as_uuid=False)))


async def _upsert(
    connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]
) -> None:
    if not rows:
        return
    statement = upsert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name != "id"}
    statement = statement.on_conflict_do_update(index_elements=["id"], set_=changed)
    for first in range(0, len(rows), BATCH):
        await connection.execute(statement, list(rows[first : first + BATCH]))


_SAID_ORDER = "provider_id room_id date weekday start_minute end_minute kind valid_from valid_to id"
_SAID = (
    "provider_id",
    "room_id",
    "weekday",
    "date",
    "start_minute",
    "end_minute",
    "kind",
    "valid_from",
    "valid_to",
)


def _said(row: Any) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _SAID)


async def _add_availability(connection: AsyncConnection, rows: Sequence[AvailabilityRow]) -> None:
    present = (await connection.execute(select(AVAILABILITY))).mappings()
    said = {_said(row) for row in present}
    fresh = []
    for row in map(columns_of, rows):
        if _said(row) not in said:
            said.add(_said(row))
            fresh.append({"id": uuid4(), **row})
    if fresh:
        await connection.execute(insert(AVAILABILITY), fresh)


async def _write_bookings(connection: AsyncConnection, rows: Sequence[BookingRow]) -> None:
    if not rows:
        return
    await write_off_holds(connection)
    # Two bookings of the file may change places, so those that stand step aside first.
    await connection.execute(
        update(BOOKINGS)
        .where(BOOKINGS.c.id == any_(_uuids(row.id for row in rows)))
        .values(status="cancelled", expires_at=None)
    )
    durations = await _column_by_id(connection, TYPES, "duration_minutes")
    providers = await _column_by_id(connection, PROVIDERS, "no")
    rooms = await _column_by_id(connection, ROOMS, "no")
    now = (await connection.execute(select(func.now()))).scalar_one()
    values = []
    for row in rows:
        fields = columns_of(row)
        end = row.start_time + durations[row.appointment_type_id]
        former_end = fields.pop("end_minute")
        fields["end_minute"] = end
        if former_end is not None and row.start_time < former_end:
            fields["end_minute"] = min(end, former_end)
        fields["provider_no"] = providers[row.provider_id]
        fields["room_no"] = rooms[row.room_id]
        fields["patient_key"] = patient_key(row.patient_ref)
        fields["expires_at"] = None
        if row.status == "held":
            fields["expires_at"] = row.expires_at or now + dt.timedelta(minutes=HOLD_MINUTES)
            if fields["expires_at"] <= now:
                fields |= {"status": "cancelled", "expires_at": None}
        values.append(fields)
    await _refuse_collisions(connection, values)
    await _upsert(connection, BOOKINGS, values)


async def _column_by_id(connection: AsyncConnection, table: Table, name: str) -> dict[str, int]:
    rows = await connection.execute(select(table.c.id, table.c[name]))
    return {str(row[0]): row[1] for row in rows}


async def _refuse_collisions(connection: AsyncConnection, values: list[dict[str, Any]]) -> None:
    """Name every booking that would break a constraint, before the database names the first."""
    columns = BOOKINGS.c
    dates = sorted({value["date"] for value in values})
    others = await connection.execute(
        select(BOOKINGS).where(
            columns.status != "cancelled",
            columns.date == any_(literal(dates, ARRAY(Date))),
        )
    )
    standing = [
        {name: str(value) if name.endswith("id") else value for name, value in row.items()}
        for row in others.mappings()
    ]
    live = [value for value in [*standing, *values] if value["status"] != "cancelled"]
    collisions = {
        (first["id"], second["id"]): message
        for owner in ("provider", "room")
        for first, second, message in _collisions(live, owner)
    }
    if collisions:
        by_id = {value["id"]: value for value in live}
        named = {key for pair in collisions for key in pair}
        raise ImportConflictError(
            f"{len(named)} bookings cannot stand beside one another; nothing was imported.",
            conflicts=[
                {
                    "booking_id": second,
                    "with_booking_id": first,
                    "date": by_id[second]["date"].isoformat(),
                    "start_time": format_time(by_id[second]["start_minute"]),
                    "detail": message,
                }
                for (first, second), message in sorted(collisions.items())
            ],
        )


def _collisions(
    live: list[dict[str, Any]], owner: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Yield pairs that share a start, or (in a room, or both regular) a minute."""
    key = f"{owner}_id"
    ordered = sorted(live, key=lambda b: (b[key], b["date"], b["start_minute"], b["id"]))
    guarded = [b for b in ordered if owner == "room" or not b["is_overbooked"]]
    last: dict[str, Any] | None = None
    for b in guarded:
        if last is not None and last[key] == b[key] and _end(last) > _start(b):
            yield last, b, f"they overlap at {owner} {b[key]}"
        if last is None or last[key] != b[key] or _end(last) < _end(b):
            last = b
    for first, second in pairwise(ordered):
        place = (first[key], first["date"], first["start_minute"])
        if place == (second[key], second["date"], second["start_minute"]):
            yield first, second, f"both start then at {owner} {first[key]}"


def _start(booking: dict[str, Any]) -> int:
    return int(booking["date"].toordinal() * 1440 + booking["start_minute"])


def _end(booking: dict[str, Any]) -> int:
    return int(booking["date"].toordinal() * 1440 + booking["end_minute"])


async def shrink_guards(connection: AsyncConnection) -> None:
    """Let no booking's guarded end lie later than its type's duration now says.

    A type that grew leaves the guards of older bookings as they are: making them longer could
    make them overlap, and the edit is to be made all the same.
    """
    await connection.execute(
        update(BOOKINGS)
        .where(
            TYPES.c.id == BOOKINGS.c.appointment_type_id,
            BOOKINGS.c.end_minute > BOOKINGS.c.start_minute + TYPES.c.duration_minutes,
        )
        .values(end_minute=BOOKINGS.c.start_minute + TYPES.c.duration_minutes)
    )
