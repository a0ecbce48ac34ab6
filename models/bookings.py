"""The book: bookings, and the rows that a booking locks."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INT8RANGE, JSONB, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base

UNIQUE_PROVIDER_START = "uq_bookings_provider_id_date_start_minute"
UNIQUE_ROOM_START = "uq_bookings_room_id_date_start_minute"
NO_PROVIDER_OVERLAP = "ex_bookings_provider_span"
NO_ROOM_OVERLAP = "ex_bookings_room_span"
WITHIN_POOLS = "bookings_within_pools"
NEW_WITHIN_POOLS = "new_bookings_within_pools"
"""Two triggers, which refuse under the name of the first: see the migration of equipment pools."""
TEAMS_APART = "bookings_teams_apart"
NEW_TEAMS_APART = "new_bookings_teams_apart"
"""Two triggers, which refuse under the name of the first, where somebody in a role is busy."""
APART_FROM_TEAMS = "bookings_apart_from_teams"
"""The name under which they refuse a booking whose own provider is in a role then."""
TIME_TO_TRAVEL = "bookings_time_to_travel"
"""Likewise two triggers, which refuse under this name: see the migration of the way's last word."""

LIVE = "status <> 'cancelled'"


def _span(number: str) -> str:
    """SQL of one range per resource and minute: its number above, the minute since 2000 below.

    28 bits hold the minutes until 2510, so two resources' ranges never meet and a plain GiST
    index on int8range does what a second, equality column would need an extension for.
    """
    minute = f"{number} * 268435456 + (date - DATE '2000-01-01') * 1440"
    return f"int8range({minute} + start_minute, {minute} + start_minute + duration_minutes)"


class Booking(Base):
    """One appointment placed.

    `patient_key` is what patients are compared by, :func:`solver.clinic.patients.patient_key` of
    `patient_ref`; whoever writes one writes both.

    `duration_minutes` and the buffers are those of its type when it was made.

    `overrides` are the codes of the rules that it was made against, on purpose.

    `team` is who is in the roles of its type: ids of providers, by the keys of the roles.
    """

    __tablename__ = "bookings"
    __table_args__ = (
        ForeignKeyConstraint(
            ["provider_id", "provider_no"],
            ["providers.id", "providers.no"],
            name="fk_bookings_provider",
        ),
        ForeignKeyConstraint(
            ["room_id", "room_no"], ["rooms.id", "rooms.no"], name="fk_bookings_room"
        ),
        CheckConstraint(
            "status IN ('held', 'booked', 'checked_in', 'completed', 'cancelled', 'no_show')",
            name="status",
        ),
        CheckConstraint("date BETWEEN DATE '2000-01-01' AND DATE '2500-12-31'", name="date"),
        CheckConstraint("start_minute BETWEEN 0 AND 1439", name="start"),
        CheckConstraint("duration_minutes BETWEEN 1 AND 1440", name="duration"),
        CheckConstraint(
            "buffer_before BETWEEN 0 AND 720 AND buffer_after BETWEEN 0 AND 720", name="buffers"
        ),
        CheckConstraint("(status = 'held') = (expires_at IS NOT NULL)", name="hold_expires"),
        CheckConstraint("array_position(overrides, NULL) IS NULL", name="overrides"),
        CheckConstraint(
            "jsonb_typeof(team) = 'object' AND (team = '{}' OR NOT jsonb_path_exists("
            "team, '$.* ? (@ == $main)', jsonb_build_object('main', provider_id)))",
            name="team",
        ),
        CheckConstraint(
            "(patient_ref IS NULL) = (patient_key IS NULL) AND patient_key <> ''",
            name="patient_key",
        ),
        Index(
            UNIQUE_PROVIDER_START,
            "provider_id",
            "date",
            "start_minute",
            unique=True,
            postgresql_where=text(LIVE),
        ),
        Index(
            UNIQUE_ROOM_START,
            "room_id",
            "date",
            "start_minute",
            unique=True,
            postgresql_where=text(LIVE),
        ),
        ExcludeConstraint(
            ("provider_span", "&&"),
            name=NO_PROVIDER_OVERLAP,
            using="gist",
            where=text(f"{LIVE} AND NOT is_overbooked"),
        ),
        ExcludeConstraint(
            ("room_span", "&&"), name=NO_ROOM_OVERLAP, using="gist", where=text(LIVE)
        ),
        Index("ix_bookings_date", "date"),
        Index("ix_bookings_date_booked", "date", postgresql_where=text("status = 'booked'")),
        Index("ix_bookings_patient_key_date", "patient_key", "date"),
        Index("ix_bookings_appointment_type_id_date", "appointment_type_id", "date"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    provider_id: Mapped[uuid.UUID]
    provider_no: Mapped[int] = mapped_column(BigInteger)
    room_id: Mapped[uuid.UUID]
    room_no: Mapped[int] = mapped_column(BigInteger)
    appointment_type_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("appointment_types.id"))
    date: Mapped[dt.date] = mapped_column(Date)
    start_minute: Mapped[int] = mapped_column(SmallInteger)
    duration_minutes: Mapped[int] = mapped_column(SmallInteger)
    buffer_before: Mapped[int] = mapped_column(SmallInteger)
    buffer_after: Mapped[int] = mapped_column(SmallInteger)
    patient_ref: Mapped[str | None] = mapped_column(Text)
    patient_key: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    is_overbooked: Mapped[bool]
    overrides: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    team: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    notes: Mapped[str | None] = mapped_column(Text)
    score: Mapped[int | None] = mapped_column(SmallInteger)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    updated_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    provider_span: Mapped[Range[int]] = mapped_column(
        INT8RANGE, Computed(_span("provider_no"), persisted=True)
    )
    room_span: Mapped[Range[int]] = mapped_column(
        INT8RANGE, Computed(_span("room_no"), persisted=True)
    )


class BookingRole(Base):
    """Who is in a role of a booking: what its `team` says, written by the database alone."""

    __tablename__ = "booking_roles"
    __table_args__ = (
        UniqueConstraint("booking_id", "provider_id"),
        Index("ix_booking_roles_provider_id_date", "provider_id", "date"),
    )

    booking_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("bookings.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    provider_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("providers.id"))
    date: Mapped[dt.date] = mapped_column(Date)


class ResourceDay(Base):
    """A row to lock: one resource on one date, written before anything is decided about it."""

    __tablename__ = "resource_days"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    date: Mapped[dt.date] = mapped_column(Date, primary_key=True)
