"""The clinic file in and out of the database."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Table,
    Uuid,
    all_,
    any_,
    delete,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import ANONYMOUS
from data.bookings.outside_rules import OutsideRules, extend_timeouts, find_all_outside
from data.bookings.statements import cancel_expired_holds
from data.clinic import import_bookings
from data.clinic.columns import columns_of, from_row
from data.clinic.import_conflicts import require_roles_end
from data.clinic.import_file import Incoming, read
from data.database.transaction import lock_clinic_holding_rows, run
from data.files.clinic_file import (
    AppointmentTypeRow,
    AvailabilityRow,
    ClinicFile,
    ClinicRow,
    OverbookingRuleRow,
    ProviderRow,
    ProviderTypeRow,
    RoomRow,
)
from data.files.clinic_references import NO_EXISTING_ROWS, ROLES, ExistingRows
from data.files.fields import Strict
from data.files.place_rows import LocationRow, TravelRow
from data.files.pool_rows import EquipmentPoolRow
from data.files.session_row import SessionRow
from models.tables import (
    AVAILABILITY,
    CLINIC,
    EQUIPMENT_POOLS,
    LOCATIONS,
    OVERBOOKING_RULES,
    PROVIDER_TYPES,
    PROVIDERS,
    ROOMS,
    SESSIONS,
    TRAVEL,
    TYPES,
)
from solver.rules.checker import Violation

IMPORT_SECONDS = 570
"""How long a statement of an import or an export may take: a little less than its request may."""


BATCH = 1000


_AVAILABILITY_ORDER = (
    "provider_id room_id date weekday start_minute end_minute kind valid_from valid_to"
    " every_weeks location_id id"
)


DATES_AT_ONCE = 4
"""Dates whose bookings an export has in memory."""


def _time(minute: str) -> str:
    return f"to_char({minute} / 60, 'FM00') || ':' || to_char({minute} % 60, 'FM00')"


_AS_JSON = f"""
    SELECT string_agg(
        '{{"id":"' || b.id || '","provider_id":"' || b.provider_id || '","room_id":"' || b.room_id
        || '","appointment_type_id":"' || b.appointment_type_id
        || '","date":"' || to_char(b.date, 'YYYY-MM-DD')
        || '","start_time":"' || {_time("b.start_minute")}
        || '","patient_ref":' || coalesce(CAST(to_json(b.patient_ref) AS text), 'null')
        || ',"status":"' || b.status || '","is_overbooked":' || CAST(b.is_overbooked AS text)
        || coalesce(',"notes":' || CAST(to_json(b.notes) AS text), '')
        || coalesce(',"expires_at":"' || to_char(b.expires_at AT TIME ZONE 'UTC',
            CASE WHEN date_trunc('second', b.expires_at) = b.expires_at
                THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"' ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' END
        ) || '"', '')
        || ',"duration_minutes":' || b.duration_minutes || ',"buffer_before":' || b.buffer_before
        || ',"buffer_after":' || b.buffer_after
        || CASE WHEN b.overrides = '{{}}' THEN ''
            ELSE ',"overrides":' || CAST(to_json(b.overrides) AS text) END
        || CASE WHEN b.team = '{{}}' THEN '' ELSE ',"team":' || CAST(b.team AS text) END
        || '}}',
        E',\n' ORDER BY b.start_minute, b.id
    )
    FROM bookings AS b
    GROUP BY b.date ORDER BY b.date
"""  # noqa: S608 - names of columns
"""One text for each date: its bookings as ``BookingRow.to_json`` writes them, by PostgreSQL.

Rows that this process made objects of would keep it from answering others.
"""


TABLES: dict[str, Table] = {
    "locations": LOCATIONS,
    "providers": PROVIDERS,
    "rooms": ROOMS,
    "equipment_pools": EQUIPMENT_POOLS,
    "appointment_types": TYPES,
    "overbooking_rules": OVERBOOKING_RULES,
    "provider_types": PROVIDER_TYPES,
    "sessions": SESSIONS,
    "travel": TRAVEL,
}
"""The lists of the file whose rows are known by id and stand in a table as they are."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did: rows taken by list, rows removed, and rules that bookings break."""

    imported: dict[str, int]
    removed: dict[str, int]
    outside: OutsideRules
    """The bookings ahead, and those of the file, that break rules."""

    @property
    def warnings(self) -> list[Violation]:
        """The rules that they break, as far as it is told."""
        return self.outside.violations


