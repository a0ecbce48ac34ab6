"""The statements that write bookings, and the columns that they set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnClause,
    Date,
    Integer,
    Row,
    Select,
    SmallInteger,
    TableValuedAlias,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.clinic.snapshot import EFFECTIVE_STATUS, IS_EXPIRED
from models.tables import BOOKINGS, CLINIC, PROVIDERS, ROOMS
from solver.slots.query import Slot


def _asked(*columns: ColumnClause[Any]) -> TableValuedAlias:
    """Return the rows that a statement is given as one JSON array, `asked`, with these columns."""
    rows = func.jsonb_to_recordset(bindparam("asked", type_=JSONB)).table_valued(*columns)
    return rows.render_derived(name="asked", with_types=True)


def _place() -> tuple[ColumnClause[Any], ...]:
    """Return the columns of a place: where, when, how."""
    return (
        column("provider_id", Uuid),
        column("room_id", Uuid),
        column("day", Date),
        column("start", SmallInteger),
        column("duration", SmallInteger),
        column("before_minutes", SmallInteger),
        column("after_minutes", SmallInteger),
        column("is_overbooked", Boolean),
        column("points", SmallInteger),
        column("overrides", ARRAY(Text)),
        column("team", JSONB),
    )


ASKED = _asked(
    column("id", Uuid),
    column("appointment_type_id", Uuid),
    *_place(),
    column("patient_ref", Text),
    column("patient_key", Text),
    column("notes", Text),
    column("status", Text),
    column("hold_minutes", Integer),
    column("actor", Text),
    column("action", Text),
    column("override_reason", Text),
)


INSERT = audit.with_entries(
    insert(BOOKINGS).from_select(
        [
            "id",
            "appointment_type_id",
            "provider_id",
            "provider_no",
            "room_id",
            "room_no",
            "date",
            "start_minute",
            "duration_minutes",
            "buffer_before",
            "buffer_after",
            "is_overbooked",
            "score",
            "overrides",
            "team",
            "patient_ref",
            "patient_key",
            "notes",
            "status",
            "expires_at",
        ],
        select(
            ASKED.c.id,
            ASKED.c.appointment_type_id,
            ASKED.c.provider_id,
            PROVIDERS.c.no,
            ASKED.c.room_id,
            ROOMS.c.no,
            ASKED.c.day,
            ASKED.c.start,
            ASKED.c.duration,
            ASKED.c.before_minutes,
            ASKED.c.after_minutes,
            ASKED.c.is_overbooked,
            ASKED.c.points,
            ASKED.c.overrides,
            ASKED.c.team,
            ASKED.c.patient_ref,
            ASKED.c.patient_key,
            ASKED.c.notes,
            ASKED.c.status,
            func.statement_timestamp() + func.make_interval(0, 0, 0, 0, 0, ASKED.c.hold_minutes),
        )
        .join(PROVIDERS, PROVIDERS.c.id == ASKED.c.provider_id)
        .join(ROOMS, ROOMS.c.id == ASKED.c.room_id),
    ),
    BOOKINGS,
    ASKED,
)


PLACED: dict[str, Any] = {
    "provider_id": bindparam("provider_id"),
    "provider_no": select(PROVIDERS.c.no)
    .where(PROVIDERS.c.id == bindparam("provider_id"))
    .scalar_subquery(),
    "room_id": bindparam("room_id"),
    "room_no": select(ROOMS.c.no).where(ROOMS.c.id == bindparam("room_id")).scalar_subquery(),
    "date": bindparam("day"),
    "start_minute": bindparam("start"),
    "duration_minutes": bindparam("duration"),
    "buffer_before": bindparam("before_minutes"),
    "buffer_after": bindparam("after_minutes"),
    "is_overbooked": bindparam("is_overbooked"),
    "score": bindparam("points"),
    "overrides": bindparam("overrides"),
    "team": bindparam("team", type_=JSONB),
}
"""The columns that say where a booking is, of the values of :func:`placed`."""


def placed(slot: Slot) -> dict[str, Any]:
    """Return a slot as the values of :data:`PLACED`."""
    return {
        "provider_id": slot.provider.id,
        "room_id": slot.room.id,
        "day": slot.date,
        "start": slot.start,
        "duration": slot.kind.duration_minutes,
        "before_minutes": slot.kind.buffer_before,
        "after_minutes": slot.kind.buffer_after,
        "is_overbooked": slot.is_overbooked,
        "points": slot.points,
        "overrides": [*slot.overrides],
        "team": dict(slot.team),
    }


def as_it_stands(row: Row[Any]) -> dict[str, Any]:
    """Return where a booking is, as :func:`placed` does of a slot."""
    return {
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "day": row.date,
        "start": row.start_minute,
        "duration": row.duration_minutes,
        "before_minutes": row.buffer_before,
        "after_minutes": row.buffer_after,
        "is_overbooked": row.is_overbooked,
        "points": row.score,
        "overrides": row.overrides,
        "team": row.team,
    }


CHANGED = {"version": func.abs(BOOKINGS.c.version) + 1, "updated_at": func.now()}


CHANGE = update(BOOKINGS).where(BOOKINGS.c.id == bindparam("booking_id"))


DETAIL_COLUMNS: dict[str, Any] = {
    name: bindparam(name)
    for name in ("status", "expires_at", "patient_ref", "patient_key", "notes")
}
"""What a booking is told beside its place."""


RELOCATE = audit.with_entry(CHANGE.values(**CHANGED, **PLACED, **DETAIL_COLUMNS), BOOKINGS)


UPDATE_DETAILS = audit.with_entry(CHANGE.values(**CHANGED, **DETAIL_COLUMNS), BOOKINGS)


RELOCATED = _asked(
    column("id", Uuid),
    column("status", Text),
    *_place(),
    column("actor", Text),
    column("action", Text),
    column("before", JSONB),
)


RELOCATE_ALL = audit.with_entries(
    update(BOOKINGS)
    .where(
        BOOKINGS.c.id == RELOCATED.c.id,
        PROVIDERS.c.id == RELOCATED.c.provider_id,
        ROOMS.c.id == RELOCATED.c.room_id,
    )
    .values(
        **CHANGED,
        status=RELOCATED.c.status,
        provider_id=RELOCATED.c.provider_id,
        provider_no=PROVIDERS.c.no,
        room_id=RELOCATED.c.room_id,
        room_no=ROOMS.c.no,
        date=RELOCATED.c.day,
        start_minute=RELOCATED.c.start,
        duration_minutes=RELOCATED.c.duration,
        buffer_before=RELOCATED.c.before_minutes,
        buffer_after=RELOCATED.c.after_minutes,
        is_overbooked=RELOCATED.c.is_overbooked,
        score=RELOCATED.c.points,
        overrides=RELOCATED.c.overrides,
        team=RELOCATED.c.team,
    ),
    BOOKINGS,
    RELOCATED,
)


ROWS: Select[Any] = select(
    *(column for column in BOOKINGS.c if column.computed is None),  # those are for constraints
    EFFECTIVE_STATUS.label("effective_status"),
    CLINIC.c.timezone,
).join(CLINIC, text("true"))


# Holds whose time is over: gone by the rules, not yet by the constraints, which know no time


CANCEL_EXPIRED = "expire"
"""What was done, as the audit log has it."""


async def cancel_expired_holds(connection: AsyncConnection, *where: Any) -> None:
    """Cancel the holds that have run out, those of certain bookings or all."""
    statement = audit.with_entry(
        update(BOOKINGS)
        .where(IS_EXPIRED, *where)
        .values(
            status="cancelled",
            expires_at=None,
            version=BOOKINGS.c.version + 1,
            updated_at=func.now(),
        ),
        BOOKINGS,
    )
    await connection.execute(statement, audit.about(audit.EXPIRY, CANCEL_EXPIRED))
