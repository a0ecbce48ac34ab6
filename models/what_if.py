"""What-if runs: the queue of those to solve, their progress and their results."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base

RESULT_FITS_STATUS = (
    "CASE status WHEN 'done' THEN result IS NOT NULL WHEN 'stopped' THEN true"
    " ELSE result IS NULL END"
)
"""One that was stopped before it began has none."""


class WhatIfRun(Base):
    """One run as it was asked for, and what became of it.

    `clinic` is the clinic and its book as the run was solved for: what its report needs, whatever
    becomes of the rows. `applied` says which scenario was carried out, when and by whom.


    `attempt` counts how often a solver took it up; whoever writes about a run names the attempt,
    so a solver that has lost it to another writes nothing.
    """

    __tablename__ = "what_if_runs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'done', 'stopped', 'failed')", name="status"
        ),
        CheckConstraint(RESULT_FITS_STATUS, name="result"),
        Index(
            "ix_what_if_runs_waiting",
            "created_at",
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(Text, server_default=text("'queued'"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    stop_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    clinic: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    applied: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    started_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class WhatIfEvent(Base):
    """What was known of one scenario at one moment of a run."""

    __tablename__ = "what_if_events"
    __table_args__ = (Index("ix_what_if_events_run_id_id", "run_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("what_if_runs.id", ondelete="CASCADE"))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
