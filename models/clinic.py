"""The clinic's own tables: settings, providers, rooms, types, and the rows that refer to them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class ClinicSettings(Base):
    """The one row of what holds for the clinic as a whole."""

    __tablename__ = "clinic"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("grid_minutes BETWEEN 1 AND 240", name="grid"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text)
    grid_minutes: Mapped[int] = mapped_column(SmallInteger)
    preference_decay_minutes: Mapped[int] = mapped_column(SmallInteger)
    min_notice_minutes: Mapped[int]
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    """Counted up by triggers with every change of the clinic's rows, bookings aside."""


class Provider(Base):
    """A clinician. `no` is the short number that the bookings' spans are built from."""

    __tablename__ = "providers"
    __table_args__ = (
        UniqueConstraint("id", "no"),
        CheckConstraint("daily_cap >= 0", name="daily_cap"),
        CheckConstraint("daily_minutes >= 0", name="daily_minutes"),
        CheckConstraint("buffer_before >= 0 AND buffer_after >= 0", name="buffers"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    no: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    name: Mapped[str] = mapped_column(Text)
    skills: Mapped[list[str]] = mapped_column(ARRAY(Text))
    daily_cap: Mapped[int | None]
    daily_minutes: Mapped[int | None]
    buffer_before: Mapped[int] = mapped_column(SmallInteger)
    buffer_after: Mapped[int] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(Boolean)


class Room(Base):
    """A place. `no` is the short number that the bookings' spans are built from."""

    __tablename__ = "rooms"
    __table_args__ = (
        UniqueConstraint("id", "no"),
        CheckConstraint("turnover_minutes >= 0", name="turnover"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    no: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    name: Mapped[str] = mapped_column(Text)
    equipment: Mapped[list[str]] = mapped_column(ARRAY(Text))
    turnover_minutes: Mapped[int] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(Boolean)
    location_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("locations.id"), index=True)


class Location(Base):
    """A place at which the clinic has rooms."""

    __tablename__ = "locations"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean)


class Travel(Base):
    """The minutes of the way from one place to another, and back unless that has its own row."""

    __tablename__ = "travel"
    __table_args__ = (
        UniqueConstraint("from_id", "to_id"),
        CheckConstraint("from_id <> to_id", name="way"),
        CheckConstraint("minutes BETWEEN 0 AND 720", name="minutes"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    from_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("locations.id", ondelete="CASCADE"))
    to_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("locations.id", ondelete="CASCADE"), index=True
    )
    minutes: Mapped[int] = mapped_column(SmallInteger)


class AppointmentType(Base):
    """What is booked."""

    __tablename__ = "appointment_types"
    __table_args__ = (
        CheckConstraint("duration_minutes BETWEEN 1 AND 1440", name="duration"),
        CheckConstraint("buffer_before >= 0 AND buffer_after >= 0", name="buffers"),
        CheckConstraint("daily_cap >= 0", name="daily_cap"),
        CheckConstraint(
            "coalesce(start_every, 1) BETWEEN 1 AND 240"
            " AND start_offset BETWEEN 0 AND coalesce(start_every, 1) - 1"
            " AND start_anchor IN ('midnight', 'window')"
            " AND (start_offset = 0 OR start_anchor = 'midnight')",
            name="starts",
        ),
        CheckConstraint("jsonb_typeof(required_pools) = 'array'", name="required_pools"),
        CheckConstraint("jsonb_typeof(roles) = 'array'", name="roles"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    duration_minutes: Mapped[int] = mapped_column(SmallInteger)
    buffer_before: Mapped[int] = mapped_column(SmallInteger)
    buffer_after: Mapped[int] = mapped_column(SmallInteger)
    required_skills: Mapped[list[str]] = mapped_column(ARRAY(Text))
    required_equipment: Mapped[list[str]] = mapped_column(ARRAY(Text))
    daily_cap: Mapped[int | None]
    active: Mapped[bool] = mapped_column(Boolean)
    start_every: Mapped[int | None] = mapped_column(SmallInteger)
    start_offset: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    start_anchor: Mapped[str] = mapped_column(Text, server_default=text("'midnight'"))
    packed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    required_pools: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """Objects of a `pool_id` and a `quantity`."""
    roles: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """Objects of a `key`, `required_skills`, `from_minute` and `to_minute`."""


class EquipmentPool(Base):
    """Alike pieces of equipment that are brought to where they are needed."""

    __tablename__ = "equipment_pools"
    __table_args__ = (
        CheckConstraint("quantity BETWEEN 0 AND 1000", name="quantity"),
        CheckConstraint("return_minutes BETWEEN 0 AND 1440", name="return"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int] = mapped_column(SmallInteger)
    return_minutes: Mapped[int] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(Boolean)
    location_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("locations.id"), index=True)


class ProviderType(Base):
    """What is different when one provider does one appointment type; null: as the type has it."""

    __tablename__ = "provider_types"
    __table_args__ = (
        UniqueConstraint("provider_id", "appointment_type_id"),
        CheckConstraint("duration_minutes BETWEEN 1 AND 1440", name="duration"),
        CheckConstraint(
            "buffer_before BETWEEN 0 AND 720 AND buffer_after BETWEEN 0 AND 720", name="buffers"
        ),
        CheckConstraint("daily_cap >= 0", name="daily_cap"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    provider_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("providers.id", ondelete="CASCADE"))
    appointment_type_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("appointment_types.id", ondelete="CASCADE"), index=True
    )
    duration_minutes: Mapped[int | None] = mapped_column(SmallInteger)
    buffer_before: Mapped[int | None] = mapped_column(SmallInteger)
    buffer_after: Mapped[int | None] = mapped_column(SmallInteger)
    daily_cap: Mapped[int | None]
    offered: Mapped[bool] = mapped_column(Boolean)


def _recurrence() -> tuple[CheckConstraint, ...]:
    """Return that a row has hours on a weekday or a date, of one owner at most."""
    return (
        CheckConstraint("num_nonnulls(provider_id, room_id) <= 1", name="one_owner"),
        CheckConstraint("num_nonnulls(weekday, date) = 1", name="weekday_or_date"),
        CheckConstraint("weekday BETWEEN 1 AND 7", name="weekday"),
        CheckConstraint("start_minute >= 0 AND start_minute < end_minute", name="span"),
        CheckConstraint("end_minute <= 1440", name="day"),
        CheckConstraint("valid_from <= valid_to", name="validity"),
        CheckConstraint(
            "every_weeks = 1 OR every_weeks BETWEEN 2 AND 8"
            " AND weekday IS NOT NULL AND valid_from IS NOT NULL",
            name="every_weeks",
        ),
    )


class Availability(Base):
    """An open or closed span, weekly or on one date."""

    __tablename__ = "availability"
    __table_args__ = (
        *_recurrence(),
        CheckConstraint("kind IN ('open', 'closed')", name="kind"),
        CheckConstraint(
            "kind = 'closed' OR num_nonnulls(provider_id, room_id) = 1", name="clinic_closes"
        ),
        CheckConstraint("num_nonnulls(room_id, location_id) <= 1", name="rooms_say_where"),
        Index("ix_availability_date", "date", postgresql_where=text("date IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    provider_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), index=True
    )
    room_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("rooms.id", ondelete="CASCADE"), index=True
    )
    weekday: Mapped[int | None] = mapped_column(SmallInteger)
    date: Mapped[dt.date | None] = mapped_column(Date)
    start_minute: Mapped[int] = mapped_column(SmallInteger)
    end_minute: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[dt.date | None] = mapped_column(Date)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    every_weeks: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    location_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("locations.id"), index=True)


_HAS_AN_AT = "num_nonnulls({0}_days_before, {0}_at) IN (0, 2)"


_ONE_FORM = "num_nonnulls({0}_minutes_before, {0}_days_before) <= 1"


_LEAD_IN_RANGE = (
    "{0}_minutes_before BETWEEN 0 AND 527040 IS NOT FALSE"
    " AND {0}_days_before BETWEEN 0 AND 366 IS NOT FALSE"
    " AND {0}_at BETWEEN 0 AND 1439 IS NOT FALSE"
)


def _lead(name: str) -> CheckConstraint:
    """Return that an instant before a session is so many minutes, or days and a time, or none."""
    form = " AND ".join((_ONE_FORM, _HAS_AN_AT, _LEAD_IN_RANGE)).format(name)
    return CheckConstraint(form, name=name)


class Session(Base):
    """Time that is kept for some appointment types, or for a number of bookings.

    `opens` and `releases` are instants before it: so many minutes, or a time so many dates earlier.
    The types are no foreign keys: a trigger takes a type that is deleted out of the lists.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        *_recurrence(),
        CheckConstraint("max_bookings >= 0", name="max_bookings"),
        CheckConstraint(
            "array_position(appointment_type_ids, NULL) IS NULL", name="appointment_type_ids"
        ),
        _lead("opens"),
        _lead("releases"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    provider_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), index=True
    )
    room_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("rooms.id", ondelete="CASCADE"), index=True
    )
    weekday: Mapped[int | None] = mapped_column(SmallInteger)
    date: Mapped[dt.date | None] = mapped_column(Date, index=True)
    start_minute: Mapped[int] = mapped_column(SmallInteger)
    end_minute: Mapped[int] = mapped_column(SmallInteger)
    valid_from: Mapped[dt.date | None] = mapped_column(Date)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    every_weeks: Mapped[int] = mapped_column(SmallInteger)
    appointment_type_ids: Mapped[list[uuid.UUID] | None] = mapped_column(ARRAY(Uuid))
    max_bookings: Mapped[int | None]
    opens_minutes_before: Mapped[int | None]
    opens_days_before: Mapped[int | None] = mapped_column(SmallInteger)
    opens_at: Mapped[int | None] = mapped_column(SmallInteger)
    releases_minutes_before: Mapped[int | None]
    releases_days_before: Mapped[int | None] = mapped_column(SmallInteger)
    releases_at: Mapped[int | None] = mapped_column(SmallInteger)
    active: Mapped[bool] = mapped_column(Boolean)


class OverbookingRule(Base):
    """An allowance to book over regular capacity."""

    __tablename__ = "overbooking_rules"
    __table_args__ = (
        CheckConstraint("weekday BETWEEN 1 AND 7", name="weekday"),
        CheckConstraint(
            "coalesce(start_minute, 0) >= 0 "
            "AND coalesce(start_minute, 0) < coalesce(end_minute, 1440) "
            "AND coalesce(end_minute, 1440) <= 1440",
            name="hours",
        ),
        CheckConstraint("max_overlap >= 0 AND max_per_day >= 0", name="allowance"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    provider_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("providers.id", ondelete="CASCADE"), index=True
    )
    appointment_type_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("appointment_types.id", ondelete="CASCADE"), index=True
    )
    weekday: Mapped[int | None] = mapped_column(SmallInteger)
    start_minute: Mapped[int | None] = mapped_column(SmallInteger)
    end_minute: Mapped[int | None] = mapped_column(SmallInteger)
    max_overlap: Mapped[int]
    max_per_day: Mapped[int]
