"""Create, change and delete the clinic's rows, its settings among them.

An edit is made even where it puts bookings outside the rules; these are told as conflicts. It
holds the clinic alone while it is written: bookings under way end first, later ones see it. What it
puts outside is read afterwards, of the bookings that such an edit can touch; a dry run reads the
same and writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import ANONYMOUS
from data.bookings.outside_rules import EditScope, OutsideRules, find_newly_outside, load_rows
from data.clinic.columns import columns_of
from data.clinic.resources import RESOURCES, SETTINGS, Resource, etag, row_of
from data.clinic.touched import touched
from data.database.locks import lock_clinic
from data.database.transaction import run
from data.errors import AlreadyExistsError, InvalidFieldsError, PreconditionFailedError
from data.files.clinic_file import AppointmentTypeRow, ClinicRow, ProviderTypeRow
from data.files.clinic_references import references_of
from data.files.faults import Fault, validate
from data.files.fields import Strict, is_id
from data.files.session_row import SessionRow, fault_of_releases
from models.tables import BOOKINGS, CLINIC, PROVIDER_TYPES
from solver.clinic.clinic import Clinic
from solver.clinic.teams.roles import fault_of_minutes
from solver.rules.checker import Violation


@dataclass(frozen=True)
class Edit[Model: Strict]:
    """A row after an edit, and the bookings that the edit puts outside the rules; None: none."""

    row: Model
    outside: OutsideRules | None

    @property
    def conflicts(self) -> list[Violation]:
        """What the edit puts outside the rules, as far as it is told."""
        return [] if self.outside is None else self.outside.violations


@dataclass(frozen=True)
class Removal:
    """How a row went: deleted, or deactivated because others refer to it."""

    deleted: bool
    outside: OutsideRules | None


@dataclass(frozen=True)
class _Change:
    """An edit that has been decided and not yet written."""

    resource: Resource
    action: str
    key: str | None
    before: Strict | None
    after: Strict | None

    @property
    def row(self) -> Strict:
        """The row as it is afterwards, or was, where it is deleted."""
        row = self.after or self.before
        assert row is not None
        return row


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
    InvalidFieldsError
        When it would not be valid, or refers to rows that are not there.
    """
    change, outside = await _edit(
        engine, lambda c: _decide_to_create(c, resource, fields), actor, dry_run=dry_run
    )
    return Edit(change.row, outside)


async def patch(
    engine: AsyncEngine,
    resource: Resource,
    key: str | None,
    changes: dict[str, Any],
    *,
    actor: str = ANONYMOUS,
    if_match: str | None = None,
    dry_run: bool = False,
) -> Edit[Strict]:
    """Change some fields of a row; a dry run only tells the conflicts.

    The settings have no id: their `key` is None.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    InvalidFieldsError
        When the row as changed would not be valid, or refer to rows that are not there.
    PreconditionFailedError
        When it is not the row that `if_match` names.
    """
    change, outside = await _edit(
        engine,
        lambda c: _decide_to_patch(c, resource, key, changes, if_match),
        actor,
        dry_run=dry_run,
    )
    return Edit(change.row, outside)


async def remove(
    engine: AsyncEngine,
    resource: Resource,
    key: str,
    *,
    actor: str = ANONYMOUS,
    if_match: str | None = None,
    dry_run: bool = False,
) -> Removal:
    """Delete a row, or deactivate it where bookings or others name it; a dry run only tells.

    Raises
    ------
    NotFoundError
        When there is none with this id.
    PreconditionFailedError
        When it is not the row that `if_match` names.
    """
    change, outside = await _edit(
        engine, lambda c: _decide_to_remove(c, resource, key, if_match), actor, dry_run=dry_run
    )
    return Removal(change.after is None, outside)


# One edit on a connection whose transaction holds the clinic


async def create_row(
    connection: AsyncConnection, resource: Resource, fields: dict[str, Any], actor: str
) -> Strict:
    """Write a new row; see :func:`create`."""
    change = await _decide_to_create(connection, resource, fields)
    await _write(connection, change, actor)
    return change.row


async def patch_row(
    connection: AsyncConnection,
    resource: Resource,
    key: str | None,
    changes: dict[str, Any],
    actor: str,
) -> Strict:
    """Write some fields of a row; see :func:`patch`."""
    change = await _decide_to_patch(connection, resource, key, changes)
    await _write(connection, change, actor)
    return change.row


