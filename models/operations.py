"""What the service keeps about its own work: statistics, jobs done, events to send."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Date, DateTime, Identity, Index, Numeric, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class DailyStatistics(Base):
    """The figures of one provider on one date, as last calculated."""

    __tablename__ = "daily_statistics"

    date: Mapped[dt.date] = mapped_column(Date, primary_key=True)
    provider_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    booked: Mapped[int]
    completed: Mapped[int]
    cancelled: Mapped[int]
    no_shows: Mapped[int]
    overbooked: Mapped[int]
    busy_minutes: Mapped[int]
    open_minutes: Mapped[int]
    mean_score: Mapped[Decimal | None] = mapped_column(Numeric(5, 4))
    calculated_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )


class JobRun(Base):
    """One hour of a job, done; written in the transaction of the work itself."""

    __tablename__ = "job_runs"

    job: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    done_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class OutboxEvent(Base):
    """An event that the notification hub has not taken yet.

    `number` grows with every event of a booking, since its writers wait for one another.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_booking_id_number", "booking_id", "number"),)

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    booking_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )
