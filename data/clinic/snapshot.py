"""Database rows to a :class:`~solver.clinic.clinic.Clinic`, in one query for any size of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import orjson
from cachetools import TTLCache
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.clinic.in_sql.of_dates import (
    SESSION,
    WITH_DATES_BESIDE,
    date_values,
    is_counted_for_all,
    is_in_role,
    is_on_dates,
    near_dates,
    session_of,
    type_of,
)
from data.clinic.in_sql.pooled_types import types_sharing_pools
from data.files.role_rows import team_of
from models import bookings as book_tables
from models.tables import (
    AVAILABILITY,
    BOOKINGS,
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
    table_of,
)
from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.places import Location, Travel

RESOURCE_DAYS = table_of(book_tables.ResourceDay)


IS_EXPIRED: ColumnElement[bool] = and_(
    BOOKINGS.c.status == "held", BOOKINGS.c.expires_at <= func.statement_timestamp()
)
"""A hold past its time; it blocks nobody, from that very moment and with no cleaner's help."""


EFFECTIVE_STATUS = case((IS_EXPIRED, "cancelled"), else_=BOOKINGS.c.status)
"""The status as everyone is to see it: a hold that has run out is as good as cancelled."""


@dataclass(frozen=True, slots=True)
class ClinicSelection:
    """What part of a clinic a question needs; None is all of it."""

    provider_ids: Collection[str] | None = None
    room_ids: Collection[str] | None = None
    type_ids: Collection[str] = ()
    """Types asked about: of those with a daily cap, and of all that share an equipment pool with
    one of them, the bookings of any provider and room are read."""
    patient_keys: Collection[str] = ()
    """Patients, by what they are compared by, whose bookings are wanted wherever they are."""
    bookings: bool = True
    """False leaves all bookings out."""
    every_session: bool = False
    """Whether sessions are wanted that hold on none of the dates."""


WHOLE = ClinicSelection()


FOR_PLANS = ClinicSelection(every_session=True)
"""All that a scenario may change, whatever the dates."""


LONG = 50_000
"""Letters from which on rows are parsed in a thread; 200 letters are a booking."""


KEPT_SECONDS = 60


KEPT_ROWS = 50_000
"""Rows, bookings and all others, that are kept at once, of whatever dates."""


@dataclass(slots=True)
class _Kept:
    """A clinic as it was read, with its version and the text that its bookings came as."""

    version: int
    book: str
    clinic: Clinic

    def now(self, book: str) -> _Kept:
        """Return the same rows with the book that this text is."""
        if book == self.book:
            return self
        return _Kept(self.version, book, self.clinic.with_bookings(_bookings(book)))

    @property
    def size(self) -> int:
        """How many rows it keeps."""
        clinic = self.clinic
        rows = (clinic.providers, clinic.rooms, clinic.availability, clinic.bookings)
        return sum(map(len, rows)) + 1