async def export_in_pieces(engine: AsyncEngine) -> AsyncGenerator[bytes]:
    """Yield all there is as the text of a clinic file, at one moment, in a stable order.

    It takes a connection until its reader has it all.
    """
    at_one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with at_one_moment.connect() as connection:
        await extend_timeouts(connection, IMPORT_SECONDS)
        head = await _read_rows(connection)
        yield orjson.dumps(head)[:-1] + b',"bookings":['
        bookings = await connection.stream_scalars(
            text(_AS_JSON), execution_options={"yield_per": DATES_AT_ONCE}
        )
        between = b"\n"
        async for of_date in bookings:
            yield between + of_date.encode()
            between = b",\n"
        yield b"]}\n"


async def export_clinic(engine: AsyncEngine) -> dict[str, Any]:
    """Return the same as one document."""
    return orjson.loads(b"".join([piece async for piece in export_in_pieces(engine)]))  # type: ignore[no-any-return]


async def _read_rows(connection: AsyncConnection) -> dict[str, Any]:
    """Return all there is but the bookings, as a clinic file has it."""
    found = [
        (name, model, (await connection.execute(select(table).order_by(*order.split()))).all())
        for name, model, table, order in _LISTS
    ]

    def write() -> dict[str, Any]:  # thousands of rows, and others wait for the event loop
        lists: dict[str, Any] = {
            name: [from_row(row, model).model_dump(mode="json") for row in rows]
            for name, model, rows in found
        }
        return lists | {"clinic": lists["clinic"][0]}

    return await asyncio.to_thread(write)


_LISTS: tuple[tuple[str, type[Strict], Table, str], ...] = (
    ("clinic", ClinicRow, CLINIC, "id"),
    ("providers", ProviderRow, PROVIDERS, "id"),
    ("rooms", RoomRow, ROOMS, "id"),
    ("equipment_pools", EquipmentPoolRow, EQUIPMENT_POOLS, "id"),
    ("appointment_types", AppointmentTypeRow, TYPES, "id"),
    ("availability", AvailabilityRow, AVAILABILITY, _AVAILABILITY_ORDER),
    ("overbooking_rules", OverbookingRuleRow, OVERBOOKING_RULES, "id"),
    ("provider_types", ProviderTypeRow, PROVIDER_TYPES, "provider_id appointment_type_id"),
    ("sessions", SessionRow, SESSIONS, "id"),
    ("locations", LocationRow, LOCATIONS, "id"),
    ("travel", TravelRow, TRAVEL, "from_id to_id"),
)
"""The file's lists, in its order: the rows of each, where they are kept, and in which order."""


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
            known = NO_EXISTING_ROWS if replace else await _known(connection)
        incoming = await read(document, is_yaml=is_yaml, known=known)
        try:
            return await _import(engine, incoming, replace, today, actor, known)
        except _RowsChangedError:
            continue


async def import_file(
    engine: AsyncEngine, file: ClinicFile, *, replace: bool, today: dt.date, actor: str = ANONYMOUS
) -> ImportReport:
    """Bring a clinic file that has been read into the database; see :func:`import_document`."""
    incoming = await asyncio.to_thread(Incoming.of, file)
    return await _import(engine, incoming, replace, today, actor, NO_EXISTING_ROWS)


class _RowsChangedError(Exception):
    """The rows that a file was read beside are others by now."""


async def _import(
    engine: AsyncEngine,
    incoming: Incoming,
    replace: bool,
    today: dt.date,
    actor: str,
    known: ExistingRows,
) -> ImportReport:
    """Bring a file in that was read beside the rows that are `known`, if any."""

    async def work(
        connection: AsyncConnection,
    ) -> tuple[dict[str, int], list[Violation]]:
        await extend_timeouts(connection, IMPORT_SECONDS)
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{IMPORT_SECONDS}s'")
        await import_bookings.stage(connection, incoming, actor, replace=replace)
        await lock_clinic_holding_rows(connection, IMPORT_SECONDS)
        if known is not NO_EXISTING_ROWS and await _known(connection) != known:
            raise _RowsChangedError
        return await _bring_in(connection, incoming, replace=replace, actor=actor)

    removed, warnings = await run(engine, work)
    async with engine.connect() as connection:
        await extend_timeouts(connection, IMPORT_SECONDS)
        outside = await find_all_outside(connection, since=today, also_ids=incoming.ids)
    warned = {v.booking.id for v in outside.violations}
    also = {v.booking.id for v in warnings} - warned
    return ImportReport(
        _counts(incoming),
        removed,
        OutsideRules(outside.clinic, [*warnings, *outside.violations], outside.count + len(also)),
    )


