"""``GET /slots``."""

from __future__ import annotations

import datetime as dt
import os
from typing import Annotated

import anyio.to_thread
import orjson
from anyio import CapacityLimiter
from fastapi import APIRouter, Query, Response

from api import metrics
from api.access import allow
from api.context import ContextDependency
from api.errors import Problem
from api.schemas import SlotQuery, SlotsOut, slots_body
from data.errors import NotFoundError
from solver.clinic import Clinic
from solver.slots import LOOK_AHEAD_DAYS, SlotPage, find_slots, next_available_date
from solver.timeline import check_date

router = APIRouter(tags=["slots"])

SOLVES_AT_ONCE = CapacityLimiter(os.cpu_count() or 1)
"""Solving is computing: more at once than cores would only slow each other down."""


@router.get(
    "/slots",
    operation_id="findSlots",
    dependencies=[allow("viewer", "slots")],
    summary="Every bookable slot of a date, best first",
    response_model=SlotsOut,
    responses={404: {"model": Problem}, 422: {"model": Problem}},
)
async def get_slots(query: Annotated[SlotQuery, Query()], context: ContextDependency) -> Response:
    """Compute the slots from the rows as they are now; nothing of the answer is stored."""
    now = dt.datetime.now(dt.UTC)
    clinic = await context.snapshots.load(query.date, query.date)
    _check_known(clinic, query)
    horizon = context.settings.horizon_days
    check_date(clinic.settings, query.date, now, horizon)
    request = query.to_request(now)

    def solve() -> SlotPage:
        with metrics.SOLVES.time():
            return find_slots(
                clinic,
                request,
                limit=query.limit,
                rooms=query.rooms,
                weights=context.settings.weights,
            )

    page = await anyio.to_thread.run_sync(solve, limiter=SOLVES_AT_ONCE)
    metrics.slots_found(page)
    following = None
    if not page.slots:
        last = now.astimezone(clinic.settings.zone).date() + dt.timedelta(days=horizon)
        until = min(query.date + dt.timedelta(days=LOOK_AHEAD_DAYS), last)
        ahead = await context.snapshots.load(query.date, until)
        following = await anyio.to_thread.run_sync(
            lambda: next_available_date(ahead, request, last=last), limiter=SOLVES_AT_ONCE
        )
    return Response(
        orjson.dumps(slots_body(page, clinic.settings.zone, following)),
        media_type="application/json",
    )


def _check_known(clinic: Clinic, query: SlotQuery) -> None:
    if query.appointment_type_id not in clinic.type_by_id:
        raise NotFoundError(f"There is no appointment type {query.appointment_type_id}.")
    for provider_id in query.provider_id:
        if provider_id not in clinic.provider_by_id:
            raise NotFoundError(f"There is no provider {provider_id}.")