async def remove_row(
    connection: AsyncConnection, resource: Resource, key: str, actor: str
) -> tuple[Strict, bool]:
    """Delete or deactivate a row; return it as it was, and whether it is deleted."""
    change = await _decide_to_remove(connection, resource, key)
    await _write(connection, change, actor)
    assert change.before is not None
    return change.before, change.after is None


# What an edit comes to, before it is written


async def _decide_to_create(
    connection: AsyncConnection, resource: Resource, fields: dict[str, Any]
) -> _Change:
    row = await _validated(connection, resource.model, {"id": str(uuid4()), **fields})
    key = columns_of(row)["id"]
    taken = await connection.execute(select(exists().where(resource.table.c.id == key)))
    if taken.scalar_one():
        raise AlreadyExistsError(f"{resource.noun.capitalize()} {key} exists already.")
    await _require_own_pair(connection, resource, row)
    return _Change(resource, "create", key, None, row)


async def _decide_to_patch(
    connection: AsyncConnection,
    resource: Resource,
    key: str | None,
    changes: dict[str, Any],
    if_match: str | None = None,
) -> _Change:
    present = await row_of(connection, resource, key)
    _require_match(present, if_match)
    fields = {**present.model_dump(mode="json"), **changes}
    row = await _validated(connection, resource.model, fields, key)
    await _require_own_pair(connection, resource, row)
    return _Change(resource, "patch", key, present, row)


async def _decide_to_remove(
    connection: AsyncConnection, resource: Resource, key: str, if_match: str | None = None
) -> _Change:
    row = await row_of(connection, resource, key)
    _require_match(row, if_match)
    used: list[ColumnElement[bool]] = []
    if resource.booking_column is not None:
        used.append(exists().where(BOOKINGS.c[resource.booking_column] == key))
    if resource.named_by is not None:
        used.append(resource.named_by([key]).exists())
    if used and await connection.scalar(select(or_(*used))):
        inactive = row.model_copy(update={"active": False})
        return _Change(resource, "deactivate", key, row, inactive)
    return _Change(resource, "delete", key, row, None)


def _require_match(present: Strict, if_match: str | None) -> None:
    """Refuse an edit of another row than its caller has seen."""
    if if_match is None or if_match.strip() == "*":
        return
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    if etag(present) not in tags:
        raise PreconditionFailedError(
            "Someone has changed this row since it was read; read it again and repeat the edit."
        )


# Writing it, and reading what it puts outside


async def _write(connection: AsyncConnection, change: _Change, actor: str) -> None:
    """Write a change, and nothing of the bookings: they keep what they were made with."""
    resource, key, before, after = change.resource, change.key, change.before, change.after
    if after is None:
        await connection.execute(delete(resource.table).where(resource.named(key)))
    elif before is None:
        await connection.execute(insert(resource.table).values(columns_of(after)))
    else:
        statement = update(resource.table).where(resource.named(key))
        await connection.execute(statement.values(columns_of(after)))
    await audit.record(
        connection,
        actor,
        change.action,
        resource.name,
        key=key,
        before=None if before is None else before.model_dump(mode="json"),
        after=None if after is None else after.model_dump(mode="json"),
    )


async def _edit(
    engine: AsyncEngine,
    decide: Callable[[AsyncConnection], Awaitable[_Change]],
    actor: str,
    *,
    dry_run: bool,
) -> tuple[_Change, OutsideRules | None]:
    async def edit(
        connection: AsyncConnection,
    ) -> tuple[_Change, EditScope | None, Clinic | None]:
        if not dry_run:
            await lock_clinic(connection)
        change = await decide(connection)
        reach = touched(change.before, change.after)
        clinic = None if reach is None else await load_rows(connection)
        if not dry_run:
            await _write(connection, change, actor)
        return change, reach, clinic

    change, reach, before = await run(engine, edit)
    if reach is None or before is None:
        return change, None
    return change, await find_newly_outside(engine, before, _after(before, change), reach)


def _after(clinic: Clinic, change: _Change) -> Clinic:
    """Return a clinic's rows after a change."""
    if change.resource is SETTINGS:
        assert isinstance(change.after, ClinicRow)
        return replace(clinic, settings=change.after.to_solver())
    name = change.resource.name
    present = list(getattr(clinic, name))
    new = [] if change.after is None else [change.after.to_solver()]  # type: ignore[attr-defined]
    if change.before is None:
        present += new
    else:
        position = present.index(change.before.to_solver())  # type: ignore[attr-defined]
        present[position : position + 1] = new
    rows: dict[str, Any] = {name: tuple(present)}
    return replace(clinic, **rows)


async def _validated[Model: Strict](
    connection: AsyncConnection,
    model: type[Model],
    fields: dict[str, Any],
    own_id: str | None = None,
) -> Model:
    """Return fields, as they are written, as a row; of one that is there, it has `own_id`.

    Raises
    ------
    InvalidFieldsError
        With every fault: of each field, between them, and of ids of which there is no row.
    """
    row, found = validate(model, fields)
    faults = {fault.path: fault for fault in found}
    if own_id is not None and str(fields["id"]).lower() != own_id:
        told = "cannot change; leave it out, or create another row"
        faults.setdefault("id", Fault("id", told))
    for fault in (
        *await _faults_of_references(connection, fields),
        *await _faults_of_instants(connection, model, fields),
        *await _faults_of_roles(connection, row),
    ):
        faults.setdefault(fault.path, fault)
    if row is None or faults:
        raise InvalidFieldsError([*faults.values()])
    return row


async def _require_own_pair(connection: AsyncConnection, resource: Resource, row: Strict) -> None:
    """Refuse a row of which there is another one already: those of a pair are unique."""
    if not resource.pair:
        return
    columns, values = resource.table.c, columns_of(row)
    same = (columns[name] == values[name] for name in resource.pair)
    other = select(columns.id).where(columns.id != values["id"], *same)
    if (taken := await connection.scalar(other)) is not None:
        raise AlreadyExistsError(
            f"{resource.noun.capitalize()} {taken} is of the same {' and '.join(resource.pair)}: "
            "change that one."
        )


async def _faults_of_references(connection: AsyncConnection, fields: dict[str, Any]) -> list[Fault]:
    """Return the fields that refer to what is not there; an id of another form is told before."""
    named = [each for each in references_of(fields) if is_id(each[1])]
    unknown: dict[str, set[str]] = {}
    for target in {target for _, _, target in named}:
        keys = {key.lower() for _, key, there in named if there == target}
        ids = RESOURCES[target].table.c.id
        found = await connection.scalars(select(ids).where(ids.in_(keys)))
        unknown[target] = keys - {str(key) for key in found}
    return [
        Fault(field, f"there is no {RESOURCES[target].noun} {key.lower()}")
        for field, key, target in named
        if key.lower() in unknown[target]
    ]


async def _faults_of_roles(connection: AsyncConnection, row: Strict | None) -> list[Fault]:
    """Return roles that would end after an appointment does, with a provider who takes less long.

    That is the duration that is too short, or where a role ends after it.
    """
    if isinstance(row, ProviderTypeRow) and row.duration_minutes is not None:
        kinds = RESOURCES["appointment_types"]
        there = await connection.scalar(
            select(kinds.table.c.id).where(kinds.table.c.id == row.appointment_type_id)
        )
        if there is None:
            return []
        kind = await row_of(connection, kinds, row.appointment_type_id)
        assert isinstance(kind, AppointmentTypeRow)
        return [
            Fault("duration_minutes", f"of the role {role.key}, {fault[0]} {fault[1]}")
            for role in kind.to_solver().roles
            if (fault := fault_of_minutes(role, row.duration_minutes))
        ]
    if not isinstance(row, AppointmentTypeRow) or not row.roles:
        return []
    own = PROVIDER_TYPES.c
    least = select(func.min(own.duration_minutes)).where(own.appointment_type_id == row.id)
    if (minutes := await connection.scalar(least)) is None:
        return []
    return [
        Fault(f"roles[{at}].{fault[0]}", f"{fault[1]}, which takes {minutes} with a provider")
        for at, role in enumerate(row.to_solver().roles)
        if (fault := fault_of_minutes(role, minutes))
    ]


async def _faults_of_instants(
    connection: AsyncConnection, model: type[Strict], fields: dict[str, Any]
) -> list[Fault]:
    """Return what is wrong with a session that would not open before it is released."""
    if model is not SessionRow:
        return []
    timezone = (await connection.execute(select(CLINIC.c.timezone))).scalar_one()
    fault = fault_of_releases(fields, ZoneInfo(timezone))
    return [Fault("releases", fault)] if fault else []