def _counts(incoming: Incoming) -> dict[str, int]:
    counts = {
        name: len(getattr(incoming.file, name))
        for name in ClinicFile.model_fields
        if name != "clinic"
    }
    return counts | {"bookings": incoming.count}


async def _known(connection: AsyncConnection) -> ExistingRows:
    known = {}
    for name, table in TABLES.items():
        ids = await connection.execute(select(table.c.id))
        known[name] = frozenset(str(key) for key in ids.scalars())
    known[ROLES] = frozenset(await connection.scalars(text(_ROLES)))
    return known


_ROLES = """
    SELECT t.id || ' ' || (role.value ->> 'key')
    FROM appointment_types AS t CROSS JOIN jsonb_array_elements(t.roles) AS role
"""


async def _bring_in(
    connection: AsyncConnection, incoming: Incoming, *, replace: bool, actor: str
) -> tuple[dict[str, int], list[Violation]]:
    """Write a file whose bookings are staged; return what was removed, and warnings."""
    file = incoming.file
    before = await _read_rows(connection)
    await cancel_expired_holds(connection)
    await connection.execute(update(CLINIC).values(columns_of(file.clinic)))
    removed: dict[str, int] = {}
    if replace:
        if count := await import_bookings.remove_absent(connection, actor):
            removed["bookings"] = count
        await _remove_absent_availability(connection, file.availability, removed)
    of_pairs = {
        name: await _under_their_ids(connection, TABLES[name], pair, getattr(file, name))
        for name, pair in _PAIRS.items()
    }
    for name, table in TABLES.items():
        rows = of_pairs.get(name, getattr(file, name))
        await _upsert(connection, table, [columns_of(row) for row in rows])
    await _add_availability(connection, file.availability)
    await require_roles_end(connection, file)
    warnings = await import_bookings.write(connection, actor)
    if replace:  # only now does no booking name them any more
        for name, table in reversed(TABLES.items()):
            rows = of_pairs.get(name, getattr(file, name))
            await _remove_absent(connection, name, table, rows, removed)
    brought = await asyncio.to_thread(file.to_json)
    del brought["bookings"]  # each has an entry of its own
    after = {"imported": _counts(incoming), "removed": removed, "file": brought}
    await audit.record(connection, actor, "import", "clinic", before=before, after=after)
    return removed, warnings


_PAIRS = {
    "provider_types": ("provider_id", "appointment_type_id"),
    "travel": ("from_id", "to_id"),
}
"""The lists of which no two rows are of one pair, which may stand in for an id."""


async def _under_their_ids(
    connection: AsyncConnection, table: Table, pair: tuple[str, str], rows: Sequence[Any]
) -> list[Any]:
    """Return rows, those without an id under that of the row that is there of the same pair.

    A row that is there of the same pair under another id goes.
    """
    found = await connection.execute(select(table.c.id, *(table.c[name] for name in pair)))
    known = {(str(one), str(other)): str(key) for key, one, other in found}
    kept, replaced = [], []
    for row in rows:
        present = known.get((getattr(row, pair[0]), getattr(row, pair[1])), row.id)
        kept.append(row.model_copy(update={"id": present}) if row.is_unnamed else row)
        if present != kept[-1].id:
            replaced.append(present)
    if replaced:
        await connection.execute(delete(table).where(table.c.id == any_(_uuids(replaced))))
    return kept


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
    said = {_availability_key(columns_of(row)) for row in rows}
    present = (await connection.execute(select(AVAILABILITY))).mappings()
    absent = [row["id"] for row in present if _availability_key(row) not in said]
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


_AVAILABILITY_KEY = (
    "provider_id",
    "room_id",
    "weekday",
    "date",
    "start_minute",
    "end_minute",
    "kind",
    "valid_from",
    "valid_to",
    "every_weeks",
    "location_id",
)


def _availability_key(row: Any) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _AVAILABILITY_KEY)


async def _add_availability(connection: AsyncConnection, rows: Sequence[AvailabilityRow]) -> None:
    present = (await connection.execute(select(AVAILABILITY))).mappings()
    said = {_availability_key(row) for row in present}
    fresh = []
    for row in map(columns_of, rows):
        if _availability_key(row) not in said:
            said.add(_availability_key(row))
            fresh.append({"id": uuid4(), **row})
    if fresh:
        await connection.execute(insert(AVAILABILITY), fresh)
