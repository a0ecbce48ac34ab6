"""List, get, create, change and delete the clinic's rows.

An edit is made even where it leaves bookings outside the rules; these are told as conflicts. It
holds the clinic alone while it lasts: bookings under way end first, later ones see it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from sqlalchemy import Table, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import ANONYMOUS
from data.clinic_file import (
    AppointmentTypeRow,
    AvailabilityRow,
    ClinicRow,
    Id,
    OverbookingRuleRow,
    ProviderRow,
    RoomRow,
    Strict,
    faults_of,
)
from data.errors import AlreadyExistsError, InvalidFieldError, NotFoundError
from data.snapshot import (
    AVAILABILITY,
    BOOKINGS,
    CLINIC,
    OVERBOOKING_RULES,
    PROVIDERS,
    ROOMS,
    TYPES,
    load_clinic,
    to_settings,
)
from data.transaction import hold_clinic, run
from data.transfer import columns_of, from_row, shrink_guards
from solver.checker import Checker, Violation

FAR_AHEAD = dt.date(2500, 12, 31)


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

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return self.name.removesuffix("s").replace("_", " ")


RESOURCES = {
    resource.name: resource
    for resource in (
        Resource("providers", PROVIDERS, ProviderRow, "provider_id"),
        Resource("rooms", ROOMS, RoomRow, "room_id"),
        Resource("appointment_types", TYPES, AppointmentTypeRow, "appointment_type_id"),
        Resource("availability", AVAILABILITY, AvailabilityEntry),
        Resource("overbooking_rules", OVERBOOKING_RULES, OverbookingRuleRow),
    )
}
_REFERENCES = {
    "provider_id": RESOURCES["providers"],
    "room_id": RESOURCES["rooms"],
    "appointment_type_id": RESOURCES["appointment_types"],
}


@dataclass(frozen=True)
class Edit[Model: Strict]:
    """A row after an edit, and the bookings that the edit left outside the rules."""

    row: Model
    conflicts: list[Violation]


@dataclass(frozen=True)
class Removal:
    """How a row went: deleted, or deactivated because bookings refer to it."""

    deleted: bool
    conflicts: list[Violation]


async def settings(engine: AsyncEngine) -> ClinicRow:
    """Return the clinic's settings."""
    async with engine.connect() as connection:
        return from_row((await connection.execute(select(CLINIC))).one(), ClinicRow)


async def rows(engine: AsyncEngine, resource: Resource) -> list[Strict]:
    """Return every row, in the order of its id."""
    async with engine.connect() as connection:
        found = await connection.execute(select(resource.table).order_by(resource.table.c.id))
        return [from_row(row, resource.model) for row in found]


async def get(engine: AsyncEngine, resource: Resource, key: str) -> Strict:
    """Return one row.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    """
    async with engine.connect() as connection:
        return await _get(connection, resource, key)


async def create(
    engine: AsyncEngine,
    resource: Resource,
    fields: dict[str, Any],
    *,
    actor: str = ANONYMOUS,
    dry_run: bool = False,
) -> Edit[Strict]:
    """Create a row, with a new id unless it brings one; a dry run only tells the conflicts.

    Raises
    ------
    AlreadyExistsError
        When its id is taken.
    InvalidFieldError
        When it refers to a row that is not there.
    """
    return await _edit(engine, lambda c: create_row(c, resource, fields, actor), dry_run=dry_run)


async def patch(
    engine: AsyncEngine,
    resource: Resource,
    key: str,
    changes: dict[str, Any],
    *,
    actor: str = ANONYMOUS,
    dry_run: bool = False,
) -> Edit[Strict]:
    """Change some fields of a row; a dry run only tells the conflicts.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    InvalidFieldError
        When the row as changed would not be valid.
    """
    return await _edit(
        engine, lambda c: patch_row(c, resource, key, changes, actor), dry_run=dry_run
    )


async def patch_settings(
    engine: AsyncEngine,
    changes: dict[str, Any],
    *,
    actor: str = ANONYMOUS,
    dry_run: bool = False,
) -> Edit[Strict]:
    """Change some of the clinic's settings; a dry run only tells the conflicts."""
    return await _edit(engine, lambda c: patch_clinic_row(c, changes, actor), dry_run=dry_run)


async def remove(
    engine: AsyncEngine,
    resource: Resource,
    key: str,
    *,
    actor: str = ANONYMOUS,
    dry_run: bool = False,
) -> Removal:
    """Delete a row, or deactivate it where bookings refer to it; a dry run only tells.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    """
    deleted = True

    async def work(connection: AsyncConnection) -> Strict:
        nonlocal deleted
        row, deleted = await remove_row(connection, resource, key, actor)
        return row

    edit = await _edit(engine, work, dry_run=dry_run)
    return Removal(deleted, edit.conflicts)


