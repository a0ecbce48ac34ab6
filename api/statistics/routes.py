"""``GET /stats``."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import Row

from api.access.context import ContextDependency
from api.access.require import allow
from api.http.errors import PROBLEMS
from data import statistics as stats
from data.files.fields import BookingDate, Id, Strict
from solver.whatif.kpis import decimal

router = APIRouter(tags=["stats"])


class StatsQuery(Strict):
    """Which dates and providers."""

    first: BookingDate = Field(alias="from")
    last: BookingDate = Field(
        alias="to", description=f"Included; at most {stats.MOST_DAYS} days in all."
    )
    provider_id: list[Id] = Field(default=[], description="Repeatable; none means all.")

    @model_validator(mode="after")
    def _days_are_few(self) -> Self:
        if self.last < self.first:
            raise PydanticCustomError("range", "must not be before from", {"field": "to"})
        if (self.last - self.first).days >= stats.MOST_DAYS:
            message = f"must be less than {stats.MOST_DAYS} days after from"
            raise PydanticCustomError("range", message, {"field": "to"})
        return self


class StatsOut(BaseModel):
    """The figures of one provider on one date."""

    date: dt.date
    provider_id: str
    provider_name: str
    booked: int = Field(description="Appointments that were not cancelled, no-shows included.")
    completed: int
    cancelled: int
    no_shows: int
    no_show_rate: float = Field(description="No-shows / booked; 0 with none booked.")
    overbooked: int
    open_minutes: int = Field(description="Minutes in which the provider is in.")
    busy_minutes: int = Field(
        description="Open minutes that appointments take; one that two share counts once."
    )
    utilisation: float = Field(description="busy_minutes / open_minutes; 0 if closed.")
    mean_score: float | None


@router.get(
    "/stats",
    operation_id="getStatistics",
    dependencies=[allow("viewer", "statistics")],
    summary="Figures per date and provider",
    response_model=list[StatsOut],
    responses={status: PROBLEMS[status] for status in (404, 422, 503)},
)
async def get_stats(
    query: Annotated[StatsQuery, Query()], context: ContextDependency
) -> list[dict[str, Any]]:
    """Count from the rows as they are now, by date and provider id."""
    rows = await stats.calculate(context.engine, query.first, query.last, query.provider_id)
    return [_body(row) for row in rows]


def _body(row: Row[Any]) -> dict[str, Any]:
    return {
        "date": row.date,
        "provider_id": str(row.provider_id),
        "provider_name": row.provider_name,
        "booked": row.booked,
        "completed": row.completed,
        "cancelled": row.cancelled,
        "no_shows": row.no_shows,
        "no_show_rate": _share(row.no_shows, row.booked),
        "overbooked": row.overbooked,
        "open_minutes": row.open_minutes,
        "busy_minutes": row.busy_minutes,
        "utilisation": _share(row.busy_minutes, row.open_minutes),
        "mean_score": None if row.mean_score is None else float(row.mean_score),
    }


def _share(part: int, whole: int) -> float:
    return decimal(Fraction(part, whole)) if whole else 0.0
