"""The figures of a provider's date, kept for the statistics."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import Date, DateTime, Numeric, Uuid, func
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
