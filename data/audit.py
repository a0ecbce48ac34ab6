"""The audit log: who wrote what when, in the transaction of the write itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Insert,
    Row,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from models.tables import AUDIT_LOG

ANONYMOUS = "anonymous"
"""The actor while callers need no key."""
OPERATOR = "command line"
"""The actor of a command, which needs the database's own password and no key."""
EXPIRY = "expiry"
"""The actor that ends holds whose time is over."""
NO_SHOW_MARKER = "no-show marker"
CALCULATOR = "statistics calculator"
"""The hourly jobs."""
OIDC = "oidc:"
"""What the names of an OpenID Connect issuer's callers begin with."""

LEFT_OUT = {"provider_no", "room_no", "provider_span", "room_span", "patient_key", "no"}
"""Columns that no caller knows of."""


async def record(
    connection: AsyncConnection,
    actor: str,
    action: str,
    entity: str,
    *,
    key: str | UUID | None = None,
    before: Row[Any] | Mapping[str, Any] | None = None,
    after: Row[Any] | Mapping[str, Any] | None = None,
) -> None:
    """Add one entry; rows are written with all fields a caller knows of."""
    await connection.execute(
        insert(AUDIT_LOG).values(
            actor=actor,
            action=action,
            entity=entity,
            entity_id=key,
            before=_plain(before),
            after=_plain(after),
        )
    )


def as_logged(table: str) -> ColumnElement[Any]:
    """Return the row of `table`, a name in the statement, with all fields a caller knows of."""
    left_out = literal(sorted(LEFT_OUT), ARRAY(Text))
    return func.to_jsonb(literal_column(table), type_=JSONB).op("-", return_type=JSONB())(left_out)


def with_entry(write: Insert | Update, table: Table) -> Select[Any]:
    """Return `write` to rows of `table`, and an entry about each, as one statement.

    Run it with what :func:`about` returns; where it writes one row, with :func:`written`.
    Rows come with the `status_before` the write, and the `action`.
    """
    row = write.returning(table).cte("written")
    entry = insert(AUDIT_LOG).from_select(
        ["actor", "action", "entity", "entity_id", "before", "after", "override_reason"],
        select(
            bindparam("audit_actor", type_=Text),
            bindparam("audit_action", type_=Text),
            bindparam("audit_entity", type_=Text),
            row.c.id,
            bindparam("audit_before", type_=JSONB(none_as_null=True)),
            as_logged("written"),
            bindparam("audit_override_reason", type_=Text),
        ).select_from(row),
    )
    status_before = bindparam("audit_before", type_=JSONB).op("->>")("status")
    action = bindparam("audit_action", type_=Text)
    return select(row, status_before.label("status_before"), action.label("action")).add_cte(
        entry.cte("entry")
    )


def with_entries(write: Insert | Update, table: Table, asked: Any) -> Select[Any]:
    """Return `write` to rows of `table`, and an entry about each, as one statement.

    `asked` is what the rows are written from; it has their ``id``, an ``actor``, an ``action``,
    perhaps an ``override_reason`` and, of rows that stood already, ``before`` as of
    :func:`as_logged`; these come with the `status_before` the write.
    """
    rows = write.returning(table).cte("written")
    entries = insert(AUDIT_LOG).from_select(
        ["actor", "action", "entity", "entity_id", "before", "after", "override_reason"],
        select(
            asked.c.actor,
            asked.c.action,
            literal(table.name.removesuffix("s"), Text),
            rows.c.id,
            asked.c.before if "before" in asked.c else null(),
            as_logged("written"),
            asked.c.override_reason if "override_reason" in asked.c else null(),
        ).select_from(rows.join(asked, asked.c.id == rows.c.id)),
    )
    written = select(rows)
    if "before" in asked.c:
        status_before = asked.c.before.op("->>")("status").label("status_before")
        written = written.add_columns(status_before).join(asked, asked.c.id == rows.c.id)
    return written.add_cte(entries.cte("entries"))


def about(
    actor: str,
    action: str,
    entity: str = "booking",
    before: Any = None,
    override_reason: str | None = None,
) -> dict[str, Any]:
    """Return what a statement of :func:`with_entry` wants to know for its entries."""
    return {
        "audit_actor": actor,
        "audit_action": action,
        "audit_entity": entity,
        "audit_before": before,
        "audit_override_reason": override_reason,
    }


async def written(
    connection: AsyncConnection,
    statement: Select[Any],
    values: Mapping[str, Any],
    *,
    actor: str,
    action: str,
    entity: str = "booking",
    before: Any = None,
    override_reason: str | None = None,
) -> Row[Any]:
    """Run a statement of :func:`with_entry`; return the row as it now is.

    `before` is the row as it was, read with :func:`as_logged`.
    """
    told = about(actor, action, entity, before, override_reason)
    row: Row[Any] = (await connection.execute(statement, {**values, **told})).one()
    return row


async def first_written(connection: AsyncConnection, entity: str, key: UUID) -> Any:
    """Return a row as it was first written, with its fields as JSON; None where nobody noted it."""
    columns = AUDIT_LOG.c
    return await connection.scalar(
        select(columns.after)
        .where(columns.entity == entity, columns.entity_id == key)
        .order_by(columns.id)
        .limit(1)
    )


async def last_change(
    connection: AsyncConnection, entity: str, key: UUID, field: str
) -> Row[Any] | None:
    """Return the newest entry about a row that gave `field` another value, with its `age`.

    That a row was made is no change.
    """
    columns = AUDIT_LOG.c
    before, after = (side.op("->>")(field) for side in (columns.before, columns.after))
    query: Select[Any] = select(
        columns.at,
        columns.action,
        columns.before,
        before.label("former"),
        after.label("latter"),
        (func.clock_timestamp() - columns.at).label("age"),
    )
    query = query.where(columns.entity == entity, columns.entity_id == key, before != after)
    newest_first = query.order_by(columns.id.desc())
    found: Row[Any] | None = (await connection.execute(newest_first.limit(1))).one_or_none()
    return found


async def history(
    engine: AsyncEngine, entity: str, key: str, *, with_reasons: bool = False
) -> list[dict[str, Any]]:
    """Return the entries about one row, oldest first; `with_reasons` why rules were overridden."""
    columns = AUDIT_LOG.c
    told = [columns.at, columns.actor, columns.action, columns.before, columns.after]
    if with_reasons:
        told.append(columns.override_reason)
    async with engine.connect() as connection:
        rows = await connection.execute(
            select(*told)
            .where(columns.entity == entity, columns.entity_id == key)
            .order_by(columns.id)
        )
        return [dict(row) for row in rows.mappings()]


def _plain(row: Row[Any] | Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    fields = row if isinstance(row, Mapping) else row._mapping  # noqa: SLF001
    return {name: _value(value) for name, value in fields.items() if name not in LEFT_OUT}


def _value(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dt.date):  # a datetime is one, too
        return value.isoformat()
    return value