# One edit on a connection whose transaction holds the clinic


async def create_row(
    connection: AsyncConnection, resource: Resource, fields: dict[str, Any], actor: str
) -> Strict:
    """Write a new row; see :func:`create`."""
    row = _validated(resource.model, {"id": str(uuid4()), **fields})
    await _check_references(connection, row)
    key = columns_of(row)["id"]
    taken = await connection.execute(select(exists().where(resource.table.c.id == key)))
    if taken.scalar_one():
        raise AlreadyExistsError(f"{resource.noun.capitalize()} {key} exists already.")
    await connection.execute(insert(resource.table).values(columns_of(row)))
    await _log(connection, actor, "create", resource, key, None, row)
    return row


async def patch_row(
    connection: AsyncConnection, resource: Resource, key: str, changes: dict[str, Any], actor: str
) -> Strict:
    """Write some fields of a row; see :func:`patch`."""
    present = await _get(connection, resource, key)
    row = _validated(resource.model, {**present.model_dump(mode="json"), **changes, "id": key})
    await _check_references(connection, row)
    await connection.execute(
        update(resource.table).where(resource.table.c.id == key).values(columns_of(row))
    )
    await shrink_guards(connection)
    await _log(connection, actor, "patch", resource, key, present, row)
    return row


async def patch_clinic_row(
    connection: AsyncConnection, changes: dict[str, Any], actor: str
) -> Strict:
    """Write some of the clinic's settings; see :func:`patch_settings`."""
    present = from_row((await connection.execute(select(CLINIC))).one(), ClinicRow)
    row = _validated(ClinicRow, {**present.model_dump(mode="json"), **changes})
    await connection.execute(update(CLINIC).values(columns_of(row)))
    await _log(connection, actor, "patch", None, None, present, row)
    return row


async def remove_row(
    connection: AsyncConnection, resource: Resource, key: str, actor: str
) -> tuple[Strict, bool]:
    """Delete or deactivate a row; return it as it was, and whether it is deleted."""
    row = await _get(connection, resource, key)
    deleted = True
    if resource.booking_column is not None:
        column = BOOKINGS.c[resource.booking_column]
        used = await connection.execute(select(exists().where(column == key)))
        deleted = not used.scalar_one()
    if deleted:
        await connection.execute(delete(resource.table).where(resource.table.c.id == key))
    else:
        await connection.execute(
            update(resource.table).where(resource.table.c.id == key).values(active=False)
        )
    after = None if deleted else row.model_copy(update={"active": False})
    await _log(connection, actor, "delete" if deleted else "deactivate", resource, key, row, after)
    return row, deleted


async def _log(
    connection: AsyncConnection,
    actor: str,
    action: str,
    resource: Resource | None,
    key: str | None,
    before: Strict | None,
    after: Strict | None,
) -> None:
    await audit.record(
        connection,
        actor,
        action,
        "clinic" if resource is None else resource.name,
        key=key,
        before=None if before is None else before.model_dump(mode="json"),
        after=None if after is None else after.model_dump(mode="json"),
    )


async def _edit(
    engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Strict]], *, dry_run: bool
) -> Edit[Strict]:
    async def edit(connection: AsyncConnection) -> Edit[Strict]:
        await hold_clinic(connection)
        before = {(v.booking.id, v.rule) for v in await _violations(connection)}
        attempt = await connection.begin_nested()
        row = await work(connection)
        after = await _violations(connection)
        await (attempt.rollback() if dry_run else attempt.commit())
        return Edit(row, [v for v in after if (v.booking.id, v.rule) not in before])

    return await run(engine, edit)


async def _violations(connection: AsyncConnection) -> list[Violation]:
    zone = to_settings((await connection.execute(select(CLINIC))).one()).zone
    today = dt.datetime.now(zone).date()
    clinic = await load_clinic(connection, today, FAR_AHEAD)
    return list(Checker(clinic).violations(since=today))


async def _get(connection: AsyncConnection, resource: Resource, key: str) -> Strict:
    found = await connection.execute(select(resource.table).where(resource.table.c.id == key))
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"There is no {resource.noun} {key}.")
    return from_row(row, resource.model)


def _validated[Model: Strict](model: type[Model], fields: dict[str, Any]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        fault = faults_of(error)[0]
        raise InvalidFieldError(fault.path, fault.message) from None


async def _check_references(connection: AsyncConnection, row: Strict) -> None:
    for field, resource in _REFERENCES.items():
        key = getattr(row, field, None)
        if key is not None:
            found = await connection.execute(select(exists().where(resource.table.c.id == key)))
            if not found.scalar_one():
                raise InvalidFieldError(field, f"there is no {resource.noun} {key}")