class Snapshots:
    """Clinics as slot queries see them: the rows kept, the book read each time.

    Rows that are kept are valid while ``clinic.version`` is unchanged: every change of a row, by
    whomever, increments it in the same transaction. Version and bookings are read in one statement,
    so no answer comes from rows that are not the newest. The bookings of a date are parsed again
    only when their text differs from the last one. After a minute rows are read again in any case.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        # One statement sees one moment by itself; a transaction would be two more round trips.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._kept: TTLCache[tuple[dt.date, dt.date], _Kept] = TTLCache(
            KEPT_ROWS, KEPT_SECONDS, getsizeof=lambda kept: kept.size
        )

    async def load(self, first: dt.date, last: dt.date) -> Clinic:
        """Read the clinic with the bookings that matter on `first` to `last`, at one moment."""
        kept = self._kept.get((first, last))
        values = date_values(first, last)
        async with self._engine.connect() as connection:
            if kept is not None:
                row = (await connection.execute(_book_statement(), values)).one()
                if row.version == kept.version:
                    now = await _parsed(row, kept.now, row.bookings)
                    if now is not kept:
                        self._keep(first, last, now)
                    return now.clinic
            row = (await connection.execute(_rows_statement(True), values)).one()
        clinic = await _parsed(row, _clinic, row)
        read = _Kept(row.version, row.bookings, clinic)
        self._keep(first, last, read)
        return read.clinic

    def _keep(self, first: dt.date, last: dt.date, read: _Kept) -> None:
        """Keep what was read, unless it is more than all that is kept together may be."""
        self._kept.pop((first, last), None)
        if read.size <= KEPT_ROWS:
            self._kept[first, last] = read

    async def ahead(self, first: dt.date, last: dt.date) -> AsyncIterator[tuple[dt.date, Clinic]]:
        """Yield each date and the clinic with the bookings that matter on it; nothing is kept."""
        version, clinic = -1, None
        for day in (first + dt.timedelta(days=days) for days in range((last - first).days + 1)):
            async with self._engine.connect() as connection:
                book = (await connection.execute(_book_statement(), date_values(day, day))).one()
                if book.version != version or clinic is None:
                    values = date_values(first, last)
                    rows = (await connection.execute(_rows_statement(False), values)).one()
                    version, clinic = rows.version, await _parsed(rows, _clinic, rows)
            yield day, clinic.with_bookings(await _parsed(book, _bookings, book.bookings))


async def load_clinic(
    connection: AsyncConnection,
    first: dt.date | None = None,
    last: dt.date | None = None,
    part: ClinicSelection = WHOLE,
) -> Clinic:
    """Read the clinic, or `part` of it; with dates given, availability and bookings for these.

    Bookings come without the cancelled ones; holds that have run out come as cancelled.

    One statement, so all of it is seen at one moment, and narrow: rows come as JSON arrays in the
    order of the solver's fields.
    """
    values: dict[str, Any] = {}
    if first is not None and last is not None:
        values |= date_values(first, last)
    if part.provider_ids is not None:
        values["provider_ids"] = list(part.provider_ids)
    if part.room_ids is not None:
        values["room_ids"] = list(part.room_ids)
    if part.type_ids:
        values["type_ids"] = list(part.type_ids)
    if part.patient_keys:
        values["patient_keys"] = list(part.patient_keys)
    statement = _statement(frozenset(values), part.bookings, every_session=part.every_session)
    row = (await connection.execute(statement, values)).one()
    return await _parsed(row, _clinic, row)


async def _parsed[Result](row: Row[Any], parse: Callable[..., Result], *arguments: Any) -> Result:
    """Return what is made of texts; of long ones in a thread, beside the event loop."""
    if sum(len(text) for text in row if isinstance(text, str)) < LONG:
        return parse(*arguments)
    return await asyncio.to_thread(parse, *arguments)


def _clinic(row: Row[Any]) -> Clinic:
    rows = {
        name: orjson.loads(text)
        for name, text in row._asdict().items()
        if name not in ("version", "bookings")
    }
    return Clinic(
        ClinicSettings(*rows["settings"][0]),
        tuple(Provider(*fields) for fields in _typed(rows["providers"], sets=(2,))),
        tuple(Room(*fields) for fields in _typed(rows["rooms"], sets=(2,))),
        tuple(type_of(fields) for fields in _typed(rows["types"], sets=(5, 6))),
        tuple(Availability(*fields) for fields in _typed(rows["availability"], dates=(5, 7, 8))),
        tuple(OverbookingRule(*fields) for fields in rows["rules"]),
        _bookings(row.bookings),
        tuple(ProviderType(*fields) for fields in rows["provider_types"]),
        tuple(session_of(fields) for fields in _typed(rows["sessions"], dates=(7, 8, 9))),
        tuple(EquipmentPool(*fields) for fields in rows["equipment_pools"]),
        tuple(Location(*fields) for fields in rows["locations"]),
        tuple(Travel(*fields) for fields in rows["travel"]),
        tuple((room_id, location_id) for room_id, location_id in rows["elsewhere"]),
    )


def _bookings(text: str) -> tuple[Booking, ...]:
    rows = _typed(orjson.loads(text), sets=(12,), dates=(4,), teams=(13,))
    return tuple(Booking(*fields) for fields in rows)


def _typed(
    rows: list[list[Any]],
    *,
    sets: tuple[int, ...] = (),
    dates: tuple[int, ...] = (),
    teams: tuple[int, ...] = (),
) -> list[list[Any]]:
    """Give the fields at these positions the types that JSON has not."""
    for row in rows:
        for position in sets:
            row[position] = frozenset(row[position])
        for position in dates:
            row[position] = _date(row[position])
        for position in teams:
            row[position] = team_of(row[position])
    return rows


_date = cache(lambda text: None if text is None else dt.date.fromisoformat(text))
"""Dates of JSON; few different ones come again and again."""


@cache
def _statement(
    given: frozenset[str],
    with_bookings: bool,
    *,
    skip_unreachable_neighbours: bool = False,
    every_session: bool = False,
) -> Select[*tuple[Any, ...]]:
    """Return the statement for what is `given`: dates, providers, rooms, a type.

    `skip_unreachable_neighbours` leaves out what :func:`near_dates` does.
    """
    is_of = partial(_is_of, given)
    availability = AVAILABILITY.c
    in_time: ColumnElement[bool] = true()
    near: ColumnElement[bool] = true()
    of_dates: ColumnElement[bool] = true()
    if "first" in given:
        of_dates = true() if every_session else is_on_dates()
        # Not those of other dates, but for a room's open ones: having any changes its hours.
        in_time = or_(
            availability.date.is_(None),
            availability.date.between(bindparam("first"), bindparam("last")),
            and_(availability.room_id.is_not(None), availability.kind == "open"),
        )
        near = WITH_DATES_BESIDE if not skip_unreachable_neighbours else near_dates()
    wanted = _wanted(given) if with_bookings else false()
    return select(
        select(CLINIC.c.version).scalar_subquery().label("version"),
        _arrays(CLINIC, _SETTINGS).label("settings"),
        _arrays(PROVIDERS, _PROVIDER, is_of("provider_ids", PROVIDERS.c.id)).label("providers"),
        _arrays(ROOMS, _ROOM, is_of("room_ids", ROOMS.c.id)).label("rooms"),
        _arrays(TYPES, _TYPE).label("types"),
        _arrays(
            AVAILABILITY,
            _AVAILABILITY,
            in_time,
            is_of("provider_ids", availability.provider_id, or_unset=True),
            is_of("room_ids", availability.room_id, or_unset=True),
        ).label("availability"),
        _arrays(
            OVERBOOKING_RULES,
            _RULE,
            is_of("provider_ids", OVERBOOKING_RULES.c.provider_id, or_unset=True),
        ).label("rules"),
        _arrays(
            PROVIDER_TYPES, _PROVIDER_TYPE, is_of("provider_ids", PROVIDER_TYPES.c.provider_id)
        ).label("provider_types"),
        _arrays(
            SESSIONS,
            SESSION,
            of_dates,
            is_of("provider_ids", SESSIONS.c.provider_id, or_unset=True),
            is_of("room_ids", SESSIONS.c.room_id, or_unset=True),
        ).label("sessions"),
        *_places(is_of("room_ids", ROOMS.c.id)),
        _arrays(EQUIPMENT_POOLS, _EQUIPMENT_POOL).label("equipment_pools"),
        _arrays(BOOKINGS, _BOOKING, BOOKINGS.c.status != "cancelled", near, wanted).label(
            "bookings"
        ),
    )


def _places(rooms: ColumnElement[bool]) -> list[ColumnElement[str]]:
    """Return the places, the ways between them, and where the rooms are that are left out."""
    return [
        _arrays(LOCATIONS, "id name active").label("locations"),
        _arrays(TRAVEL, "id from_id to_id minutes").label("travel"),
        _arrays(ROOMS, "id location_id", ~rooms, ROOMS.c.location_id.is_not(None)).label(
            "elsewhere"
        ),
    ]


def _is_of(
    given: frozenset[str], name: str, column: ColumnElement[Any], *, or_unset: bool = False
) -> ColumnElement[bool]:
    """Return the condition of the rows of those that are `given` by a name; of all, if none are."""
    if name not in given:
        return true()
    chosen = column == any_(bindparam(name, type_=ARRAY(Uuid(as_uuid=False))))
    return or_(chosen, column.is_(None)) if or_unset else chosen


def _wanted(given: frozenset[str]) -> ColumnElement[bool]:
    """Return the condition of the bookings that answer a question about what is `given`."""
    bookings = BOOKINGS.c
    wanted = or_(
        _is_of(given, "provider_ids", bookings.provider_id),
        _is_of(given, "room_ids", bookings.room_id),
        is_in_role(given),
    )
    if "type_ids" in given:
        is_asked = _is_of(given, "type_ids", TYPES.c.id)
        capped = select(TYPES.c.id).where(is_asked, TYPES.c.daily_cap.is_not(None))
        counted = capped.union_all(types_sharing_pools(is_asked))
        wanted = or_(wanted, bookings.appointment_type_id.in_(counted))
    if "first" in given and given & {"provider_ids", "room_ids"}:
        wanted = or_(wanted, is_counted_for_all())
    if "patient_keys" in given:
        patients = bindparam("patient_keys", type_=ARRAY(Text))
        wanted = or_(wanted, bookings.patient_key == any_(patients))
    return wanted


@cache
def _book_statement() -> Select[*tuple[Any, ...]]:
    """Return the statement for the clinic's version and the bookings of some dates."""
    return select(
        select(CLINIC.c.version).scalar_subquery().label("version"),
        _arrays(BOOKINGS, _BOOKING, BOOKINGS.c.status != "cancelled", near_dates()).label(
            "bookings"
        ),
    )


