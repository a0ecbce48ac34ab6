"""The kinds of rows that a clinic has: tables, models, and reading them.

The settings are the one row of a resource of their own, which has no id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, Table, exists, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.clinic.columns import from_row
from data.clinic.in_sql.pooled_types import types_taking_from
from data.errors import NotFoundError
from data.files.clinic_file import (
    AppointmentTypeRow,
    AvailabilityRow,
    ClinicRow,
    OverbookingRuleRow,
    ProviderRow,
    ProviderTypeRow,
    RoomRow,
)
from data.files.fields import Id, Strict
from data.files.place_rows import LocationRow, TravelRow
from data.files.pool_rows import EquipmentPoolRow
from data.files.session_row import SessionRow
from models.tables import (
    AVAILABILITY,
    BOOKING_ROLES,
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


class AvailabilityEntry(AvailabilityRow):
    """An availability row as it stands in the database, with its id."""

    id: Id

    def to_solver(self) -> Any:
        """Return the row as the solver has it."""
        return AvailabilityRow.model_construct(
            None, **{name: value for name, value in self if name != "id"}
        ).to_solver()


@dataclass(frozen=True)
class Resource:
    """A kind of row: what it is called, its table and its model."""

    name: str
    table: Table
    model: type[Strict]
    booking_column: str | None = None
    """The column by which bookings refer to it; such rows are deactivated, not deleted."""
    named_by: Callable[[Collection[str]], Select[tuple[UUID]]] | None = None
    """The rows that name some of them; those that are named are deactivated, too."""
    pair: tuple[str, ...] = ()
    """The fields that no two of them have alike."""

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return self.name.removesuffix("s").replace("_", " ")

    def named(self, key: str | None) -> ColumnElement[bool]:
        """Return the condition of the row with an id; of the only one, with none."""
        return true() if key is None else self.table.c.id == key


def _named_locations(ids: Collection[str]) -> Select[tuple[UUID]]:
    """Return those of some locations that rooms, hours or equipment pools name."""
    key = LOCATIONS.c.id
    rooms = exists().where(ROOMS.c.location_id == key)
    hours = exists().where(AVAILABILITY.c.location_id == key)
    pools = exists().where(EQUIPMENT_POOLS.c.location_id == key)
    return select(key).where(key.in_(ids), or_(rooms, hours, pools))


def _in_roles(ids: Collection[str]) -> Select[tuple[UUID]]:
    """Return those of some providers who are in a role of a booking."""
    return select(BOOKING_ROLES.c.provider_id).where(BOOKING_ROLES.c.provider_id.in_(ids))


SETTINGS = Resource("clinic", CLINIC, ClinicRow)


RESOURCES = {
    resource.name: resource
    for resource in (
        Resource("providers", PROVIDERS, ProviderRow, "provider_id", named_by=_in_roles),
        Resource("rooms", ROOMS, RoomRow, "room_id"),
        Resource("equipment_pools", EQUIPMENT_POOLS, EquipmentPoolRow, named_by=types_taking_from),
        Resource("appointment_types", TYPES, AppointmentTypeRow, "appointment_type_id"),
        Resource("availability", AVAILABILITY, AvailabilityEntry),
        Resource("overbooking_rules", OVERBOOKING_RULES, OverbookingRuleRow),
        Resource(
            "provider_types",
            PROVIDER_TYPES,
            ProviderTypeRow,
            pair=("provider_id", "appointment_type_id"),
        ),
        Resource("sessions", SESSIONS, SessionRow),
        Resource(
            "locations",
            LOCATIONS,
            LocationRow,
            named_by=_named_locations,
        ),
        Resource("travel", TRAVEL, TravelRow, pair=("from_id", "to_id")),
    )
}


def etag(row: Strict) -> str:
    """Return what names a row's content, for ``If-Match``."""
    content = orjson.dumps(row.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def read_rows(engine: AsyncEngine, resource: Resource) -> list[Strict]:
    """Return every row, in the order of its id."""
    async with engine.connect() as connection:
        found = await connection.execute(select(resource.table).order_by(resource.table.c.id))
        return [from_row(row, resource.model) for row in found]


async def read_row(engine: AsyncEngine, resource: Resource, key: str | None = None) -> Strict:
    """Return one row.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    """
    async with engine.connect() as connection:
        return await row_of(connection, resource, key)


async def row_of(connection: AsyncConnection, resource: Resource, key: str | None) -> Strict:
    """Return one row; see :func:`read_row`."""
    found = await connection.execute(select(resource.table).where(resource.named(key)))
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"There is no {resource.noun} {key}.")
    return from_row(row, resource.model)