def _rows_statement(with_bookings: bool) -> Select[*tuple[Any, ...]]:
    """Return the statement for the rows of some dates, with the bookings that queries need."""
    given = frozenset({"first", "last", "day_before", "day_after"})
    return _statement(given, with_bookings, skip_unreachable_neighbours=True)


def _arrays(table: Table, names: str, *conditions: ColumnElement[bool]) -> ColumnElement[str]:
    """Return the table's rows as the text of one JSON array of arrays of the named columns."""
    row = func.json_build_array(
        *(EFFECTIVE_STATUS if name == "status" else table.c[name] for name in names.split())
    )
    rows = select(cast(func.coalesce(func.json_agg(row), text("'[]'")), Text))
    return rows.select_from(table).where(*conditions).scalar_subquery()


# The columns in the order of the fields of the solver's types
_SETTINGS = "name timezone grid_minutes preference_decay_minutes min_notice_minutes"
_PROVIDER = "id name skills daily_cap buffer_before buffer_after active daily_minutes"
_ROOM = "id name equipment turnover_minutes active location_id"
_TYPE = (
    "id name duration_minutes buffer_before buffer_after required_skills required_equipment"
    " daily_cap active start_every start_offset start_anchor packed required_pools roles"
)
_EQUIPMENT_POOL = "id name quantity return_minutes active location_id"
_AVAILABILITY = (
    "start_minute end_minute provider_id room_id weekday date kind valid_from valid_to every_weeks"
    " location_id"
)
_RULE = "id provider_id appointment_type_id weekday start_minute end_minute max_overlap max_per_day"
_PROVIDER_TYPE = (
    "id provider_id appointment_type_id duration_minutes buffer_before buffer_after daily_cap"
    " offered"
)
_BOOKING = (
    "id provider_id room_id appointment_type_id date start_minute patient_ref status is_overbooked"
    " duration_minutes buffer_before buffer_after overrides team"
)
